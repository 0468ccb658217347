"""``archive``: files to a node, several at once, each with its checksum."""

import argparse
import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO, Final

from pyvospace_ngas.cli.ngas.options import Parts, Session, command, side_by_side
from pyvospace_ngas.cli.ngas.peer import patiently
from pyvospace_ngas.cli.ngas.sentences import Usage
from pyvospace_ngas.cli.vo.progress import drawing
from pyvospace_ngas.ngas import checksum
from pyvospace_ngas.ngas.checksum import NUMBERS, Crc, Variant
from pyvospace_ngas.ngas.errors import ChecksumMismatch, Malformed, NgasError
from pyvospace_ngas.ngas.status import Answer, FileStatus

PIECE: Final = 2**20
VARIANTS: Final = [variant.value for variant in Variant if variant is not Variant.NONE]


def add_commands(parts: Parts) -> None:
    """Add the command."""
    parser = command(parts, "archive", _archive, "store files at the node (QARCHIVE)")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--file-id", metavar="ID", help="instead of the name; for one file only")
    parser.add_argument("--mime-type", metavar="TYPE", help="what they are (else by extension)")
    parser.add_argument("--crc", choices=VARIANTS, default="crc32c", help="the checksum (crc32c)")
    parser.add_argument(
        "--stream", action="store_true", help="let the node's Streams choose the disk (ARCHIVE)"
    )
    side_by_side(parser)


async def _archive(session: Session, args: argparse.Namespace) -> None:
    if args.file_id is not None and len(args.files) > 1:
        raise Usage("--file-id is for one file, and several are named")
    progress = session.screen.progress
    progress.all_files, progress.found = len(args.files), True
    progress.all_bytes = sum(path.stat().st_size for path in args.files if path.is_file())
    waiting = iter(args.files)

    async def work() -> None:
        for path in waiting:  # shared, so that each file is taken once
            await _attempt(session, args, path)

    async with drawing(progress), asyncio.TaskGroup() as group:
        for _ in range(min(args.jobs, len(args.files))):
            group.create_task(work())


async def _attempt(session: Session, args: argparse.Namespace, path: Path) -> None:
    try:
        stored = await _send(session, args, path)
    except (NgasError, OSError) as error:
        session.screen.fail(error, str(path))
        return
    session.screen.progress.files += 1
    values = {
        "action": "archived",
        "name": str(path),
        "file_id": stored.file_id,
        "file_version": stored.file_version,
        "file_size": stored.file_size,
        "checksum": stored.checksum,
        "checksum_plugin": stored.checksum_plugin,
    }
    session.screen.did(f"{path}: {stored.file_id} version {stored.file_version}", values)


async def _send(session: Session, args: argparse.Namespace, path: Path) -> FileStatus:
    """Send one file; what the node says that it stored is held against what was read."""
    parameters = _parameters(args, path)
    with path.open("rb") as file:
        crc, length = await asyncio.to_thread(_sum, file, args.crc)
        fields = {"NGAS-File-CRC": crc.text}
        name = "ARCHIVE" if args.stream else "QARCHIVE"

        async def once() -> Answer:
            return await session.peer.push(
                name, parameters, fields, length, _pieces(session, file)
            )

        stored = _stored(await patiently(once))
    _compare(stored, crc, length)
    return stored


def _parameters(args: argparse.Namespace, path: Path) -> dict[str, str]:
    try:
        path.name.encode()
    except UnicodeEncodeError:
        raise Usage(f"{path}: the name is no UTF-8, which a file id has to be") from None
    given = {"file_id": args.file_id, "mime_type": args.mime_type}
    parameters = {"filename": path.name, "crc_variant": str(NUMBERS[Variant(args.crc)])}
    return parameters | {name: value for name, value in given.items() if value}


def _sum(file: BinaryIO, variant: str) -> tuple[Crc, int]:
    crc, length = Crc(variant), 0
    while piece := file.read(PIECE):
        crc.update(piece)
        length += len(piece)
    return crc, length


async def _pieces(session: Session, file: BinaryIO) -> AsyncIterator[bytes]:
    file.seek(0)
    while piece := await asyncio.to_thread(file.read, PIECE):
        yield piece
        session.screen.progress.add(len(piece))


def _stored(answer: Answer) -> FileStatus:
    for disk in answer.disks:
        for file in disk.files:
            return file
    raise Malformed("the node says SUCCESS without telling what it stored")


def _compare(stored: FileStatus, crc: Crc, length: int) -> None:
    """Make sure that the node stored what was read, as far as it tells."""
    try:
        variant = checksum.named(stored.checksum_plugin)
    except checksum.UnknownVariant:
        variant = Variant.NONE
    alike = variant is not crc.variant or checksum.same(variant, stored.checksum, crc.text)
    if stored.file_size != length or not alike:
        raise ChecksumMismatch(
            f"the node stored {stored.file_size} bytes with the {stored.checksum_plugin}"
            f" {stored.checksum}, and sent were {length} with {crc.text}"
        )
