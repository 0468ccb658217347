"""What the commands that archive have in common: from a request to an archived file."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Final, TypeAlias

from aiohttp import web

from pyvospace_ngas.archive import backlog, pulling, targets
from pyvospace_ngas.archive.answers import Call, document, with_times
from pyvospace_ngas.archive.ingest import ingest, tell
from pyvospace_ngas.archive.node import Node
from pyvospace_ngas.archive.receiving import SMALL, Source
from pyvospace_ngas.archive.records import Copy
from pyvospace_ngas.archive.refusals import Refused, coded, no_room, not_permitted
from pyvospace_ngas.archive.settings.tending import Notice
from pyvospace_ngas.archive.targets import Target
from pyvospace_ngas.archive.upload import CannotOverwrite, InDoubt, NoRoom, NotArchived
from pyvospace_ngas.archive.wishes import Wish, read_wish

Choose: TypeAlias = Callable[[Call, str, int], Target | None]

NO_ROOM: Final = "No volume of this node has room for a file of %d bytes (%s)."


async def archive(call: Call, choose: Choose) -> web.Response:
    """Archive the body of a request, or with GET what it names, and answer when all is durable."""
    may_archive(call.node)
    wish = read_wish(call)
    async with source_of(call, wish.uri) as source:
        return await archive_from(call, wish, source, choose)


async def archive_from(call: Call, wish: Wish, source: Source, choose: Choose) -> web.Response:
    """Archive what a source gives, and answer when all is durable."""
    started, request_id = call.entry.started, call.entry.id
    with call.node.busy():
        try:
            archived = await into_archive(call, wish, source, choose, started)
        except NotArchived as problem:
            raise refused(problem, pulled=source.pulled) from problem
    tell(call.node, archived)
    kind = "Pull" if source.pulled else "Push"
    status = call.node.status(
        f"Successfully handled Archive {kind} Request for data file with URI: {wish.uri}"
    )
    return document(
        call,
        with_times(status, request_id, started),
        archived.disk.status(archived.file),
    )


async def into_archive(
    call: Call, wish: Wish, source: Source, choose: Choose, started: str
) -> Copy:
    """Archive what a source gives, where it is chosen to go."""
    expected = source.length or 0
    target = choose(call, wish.format, expected)
    keep = backlog.of(call.node) if call.command == "ARCHIVE" else None
    if target is None:
        problem = refused_for_room(call.node, wish, source)
        if keep is None:
            raise problem
        await backlog.take(call.node, keep, wish, source, started, problem)
    call.node.out_of_room = False
    with target.promise(expected):
        return await ingest(call.node, wish, source, target, started, keep)


def source_of(call: Call, uri: str) -> pulling.Opened:
    """Return where the bytes come from: a GET names it, a POST or PUT brings them."""
    if call.request.method == "GET":
        return pulling.opened(call.node.config, uri)
    return nullcontext(Source(call.request.content, call.request.content_length))


def may_archive(node: Node) -> None:
    """Refuse, before anything is read, what configuration or state do not allow."""
    if not node.config.permissions.archive:
        raise not_permitted("Archive", "AllowArchiveReq")
    node.must_be_online("Archive Request")


def by_free_space(call: Call, _mime_type: str, size: int) -> Target | None:
    """Return any of the node's volumes with room."""
    return targets.on_any(call.node, size)


def by_stream(call: Call, mime_type: str, size: int) -> Target | None:
    """Return a target of the mime type's stream."""
    return targets.by_stream(call.node, mime_type, size)


def refused_for_room(node: Node, wish: Wish, source: Source) -> NoRoom:
    """Tell the operator, once, that files find no room; return what that means for this one."""
    expected = source.length or 0
    if not node.out_of_room:
        text = NO_ROOM % (expected, wish.format)
        node.notices.tell(Notice.NO_DISK_SPACE, f"no room on {node.host_id}", text)
    node.out_of_room = True
    problem = NoRoom("no volume has room")
    problem.unread = not source.pulled and expected > SMALL
    return problem


def refused(problem: NotArchived, *, pulled: bool = False) -> Refused:
    """Say what a failure to archive means for its request."""
    match problem:
        case NoRoom():
            refusal = no_room()
            refusal.close = problem.unread
            return refusal
        case backlog.Kept():
            text = f"{problem}; the file is kept and will be archived, do not send it again."
            return Refused(coded("NGAMS_WA_BUF_DATA", text))
        case CannotOverwrite():
            return Refused(f"Invalid parameter: {problem}")
        case InDoubt():
            return Refused(coded("NGAMS_ER_CMD_EXEC", str(problem)), 500)
        case _:
            name = "NGAMS_ER_ARCHIVE_PULL_REQ" if pulled else "NGAMS_ER_ARCHIVE_PUSH_REQ"
            return Refused(coded(name, str(problem)), 500)
