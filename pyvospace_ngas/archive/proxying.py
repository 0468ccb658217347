"""What only another node can do: the client is sent there, or gets its answer through this one."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from aiohttp import ClientError, ClientResponse, web

from pyvospace_ngas.archive.answers import Call, redirect
from pyvospace_ngas.archive.peers import MARK
from pyvospace_ngas.archive.refusals import Refused
from pyvospace_ngas.archive.settings.serving import INTERNAL_USER

log = logging.getLogger(__name__)

ASKED: Final = (
    *("Range", "If-Range", "If-None-Match", "If-Modified-Since"),
    *("Content-Type", "Content-Length", "Content-Disposition", "NGAS-File-CRC", "NGAS-File-Info"),
)
PASSED: Final = (
    *("Content-Type", "Content-Length", "Content-Disposition", "Content-Range"),
    *("Accept-Ranges", "ETag", "Last-Modified", "X-Content-Type-Options", "Location"),
    "Retry-After",
)


async def elsewhere(call: Call, host_id: str) -> web.StreamResponse:
    """Have the node ``host_id`` do what the request asks for, as the configuration wants it.

    A request with a body is passed on in any case: few clients send a body twice.
    """
    if MARK in call.request.headers:
        raise Refused("the request came from another node, and it cannot be done here either", 502)
    if call.node.config.server.proxy or call.request.body_exists:
        return await forward(call, host_id)
    return redirect(call, await call.node.peers.address(host_id))


async def forward(call: Call, host_id: str) -> web.StreamResponse:
    """Ask the other node and pass on what it answers, as it comes."""
    request = call.request
    async with call.node.peers.ask(
        host_id,
        call.command,
        call.parameters,
        method=request.method,
        headers={name: request.headers[name] for name in ASKED if name in request.headers},
        data=request.content if request.body_exists else None,
        proxied=True,
    ) as source:
        if source.status == 403:  # the client may: it has come as far as here
            text = f"the node {host_id} does not let {INTERNAL_USER} run {call.command}"
            raise Refused(text, 502)
        return await relay(request, source, call.node.config.server.timeout)


async def relay(request: web.Request, source: ClientResponse, idle: float) -> web.StreamResponse:
    """Pass an answer on as it comes; a part of a file is called one, which NGAS does not."""
    kept = {name: source.headers[name] for name in PASSED if name in source.headers}
    part = source.status == 200 and "Content-Range" in source.headers
    response = web.StreamResponse(status=206 if part else source.status, headers=kept)
    await response.prepare(request)
    if request.method == "HEAD":
        return response
    try:
        async for chunk in source.content.iter_any():
            async with asyncio.timeout(idle):  # a client that takes nothing is given up
                await response.write(chunk)
    except (ClientError, TimeoutError, ConnectionError) as error:
        # The status line is gone: a cut connection is the only honest answer left.
        log.warning("%s broke off: %r", source.url.path, error)
        if request.transport is not None:
            request.transport.abort()
    return response
