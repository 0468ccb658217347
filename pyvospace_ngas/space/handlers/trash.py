"""The resource ``/trash``: what the caller has deleted, in JSON, until it is purged."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from aiohttp import web

from pyvospace_ngas.errors import InvalidArgument, NodeNotFound
from pyvospace_ngas.http.keys import CONFIG, DATABASE, IDENTITY, SPACE
from pyvospace_ngas.model.properties import timestamp
from pyvospace_ngas.model.trash import Position, Trashed
from pyvospace_ngas.model.uri import NodePath
from pyvospace_ngas.ops import trash
from pyvospace_ngas.space.parameters import one, parameters, whole_number

PAGE: Final = 100
LONGEST_PAGE: Final = 1000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


async def list_trash(request: web.Request) -> web.Response:
    """GET: the last deleted first; ``limit`` a page, ``after`` the ``next`` of the one before."""
    given = parameters(request.query.items())
    text, after = one(given, "LIMIT"), one(given, "AFTER")
    limit = PAGE if text is None else whole_number("limit", text, 1, LONGEST_PAGE)
    position = None if after is None else _position(after)
    async with request.app[DATABASE].acquire() as db:
        found = await trash.listed(db, request[IDENTITY], position, limit, one(given, "USER"))
    return web.json_response(
        {
            "entries": [_entry(request, each) for each in found],
            "next": _next(found) if len(found) == limit else None,
        }
    )


async def restore(request: web.Request) -> web.Response:
    """POST restore: bring it back where it was, or to ``target``."""
    given = parameters(request.query.items(), await request.read())
    if "RESTORE" not in given:
        raise InvalidArgument("say restore to have it back, with target=URI at another place")
    space, target = request.app[SPACE], one(given, "TARGET")
    destination = space.parse(target) if target else None
    async with request.app[DATABASE].transaction() as db:
        path = await trash.restore(db, request[IDENTITY], _id(request), destination)
    return web.json_response({"uri": space.uri(path)})


async def purge(request: web.Request) -> web.Response:
    """DELETE: give it up for good; 204."""
    async with request.app[DATABASE].transaction() as db:
        await trash.purge(db, request[IDENTITY], _id(request))
    return web.Response(status=204)


def _entry(request: web.Request, each: Trashed) -> dict[str, object]:
    path = NodePath(tuple(each.path.split("/")[1:]))
    kept = timedelta(seconds=request.app[CONFIG].space.trash_delay)
    return {
        "id": each.id,
        "uri": request.app[SPACE].uri(path),
        "type": each.type.qname,
        "length": each.length,
        "owner": each.owner,
        "deleted": timestamp(each.deleted),
        "deletedBy": each.deleted_by,
        "kept": timestamp(each.deleted + kept),
    }


def _next(found: Sequence[Trashed]) -> str:
    last = found[-1]
    return f"{(last.deleted - _EPOCH) // _MICROSECOND}-{last.id}"


def _position(text: str) -> Position:
    moment, _, node_id = text.partition("-")
    if not (moment + node_id).isascii() or not (moment.isdigit() and node_id.isdigit()):
        raise InvalidArgument("after is the next of another page")
    most = 2**63 - 1
    microseconds = whole_number("after", moment, 0, 253_000_000_000_000_000)
    return Position(_EPOCH + microseconds * _MICROSECOND, whole_number("after", node_id, 0, most))


def _id(request: web.Request) -> int:
    text = request.match_info["id"]
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise NodeNotFound("the trash has no such entry")
    return int(text)
