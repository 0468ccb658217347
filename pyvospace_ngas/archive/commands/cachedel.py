"""CACHEDEL: have a cache remove a file in its next round."""

from __future__ import annotations

import time

from aiohttp import web

from pyvospace_ngas.archive import cachebook, index, parameters, proxying
from pyvospace_ngas.archive.answers import Call, success
from pyvospace_ngas.archive.refusals import Refused, bad_syntax, coded, not_permitted, unavailable


async def handle(call: Call) -> web.StreamResponse:
    """Mark a file; with CheckCanBeDeleted it goes once its subscribers have it."""
    node, given = call.node, call.parameters
    disk_id, file_id = given.get("disk_id"), given.get("file_id")
    version = parameters.version(given, call.command)
    if not disk_id or not file_id or version is None:
        raise bad_syntax(call.command, "disk_id, file_id and file_version")
    copy = await index.copy_on(node.database, disk_id, file_id, version)
    if copy is not None and copy.disk.host_id != node.host_id:
        return await proxying.elsewhere(call, copy.disk.host_id)
    if not node.config.caching.enabled:
        text = "This node is no cache (Caching Enable=0); DISCARD removes files from it."
        raise Refused(coded("NGAMS_ER_ILL_REQ", text))
    if copy is None:
        raise unavailable(file_id, version)
    if not node.config.permissions.remove:
        raise not_permitted("Cache Delete", "AllowRemoveReq")
    await node.database.run(cachebook.mark((disk_id, file_id, version), time.time()))
    return success(call, "The file will be removed from the cache.")
