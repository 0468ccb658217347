"""``retrieve``: a file from a node, resumed where it was cut, its checksum verified."""

import argparse
import asyncio
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final

from pyvospace_ngas.cli.ngas.options import Parts, Session, command
from pyvospace_ngas.cli.ngas.peer import patiently, understood
from pyvospace_ngas.cli.vo.progress import drawing
from pyvospace_ngas.ngas import checksum
from pyvospace_ngas.ngas.checksum import Crc, Variant
from pyvospace_ngas.ngas.client import filed_in
from pyvospace_ngas.ngas.errors import ChecksumMismatch, Malformed, Unreachable
from pyvospace_ngas.ngas.status import FileStatus
from pyvospace_ngas.ngas.wire import Head

PIECE: Final = 2**20
FIRST: Final = re.compile(r"bytes (\d+)-")
UNSAFE: Final = re.compile(r"[/\\\x00-\x1f]")


def add_commands(parts: Parts) -> None:
    """Add the command."""
    parser = command(parts, "retrieve", _retrieve, "get a file from the node")
    parser.add_argument("file_id", metavar="FILE_ID")
    parser.add_argument("-o", "--output", metavar="FILE", help="where to (its id); - is stdout")
    parser.add_argument("--file-version", type=int, metavar="N", help="the latest otherwise")


async def _retrieve(session: Session, args: argparse.Namespace) -> None:
    stored = await _wanted(session, args.file_id, args.file_version)
    progress = session.screen.progress
    progress.all_files, progress.all_bytes, progress.found = 1, stored.file_size, True
    if args.output == "-":
        async with drawing(progress):
            await _pour(session, stored, sys.stdout.buffer, _sum_of(stored), 0)
        return
    target = _place(args)
    async with drawing(progress):
        await patiently(lambda: _to_file(session, stored, target))
    text = f"{target}: {stored.file_id} version {stored.file_version}, {stored.file_size} bytes"
    session.screen.did(text, {"action": "retrieved", "name": str(target), **_facts(stored)})


def _place(args: argparse.Namespace) -> Path:
    name = UNSAFE.sub("_", args.file_id)
    target = Path(args.output or name)
    return target / name if target.is_dir() else target


async def _wanted(session: Session, file_id: str, version: int | None) -> FileStatus:
    """Return what the node says of the file, so that every piece is of one version."""
    parameters = {"file_id": file_id}
    if version is not None:
        parameters["file_version"] = str(version)
    answer = await session.peer.ask("STATUS", parameters)
    return filed_in(answer, file_id)[0].file


async def _to_file(session: Session, stored: FileStatus, target: Path) -> None:
    """Write beside ``target`` and put it in its place when it is whole and right."""
    part = target.with_name(f".{target.name}.{stored.file_version}-{stored.checksum}.part")
    crc = _sum_of(stored)
    with part.open("a+b") as file:
        start = await asyncio.to_thread(_sum_again, file, crc)
        session.screen.progress.bytes = start
        try:
            await _pour(session, stored, file, crc, start)
        except ChecksumMismatch:
            part.unlink()
            raise
    part.replace(target)


def _sum_again(file: BinaryIO, crc: Crc) -> int:
    """Take in what an earlier attempt left; return how much that is."""
    file.seek(0)
    while piece := file.read(PIECE):
        crc.update(piece)
    return file.tell()


async def _pour(
    session: Session, stored: FileStatus, file: BinaryIO, crc: Crc, start: int
) -> None:
    """Append the bytes from ``start`` on, and verify the whole."""

    def write(piece: bytes) -> None:
        crc.update(piece)
        file.write(piece)

    size = start
    if start < stored.file_size:
        size += await _receive(session, stored, start, write)
    await asyncio.to_thread(file.flush)
    _verify(stored, crc, size)


async def _receive(
    session: Session, stored: FileStatus, start: int, write: Callable[[bytes], None]
) -> int:
    parameters = {"file_id": stored.file_id, "file_version": str(stored.file_version)}
    fields = {"Range": f"bytes={start}-"} if start else {}
    async with session.peer.opened("RETRIEVE", parameters, fields) as (connection, head):
        if head.status not in (200, 206):
            understood(connection.entry, head, await connection.document(head))
            raise Malformed(f"{connection.entry.address} answered a file with {head.status}")
        surplus = start - _first(head)
        wanted, got = stored.file_size - start, 0
        while got < wanted and (piece := await connection.read()):
            kept = piece[surplus:]
            surplus = max(surplus - len(piece), 0)
            await asyncio.to_thread(write, kept)
            got += len(kept)
            session.screen.progress.add(len(kept))
        if got < wanted:
            text = f"{connection.entry.address} closed in the middle of the file"
            raise Unreachable(f"{text}; the same command again goes on from there")
        return got


def _first(head: Head) -> int:
    """Return where an answer begins; a node may send a whole file when a part was asked for."""
    found = FIRST.match(head.fields.get("content-range", ""))
    return int(found[1]) if found else 0


def _sum_of(stored: FileStatus) -> Crc:
    try:
        return Crc(stored.checksum_plugin)
    except checksum.UnknownVariant:
        return Crc(Variant.NONE)


def _verify(stored: FileStatus, crc: Crc, size: int) -> None:
    known = crc.variant is not Variant.NONE and stored.checksum
    if size != stored.file_size or (
        known and not checksum.same(crc.variant, stored.checksum, crc.text)
    ):
        raise ChecksumMismatch(
            f"what arrived of {stored.file_id} is not what was archived ({size} bytes with"
            f" {crc.text}, not {stored.file_size} with {stored.checksum}); nothing is kept of it"
        )


def _facts(stored: FileStatus) -> dict[str, object]:
    return {
        "file_id": stored.file_id,
        "file_version": stored.file_version,
        "file_size": stored.file_size,
        "checksum": stored.checksum,
        "checksum_plugin": stored.checksum_plugin,
    }
