"""CLONE: make further copies of files on this node's volumes, at once or as a job (async=1)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from typing import Final, TypeAlias

from aiohttp import web

from pyvospace_ngas.archive import cloning, copies, index, parameters
from pyvospace_ngas.archive.answers import Call, document
from pyvospace_ngas.archive.cloning import PAGE, Sources
from pyvospace_ngas.archive.refusals import Refused, bad_syntax, coded, not_permitted
from pyvospace_ngas.archive.volume import Volume

FIRST: Final = ("", 0)
ASKED: Final = ("file_id", "file_version", "disk_id", "target_disk_id")
MOST_ADDRESSES: Final = 10
ADDRESS: Final = re.compile(r"[^\s,;<>@\x00-\x20\x7f]{1,64}@[A-Za-z0-9.-]{1,255}", re.ASCII)
Pages: TypeAlias = AsyncIterator[list[Sources]]


async def handle(call: Call) -> web.StreamResponse:
    """Clone one version of a file (file_id), or all files of a disk (disk_id alone).

    Every copy is compared with the checksum on record, whether ``check`` asks for it or not. How
    it ended is mailed to the addresses of ``notif_email``, which commas separate.
    """
    node, entry = call.node, call.entry
    if not node.config.permissions.archive:
        raise not_permitted("Clone", "AllowArchiveReq")
    addresses = _addresses(call)
    target = _target(call)
    if call.parameters.get("file_id"):
        sources = await _one(call)
        await cloning.choose(node, sources[0], target)
        entry.expected, pages = 1, _just(sources)
    else:
        entry.expected, pages = await _disk(call)
    if parameters.flag(call.parameters, "async"):
        await node.ledger.accept(entry)
        node.jobs.start(entry, _clone(call, pages, target, addresses))
        return document(call, entry.on(node.status("Accepted CLONE command for execution")))
    with node.receiving():
        return await _answer(call, pages, target, addresses)


async def _clone(
    call: Call, pages: Pages, target: Volume | None, addresses: Sequence[str]
) -> None:
    end = "It broke off before all was done."
    try:
        with call.node.busy():
            await cloning.clone_all(call.node, call.entry, pages, target)
        end = "All is done."
    except Refused as refusal:
        end = refusal.message
        raise
    finally:
        if addresses:
            call.node.notices.report(addresses, f"CLONE {call.entry.id}", _report(call, end))


def _report(call: Call, end: str) -> str:
    given = call.parameters
    asked = ", ".join(f"{name} {given[name]}" for name in ASKED if given.get(name))
    return f"CLONE of {asked}\n{call.entry.actual} of {call.entry.expected} files\n\n{end}"


async def _answer(
    call: Call, pages: Pages, target: Volume | None, addresses: Sequence[str]
) -> web.StreamResponse:
    """Clone, and tell in any case how many files that were."""
    message, code = f"Successfully handled command {call.command}", 200
    try:
        await _clone(call, pages, target, addresses)
    except Refused as refusal:
        message, code = refusal.message, refusal.status
    call.node.ledger.end(call.entry, succeeded=code == 200, message=message)
    status = call.node.status(message, succeeded=code == 200)
    return document(call, call.entry.on(status), code=code)


async def _one(call: Call) -> Sources:
    """Return the copies of the version that is asked for, or of the latest one there is."""
    given = call.parameters
    file_id, disk_id = given["file_id"], given.get("disk_id")
    version = parameters.version(given, call.command)
    found = await index.locate(call.node.database, file_id, version)
    there = [copy for copy in found if disk_id in {None, copy.disk.disk_id}]
    if not there:
        raise _nothing(call, f"the file {file_id}" + (f" on the disk {disk_id}" * bool(disk_id)))
    return [copy for copy in there if copy.file.version == there[0].file.version]


async def _disk(call: Call) -> tuple[int, Pages]:
    """Return how many files a disk has, and the files."""
    disk_id = call.parameters.get("disk_id")
    if not disk_id:
        raise bad_syntax(call.command, "file_id, disk_id or both")
    version = parameters.version(call.parameters, call.command)
    disk = await index.disk(call.node.database, disk_id)
    if disk is None or not disk.mounted:
        raise _nothing(call, f"the disk {disk_id}")
    count = await copies.count_on(call.node.database, disk_id, version)
    if not count:
        raise _nothing(call, f"any file on the disk {disk_id}")
    return count, _pages(call, disk_id, version)


async def _just(sources: Sources) -> Pages:
    yield [sources]


async def _pages(call: Call, disk_id: str, version: int | None) -> Pages:
    last = FIRST
    while page := await copies.on_disk(call.node.database, disk_id, last, PAGE, version):
        yield [[copy] for copy in page]
        last = (page[-1].file.file_id, page[-1].file.version)


def _nothing(call: Call, what: str) -> Refused:
    text = f"{call.command} has nothing to do: {what} is not available in this cluster."
    return Refused(coded("NGAMS_ER_CMD_EXEC", text))


def _addresses(call: Call) -> Sequence[str]:
    """Return who is to be told of the end."""
    given = call.parameters.get("notif_email", "").split(",")
    addresses = [address.strip() for address in given if address.strip()]
    wrong = [address for address in addresses if not ADDRESS.fullmatch(address)]
    if wrong or len(addresses) > MOST_ADDRESSES:
        raise bad_syntax(call.command, f"notif_email with 1 to {MOST_ADDRESSES} mail addresses")
    if addresses and not call.node.notices.can_mail:
        raise Refused("notif_email: this node sends no mail; its Notification has no Sender.")
    return addresses


def _target(call: Call) -> Volume | None:
    disk_id = call.parameters.get("target_disk_id", "").strip()
    if not disk_id:
        return None
    volume = call.node.volume(disk_id)
    if volume is None or volume.completed:
        why = "is not on this node" if volume is None else "is completed"
        raise Refused(coded("NGAMS_ER_TARG_DISK", f"The target disk {disk_id} {why}."))
    return volume
