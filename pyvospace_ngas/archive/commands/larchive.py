"""LARCHIVE: archive a file of this machine and remove it where it was."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

from aiohttp import web

from pyvospace_ngas.archive import archiving, local
from pyvospace_ngas.archive.answers import Call
from pyvospace_ngas.archive.local import LocalFile
from pyvospace_ngas.archive.node import Node
from pyvospace_ngas.archive.pulling import path_of, refused
from pyvospace_ngas.archive.refusals import Refused, coded
from pyvospace_ngas.archive.waiting import to_its_end
from pyvospace_ngas.archive.wishes import read_wish

log = logging.getLogger(__name__)


async def handle(call: Call) -> web.StreamResponse:
    """Archive what fileUri names, below PullRoots; the original goes when all is durable."""
    archiving.may_archive(call.node)
    uri = call.parameters.get("fileUri", "")
    if not uri:
        raise Refused(coded("NGAMS_ER_MISSING_URI", "The request names no file (fileUri=...)."))
    wish = read_wish(replace(call, parameters={**call.parameters, "filename": uri}))
    roots = call.node.config.handling.pull_roots
    async with local.opened(roots, path_of(uri)) as (file, source):
        _refuse_own(call.node, file)
        response = await archiving.archive_from(call, wish, source, archiving.by_stream)
        await to_its_end(asyncio.to_thread(_remove, file))
    return response


def _refuse_own(node: Node, file: LocalFile) -> None:
    """Refuse a file that lies in a volume: it may be archived already."""
    if any(file.path.is_relative_to(volume.path.resolve()) for volume in node.volumes):
        raise refused("the file lies in a volume of this node; REGISTER is for such files", 400)


def _remove(file: LocalFile) -> None:
    try:
        file.remove()
    except OSError:  # it is archived all the same
        log.exception("%s is archived but could not be removed", file.path)
