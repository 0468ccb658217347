"""Tar archives as streams, both ways: POSIX.1-2001 (pax) out; pax, GNU and ustar in."""

import re
import tarfile
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from typing import Final

from pyvospace_ngas.errors import InvalidData
from pyvospace_ngas.storage.views.members import Incoming, Kind, Member, moment
from pyvospace_ngas.storage.views.pieces import Source

BLOCK: Final = 512
END: Final = bytes(2 * BLOCK)
LONGEST_EXTRA: Final = 256 * 1024  # of a header that extends another one
_TYPES: Final = {
    Kind.FOLDER: tarfile.DIRTYPE,
    Kind.FILE: tarfile.REGTYPE,
    Kind.LINK: tarfile.SYMTYPE,
}
_KINDS: Final = {
    tarfile.REGTYPE: Kind.FILE,
    tarfile.AREGTYPE: Kind.FILE,
    tarfile.CONTTYPE: Kind.FILE,
    tarfile.DIRTYPE: Kind.FOLDER,
    tarfile.SYMTYPE: Kind.LINK,
    tarfile.LNKTYPE: Kind.SAME,
}
_KEPT: Final = frozenset({"path", "linkpath", "size", "mtime"})  # all others say nothing to us
_SPARSE: Final = "GNU.sparse"
_RECORD: Final = re.compile(rb"(\d{1,9}) ([^=]+)=")

Content = AsyncIterator[bytes]


@dataclass(slots=True)
class _Extra:
    """What headers before the one of a member say of it."""

    everywhere: dict[str, str] = field(default_factory=dict)
    here: dict[str, str] = field(default_factory=dict)

    def get(self, key: str, default: str) -> str:
        return self.here.get(key) or self.everywhere.get(key) or default


async def pack(
    members: AsyncIterator[tuple[Member, Content | None]],
) -> AsyncGenerator[bytes, None]:
    """Give the tar of ``members``; each content has the length that its member says."""
    async for member, content in members:
        yield header(member)
        if content is not None:
            async for piece in content:
                yield piece
            if padding := -member.length % BLOCK:
                yield bytes(padding)
    yield END


def header(member: Member) -> bytes:
    """Return what stands before the content of ``member``."""
    info = tarfile.TarInfo(member.name)
    info.type = _TYPES[member.kind]
    info.size = member.length
    info.mtime = int(member.mtime.timestamp())
    info.mode = 0o644 if member.kind is Kind.FILE else 0o755
    info.linkname = member.target
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


async def unpack(source: Source) -> AsyncGenerator[Incoming, None]:
    """Give the members of a tar; the body of each is to be read before the next is asked for.

    Raises `InvalidData` for what is no tar, breaks off, or holds what no node can be.
    """
    extra = _Extra()
    while True:
        block = await source.exactly(BLOCK)
        if not block.strip(b"\0"):
            return
        info = _parsed(block)
        if not await _extends(source, info, extra):
            async for member in _member(source, info, extra):
                yield member
            extra.here = {}


async def _member(
    source: Source, info: tarfile.TarInfo, extra: _Extra
) -> AsyncGenerator[Incoming, None]:
    name = extra.get("path", info.name)
    if extra.get(_SPARSE, ""):
        raise InvalidData(f"{name[:80]!r} is stored sparsely, which is not understood here")
    kind = _KINDS.get(info.type)
    if kind is None:
        raise InvalidData(f"{name[:80]!r} is neither a file nor a folder nor a link")
    if kind is Kind.FILE and name.endswith("/"):
        kind = Kind.FOLDER
    mtime = moment(_seconds(extra.get("mtime", str(info.mtime))))
    if kind is not Kind.FILE:
        yield Incoming(name, kind, mtime, target=extra.get("linkpath", info.linkname))
        return
    size = _size(extra.get("size", str(info.size)))
    yield Incoming(name, kind, mtime, size, body=source.through(size))
    await source.exactly(-size % BLOCK)


async def _extends(source: Source, info: tarfile.TarInfo, extra: _Extra) -> bool:
    """Take in a header that is about the next one, or about all that follow."""
    match info.type:
        case tarfile.XHDTYPE | tarfile.SOLARIS_XHDTYPE:
            extra.here.update(_records(await _payload(source, info)))
        case tarfile.XGLTYPE:
            extra.everywhere.update(_records(await _payload(source, info)))
        case tarfile.GNUTYPE_LONGNAME:
            extra.here["path"] = _text((await _payload(source, info)).rstrip(b"\0"))
        case tarfile.GNUTYPE_LONGLINK:
            extra.here["linkpath"] = _text((await _payload(source, info)).rstrip(b"\0"))
        case _:
            return False
    return True


async def _payload(source: Source, info: tarfile.TarInfo) -> bytes:
    if not 0 <= info.size <= LONGEST_EXTRA:
        raise InvalidData("a header of the archive is longer than any should be")
    return (await source.exactly(info.size + -info.size % BLOCK))[: info.size]


def _parsed(block: bytes) -> tarfile.TarInfo:
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError, OverflowError) as error:
        raise InvalidData("this is no tar archive, or a header of it is broken") from error


def _records(payload: bytes) -> dict[str, str]:
    """Return the key words of a pax header."""
    found = {}
    at = 0
    while at < len(payload) and payload[at]:
        match = _RECORD.match(payload, at)
        end = at + int(match[1]) if match else 0
        if match is None or not match.end() < end <= len(payload) or payload[end - 1] != 0x0A:
            raise InvalidData("a pax header of the archive is broken")
        key = _text(match[2])
        if key.startswith(_SPARSE):
            found[_SPARSE] = "yes"
        elif key in _KEPT:
            found[key] = _text(payload[match.end() : end - 1])
        at = end
    return found


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidData(f"the name {raw[:80]!r} is not UTF-8") from None


def _size(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 20):
        raise InvalidData(f"a member of the archive has {text[:40]!r} for its length")
    return int(text)


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InvalidData(f"a header of the archive has {text[:40]!r} for a time") from None
