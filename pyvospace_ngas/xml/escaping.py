"""Text as it stands in an XML document: what keeps the writers, which are templates, safe."""

import re
from typing import Final

VOS: Final = "http://www.ivoa.net/xml/VOSpace/v2.0"
XSI: Final = "http://www.w3.org/2001/XMLSchema-instance"
UWS: Final = "http://www.ivoa.net/xml/UWS/v1.0"
XLINK: Final = "http://www.w3.org/1999/xlink"

# XML 1.0 cannot hold these at all. They are refused where they come in; should one slip through,
# the document stays well-formed and shows the replacement character.
_ILLEGAL: Final = "\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff"
_MARKUP: Final = re.compile(f'[&<>"\r\t\n{_ILLEGAL}]')
_BAD: Final = re.compile(f"[{_ILLEGAL}]")
# A reader turns a bare carriage return into a line feed, and either into a space in an attribute.
_TEXT: Final = {ord("&"): "&amp;", ord("<"): "&lt;", ord(">"): "&gt;", ord("\r"): "&#13;"}
_ATTRIBUTE: Final = _TEXT | {ord('"'): "&quot;", ord("\t"): "&#9;", ord("\n"): "&#10;"}


def text(value: str) -> str:
    """Return ``value`` as the content of an element."""
    return _BAD.sub("\ufffd", value).translate(_TEXT) if _MARKUP.search(value) else value


def attribute(value: str) -> str:
    """Return ``value`` as it stands between an attribute's double quotes."""
    return _BAD.sub("\ufffd", value).translate(_ATTRIBUTE) if _MARKUP.search(value) else value
