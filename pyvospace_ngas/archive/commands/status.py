"""STATUS: of the node, a file, a disk, or another node."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from typing import Final

from aiohttp import web

from pyvospace_ngas.archive import file_list_pages, index, parameters, proxying
from pyvospace_ngas.archive.answers import Call, document, success, with_times
from pyvospace_ngas.archive.records import Copy, stamp
from pyvospace_ngas.archive.refusals import Refused, bad_syntax, coded, unavailable
from pyvospace_ngas.ngas.status import DiskStatus, Status


async def handle(call: Call) -> web.StreamResponse:
    """Answer the first question that the parameters ask; none: the node's own state."""
    host_id = call.parameters.get("host_id", call.node.host_id)
    if host_id != call.node.host_id:
        return await proxying.elsewhere(call, host_id)
    for name, answer in QUESTIONS.items():
        if name in call.parameters:
            return await answer(call, call.parameters[name])
    return success(call)


async def _file(call: Call, file_id: str) -> web.StreamResponse:
    copy = await _best(call, file_id)
    return _with_disk(call, copy.disk.status(copy.file))


async def _access(call: Call, file_id: str) -> web.StreamResponse:
    copy = await _best(call, file_id)
    text = (
        f"File with File ID: {file_id}/Version: {copy.file.version}, is available on "
        f"NGAS Host with Host ID: {copy.disk.host_id}."
    )
    return success(call, coded("NGAMS_INFO_FILE_AVAIL", text))


async def _disk(call: Call, disk_id: str) -> web.StreamResponse:
    disk = await index.disk(call.node.database, disk_id)
    if disk is None:
        raise Refused(coded("NGAMS_ER_UNKNOWN_DISK", f"No disk with Disk ID: {disk_id} is known."))
    return _with_disk(call, disk.status())


async def _request(call: Call, request_id: str) -> web.StreamResponse:
    """Tell how far a request is; of one that failed: that it did, and why."""
    entry = await call.node.ledger.find(request_id)
    if entry is None:
        raise Refused(
            coded("NGAMS_ER_ILL_REQ_ID", f"The Request ID: {request_id} is not on record here.")
        )
    message = f"Successfully handled command {call.command}" if entry.succeeded else entry.message
    return document(call, entry.on(call.node.status(message, succeeded=entry.succeeded)))


async def _file_list(call: Call, _value: str) -> web.StreamResponse:
    given = call.parameters
    limit = parameters.whole(given, "max_elements", 0) or None
    list_id = given.get("file_list_id")
    if list_id is None:
        since = given.get("from_ingestion_date", "")
        wanted = call.node.file_lists.begin(_date(since), unique=parameters.flag(given, "unique"))
        return await file_list_pages.send(call, wanted, limit)
    found = call.node.file_lists.find(list_id)
    if found is None:
        raise Refused(f"The list {list_id} is not remembered here; begin it again without its id.")
    return await file_list_pages.send(call, found, limit)


def _date(text: str) -> str:
    try:
        return stamp(datetime.fromisoformat(text)) if text else ""
    except ValueError:
        raise bad_syntax("STATUS", "from_ingestion_date as YYYY-MM-DDTHH:MM:SS.mmm") from None


async def _configuration(call: Call, _value: str) -> web.StreamResponse:
    name = call.node.config.name
    return document(call, replace(_now(call), config_file_name=name))


async def _db_time(call: Call, _value: str) -> web.StreamResponse:
    return success(call, f"Total DB time: {call.node.database.seconds:.6f}s")


async def _db_time_reset(call: Call, _value: str) -> web.StreamResponse:
    call.node.database.seconds = 0.0
    return success(call)


async def _flush_log(call: Call, _value: str) -> web.StreamResponse:
    await asyncio.to_thread(_flush)
    return success(call)


def _flush() -> None:
    for handler in logging.getLogger().handlers:
        handler.flush()


async def _dump(_call: Call, _value: str) -> web.StreamResponse:
    text = "dump_object_info is not served: it would write a file wherever the client says."
    raise Refused(coded("NGAMS_ER_CMD_SYNTAX", text))


async def _best(call: Call, file_id: str) -> Copy:
    version = parameters.version(call.parameters, call.command)
    copies = await index.locate(call.node.database, file_id, version)
    if not copies:
        raise unavailable(file_id, version)
    latest = [copy for copy in copies if copy.file.version == copies[0].file.version]
    return min(latest, key=lambda copy: copy.disk.host_id != call.node.host_id)


def _with_disk(call: Call, disk: DiskStatus) -> web.Response:
    return document(call, _now(call), disk)


def _now(call: Call) -> Status:
    status = call.node.status(f"Successfully handled command {call.command}")
    return with_times(status, call.entry.id, call.entry.started, stamp())


QUESTIONS: Final[dict[str, Callable[[Call, str], Awaitable[web.StreamResponse]]]] = {
    "file_list": _file_list,
    "file_id": _file,
    "disk_id": _disk,
    "file_access": _access,
    "request_id": _request,
    "configuration_file": _configuration,
    "db_time": _db_time,
    "db_time_reset": _db_time_reset,
    "flush_log": _flush_log,
    "dump_object_info": _dump,
}
