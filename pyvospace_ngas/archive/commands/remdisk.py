"""REMDISK: remove all files of a disk, and the disk, while there are copies enough elsewhere."""

from __future__ import annotations

import logging

from aiohttp import web

from pyvospace_ngas.archive import copies, index, parameters, removing
from pyvospace_ngas.archive.answers import Call, failure, success
from pyvospace_ngas.archive.records import Disk
from pyvospace_ngas.archive.refusals import Refused, bad_syntax, coded, not_permitted
from pyvospace_ngas.archive.volume import Volume

log = logging.getLogger(__name__)


async def handle(call: Call) -> web.StreamResponse:
    """Tell whether the disk may go, or with ``execute=1`` remove it from the archive.

    Its folder stays a volume: when the node goes online again, it is a new, empty disk.
    """
    node = call.node
    if not node.config.permissions.remove:
        raise not_permitted("Remove", "AllowRemoveReq")
    disk_id = call.parameters.get("disk_id")
    if not disk_id:
        raise bad_syntax(call.command, "disk_id")
    disk = await index.disk(node.database, disk_id)
    if disk is None:
        raise Refused(coded("NGAMS_ER_UNKNOWN_DISK", f"No disk with Disk ID: {disk_id} is known."))
    volume = node.volume(disk_id)
    if volume is None:
        where = disk.host_id if disk.mounted else "none now"
        raise Refused(f"REMDISK is done by the node that has the disk, which is {where}.")
    if await removing.too_few_copies(node.database, disk_id):
        return failure(call, removing.too_few(disk_id, None, None), 400)
    if not parameters.flag(call.parameters, "execute"):
        text = f"The disk {disk_id} is selected for deletion."
        return success(call, coded("NGAMS_INFO_DEL_DISK_SEL", text), disk.status())
    with node.busy():
        return await _remove(call, volume, disk)


async def _remove(call: Call, volume: Volume, disk: Disk) -> web.StreamResponse:
    node = call.node
    if not node.committer.give_up(volume):
        raise Refused(f"Files are on their way to the disk {disk.disk_id}; ask again later.", 409)
    while page := await copies.keys_on(node.database, disk.disk_id, removing.BATCH):
        if len(await removing.remove(node, volume, page)) < len(page):
            break
    if not await removing.remove_disk(node, disk):
        # Others removed copies meanwhile. The volume takes files again from the next ONLINE on.
        return failure(call, removing.too_few(disk.disk_id, None, None), 400)
    node.volumes = tuple(each for each in node.volumes if each is not volume)
    volume.release()
    log.warning("the disk %s is removed from the archive", disk.disk_id)
    return success(
        call,
        coded("NGAMS_INFO_DEL_DISK", f"The disk {disk.disk_id} is deleted."),
        disk.status(),
    )
