"""The header fields of an answer with a file's bytes; pure."""

import mimetypes
import re
from datetime import datetime
from typing import Final
from urllib.parse import quote

from pyvospace_ngas.http.ranges import Validators
from pyvospace_ngas.http.safety import headers_for_bytes
from pyvospace_ngas.model import content
from pyvospace_ngas.storage.digests import digest_header

EMPTY_MD5: Final = content.EMPTY_MD5
BINARY: Final = "application/octet-stream"
_TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - a word of HTTP's grammar
_MEDIA_TYPE: Final = re.compile(
    rf'{_TOKEN}/{_TOKEN}(?:\s*;\s*{_TOKEN}=(?:{_TOKEN}|"[ !#-\[\]-~]*"))*'
)
_ACTIVE: Final = frozenset({
    "text/html", "text/xml", "text/xsl", "application/xml", "text/javascript",
    "application/javascript", "application/ecmascript", "application/x-shockwave-flash",
})  # fmt: skip
# Only the table that comes with Python: what a machine has installed must not decide.
_TYPES: Final = mimetypes.MimeTypes()
for _suffix in (".fits", ".fit", ".fts"):
    _TYPES.add_type("application/fits", _suffix)
_TYPES.add_type("application/x-votable+xml", ".vot")


def validators(md5: str | None, modified: datetime) -> Validators:
    """Return the entity tag and the time of bytes.

    The tag is their MD5: it is the same for the same bytes, on every server and after every
    upload, so that a broken download can go on anywhere; some clients compare it with the file.
    """
    return Validators(content.tag(md5), modified)


def media_type(said: str | None, name: str) -> str:
    """Return what the owner says that the file is, else what its name says."""
    if said is not None and _MEDIA_TYPE.fullmatch(said.strip()):
        return said.strip()
    guessed, encoding = _TYPES.guess_type("file:///" + quote(name))
    if encoding is not None:
        return {"gzip": "application/gzip", "bzip2": "application/x-bzip2"}.get(encoding, BINARY)
    return guessed or BINARY


def disposition(name: str, content_type: str) -> str:
    """Return ``Content-Disposition`` (RFC 6266): a page's or a program's bytes are only saved."""
    kind = "attachment" if _is_active(content_type) else "inline"
    plain = "".join(c if " " <= c <= "~" and c not in '"\\%' else "_" for c in name)
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def for_bytes(known: Validators, md5: str | None, name: str, content_type: str) -> dict[str, str]:
    """Return the fields of every answer to a GET or HEAD, less the length."""
    return {
        "Content-Type": content_type,
        "Content-Disposition": disposition(name, content_type),
        "Digest": digest_header(md5 or EMPTY_MD5),
        **_validating(known),
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-cache",
        "Content-Security-Policy": "sandbox",
        **headers_for_bytes(content_type),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }


def unchanged(known: Validators) -> dict[str, str]:
    """Return the fields of a 304."""
    return {**_validating(known), "Cache-Control": "private, no-cache"}


def _validating(known: Validators) -> dict[str, str]:
    return {"ETag": known.etag, "Last-Modified": known.last_modified}


def _is_active(content_type: str) -> bool:
    essence = content_type.partition(";")[0].strip().lower()
    return essence in _ACTIVE or essence.endswith("+xml") or essence.startswith("multipart/")
