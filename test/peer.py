"""Somebody else's web server, in this test: files, failures, slowness, and what it was sent."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import md5
from typing import Final

from aiohttp import web
from ports import free_port
from stack import CORE, serving, transfer

DATA: Final = bytes(range(256)) * 1000


@dataclass(slots=True)
class Peer:
    """What the server does at each path; the log has every request as ``METHOD name``."""

    port: int
    log: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    received: dict[str, bytes] = field(default_factory=dict)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)  # somebody left in the middle
    redirect: str = ""

    def url(self, name: str, host: str = "127.0.0.1") -> str:
        """Return the URL of one of the paths below."""
        return f"http://{host}:{self.port}/{name}"


def endpoints(direction: str, path: str, *urls: str, more: str = "", size: int = -1) -> str:
    """Return a transfer document with the endpoints of others."""
    word = "httpget" if direction == "pullToVoSpace" else "httpput"
    protocols = "".join(
        f'<vos:protocol uri="{CORE}{word}"><vos:endpoint>{url}</vos:endpoint></vos:protocol>'
        for url in urls
    )
    size_ = f'<vos:param uri="{CORE}length">{size}</vos:param>' if size >= 0 else ""
    return transfer(path, direction, more=more + protocols + size_)


def _digest(data: bytes) -> dict[str, str]:
    return {"Digest": "md5=" + b64encode(md5(data).digest()).decode()}


async def _slowly(peer: Peer, request: web.Request, length: int | None) -> web.StreamResponse:
    """Send half, and the rest when the test says so."""
    answer = web.StreamResponse()
    answer.content_length = length
    await answer.prepare(request)
    await answer.write(DATA[: len(DATA) // 2])
    peer.begun.set()
    waiting = asyncio.create_task(peer.go_on.wait())
    while not waiting.done():
        await asyncio.wait([waiting], timeout=0.02)
        if request.transport is None or request.transport.is_closing():
            waiting.cancel()
            peer.gone.set()
            return answer
    await answer.write(DATA[len(DATA) // 2 :])
    return answer


async def _break_off(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse()
    answer.content_length = len(DATA)
    await answer.prepare(request)
    await answer.write(DATA[:1000])
    assert request.transport is not None
    request.transport.close()
    return answer


async def _chunked(request: web.Request, data: bytes) -> web.StreamResponse:
    answer = web.StreamResponse()
    answer.enable_chunked_encoding()
    await answer.prepare(request)
    await answer.write(data)
    return answer


FILES: Final[dict[str, tuple[bytes, dict[str, str]]]] = {
    "file": (DATA, {}),
    "empty": (b"", {}),
    "large": (DATA * 5, {}),
    "summed": (DATA, _digest(DATA)),
    "wrong-digest": (DATA, _digest(b"x")),
    "wrong-content-md5": (DATA, {"Content-MD5": b64encode(md5(b"x").digest()).decode()}),
    "odd-digest": (DATA, {"Digest": "md5=what"}),
    "etag": (DATA, {"ETag": f'"{md5(b"x").hexdigest()}"'}),
    "gzip": (DATA, {"Content-Encoding": "gzip"}),
}


async def _get(peer: Peer, name: str, request: web.Request) -> web.StreamResponse:
    if name in FILES:
        body, headers = FILES[name]
        return web.Response(body=body, headers=headers)
    if name.startswith("slow"):
        return await _slowly(peer, request, len(DATA) if name == "slow" else None)
    match name:
        case "chunked":
            return await _chunked(request, DATA)
        case "large-chunked":
            return await _chunked(request, DATA * 5)
        case "short":
            return await _break_off(request)
        case "redirect":
            return web.Response(status=302, headers={"Location": peer.redirect})
        case "round":
            return web.Response(status=307, headers={"Location": "/round"})
        case _:
            return web.Response(status=404, text="<secret>of the other side</secret>")


async def _put(peer: Peer, name: str, request: web.Request) -> web.StreamResponse:
    peer.received[name] = body = await request.read()
    if name == "hold":
        peer.begun.set()
        await peer.go_on.wait()
    match name:
        case "wrong-digest":
            return web.Response(status=201, headers=_digest(b"x"))
        case "summed":
            return web.Response(status=201, headers=_digest(body))
        case "own-digest":
            return web.Response(status=200, text="thanks", headers=_digest(b"thanks"))
        case "redirect":
            return web.Response(status=307, headers={"Location": peer.redirect})
        case _:
            return web.Response(status=500 if name.startswith("bad") else 201)


@asynccontextmanager
async def running_peer(port: int | None = None) -> AsyncIterator[Peer]:
    """Run the server on loopback."""
    peer = Peer(port or free_port())

    async def handle(request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        peer.log.append(f"{request.method} {name}")
        peer.headers.append(dict(request.headers))
        if name == "hang":
            peer.begun.set()
            await peer.go_on.wait()
        act = _put if request.method == "PUT" else _get
        return await act(peer, name, request)

    app = web.Application(client_max_size=2**30, handler_args={"access_log": None})
    app.router.add_route("*", "/{name}", handle)
    async with serving(app, peer.port):
        try:
            yield peer
        finally:
            peer.go_on.set()
