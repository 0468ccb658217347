"""The one way in for XML documents: bounded, without DTDs, entities or the network."""

import re
from typing import Final

from lxml import etree

from pyvospace_ngas.errors import DocumentTooLarge, InvalidArgument
from pyvospace_ngas.xml.escaping import VOS, XSI

LARGEST: Final = 1 << 20  # bytes of a request document
DEEPEST: Final = 32
MOST_MARKUP: Final = 20_000  # "<" signs: at least one an element

_PARSER: Final = etree.XMLParser(
    encoding="utf-8",  # whatever the document says of itself; see _as_utf8
    resolve_entities=False,
    no_network=True,
    load_dtd=False,
    dtd_validation=False,
    huge_tree=False,
    remove_comments=True,
    remove_pis=True,
)
_TOO_DEEP: Final = etree.XPath(f"boolean(/{'/'.join('*' * (DEEPEST + 1))})")
NIL: Final = f"{{{XSI}}}nil"
_DECLARED: Final = re.compile(
    rb"""\s*<\?xml[^>]{0,100}?encoding\s*=\s*["']([A-Za-z0-9._-]{1,40})"""
)
_WIDE: Final = (b"\xff\xfe", b"\xfe\xff")
_SINGLE_BYTE: Final = frozenset({"iso-8859-1", "latin-1", "latin1", "windows-1252"})
_UTF8: Final = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})


def parse(
    body: bytes,
    root: str,
    namespace: str = VOS,
    largest: int = LARGEST,
    most_markup: int = MOST_MARKUP,
) -> etree._Element:
    """Return the root element of ``body``, which must be ``root`` in ``namespace``.

    Raises `DocumentTooLarge`, or `InvalidArgument` for anything else than one well-formed document
    of that kind. What is raised never repeats the document's content.
    """
    if len(body) > largest:
        raise DocumentTooLarge(f"a document here has at most {largest} bytes")
    body = _as_utf8(body)
    if b"<!DOCTYPE" in body:
        raise InvalidArgument("a document type declaration is not allowed")
    if body.count(b"<") > most_markup:
        raise DocumentTooLarge("the document has too many elements")
    try:
        element = etree.fromstring(body, _PARSER)
    except etree.XMLSyntaxError as error:
        line, column = error.position
        raise InvalidArgument(f"not well-formed XML at line {line}, column {column}") from None
    except ValueError:
        raise InvalidArgument("not a readable XML document") from None
    if _TOO_DEEP(element):
        raise InvalidArgument("the document is nested too deep")
    if element.tag != f"{{{namespace}}}{root}":
        raise InvalidArgument(f"the document must be a {root} of the namespace {namespace}")
    return element


def vos(name: str) -> str:
    """Return ``name`` as lxml writes an element of VOSpace."""
    return f"{{{VOS}}}{name}"


def content(element: etree._Element) -> str:
    """Return the text of an element that holds nothing else, exactly as it stands."""
    if len(element):
        raise InvalidArgument(f"{etree.QName(element).localname} holds text only")
    return element.text or ""


def is_nil(element: etree._Element) -> bool:
    """Tell whether ``element`` says ``xsi:nil``."""
    return boolean(element.get(NIL), "xsi:nil")


def boolean(value: str | None, name: str) -> bool:
    """Return what an ``xs:boolean`` says; an attribute that is missing is false."""
    if value is None:
        return False
    match value.strip():
        case "true" | "1":
            return True
        case "false" | "0":
            return False
        case _:
            raise InvalidArgument(f"{name} is true or false")


def qname(element: etree._Element, value: str) -> tuple[str | None, str]:
    """Return the namespace and local name of a QName, by the prefixes in scope at ``element``."""
    prefix, colon, local = value.strip().rpartition(":")
    return element.nsmap.get(prefix if colon else None), local


def _as_utf8(body: bytes) -> bytes:
    """Return ``body`` in UTF-8, out of the few encodings in use; the checks are made on bytes."""
    if body[:2] in _WIDE:
        return _decoded(body, "utf-16")
    declared = _DECLARED.match(body)
    if declared is None:
        return body
    encoding = declared[1].decode("ascii").lower()
    if encoding in _UTF8:
        return body
    if encoding in _SINGLE_BYTE:
        return _decoded(body, encoding)
    raise InvalidArgument("the document must be in UTF-8")


def _decoded(body: bytes, encoding: str) -> bytes:
    try:
        return body.decode(encoding).encode("utf-8")
    except UnicodeError:
        raise InvalidArgument("the document is not in the encoding that it names") from None
