"""The resource ``/changes``: what changes in the tree, as server-sent events (of HTML)."""

import asyncio
import json
from collections.abc import Sequence
from time import monotonic
from typing import Final

from aiohttp import web

from pyvospace_ngas.errors import InvalidArgument, VOSpaceError
from pyvospace_ngas.http.identity import caller_of, identify
from pyvospace_ngas.http.keys import DATABASE, IDENTITIES, IDENTITY, SPACE
from pyvospace_ngas.model.access import Identity
from pyvospace_ngas.model.change import Change, Told, told
from pyvospace_ngas.model.token import stored_path
from pyvospace_ngas.model.uri import ROOT, NodePath, Space
from pyvospace_ngas.ops import nodes
from pyvospace_ngas.space.feed import FEED, Feed
from pyvospace_ngas.space.parameters import one, parameters, whole_number

BEAT: Final = 1.0  # seconds between two words of a stream
CHECK: Final = 2.0  # and between two looks at the caller's credentials
PATIENCE: Final = 30.0  # for which a reader may take nothing
_HEADERS: Final = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would keep it back
}


async def follow(request: web.Request) -> web.StreamResponse:
    """GET: a stream without an end of what changes at ``path`` and below, from ``since`` on.

    ``since``, or the header ``Last-Event-ID``, is an ``id`` of an earlier stream; 410 when that
    was too long ago. Without it the event ``began`` says from where on everything is told.
    """
    space, feed = request.app[SPACE], request.app[FEED]
    root, since = _root(request), _since(request)
    with feed.place(_reader(request)):
        async with request.app[DATABASE].acquire() as db:
            await nodes.get_node(db, request[IDENTITY], root)
        begin = await feed.begin(since)
        response = web.StreamResponse(headers=_HEADERS)
        await response.prepare(request)
        if request.method != "HEAD":
            if since is None:
                await response.write(_began(begin, space, root))
            await _tell(request, response, feed, root, begin)
    return response


async def _tell(
    request: web.Request, response: web.StreamResponse, feed: Feed, root: NodePath, end: int
) -> None:
    """Write until the reader goes, the server stops, or the credentials are good no more.

    When what the caller may read changes, all begins anew.
    """
    who, is_new = request[IDENTITY], True  # as long as it was not told how current it is
    beat = checked = monotonic()
    try:
        while not feed.is_closed:
            found, end = await feed.read(end)
            text = _changes(found, who, root, request.app[SPACE], end)
            now = monotonic()
            if end >= feed.end and (now >= beat or (is_new and feed.current is not None)):
                text += _current(feed, now, end)
                beat, is_new = now + BEAT, is_new and feed.current is None
            await _write(response, text)
            await feed.wait(end, max(0.0, beat - monotonic()), or_current=is_new)
            if monotonic() >= checked + CHECK:
                checked = monotonic()
                before, who = who, await identify(request)
                if who.user != before.user:
                    return
                if who != before:
                    await _write(response, _began(end, request.app[SPACE], root))
    except (ConnectionError, TimeoutError, VOSpaceError):
        # The reader has gone or takes nothing, or what it asks for can be had no more: it will
        # come again, and is told why with the status then.
        if request.transport is not None:
            request.transport.abort()


async def _write(response: web.StreamResponse, text: bytes) -> None:
    if text:
        async with asyncio.timeout(PATIENCE):
            await response.write(text)


def _changes(
    found: Sequence[Change], who: Identity, root: NodePath, space: Space, end: int
) -> bytes:
    """Return the events for ``who``; the last of them says that all up to ``end`` is told."""
    shown = [each for change in found if (each := told(change, who, root)) is not None]
    if not shown:
        return b""
    return b"".join(_message(each, space) for each in shown) + b"id: %d\n\n" % end


def _message(each: Told, space: Space) -> bytes:
    words: dict[str, object] = {"uri": space.uri(each.path), "type": None}
    if each.type is not None:
        words["type"] = each.type.qname
    if each.etag is not None:
        words["etag"] = each.etag
    if each.length is not None:
        words["length"] = each.length
    return b"data: %s\n\n" % json.dumps(words).encode()


def _began(end: int, space: Space, root: NodePath) -> bytes:
    """Return the event that says that from here on, and only from here on, everything is told."""
    return _event(end, "began", {"uri": space.uri(root)})


def _current(feed: Feed, now: float, end: int) -> bytes:
    """Return the event that says how old what is not told yet can be."""
    if feed.current is None:
        return b": waiting\n\n"
    return _event(end, "current", {"lag": round(now - feed.current, 3)})


def _event(end: int, name: str, words: dict[str, object]) -> bytes:
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (end, name.encode(), json.dumps(words).encode())


def _reader(request: web.Request) -> str:
    """Return whose stream it is, for their number is bounded."""
    user = request[IDENTITY].user
    if user is not None:
        return f"user {user}"
    return f"address {request.app[IDENTITIES].address(caller_of(request))}"


def _root(request: web.Request) -> NodePath:
    """Return what is followed: a URI, or a path as it is."""
    text = one(parameters(request.query.items()), "PATH")
    if not text:
        return ROOT
    space = request.app[SPACE]
    return space.parse(text) if text.startswith("vos:") else stored_path(text)


def _since(request: web.Request) -> int | None:
    text = one(parameters(request.query.items()), "SINCE")
    text = request.headers.get("Last-Event-ID", text)  # a browser repeats the address as it was
    if not text:
        return None
    if not (text.isascii() and text.isdigit()):
        raise InvalidArgument("since is the id of an event")
    return whole_number("since", text, 0, 2**62)
