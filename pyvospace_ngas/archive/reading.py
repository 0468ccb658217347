"""The bytes of files on this node's disks: in pieces, and held against what is on record."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Final

from pyvospace_ngas.archive.receiving import Source
from pyvospace_ngas.archive.records import Copy
from pyvospace_ngas.archive.refusals import Refused, coded
from pyvospace_ngas.archive.volume import MEBIBYTE
from pyvospace_ngas.archive.waiting import to_its_end
from pyvospace_ngas.ngas import checksum
from pyvospace_ngas.ngas.checksum import Crc, Variant

PIECE: Final = MEBIBYTE
CHECKERS: Final = ThreadPoolExecutor(2, "check")  # a file may take minutes: nobody else waits
FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW


class OpenFile:
    """A file of this node as a source; its bytes come from a thread."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    async def readany(self) -> bytes:
        """Return what follows, nothing at the end; or refuse what cannot be read."""
        try:
            return await to_its_end(asyncio.to_thread(os.read, self._fd, PIECE))
        except OSError as error:
            raise _unreadable(error) from error


@asynccontextmanager
async def opened(copy: Copy) -> AsyncIterator[Source]:
    """Open a copy on this node, or refuse what cannot be read."""
    try:
        fd = await asyncio.to_thread(os.open, copy.path, FLAGS)
    except OSError as error:
        raise _unreadable(error) from error
    try:
        yield Source(OpenFile(fd), copy.file.size, pulled=True)
    finally:
        await asyncio.to_thread(os.close, fd)


def variant_of(name: str) -> Variant:
    """Return the checksum that a row names; one that nobody here can compute is none."""
    try:
        return checksum.named(name)
    except checksum.UnknownVariant:
        return Variant.NONE


async def flaw(copy: Copy, between: Callable[[], None] | None = None) -> str:
    """Read a copy on this node and return what is wrong with it; "" where it is sound.

    ``between`` is called in the reading thread before each piece; it may wait there, or raise.
    What waits so has no thread of those that answer requests.
    """
    loop = asyncio.get_running_loop()
    if between is None:
        return await loop.run_in_executor(CHECKERS, _flaw, copy, lambda: None)
    return await asyncio.to_thread(_flaw, copy, between)


async def missing(copy: Copy) -> str:
    """Look only whether a copy on this node is there with its size; "" where it is."""
    return await asyncio.to_thread(_missing, copy)


def same_bytes(copy: Copy, size: int, found: str) -> str:
    """Return in what bytes that were read differ from what is on record; "": in nothing."""
    if size != copy.file.size:
        return f"it has {size} bytes, not {copy.file.size}"
    variant = variant_of(copy.file.checksum_plugin)
    known = copy.file.checksum and variant is not Variant.NONE
    if known and not checksum.same(variant, copy.file.checksum, found):
        return f"its {variant} is {found}, not {copy.file.checksum}"
    return ""


def _missing(copy: Copy) -> str:
    try:
        found = copy.path.lstat()
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    if not stat.S_ISREG(found.st_mode):
        return "it is no regular file"
    size = found.st_size
    return "" if size == copy.file.size else f"it has {size} bytes, not {copy.file.size}"


def _flaw(copy: Copy, between: Callable[[], None]) -> str:
    crc, size = Crc(variant_of(copy.file.checksum_plugin)), 0
    try:
        fd = os.open(copy.path, FLAGS)
        with os.fdopen(fd, "rb", buffering=0) as file:
            between()
            while piece := file.read(PIECE):
                between()
                crc.update(piece)
                size += len(piece)
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    return same_bytes(copy, size, crc.text)


def _unreadable(error: OSError) -> Refused:
    text = f"The file cannot be read: {error.strerror}."
    return Refused(coded("NGAMS_ER_DISK_INACCESSIBLE", text), 500)
