"""Streams of bytes: gathered, compressed and decompressed off the event loop, read by the byte."""

import asyncio
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from concurrent.futures import Executor
from typing import Final, Protocol

from pyvospace_ngas.errors import InvalidData

PIECE: Final = 256 * 1024
WRITTEN: Final = 64 * 1024  # what is written at least at once, but at the end
SMALL: Final = 16 * 1024  # below this a thread costs more than its work
LEVEL: Final = 4  # of compression: much of the gain for little of the time
GZIP: Final = 31  # zlib's word for a gzip header and trailer
RAW: Final = -15

_BROKEN: Final = "the compressed data of the archive are broken"


async def gathered(pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Put small pieces together: each costs a system call, and a chunk on the wire."""
    held: list[bytes] = []
    size = 0
    async for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= WRITTEN:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)


async def worked(threads: Executor, work: Callable[[bytes], bytes], piece: bytes) -> bytes:
    """Return ``work(piece)``, done in a thread if the piece is large."""
    if len(piece) < SMALL:
        return work(piece)
    return await asyncio.get_running_loop().run_in_executor(threads, work, piece)


async def compressed(
    pieces: AsyncIterator[bytes], threads: Executor, form: int
) -> AsyncGenerator[bytes, None]:
    """Give ``pieces`` compressed, in the ``form`` that zlib calls GZIP or RAW."""
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, form)
    async for piece in pieces:
        if packed := await worked(threads, packer.compress, piece):
            yield packed
    yield packer.flush()


class Allowance(Protocol):
    """How much may still come out of an archive."""

    def take(self, size: int) -> None:
        """Count ``size`` bytes that were unpacked; raise `InvalidData` at too many."""


class Source:
    """A stream that is read by the byte. The end raises `InvalidData` where more is expected."""

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces
        self._held = b""
        self._given = 0  # of what is held: cutting it off each time would copy the rest each time
        self.at = 0  # bytes given so far

    async def some(self, most: int) -> bytes:
        """Return up to ``most`` bytes, none only at the end."""
        while self._given == len(self._held):
            piece = await anext(self._pieces, None)
            if piece is None:
                return b""
            self._held, self._given = piece, 0
        given = self._held[self._given : self._given + most]
        self._given += len(given)
        self.at += len(given)
        return given

    async def exactly(self, size: int) -> bytes:
        """Return ``size`` bytes."""
        given = await self.some(size)
        if len(given) == size:
            return given
        parts, left = [given], size - len(given)
        while left:
            given = await self.some(left)
            if not given:
                raise InvalidData("the archive breaks off before its end")
            parts.append(given)
            left -= len(given)
        return b"".join(parts)

    async def through(self, size: int) -> AsyncGenerator[bytes, None]:
        """Give the next ``size`` bytes in pieces."""
        while size:
            piece = await self.some(min(size, PIECE))
            if not piece:
                raise InvalidData("the archive breaks off before its end")
            size -= len(piece)
            yield piece

    def put_back(self, size: int) -> None:
        """Let the last ``size`` bytes that `some` has just given be given again."""
        self._given -= size
        self.at -= size


async def gunzipped(
    source: Source, threads: Executor, allowance: Allowance
) -> AsyncGenerator[bytes, None]:
    """Give what a gzip stream of one or more members holds; padding with zeros is passed over."""
    if not (head := await source.some(PIECE)):
        raise InvalidData("the archive is empty")
    while head:
        source.put_back(len(head))
        async for piece in inflated(source, threads, allowance, GZIP):
            yield piece
        head = (await source.some(PIECE)).lstrip(b"\0")


async def inflated(
    source: Source, threads: Executor, allowance: Allowance, form: int
) -> AsyncGenerator[bytes, None]:
    """Give one compressed stream; what follows it is left in ``source``."""
    opened = zlib.decompressobj(form)

    def open_(packed: bytes) -> bytes:
        return opened.decompress(packed, PIECE)

    most = SMALL - 1  # many streams are short, and what is read too far is copied
    while not opened.eof:
        packed = opened.unconsumed_tail
        if not packed:
            packed, most = await source.some(most), PIECE // 4
        if not packed:
            raise InvalidData("the archive breaks off before its end")
        try:
            piece = await worked(threads, open_, packed)
        except zlib.error as error:
            raise InvalidData(_BROKEN) from error
        allowance.take(len(piece))
        if piece:
            yield piece
    source.put_back(len(opened.unused_data))
