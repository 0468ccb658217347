"""REGISTER: give rows to files that lie in a volume already."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from aiohttp import web

from pyvospace_ngas.archive import archiving, dapi, ingest, registration
from pyvospace_ngas.archive.answers import Call, document
from pyvospace_ngas.archive.interfaces import Accepted, Incoming
from pyvospace_ngas.archive.ledger import Entry
from pyvospace_ngas.archive.node import Node
from pyvospace_ngas.archive.records import Copy, File, stamp
from pyvospace_ngas.archive.refusals import Refused, bad_syntax, coded
from pyvospace_ngas.archive.transactions import Room
from pyvospace_ngas.archive.volume import Volume
from pyvospace_ngas.archive.waiting import to_its_end
from pyvospace_ngas.archive.wishes import by_extension, check_format, check_id

log = logging.getLogger(__name__)

AT_ONCE: Final = 100  # files that get their rows together


async def handle(call: Call) -> web.StreamResponse:
    """Register the file or the files of the folder that ``path`` names.

    ``mime_type`` may name several, with commas between: other files are left out.
    """
    node, entry = call.node, call.entry
    archiving.may_archive(node)
    path = call.parameters.get("path", "")
    if not path:
        raise bad_syntax(call.command, "path")
    with node.busy(), node.receiving():
        found = await asyncio.to_thread(registration.find, node.volumes, path)
        if found is None:
            raise _failed(path, "there is no such file in a volume of this node")
        volume, names = found
        wanted = list(_typed(node, names, call.parameters.get("mime_type", "")))
        entry.expected = len(wanted)
        failed = await _register(node, entry, volume, wanted)
    if failed and len(wanted) == 1:
        raise _failed(path, failed[0])
    return _answer(call, len(failed))


async def _register(
    node: Node, entry: Entry, volume: Volume, wanted: Sequence[tuple[str, str]]
) -> list[str]:
    """Give files rows; return why some could not be read or were not accepted."""
    failed: list[str] = []
    for start in range(0, len(wanted), AT_ONCE):
        files: dict[str, tuple[File, int]] = {}
        for name, format_ in wanted[start : start + AT_ONCE]:
            try:
                files[name] = await _described(node, volume, name, format_)
            except (OSError, Refused) as problem:
                log.warning("%s in %s is not registered: %s", name, volume.path, problem)
                failed.append(_reason(problem))
        entry.actual += await _write(node, volume, files)
        node.ledger.progress(entry)
    return failed


async def _write(node: Node, volume: Volume, files: dict[str, tuple[File, int]]) -> int:
    """Write the rows; take out again those whose files went away meanwhile."""
    room = Room(volume.available_mb)
    described = [file for file, _ in files.values()]
    script = registration.register(volume.disk_id, described, room, stamp())
    copies = await node.database.run(script)
    inodes = {name: inode for name, (_, inode) in files.items()}
    gone = await asyncio.to_thread(_gone, copies, inodes)
    if gone:
        await node.database.run(registration.forget(gone, room))
    for copy in copies:
        if copy not in gone:
            ingest.tell(node, copy)
    return len(copies) - len(gone)


def _gone(copies: Sequence[Copy], inodes: dict[str, int]) -> list[Copy]:
    def is_there(copy: Copy) -> bool:
        try:
            return copy.path.stat(follow_symlinks=False).st_ino == inodes[copy.file.file_name]
        except FileNotFoundError:
            return False

    return [copy for copy in copies if not is_there(copy)]


async def _described(node: Node, volume: Volume, name: str, format_: str) -> tuple[File, int]:
    """Return the row that a file is to have, but for its version, and its inode."""
    accepted = await _accepted(node, volume, name, format_)
    variant = node.config.handling.crc
    work = asyncio.to_thread(
        registration.look, volume, name, variant, durable=node.config.db.durable
    )
    found = await to_its_end(work)
    file = File(
        disk_id=volume.disk_id,
        file_name=name,
        file_id=check_id(accepted.file_id or Path(name).name),
        version=0,
        format=check_format(accepted.format or format_),
        size=found.size,
        ingestion_date=stamp(),
        ignore=False,
        checksum=found.checksum,
        checksum_plugin=variant.value,
        file_status="00000000",
        creation_date=found.modified,
        container_id=None,
        ingestion_rate=0,
        io_milliseconds=0,
        uncompressed_size=accepted.uncompressed_size,
        compression=accepted.compression,
    )
    return file, found.inode


async def _accepted(node: Node, volume: Volume, name: str, format_: str) -> Accepted:
    """Ask the registration plug-in of the type, where there is one."""
    plug_in = node.site.registering.get(format_)
    if plug_in is None:
        return Accepted()
    path = volume.path / name
    size = (await asyncio.to_thread(path.stat)).st_size
    file = Incoming(path, path.name, path.name, format_, size, plug_in.parameters)
    return await dapi.ask(plug_in, file) or Accepted()


def _typed(node: Node, names: Sequence[str], mime_types: str) -> Iterator[tuple[str, str]]:
    """Yield the names whose types are wanted, with those types.

    Where one type alone is wanted, it is that of names with unknown extensions.
    """
    wanted = [each.strip().lower() for each in mime_types.split(",") if each.strip()]
    for name in names:
        found = by_extension(node.config.mime_types, name)
        if not found and len(wanted) == 1:
            found = wanted[0]
        if found and (not wanted or found in wanted):
            yield name, found


def _reason(problem: OSError | Refused) -> str:
    return problem.message if isinstance(problem, Refused) else "the file cannot be read"


def _failed(path: str, reason: str) -> Refused:
    text = f"Failed in registering file: {path}. Error: {reason}."
    return Refused(coded("NGAMS_ER_FILE_REG_FAILED", text))


def _answer(call: Call, failed: int) -> web.Response:
    text = f"Successfully handled command {call.command}"
    if failed:
        text += f"; {failed} files could not be registered, the node's log says why"
    call.node.ledger.end(call.entry, succeeded=True, message=text)
    return document(call, call.entry.on(call.node.status(text)))
