"""CHECKFILE: read a file again and compare it with what is on record of it."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from pyvospace_ngas.archive import index, parameters, proxying, reading
from pyvospace_ngas.archive.answers import Call, success
from pyvospace_ngas.archive.records import Copy
from pyvospace_ngas.archive.refusals import bad_syntax, coded, unavailable
from pyvospace_ngas.archive.settings.tending import Notice

FIRST_VERSION: Final = 1  # what is checked where the request names none, as NGAS has it


async def handle(call: Call) -> web.StreamResponse:
    """Check one copy: on this node where it has one, else where there is one.

    The check itself succeeds either way; the code of the message tells how it ended.
    """
    copy = await _wanted(call)
    if not call.node.holds(copy.disk):
        return await proxying.elsewhere(call, copy.disk.host_id)
    with call.node.busy():
        flaw = await reading.flaw(copy)
    which = (
        f"Checked file with File ID: {copy.file.file_id}/File Version: {copy.file.version}/"
        f"Disk ID: {copy.disk.disk_id}/Slot ID: {copy.disk.slot_id}/Host ID: {copy.disk.host_id}"
    )
    if flaw:
        subject = f"{copy.file.file_id} is not sound"
        call.node.notices.tell(Notice.DATA_CHECK, subject, f"{which}: {flaw}.")
        return success(call, coded("NGAMS_ER_FILE_NOK", f"{which} - it is not sound: {flaw}."))
    return success(call, coded("NGAMS_INFO_FILE_OK", f"{which} - it is sound."))


async def _wanted(call: Call) -> Copy:
    given = call.parameters
    file_id, disk_id, host_id = given.get("file_id"), given.get("disk_id"), given.get("host_id")
    if not file_id:
        raise bad_syntax(call.command, "file_id")
    version = parameters.version(given, call.command) or FIRST_VERSION
    found = [
        copy
        for copy in await index.locate(call.node.database, file_id, version)
        if disk_id in {None, copy.disk.disk_id} and host_id in {None, copy.disk.host_id}
    ]
    if not found:
        raise unavailable(file_id, version)
    return min(found, key=lambda copy: not call.node.holds(copy.disk))
