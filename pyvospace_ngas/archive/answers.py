"""What a command is called with, and the documents it answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from aiohttp import web

from pyvospace_ngas.archive.ledger import Entry
from pyvospace_ngas.archive.node import VERSION, Node
from pyvospace_ngas.archive.refusals import Refused
from pyvospace_ngas.ngas.status import Answer, Container, DiskStatus, Status, render


@dataclass(frozen=True, slots=True)
class Call:
    """A request for a command: what every command gets."""

    node: Node
    request: web.Request
    parameters: Mapping[str, str]
    command: str
    entry: Entry = field(default_factory=Entry)  # in the requests database


Handler = Callable[[Call], Awaitable[web.StreamResponse]]

# What a refusal's status wants to be said beside the document.
BY_STATUS: Final[Mapping[int, Mapping[str, str]]] = {
    401: {"WWW-Authenticate": 'Basic realm="NGAS", charset="UTF-8"'},
    503: {"Retry-After": "1"},
}


def document(
    call: Call, status: Status, *disks: DiskStatus, code: int = 200, close: bool = False
) -> web.Response:
    """Return a status document; what it says is what is on record of the request."""
    if not call.entry.completed and not call.entry.job:
        call.entry.succeeded, call.entry.message = status.succeeded, status.message
    response = web.Response(
        status=code,
        body=render(Answer(status, disks), call.request.host),
        content_type="text/xml",
    )
    response.headers["Server"] = VERSION
    if close:
        response.force_close()
    return response


def success(call: Call, message: str = "", *disks: DiskStatus) -> web.Response:
    """Return that it went well."""
    message = message or f"Successfully handled command {call.command}"
    return document(call, call.node.status(message), *disks)


async def with_containers(
    call: Call, message: str, container: Container, *disks: DiskStatus
) -> web.Response:
    """Return that it went well, with a container; written in a thread, as it may be large."""
    status = with_times(call.node.status(message), call.entry.id, call.entry.started)
    answer = Answer(status, disks, (container,))
    body = await asyncio.to_thread(render, answer, call.request.host)
    return web.Response(body=body, content_type="text/xml", headers={"Server": VERSION})


def failure(call: Call, message: str, code: int = 200) -> web.Response:
    """Return that it did not; NGAS says some of that with the HTTP status 200."""
    return document(call, call.node.status(message, succeeded=False), code=code)


def refused(call: Call, refusal: Refused) -> web.Response:
    """Return a refusal."""
    status = call.node.status(refusal.message, succeeded=False)
    response = document(call, status, code=refusal.status, close=refusal.close)
    response.headers.update(BY_STATUS.get(refusal.status, {}))
    return response


def with_times(status: Status, request_id: str, started: str, ended: str = "") -> Status:
    """Return a status that tells which request it is about and when it came."""
    return replace(status, request_id=request_id, request_time=started, completion_time=ended)


def redirect(call: Call, url: str) -> web.Response:
    """Send the client to the node that can do it, with the same request."""
    location = f"{url}/{call.command}"
    if call.request.query_string:
        location += f"?{call.request.rel_url.raw_query_string}"
    return web.Response(status=303, headers={"Location": location, "Server": VERSION})
