"""Files that grow beside their destination, and go on growing where an earlier run stopped."""

import asyncio
import fcntl
import hashlib
import os
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import BinaryIO, Final

from pyvospace_ngas import errors
from pyvospace_ngas.client import downloads
from pyvospace_ngas.client.connection import ATTEMPTS, Connection
from pyvospace_ngas.client.digests import Meter
from pyvospace_ngas.client.downloads import Offer

_CHUNK: Final = 1 << 20
_AFRESH: Final = (errors.ChecksumMismatch, errors.TransferFailed, errors.RangeNotSatisfiable)


def part_of(destination: Path) -> Path:
    """Return where the bytes of ``destination`` are until they are complete."""
    name = hashlib.sha256(os.fsencode(destination.name)).hexdigest()[:16]
    return destination.with_name(f".ngas_vo-{name}.part")


async def fetch(
    connection: Connection,
    offer: Offer,
    destination: Path,
    report: Callable[[int], None] | None = None,
) -> str:
    """Write a file, which appears when it is there and right; return its MD5 sum.

    What had come when an earlier attempt broke, of this process or another, is not fetched again,
    unless the sum of the whole then is not the one that the server names.
    """
    part = part_of(destination)
    file = await asyncio.to_thread(_opened, part)
    try:
        md5 = await _filled(connection, offer, file, report)
        await asyncio.to_thread(part.replace, destination)
    finally:
        if os.fstat(file.fileno()).st_size == 0:
            part.unlink(missing_ok=True)
        file.close()
    return md5


def _opened(part: Path) -> BinaryIO:
    # In a folder that others write to, nobody shall say by a link what is written.
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    file = os.fdopen(os.open(part, flags, 0o666), "r+b", 0)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise errors.NodeBusy("another process is fetching the same file right now") from None
    return file


async def _filled(
    connection: Connection, offer: Offer, file: BinaryIO, report: Callable[[int], None] | None
) -> str:
    attempt = 1
    while True:
        meter = await _metered(file, report)
        try:
            async with aclosing(downloads.pull(connection, offer, meter)) as chunks:
                async for chunk in chunks:
                    await asyncio.to_thread(file.write, chunk)
            return (await meter.md5()).hex()
        except _AFRESH:
            meter.take_back()
            await asyncio.to_thread(file.truncate, 0)
            if attempt == ATTEMPTS:
                raise
        await connection.pause(attempt)
        attempt += 1


async def _metered(file: BinaryIO, report: Callable[[int], None] | None) -> Meter:
    """Return a meter of what the file holds already, at whose end the next byte goes."""
    meter = Meter(report)
    await asyncio.to_thread(file.seek, 0)
    while chunk := await asyncio.to_thread(file.read, _CHUNK):
        await meter.add(chunk)
    return meter
