"""LABEL: print the label of a disk, or give it another logical name first."""

from __future__ import annotations

import logging

from aiohttp import web

from pyvospace_ngas.archive import index, parameters
from pyvospace_ngas.archive.answers import Call, success
from pyvospace_ngas.archive.records import Disk, stamp
from pyvospace_ngas.archive.refusals import Refused, bad_syntax, coded

log = logging.getLogger(__name__)

LONGEST_LABEL = 128  # ngas_disks.logical_name


async def handle(call: Call) -> web.StreamResponse:
    """Print the logical name of the disk in a slot of a node (slot_id, host_id)."""
    given = call.parameters
    slot, host_id = given.get("slot_id", ""), given.get("host_id", "")
    if not slot or not host_id:
        raise _failed("A disk is named by slot_id and host_id.")
    call.node.must_be_online("Command LABEL")
    disk = await index.disk_in(call.node.database, host_id, slot)
    if disk is None:
        text = f"There is no disk in the slot {slot} of {host_id}."
        raise Refused(coded("NGAMS_ER_UNKNOWN_DISK", text))
    label = await _relabelled(call, disk) or disk.logical_name
    await _print(call, label)
    return success(call)


async def _relabelled(call: Call, disk: Disk) -> str:
    """Give the disk the name in new_label, where relabel=1 asks for that."""
    if not parameters.flag(call.parameters, "relabel"):
        return ""
    label = call.parameters.get("new_label", "").strip()
    if not label or len(label) > LONGEST_LABEL or parameters.CONTROL.search(label):
        wanted = f"new_label, of {LONGEST_LABEL} characters at most without controls"
        raise bad_syntax(call.command, wanted)
    if not await call.node.database.run(index.relabel(disk.disk_id, label, stamp())):
        raise _failed(f"Another disk is called {label} already.")
    log.warning("the disk %s, %s until now, is called %s", disk.disk_id, disk.logical_name, label)
    return label


async def _print(call: Call, label: str) -> None:
    printer = call.node.site.label_printer
    if printer is None:
        return
    try:
        await printer.call(label)
    except Exception as error:  # a site's own code
        log.exception("LabelPrinterPlugIn failed")
        raise _failed("The label was not printed; the node's log says why.", 500) from error


def _failed(text: str, status: int = 400) -> Refused:
    return Refused(coded("NGAMS_ER_REQ_HANDLING", text), status)
