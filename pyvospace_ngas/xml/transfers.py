"""Transfer documents, both ways."""

from collections.abc import Sequence

from lxml import etree

from pyvospace_ngas.errors import InvalidArgument
from pyvospace_ngas.model.transfer import Protocol, Transfer, View
from pyvospace_ngas.model.uri import is_uri
from pyvospace_ngas.xml.escaping import VOS, attribute, text
from pyvospace_ngas.xml.parsing import boolean, content, is_nil, parse, vos


def read_transfer(body: bytes) -> Transfer:
    """Return what a transfer document asks for (or, to a client, what it offers)."""
    return transfer_of(parse(body, "transfer"))


def transfer_of(root: etree._Element) -> Transfer:
    """Return what the element ``transfer`` says; elements may stand in any order."""
    view = _only(root, "view")
    keep = _only(root, "keepBytes")
    return Transfer(
        target=_required(root, "target"),
        direction=_required(root, "direction"),
        view=None if view is None else _view(view),
        protocols=tuple(_protocol(element) for element in root.iterfind(vos("protocol"))),
        keep_bytes=None if keep is None else boolean(content(keep), "keepBytes"),
        params=_params(root),
        version=root.get("version"),
    )


def read_and_keep(body: bytes) -> tuple[Transfer, str]:
    """Return what a transfer document asks for, and the document as a job keeps it.

    That is the client's own, without XML declaration.
    """
    root = parse(body, "transfer")
    return transfer_of(root), etree.tostring(root, encoding="unicode", with_tail=False)


def write_transfer(transfer: Transfer, protocols: Sequence[Protocol]) -> str:
    """Return the document of ``transfer`` with ``protocols`` in place of its own."""
    parts = [
        f'<vos:transfer xmlns:vos="{VOS}" version="2.1">',
        f"<vos:target>{text(transfer.target)}</vos:target>",
        f"<vos:direction>{text(transfer.direction)}</vos:direction>",
    ]
    if transfer.view is not None:
        parts.append(_write_view(transfer.view))
    parts.extend(_write_protocol(protocol) for protocol in protocols)
    if transfer.keep_bytes is not None:
        parts.append(
            f"<vos:keepBytes>{'true' if transfer.keep_bytes else 'false'}</vos:keepBytes>"
        )
    parts.append(_write_params(transfer.params))
    parts.append("</vos:transfer>")
    return "".join(parts)


def _only(root: etree._Element, name: str) -> etree._Element | None:
    found = list(root.iterchildren(vos(name)))
    if len(found) > 1:
        raise InvalidArgument(f"a transfer has one {name}")
    return found[0] if found else None


def _required(root: etree._Element, name: str) -> str:
    element = _only(root, name)
    value = "" if element is None else content(element).strip()
    if not value:
        raise InvalidArgument(f"the transfer has no {name}")
    return value


def _uri(element: etree._Element) -> str:
    uri = element.get("uri", "").strip()
    if not is_uri(uri):
        raise InvalidArgument(f"the uri {uri[:80]!r} of a {etree.QName(element).localname}")
    return uri


def _params(element: etree._Element) -> tuple[tuple[str, str], ...]:
    return tuple(
        (_uri(param), content(param))
        for param in element.iterfind(vos("param"))
        if not is_nil(param)
    )


def _view(element: etree._Element) -> View:
    original = boolean(element.get("original", "true"), "original")
    return View(_uri(element), original, _params(element))


def _protocol(element: etree._Element) -> Protocol:
    endpoint = element.find(vos("endpoint"))
    # The standard lets a securityMethod go without a uri: that is the anonymous one.
    methods = (method.get("uri", "").strip() for method in element.iterfind(vos("securityMethod")))
    return Protocol(
        uri=_uri(element),
        endpoint=None if endpoint is None else content(endpoint).strip() or None,
        security=tuple(method for method in methods if method),
        params=_params(element),
    )


def _write_view(view: View) -> str:
    original = "" if view.original else ' original="false"'
    return (
        f'<vos:view uri="{attribute(view.uri)}"{original}>{_write_params(view.params)}</vos:view>'
    )


def _write_protocol(protocol: Protocol) -> str:
    endpoint = (
        ""
        if protocol.endpoint is None
        else f"<vos:endpoint>{text(protocol.endpoint)}</vos:endpoint>"
    )
    methods = "".join(
        f'<vos:securityMethod uri="{attribute(method)}"/>' for method in protocol.security
    )
    return (
        f'<vos:protocol uri="{attribute(protocol.uri)}">'
        f"{endpoint}{_write_params(protocol.params)}{methods}</vos:protocol>"
    )


def _write_params(params: Sequence[tuple[str, str]]) -> str:
    return "".join(
        f'<vos:param uri="{attribute(uri)}">{text(value)}</vos:param>' for uri, value in params
    )
