"""Zip archives read as they arrive: the directory at the end is only compared, and tells links."""

import hashlib
import stat
import struct
import zlib
from collections.abc import AsyncGenerator, AsyncIterator
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from pyvospace_ngas.errors import InvalidData
from pyvospace_ngas.storage.views.members import Incoming, Kind, moment
from pyvospace_ngas.storage.views.pieces import RAW, Allowance, Source, inflated
from pyvospace_ngas.storage.views.zip import (
    CENTRAL,
    DEFLATED,
    DESCRIPTOR,
    END,
    END64,
    FULL,
    FULL16,
    LOCAL,
    LOCATOR64,
    STORED,
    STREAMED,
    UTF8,
)

_ENCRYPTED: Final = 0x2041  # three ways to say so
_UNIXES: Final = frozenset({3, 19})
_PLAIN: Final = frozenset({0, stat.S_IFREG, stat.S_IFDIR})


@dataclass(frozen=True, slots=True)
class _Local:
    name: str
    raw: bytes
    flags: int
    method: int
    mtime: datetime
    crc: int
    packed: int
    size: int
    wide: bool
    offset: int

    @property
    def is_streamed(self) -> bool:
        return bool(self.flags & STREAMED)


@dataclass(slots=True)
class _Seen:
    """What was unpacked, to be compared with what the directory says; flat, in any order."""

    count: int = 0
    sum: int = 0

    def add(self, *facts: object) -> None:
        self.count += 1
        digest = hashlib.sha256(repr(facts).encode("utf-8", "surrogatepass")).digest()
        self.sum = (self.sum + int.from_bytes(digest)) % 2**256


@dataclass(slots=True)
class _Content:
    """The content of a member on its way: its sums are right once it was read to its end."""

    local: _Local
    source: Source
    threads: Executor
    allowance: Allowance
    crc: int = 0
    size: int = 0
    packed: int = field(default=0)

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        start = self.source.at
        async for piece in self._plain():
            self.crc = zlib.crc32(piece, self.crc)
            self.size += len(piece)
            yield piece
        self.packed = self.source.at - start
        if not self.local.is_streamed:
            self._check(self.local.crc, self.local.packed, self.local.size)
            return
        await self._check_descriptor()

    def _plain(self) -> AsyncIterator[bytes]:
        if self.local.method == DEFLATED:
            return inflated(self.source, self.threads, self.allowance, RAW)
        return self._stored()

    async def _stored(self) -> AsyncGenerator[bytes, None]:
        async for piece in self.source.through(self.local.packed):
            self.allowance.take(len(piece))
            yield piece

    async def _check_descriptor(self) -> None:
        """Compare the record behind a content; its signature is optional."""
        crc = await self.source.exactly(4)
        if crc == DESCRIPTOR:
            crc = await self.source.exactly(4)
        form = "<QQ" if self.local.wide else "<II"
        sizes = struct.unpack(form, await self.source.exactly(struct.calcsize(form)))
        self._check(int.from_bytes(crc, "little"), *sizes)

    def _check(self, crc: int, packed: int, size: int) -> None:
        if (crc, packed, size) != (self.crc, self.packed, self.size):
            raise InvalidData(f"{self.local.name[:80]!r} is not what its checksum and sizes say")


async def unpack(
    source: Source, threads: Executor, allowance: Allowance
) -> AsyncGenerator[Incoming, None]:
    """Give the members of a zip; the body of each is to be read before the next is asked for.

    Links are known at the end only: they come as files first and then as `Kind.RELINK`. Raises
    `InvalidData` for what is no zip, is damaged, or cannot be unpacked while it arrives.
    """
    seen, listed = _Seen(), _Seen()
    while True:
        at = source.at
        signature = await source.exactly(4)
        if signature == LOCAL and not listed.count:
            local = await _local(source, at)
            content = _Content(local, source, threads, allowance)
            yield _incoming(local, content)
            await _check_folder(local, content)
            seen.add(local.raw, local.offset, content.crc, content.packed, content.size)
        elif signature == CENTRAL:
            link = await _central(source, listed)
            if link is not None:
                yield link
        elif signature in (END, END64):
            await _end(source, signature, listed.count)
            if (seen.count, seen.sum) != (listed.count, listed.sum):
                raise InvalidData("the directory of the zip lists other members than it has")
            return
        else:
            raise InvalidData("this is no zip archive, or it is damaged")


async def _check_folder(local: _Local, content: _Content) -> None:
    if local.name.endswith("/"):
        async for _ in content.pieces():
            raise InvalidData(f"the folder {local.name[:80]!r} has a content")


def _incoming(local: _Local, content: _Content) -> Incoming:
    if local.name.endswith("/"):
        return Incoming(local.name, Kind.FOLDER, local.mtime)
    length = None if local.is_streamed else local.size
    return Incoming(local.name, Kind.FILE, local.mtime, length, body=content.pieces())


