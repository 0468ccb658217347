"""Which part of a file a request wants, and what its headers say."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final
from urllib.parse import quote

from aiohttp import web

from pyvospace_ngas.archive.node import VERSION
from pyvospace_ngas.archive.records import File

RANGE: Final = re.compile(r"bytes=(\d{0,19})-(\d{0,19})")
FORMAT: Final = re.compile(r"[\w.+-]+/[\w.+-]+", re.ASCII)
PLAIN: Final = re.compile(r"[^ !#-\[\]-~]")  # what a quoted string does not carry everywhere


@dataclass(frozen=True, slots=True)
class Part:
    """The bytes to send, and the status that says so."""

    span: range
    size: int
    status: int = 200

    @property
    def content_range(self) -> str | None:
        if self.status == 200:
            return None
        which = f"{self.span.start}-{self.span.stop - 1}" if self.status == 206 else "*"
        return f"bytes {which}/{self.size}"


def part_of(request: web.Request, file: File) -> Part:
    """Return what the Range header asks for: all of it where it asks for nothing usable."""
    whole = Part(range(file.size), file.size)
    found = RANGE.fullmatch(request.headers.get("Range", "").strip())
    if not found or found[0] == "bytes=-" or not _still_valid(request, file):
        return whole
    first, last = found[1], found[2]
    if not first:
        start, stop = max(file.size - int(last), 0), file.size
    else:
        start, stop = int(first), min(int(last or file.size) + 1, file.size)
        if last and int(last) < start:
            return whole  # no range at all, says RFC 9110
    if start >= stop:
        return Part(range(0), file.size, 416)
    return Part(range(start, stop), file.size, 206)


def headers_of(file: File, part: Part) -> dict[str, str]:
    """Return the headers for a part of a file."""
    headers = {
        "Server": VERSION,
        "Content-Type": file.format
        if FORMAT.fullmatch(file.format)
        else "application/octet-stream",
        "Content-Disposition": disposition(file.file_name.rpartition("/")[2]),
        "Accept-Ranges": "bytes",
        "ETag": etag(file),
        "X-Content-Type-Options": "nosniff",
    }
    if modified := last_modified(file):
        headers["Last-Modified"] = modified
    if part.content_range:
        headers["Content-Range"] = part.content_range
    return headers


def disposition(name: str) -> str:
    """Return an attachment's header for any name (RFC 6266): nothing in it ends the header."""
    plain = PLAIN.sub("_", name)
    header = f'attachment; filename="{plain}"'
    if plain != name:
        header += f"; filename*=UTF-8''{quote(name, safe='', errors='replace')}"
    return header


def etag(file: File) -> str:
    """Return a validator: one version's bytes change only when it is overwritten."""
    mark = f"{file.checksum}-{file.version}-{file.size}-{file.ingestion_date}"
    return '"' + re.sub(r"[^\w.-]", "", mark, flags=re.ASCII) + '"'


def last_modified(file: File) -> str | None:
    """Return when the file was archived, as HTTP has it."""
    try:
        moment = datetime.fromisoformat(file.ingestion_date)
    except ValueError:
        return None
    return format_datetime(moment.replace(tzinfo=UTC), usegmt=True)


def _still_valid(request: web.Request, file: File) -> bool:
    condition = request.headers.get("If-Range")
    return condition is None or condition in {etag(file), last_modified(file)}
