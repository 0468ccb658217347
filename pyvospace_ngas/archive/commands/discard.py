"""DISCARD: remove one copy of one version of a file, for good."""

from __future__ import annotations

import logging

from aiohttp import web

from pyvospace_ngas.archive import index, parameters, transactions
from pyvospace_ngas.archive.answers import Call, failure, success
from pyvospace_ngas.archive.committer import finish_removals
from pyvospace_ngas.archive.refusals import Refused, bad_syntax, coded, not_permitted

log = logging.getLogger(__name__)


async def handle(call: Call) -> web.StreamResponse:
    """Say whether the file may go; with ``execute=1`` remove it.

    The row goes first, durably and with a record of the file to be removed: a crash leaves no
    row that points to nothing, and no file that nobody knows.
    """
    node, given = call.node, call.parameters
    if not node.config.permissions.remove:
        raise not_permitted("Discard File", "AllowRemoveReq")
    disk_id, file_id = given.get("disk_id"), given.get("file_id")
    version = parameters.version(given, call.command)
    if not disk_id or not file_id or version is None:
        raise bad_syntax(call.command, "disk_id, file_id and file_version")
    which = f"Disk ID: {disk_id}/File ID: {file_id}/File Version: {version}"
    copy = await index.copy_on(node.database, disk_id, file_id, version)
    if copy is None:
        return _not_found(call, which)
    if copy.disk.host_id != node.host_id:
        raise Refused("DISCARD Command can only be executed locally!")
    if not parameters.flag(given, "execute"):
        text = f"File discard request granted. File: {which}. NGAS Node {node.host_id}."
        return success(call, coded("NGAMS_INFO_DISCARD_GRANTED", text))
    volume = node.volume(disk_id)
    if volume is None or node.disks is None:
        node.must_be_online("Discard Request")
        raise Refused(f"the disk {disk_id} is not mounted")
    with node.busy():
        script = transactions.discard(disk_id, file_id, version, volume.available_mb)
        file = await node.database.run(script)
        if file is None:
            return _not_found(call, which)
        log.info("discarded %s", which)
        await finish_removals(node.database, node.disks, [(disk_id, file.file_name)])
    return success(
        call,
        coded("NGAMS_INFO_DISCARD_OK", f"File discarded: {which}. NGAS Node: {node.host_id}."),
    )


def _not_found(call: Call, which: str) -> web.StreamResponse:
    text = f"File to be discarded not found: {which}. NGAS Node: {call.node.host_id}."
    return failure(call, coded("NGAMS_ER_DISCARD_NOT_FOUND", text))