async def _local(source: Source, offset: int) -> _Local:
    fields = struct.unpack("<5H3I2H", await source.exactly(26))
    _, flags, method, time, date, crc, packed, size, name_length, extra_length = fields
    raw = await source.exactly(name_length)
    extra = _extra(await source.exactly(extra_length))
    name = _name(raw, flags)
    wide = 1 in extra
    if wide and FULL in (packed, size):
        sizes = extra[1]
        if len(sizes) < 16:
            raise InvalidData(f"the zip64 field of {name[:80]!r} is broken")
        size, packed = struct.unpack_from("<QQ", sizes)
    local = _Local(
        name, raw, flags, method, _mtime(time, date, extra), crc, packed, size, wide, offset
    )
    _check_readable(local)
    return local


def _check_readable(local: _Local) -> None:
    shown = repr(local.name[:80])
    if local.flags & _ENCRYPTED:
        raise InvalidData(f"{shown} is encrypted")
    if local.method not in (STORED, DEFLATED):
        raise InvalidData(f"{shown} is compressed by method {local.method}: only deflate is known")
    if local.method == STORED and local.is_streamed and not local.name.endswith("/"):
        raise InvalidData(
            f"{shown} is stored without its length in front, and cannot be unpacked while it"
            " arrives: deflate it, or write the zip to a file first"
        )
    if local.method == STORED and local.packed != local.size:
        raise InvalidData(f"{shown} is stored, but has two lengths")


async def _central(source: Source, listed: _Seen) -> Incoming | None:
    """Take one record of the directory in; return it if it says that its member is a link."""
    fields = struct.unpack("<6H3I5H2I", await source.exactly(42))
    made, _, flags, _, time, date, crc, packed, size, *lengths, _, _, outer, offset = fields
    raw = await source.exactly(lengths[0])
    extra = _extra(await source.exactly(lengths[1]))
    await source.exactly(lengths[2])
    size, packed, offset = _widened(extra.get(1, b""), size, packed, offset)
    listed.add(raw, offset, crc, packed, size)
    mode = stat.S_IFMT(outer >> 16) if made >> 8 in _UNIXES else 0
    name = _name(raw, flags)
    if mode == stat.S_IFLNK:
        return Incoming(name, Kind.RELINK, _mtime(time, date, extra))
    if mode not in _PLAIN or (mode == stat.S_IFDIR and not name.endswith("/")):
        raise InvalidData(f"{name[:80]!r} is neither a file nor a folder nor a link")
    return None


def _widened(wide: bytes, *values: int) -> list[int]:
    """Return ``values`` with those out of the zip64 field that did not fit in 32 bits."""
    found, at = [], 0
    for value in values:
        if value == FULL and len(wide) >= at + 8:
            found.append(int.from_bytes(wide[at : at + 8], "little"))
            at += 8
        else:
            found.append(value)
    return found


async def _end(source: Source, signature: bytes, count: int) -> None:
    """Read the records at the end; nothing may follow them."""
    said = None
    if signature == END64:
        length = int.from_bytes(await source.exactly(8), "little")
        if not 44 <= length <= FULL16:
            raise InvalidData("the end of the zip is damaged")
        said = int.from_bytes((await source.exactly(length))[20:28], "little")
        if await source.exactly(4) != LOCATOR64:
            raise InvalidData("the end of the zip is damaged")
        await source.exactly(16)
        if await source.exactly(4) != END:
            raise InvalidData("the end of the zip is damaged")
    fields = struct.unpack("<4H2IH", await source.exactly(18))
    await source.exactly(fields[-1])
    if said is None or fields[3] != FULL16:
        said = fields[3]
    if said != count:
        raise InvalidData("the end of the zip counts other members than it lists")
    if await source.some(1):
        raise InvalidData("something follows the end of the zip")


def _extra(raw: bytes) -> dict[int, bytes]:
    """Return the fields behind a name; what is no field at the end is padding."""
    found = {}
    while len(raw) >= 4:
        kind, length = struct.unpack_from("<HH", raw)
        found[kind] = raw[4 : 4 + length]
        raw = raw[4 + length :]
    return found


def _name(raw: bytes, flags: int) -> str:
    """Return a name. Without the flag it may be of any code page; UTF-8 is the likeliest."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        if flags & UTF8:
            raise InvalidData(f"the name {raw[:80]!r} is not UTF-8") from None
        return raw.decode("cp437")


def _mtime(time: int, date: int, extra: dict[int, bytes]) -> datetime:
    field_ = extra.get(0x5455, b"")
    if len(field_) >= 5 and field_[0] & 1:
        return moment(int.from_bytes(field_[1:5], "little", signed=True))
    try:
        found = datetime(
            1980 + (date >> 9),
            date >> 5 & 15,
            date & 31,
            time >> 11,
            time >> 5 & 63,
            min(time % 32 * 2, 59),
            tzinfo=UTC,
        )
    except ValueError:
        return moment(0)
    return moment(found.timestamp())
