"""Extended attributes as properties; pure.

``user.ivo.NAME`` is the property whose URI, escaped, is NAME; any other ``user.NAME`` is a
property of the mount's own. Values are bytes there and text here: what is no text is in base64.
"""

import base64
import binascii
import errno
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, unquote

from pyvospace_ngas.fuse.entries import Words

_USER: Final = "user."
_PROPERTY: Final = "user.ivo."
_BASE64: Final = "base64:"
_ILLEGAL: Final = re.compile("[\x00-\x08\x0b-\x1f\ud800-\udfff\ufffe\uffff]")
LARGEST: Final = 48 << 10  # bytes; in base64 that is as long as a property may be


def uri(name: str, own: Words) -> str:
    """Return the property that the attribute ``name`` is; `OSError` for other namespaces."""
    if not name.startswith(_USER):
        raise OSError(errno.EOPNOTSUPP, "only user attributes are kept")
    if name.startswith(_PROPERTY):
        return unquote(name.removeprefix(_PROPERTY))
    return own.xattr + quote(name.removeprefix(_USER), safe="")


def names(properties: Mapping[str, str], own: Words) -> list[str]:
    """Return the attributes that stand for ``properties``."""
    found = []
    for each in properties:
        if each.startswith(own.xattr):
            found.append(_USER + unquote(each.removeprefix(own.xattr)))
        elif each not in own.all:
            name = _PROPERTY + quote(each, safe="")
            if len(name) <= 255:
                found.append(name)
    return found


def text(value: bytes) -> str:
    """Return ``value`` as a property can hold it."""
    if len(value) > LARGEST:
        raise OSError(errno.E2BIG, "an attribute has at most 48 KiB")
    try:
        plain = value.decode()
    except UnicodeDecodeError:
        plain = _BASE64
    if plain.startswith(_BASE64) or _ILLEGAL.search(plain) or plain != plain.strip():
        return _BASE64 + base64.b64encode(value).decode()
    return plain


def value(property_: str) -> bytes:
    """Return what `text` made a property of."""
    if property_.startswith(_BASE64):
        try:
            return base64.b64decode(property_.removeprefix(_BASE64), validate=True)
        except binascii.Error:
            pass
    return property_.encode()
