"""The node as an aiohttp application: every request is a command."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import Final

from aiohttp import HttpVersion11, web

from pyvospace_ngas.archive import configuration, database, parameters
from pyvospace_ngas.archive.answers import Call, Handler, document, refused
from pyvospace_ngas.archive.configuration import ConfigurationError, NodeConfig
from pyvospace_ngas.archive.index import VolumeElsewhere
from pyvospace_ngas.archive.node import LogSwitched, Node, ReadAgain, running
from pyvospace_ngas.archive.refusals import Refused, coded
from pyvospace_ngas.archive.registry import COMMANDS, READING, SERVICES
from pyvospace_ngas.archive.settings.tending import Notice
from pyvospace_ngas.archive.steps import DatabaseError
from pyvospace_ngas.archive.volume import MEBIBYTE, VolumeError

log = logging.getLogger(__name__)

NODE: Final = web.AppKey("node", Node)
READ_BUFFER: Final = MEBIBYTE  # what a runner should be given as read_bufsize
LONGEST_LINE: Final = 96 * 1024  # as max_line_size: a long name is refused by us, in NGAS's way
METHODS: Final = ("GET", "HEAD", "POST", "PUT")


def create_app(
    config: NodeConfig,
    *,
    online: bool = False,
    force: bool = False,
    read_again: ReadAgain | None = None,
    log_switched: LogSwitched | None = None,
) -> web.Application:
    """Return the node; ``online`` takes its volumes at start (``-autoonline``).

    ``read_again`` is what INIT reads the configuration with; by default, its file anew.
    ``log_switched`` sends the log to other places; without it INIT leaves them as they are.
    """
    if read_again is None and config.source is not None:
        read_again = partial(asyncio.to_thread, configuration.load, config.source)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", dispatch, expect_handler=_not_yet)

    async def node(app: web.Application) -> AsyncIterator[None]:
        async with (
            database.opened(config.db) as index,
            running(config, index, SERVICES, read_again, log_switched) as node,
        ):
            app[NODE] = node
            if online:
                await node.go_online(force=force)
            else:
                await node.register()
            yield

    app.cleanup_ctx.append(node)
    return app


async def dispatch(request: web.Request) -> web.StreamResponse:
    """Find the command and run it; whatever happens, there is an answer."""
    node = request.app[NODE]
    command = request.path.strip("/").split("/")[0]
    if node.requests >= node.config.server.max_requests:
        limit = coded("NGAMS_ER_MAX_REQ_EXCEEDED", "This node is serving as many as it may.")
        call = Call(node, request, {}, command)
        return refused(call, Refused(limit, 503, close=True))
    given = parameters.of_request(request)
    entry = node.ledger.begin(command if command in COMMANDS or command in node.commands else "")
    call = Call(node, request, given, command, entry)
    node.requests += 1
    response = None
    try:
        response = await _handle(call)
    finally:
        node.requests -= 1
        node.last_request = time.monotonic()
        _record(call, response)
    return response


def _record(call: Call, response: web.StreamResponse | None) -> None:
    """Take note of how a request went that has its answer, or whose client left."""
    if call.entry.job:
        return
    if response is None or response.status >= 400:
        call.entry.succeeded = False
    call.node.ledger.end(call.entry)


async def _handle(call: Call) -> web.StreamResponse:
    try:
        await call.node.gate.admit(call.request, call.command)
        handler = _find(call)
        await _go_on(call.request)
        return await handler(call)
    except Refused as refusal:
        return await _refuse(call, refusal)
    except (VolumeError, VolumeElsewhere, ConfigurationError) as error:
        return refused(call, Refused(str(error)))
    except DatabaseError:
        log.exception("%s failed", call.command)
        return refused(call, Refused("The index of this node is not available.", 500))
    except web.HTTPException:
        raise
    except Exception:
        log.exception("%s %s failed", call.request.method, call.command)
        _tell_of_failure(call)
        status = call.node.status("The node failed to handle the request.", succeeded=False)
        return document(call, status, code=500, close=True)


def _tell_of_failure(call: Call) -> None:
    text = f"{call.request.method} {call.command} failed for a reason that the node's log tells."
    call.node.notices.tell(Notice.ERROR, f"a command failed on {call.node.host_id}", text)


def _find(call: Call) -> Handler:
    own = call.node.commands.get(call.command)
    handler = COMMANDS.get(call.command, own)
    if handler is None:
        raise Refused("Command not found", 404, close=True)
    method = call.request.method
    if method not in METHODS or (method == "HEAD" and call.command not in READING):
        raise Refused("Method not allowed", 405, close=True)
    if own is not None and parameters.flag(call.parameters, "reload"):
        raise Refused(
            "A command's module is loaded when the node starts; start it again to reload it.",
            close=True,
        )
    call.node.require(call.command, force="force" in call.request.query)
    return handler


async def _not_yet(_request: web.Request) -> None:
    """Do not answer ``Expect`` before it is known that the body is wanted."""


async def _go_on(request: web.Request) -> None:
    """Tell a client that asks for it (RFC 9110, 10.1.1) that its body is wanted."""
    expected = request.headers.get("Expect", "").lower()
    if expected == "100-continue" and request.version >= HttpVersion11:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # or it counts as a begun answer
    elif expected:
        raise Refused("Only Expect: 100-continue is understood.", 417, close=True)


async def _refuse(call: Call, refusal: Refused) -> web.StreamResponse:
    """Answer; after a time-out close at once: the rest of the body is what was given up."""
    response = refused(call, refusal)
    if refusal.status == 408:
        await response.prepare(call.request)
        await response.write_eof()
        if call.request.transport is not None:
            call.request.transport.abort()
    return response
