"""VOSI documents: what the service offers, and whether it is well."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from pyvospace_ngas.model.properties import timestamp
from pyvospace_ngas.xml.escaping import XSI, attribute, text

VOSI_CAPABILITIES: Final = "http://www.ivoa.net/xml/VOSICapabilities/v1.0"
VOSI_AVAILABILITY: Final = "http://www.ivoa.net/xml/VOSIAvailability/v1.0"
_SERVICE: Final = "http://www.ivoa.net/xml/VODataService/v1.1"

_STANDARD: Final = "ivo://ivoa.net/std/"
CAPABILITIES: Final = _STANDARD + "VOSI#capabilities"
AVAILABILITY: Final = _STANDARD + "VOSI#availability"
NODES: Final = _STANDARD + "VOSpace/v2.0#nodes"
TRANSFERS: Final = _STANDARD + "VOSpace/v2.0#transfers"
SYNC: Final = _STANDARD + "VOSpace#sync-2.1"
SYNC_OLD: Final = _STANDARD + "VOSpace/v2.0#sync"
PROPERTIES: Final = _STANDARD + "VOSpace/v2.0#properties"
VIEWS: Final = _STANDARD + "VOSpace/v2.0#views"
PROTOCOLS: Final = _STANDARD + "VOSpace/v2.0#protocols"
SEARCHES: Final = _STANDARD + "VOSpace/v2.0#searches"  # which 2.1 has dropped
FILES: Final = _STANDARD + "VOSpace#files-proto"  # CADC's: the bytes of a node by its path
RECURSIVE_DELETE: Final = _STANDARD + "VOSpace#recursive-delete-proto"  # CADC's, as the next
RECURSIVE_SET: Final = _STANDARD + "VOSpace#recursive-nodeprops-proto"

_RESOURCES: Final = (
    (NODES, "nodes"),
    (TRANSFERS, "transfers"),
    (SYNC, "synctrans"),
    (SYNC_OLD, "synctrans"),
    (PROPERTIES, "properties"),
    (VIEWS, "views"),
    (PROTOCOLS, "protocols"),
)
# Names and ids are appended to these two, which VOResource calls a base; vosfs insists on it.
_BASES: Final = frozenset({NODES, TRANSFERS})


def capabilities(
    base_url: str, security: Sequence[str], extra: Iterable[tuple[str, str]] = ()
) -> str:
    """Return the capabilities of the service at ``base_url``.

    ``security`` are the URIs of its log-in methods, ``extra`` more ids with their paths below
    ``base_url`` (such as ``(FILES, "files")``). Each resource has an interface without a method
    first: clients take it as the anonymous one.
    """
    entries = [
        _capability(CAPABILITIES, f"{base_url}/capabilities", ()),
        _capability(AVAILABILITY, f"{base_url}/availability", ()),
    ]
    entries += [_capability(id_, f"{base_url}/{path}", security) for id_, path in _RESOURCES]
    entries += [_capability(id_, f"{base_url}/{path}", security) for id_, path in extra]
    return (
        f'<vosi:capabilities xmlns:vosi="{VOSI_CAPABILITIES}" xmlns:xsi="{XSI}"'
        f' xmlns:vs="{_SERVICE}">{"".join(entries)}</vosi:capabilities>'
    )


def availability(available: bool, up_since: datetime | None, note: str | None) -> str:
    """Return whether the service is up, since when, and a sentence about it."""
    since = "" if up_since is None else f"<vosi:upSince>{timestamp(up_since)}</vosi:upSince>"
    said = f"<vosi:note>{text(note)}</vosi:note>" if note else ""
    return (
        f'<vosi:availability xmlns:vosi="{VOSI_AVAILABILITY}"><vosi:available>'
        f"{'true' if available else 'false'}</vosi:available>{since}{said}</vosi:availability>"
    )


def _capability(standard_id: str, url: str, security: Sequence[str]) -> str:
    use = "base" if standard_id in _BASES else "full"
    access = f'<accessURL use="{use}">{text(url)}</accessURL>'
    methods = ["", *(f'<securityMethod standardID="{attribute(uri)}"/>' for uri in security)]
    interfaces = "".join(
        f'<interface xsi:type="vs:ParamHTTP" role="std">{access}{method}</interface>'
        for method in methods
    )
    return f'<capability standardID="{attribute(standard_id)}">{interfaces}</capability>'
