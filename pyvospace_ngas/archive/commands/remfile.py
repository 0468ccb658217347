"""REMFILE: remove a file from a disk while there are copies enough elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from pyvospace_ngas.archive import copies, index, parameters, removing
from pyvospace_ngas.archive.answers import Call, failure, success
from pyvospace_ngas.archive.records import Copy, Disk
from pyvospace_ngas.archive.refusals import (
    Refused,
    bad_syntax,
    coded,
    not_permitted,
    unavailable,
)


async def handle(call: Call) -> web.StreamResponse:
    """Tell which versions would go, or with ``execute=1`` remove them.

    Without a file_version these are all that the disk has of the file.
    """
    node, given = call.node, call.parameters
    if not node.config.permissions.remove:
        raise not_permitted("Remove", "AllowRemoveReq")
    disk_id, file_id = given.get("disk_id"), given.get("file_id")
    if not disk_id or not file_id:
        raise bad_syntax(call.command, "disk_id and file_id")
    version = parameters.version(given, call.command)
    found = await copies.of_file(node.database, disk_id, file_id, version)
    if not found:
        raise unavailable(file_id, version)
    if await removing.too_few_copies(node.database, disk_id, file_id, version):
        return failure(call, removing.too_few(disk_id, file_id, version))
    volume = node.volume(disk_id)
    if volume is None:
        host_id = found[0].disk.host_id
        raise Refused(f"REMFILE is done by the node that has the disk, which is {host_id}.")
    if not parameters.flag(given, "execute"):
        return _answer(call, found, 0)
    with node.busy():
        keys = [(copy.file.file_id, copy.file.version) for copy in found]
        gone = await removing.remove(node, volume, keys)
    if len(gone) < len(found):  # others removed copies meanwhile
        return failure(call, removing.too_few(disk_id, file_id, version))
    return _answer(call, found, len(gone), await index.disk(node.database, disk_id))


def _answer(
    call: Call, found: Sequence[Copy], removed: int, disk: Disk | None = None
) -> web.StreamResponse:
    text = f"Files selected for deletion: {len(found)}; deleted: {removed}; failed: 0."
    status = (disk or found[0].disk).status(*(copy.file for copy in found))
    return success(call, coded("NGAMS_INFO_FILE_DEL_STAT", text), status)
