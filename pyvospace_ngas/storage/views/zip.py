"""Zip archives written as a stream: Unicode names, zip64 where needed, sums behind contents."""

import stat
import struct
import zlib
from collections.abc import AsyncGenerator, AsyncIterator
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from pyvospace_ngas.storage.views.members import Kind, Member
from pyvospace_ngas.storage.views.pieces import PIECE, RAW, compressed

LOCAL: Final = b"PK\x03\x04"
CENTRAL: Final = b"PK\x01\x02"
DESCRIPTOR: Final = b"PK\x07\x08"
END: Final = b"PK\x05\x06"
END64: Final = b"PK\x06\x06"
LOCATOR64: Final = b"PK\x06\x07"

STORED: Final = 0
DEFLATED: Final = 8
UTF8: Final = 0x800
STREAMED: Final = 0x8  # sums and sizes stand behind the content
FULL: Final = 0xFFFFFFFF  # "see the zip64 field"
FULL16: Final = 0xFFFF
LARGE: Final = 0xF0000000  # from here on a deflated content may need 64 bits for its size
UNIX: Final = 3
_OLD: Final = 20  # the version of the format that understands deflate and folders
_ZIP64: Final = 45
_FOLDER_BIT: Final = 0x10  # of MS-DOS
_MODES: Final = {
    Kind.FILE: stat.S_IFREG | 0o644,
    Kind.FOLDER: stat.S_IFDIR | 0o755,
    Kind.LINK: stat.S_IFLNK | 0o777,
}

Content = AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class _Record:
    """What both headers of a member say."""

    name: bytes
    kind: Kind
    mtime: datetime
    flags: int
    method: int
    offset: int
    wide: bool  # the local header has a zip64 field
    crc: int = 0
    packed: int = 0
    size: int = 0


class _Directory:
    """The central directory until it is written: compressed, some 20 bytes a member."""

    def __init__(self) -> None:
        self.count = 0
        self._packer = zlib.compressobj(9)
        self._held: list[bytes] = []

    def add(self, record: _Record) -> None:
        self.count += 1
        if packed := self._packer.compress(_central(record)):
            self._held.append(packed)

    def pieces(self) -> AsyncGenerator[bytes, None]:
        """Give the directory; nothing can be added any more."""
        self._held.append(self._packer.flush())
        return self._unpacked()

    async def _unpacked(self) -> AsyncGenerator[bytes, None]:
        opened = zlib.decompressobj()
        for packed in self._held:
            left = packed
            while left:
                if piece := opened.decompress(left, PIECE):
                    yield piece
                left = opened.unconsumed_tail


async def pack(
    members: AsyncIterator[tuple[Member, Content | None]], threads: Executor
) -> AsyncGenerator[bytes, None]:
    """Give the zip of ``members``. Files are deflated, as only those may tell their size last."""
    directory, at = _Directory(), 0
    async for member, content in members:
        record = _record(member, at)
        data = member.target.encode() if member.kind is Kind.LINK else b""
        if content is None or member.length == 0:
            record = replace(record, crc=zlib.crc32(data), packed=len(data), size=len(data))
            piece = _local(record) + data
            at += len(piece)
            yield piece
        else:
            piece = _local(record)
            at += len(piece)
            yield piece
            counted = _Counted(content)
            packed = 0
            async for piece in compressed(counted.pieces(), threads, RAW):
                packed += len(piece)
                yield piece
            record = replace(record, crc=counted.crc, packed=packed, size=counted.size)
            piece = _descriptor(record)
            at += packed + len(piece)
            yield piece
        directory.add(record)
    start = at
    async for piece in directory.pieces():
        at += len(piece)
        yield piece
    yield _end(directory.count, start, at - start)


class _Counted:
    """A content that is summed up on its way."""

    def __init__(self, content: Content) -> None:
        self._content = content
        self.crc = 0
        self.size = 0

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        async for piece in self._content:
            self.crc = zlib.crc32(piece, self.crc)
            self.size += len(piece)
            yield piece


def _record(member: Member, at: int) -> _Record:
    name = member.name + ("/" if member.kind is Kind.FOLDER else "")
    streamed = member.kind is Kind.FILE and member.length > 0
    return _Record(
        name=name.encode("utf-8", "surrogateescape"),
        kind=member.kind,
        mtime=member.mtime,
        flags=UTF8 | (STREAMED if streamed else 0),
        method=DEFLATED if streamed else STORED,
        offset=at,
        wide=member.length >= LARGE,
    )


def _local(record: _Record) -> bytes:
    extra = _time_field(record.mtime)
    sizes = (record.packed, record.size)
    if record.wide:
        extra += struct.pack("<HHQQ", 1, 16, 0, 0)
        sizes = (FULL, FULL)
    fields = struct.pack(
        "<5H3I2H",
        _ZIP64 if record.wide else _OLD,
        record.flags,
        record.method,
        *_dos_time(record.mtime),
        record.crc,
        *sizes,
        len(record.name),
        len(extra),
    )
    return LOCAL + fields + record.name + extra


def _descriptor(record: _Record) -> bytes:
    form = "<IQQ" if record.wide else "<III"
    return DESCRIPTOR + struct.pack(form, record.crc, record.packed, record.size)


def _central(record: _Record) -> bytes:
    large = [value for value in (record.size, record.packed, record.offset) if value >= FULL]
    extra = _time_field(record.mtime)
    if large:
        extra += struct.pack(f"<HH{len(large)}Q", 1, 8 * len(large), *large)
    version = _ZIP64 if large or record.wide else _OLD
    fields = struct.pack(
        "<6H3I5H2I",
        UNIX << 8 | version,
        version,
        record.flags,
        record.method,
        *_dos_time(record.mtime),
        record.crc,
        min(record.packed, FULL),
        min(record.size, FULL),
        len(record.name),
        len(extra),
        0,
        0,
        0,
        _MODES[record.kind] << 16 | (_FOLDER_BIT if record.kind is Kind.FOLDER else 0),
        min(record.offset, FULL),
    )
    return CENTRAL + fields + record.name + extra


def _end(count: int, start: int, size: int) -> bytes:
    wide = b""
    if count >= FULL16 or start >= FULL or size >= FULL:
        fields = (44, UNIX << 8 | _ZIP64, _ZIP64, 0, 0, count, count, size, start)
        wide = END64 + struct.pack("<QHHIIQQQQ", *fields)
        wide += LOCATOR64 + struct.pack("<IQI", 0, start + size, 1)
    number = min(count, FULL16)
    narrow = struct.pack("<4H2IH", 0, 0, number, number, min(size, FULL), min(start, FULL), 0)
    return wide + END + narrow


def _dos_time(mtime: datetime) -> tuple[int, int]:
    """Return time and date as MS-DOS has them, which begins in 1980; here in UTC."""
    if mtime.year < 1980:
        return 0, 1 << 5 | 1
    year = min(mtime.year, 2107) - 1980
    time = mtime.hour << 11 | mtime.minute << 5 | mtime.second // 2
    return time, year << 9 | mtime.month << 5 | mtime.day


def _time_field(mtime: datetime) -> bytes:
    """Return the extra field that has the time in UTC and in whole seconds."""
    seconds = min(max(int(mtime.timestamp()), 0), 2**31 - 1)
    return struct.pack("<HHBI", 0x5455, 5, 1, seconds)
