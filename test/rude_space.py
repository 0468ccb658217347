"""A space server that keeps nodes in memory and fails in whichever way a test asks for.

It speaks just enough of the protocol for the client; what it shows is made by hand, so that the
client is not tested against our own writers only.
"""

import asyncio
import base64
import hashlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import unquote
from xml.sax.saxutils import escape, quoteattr, unescape

from aiohttp import web

VOS = "http://www.ivoa.net/xml/VOSpace/v2.0"
XSI = "http://www.w3.org/2001/XMLSchema-instance"
UWS = "http://www.ivoa.net/xml/UWS/v1.0"
AUTHORITY = "vos://example.org!rude"
TRICKLE = 150 << 10  # bytes in a tenth of a second


class Rude(StrEnum):
    """What happens to a request instead of the right thing."""

    RESET = "reset before anything is read"
    RESET_HALF = "reset in the middle of the bytes"
    RESET_AFTER = "stored, but the answer is lost"
    BUSY = "503"
    BROKEN = "500 with a page of HTML"
    DOUBTFUL = "412 ChecksumMismatch"
    GONE = "404 EndpointNotFound"
    REFUSED = "403 PermissionDenied"
    WRONG_DIGEST = "another digest than that of the bytes"
    NO_DIGEST = "no digest at all"
    NO_RANGES = "200 with everything, whatever range was asked for"
    OTHER_RANGE = "another range than was asked for"
    HANG = "no answer, and nothing is read, until the test ends"
    HANG_HALF = "no more after half of the bytes"
    TRICKLE = "a MiB and a half in a second"
    SHORT = "half of the bytes, well framed"


@dataclass
class Seen:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]


@dataclass
class RudeSpace:
    """The server's state: what it holds, what it saw, and what goes wrong next."""

    files: dict[str, bytes] = field(default_factory=dict)
    children: dict[str, list[str]] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    bytes_next: deque[Rude | None] = field(default_factory=deque)
    space_next: deque[Rude | None] = field(default_factory=deque)
    first_endpoints: list[str] = field(default_factory=list)
    job_phases: deque[str] = field(default_factory=deque)
    job_error: str = "InternalFault"
    advertised: str | None = None  # the origin of what it names, where that is another one
    over: asyncio.Event = field(default_factory=asyncio.Event)
    on_page: Callable[[], None] = lambda: None

    def app(self) -> web.Application:
        """Return it as an application."""
        app = web.Application(client_max_size=1 << 30, middlewares=[self._watch])
        route = app.router.add_route
        route("GET", "/vospace/capabilities", self._capabilities)
        route("POST", "/vospace/login", self._login)
        route("POST", "/vospace/logout", self._plain)
        route("*", "/vospace/nodes{path:.*}", self._node)
        route("POST", "/vospace/synctrans", self._sync)
        route("GET", "/vospace/transfers/{way}/results/transferDetails", self._details)
        route("POST", "/vospace/transfers", self._job_made)
        route("GET", "/vospace/transfers/{id}", self._job)
        route("POST", "/vospace/transfers/{id}/phase", self._phase)
        route("GET", "/vospace/transfers/{id}/error", self._error)
        route("*", "/files/{way}/{path:.*}", self._bytes)
        route("GET", "/vospace/files/{path:.*}", self._found)
        return app

    def byte_requests(self, method: str) -> list[Seen]:
        """Return the requests for bytes that came."""
        return [one for one in self.seen if one.path.startswith("/files") and one.method == method]

    @web.middleware
    async def _watch(
        self,
        request: web.Request,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        self.seen.append(Seen(request.method, request.path_qs, dict(request.headers)))
        if request.path.startswith("/vospace") and self.space_next:
            mood = self.space_next.popleft()
            if mood is not None:
                return refuse(request, mood)
        return await handler(request)

    def _origin(self, request: web.Request) -> str:
        return self.advertised or f"http://{request.host}"

    async def _capabilities(self, request: web.Request) -> web.Response:
        base = f"{self._origin(request)}/vospace"
        parts = "".join(
            f'<capability standardID="ivo://ivoa.net/std/VOSpace{name}"><interface>'
            f"<accessURL>{base}/{path}</accessURL></interface></capability>"
            for name, path in (
                ("/v2.0#nodes", "nodes"),
                ("#sync-2.1", "synctrans"),
                ("/v2.0#transfers", "transfers"),
            )
        )
        name = "http://www.ivoa.net/xml/VOSICapabilities/v1.0"
        return web.Response(text=f'<v:capabilities xmlns:v="{name}">{parts}</v:capabilities>')

    async def _login(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != "Basic YWxpY2U6cHc=":
            return web.Response(status=401, text="NotAuthenticated wrong password")
        response = web.Response()
        response.set_cookie("session", "s3cret", httponly=True)
        return response

    async def _plain(self, request: web.Request) -> web.Response:
        return web.Response()

    async def _node(self, request: web.Request) -> web.Response:
        path = unquote(request.rel_url.raw_path.removeprefix("/vospace/nodes"))
        if request.method in ("PUT", "POST"):
            return web.Response(text=(await request.read()).decode(), status=201)
        if path == "/html":
            return web.Response(status=418, text="<html>teapot</html>")
        if path == "/missing" or (request.method == "DELETE" and path not in self.files):
            return web.Response(status=404, text=f"NodeNotFound {AUTHORITY}{path}\n")
        if request.method == "DELETE":
            del self.files[path]
            return web.Response(status=204)
        return web.Response(text=self._container(path, request))

    def _container(self, path: str, request: web.Request) -> str:
        names = sorted(self.children.get(path, []))
        start = request.query.get("uri", "").rpartition("/")[2]
        limit = int(request.query.get("limit", len(names)))
        page = [name for name in names if name >= start][:limit]
        entries = "".join(
            f'<node xsi:type="vos:DataNode" uri={quoteattr(f"{AUTHORITY}{path}/{name}")}/>'
            for name in page
        )
        self.on_page()
        return (
            f'<node xmlns="{VOS}" xmlns:vos="{VOS}" xmlns:xsi="{XSI}" xsi:type="vos:ContainerNode"'
            f" uri={quoteattr(AUTHORITY + path)}><properties/><nodes>{entries}</nodes></node>"
        )

    async def _sync(self, request: web.Request) -> web.Response:
        if request.content_type == "application/x-www-form-urlencoded":
            target = str((await request.post())["TARGET"])
            return self._offer(request, "put", target.removeprefix("vos://example.org~rude"))
        text = (await request.read()).decode()
        path = text.partition("<vos:target>vos://example.org~rude")[2].partition("<")[0]
        path = unescape(path)
        way = "put" if "pushToVoSpace" in text else "get"
        if unquote(path) == "/missing":
            way = "failed"
        location = (
            f"{self._origin(request)}/vospace/transfers/{way}/results/transferDetails?{path}"
        )
        return web.Response(status=303, headers={"Location": location})

    async def _details(self, request: web.Request) -> web.Response:
        return self._offer(request, request.match_info["way"], request.rel_url.raw_query_string)

    def _offer(self, request: web.Request, way: str, path: str) -> web.Response:
        own = f"http://{request.host}/files/{way}{path}"
        endpoints = [] if way == "failed" else [*self.first_endpoints, own]
        protocols = "".join(
            f'<protocol uri="urn:x"><endpoint>{escape(endpoint)}</endpoint></protocol>'
            for endpoint in endpoints
        )
        return web.Response(
            text=f'<transfer xmlns="{VOS}"><target>x</target><direction>pushToVoSpace</direction>'
            f"{protocols}</transfer>"
        )

    async def _job_made(self, request: web.Request) -> web.Response:
        location = f"{self._origin(request)}/vospace/transfers/j1"
        return web.Response(status=303, headers={"Location": location})

    async def _job(self, request: web.Request) -> web.Response:
        phase = self.job_phases[0] if len(self.job_phases) < 2 else self.job_phases.popleft()
        return web.Response(
            text=f'<job xmlns="{UWS}"><jobId>j1</jobId><phase>{phase}</phase></job>'
        )

    async def _phase(self, request: web.Request) -> web.Response:
        if self.job_phases and self.job_phases[0] != "PENDING":
            return web.Response(status=403, text="IllegalTransition it runs already")
        if self.job_phases:
            self.job_phases.popleft()
        return web.Response(status=303, headers={"Location": "/vospace/transfers/j1"})

    async def _error(self, request: web.Request) -> web.Response:
        return web.Response(text=self.job_error)

    async def _found(self, request: web.Request) -> web.Response:
        where = f"http://{request.host}/files/first/{request.match_info['path']}"
        return web.Response(status=303, headers={"Location": where})

    async def _bytes(self, request: web.Request) -> web.StreamResponse:
        path = "/" + request.match_info["path"]
        if request.method == "HEAD":
            stored = self.files.get(path)
            return web.Response(headers={} if stored is None else digest(stored))
        mood = self.bytes_next.popleft() if self.bytes_next else None
        if mood is Rude.HANG:
            await self.over.wait()
            return refuse(request, Rude.RESET)
        if request.method == "PUT":
            return await self._put(request, path, mood)
        return await self._get(request, path, mood)

    async def _put(self, request: web.Request, path: str, mood: Rude | None) -> web.Response:
        if mood is Rude.RESET_HALF:
            await request.content.readany()
        taken = (None, Rude.RESET_AFTER, Rude.WRONG_DIGEST, Rude.NO_DIGEST, Rude.TRICKLE)
        if mood not in taken:
            return refuse(request, mood)
        body = bytearray()
        while mood is Rude.TRICKLE and (piece := await request.content.read(TRICKLE)):
            body += piece
            await asyncio.sleep(0.1 * len(piece) / TRICKLE)
        self.files[path] = bytes(body) or await request.read()
        if mood is Rude.RESET_AFTER:
            return refuse(request, Rude.RESET)
        headers = digest(b"other" if mood is Rude.WRONG_DIGEST else self.files[path])
        return web.Response(status=201, headers={} if mood is Rude.NO_DIGEST else headers)

    async def _get(self, request: web.Request, path: str, mood: Rude | None) -> web.StreamResponse:
        if mood in (Rude.RESET, Rude.BUSY, Rude.BROKEN, Rude.GONE, Rude.REFUSED):
            return refuse(request, mood)
        data = self.files[path]
        if request.headers.get("If-Match") not in (None, f'"{md5(data).hex()}"'):
            return web.Response(status=412, text="PreconditionFailed another version")
        status, start, end = 200, 0, len(data)
        span = request.http_range
        if span.start is not None and mood is not Rude.NO_RANGES:
            status, start, end = 206, span.start, min(len(data), span.stop or len(data))
            if start >= len(data):
                return web.Response(status=416, text="RangeNotSatisfiable beyond the end")
        if mood is Rude.OTHER_RANGE:
            start += 1
        headers = digest(b"other" if mood is Rude.WRONG_DIGEST else data)
        headers["ETag"] = f'"{md5(data).hex()}"'
        if status == 206:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
        body = data[start:end]
        if mood is Rude.SHORT:
            body = body[: len(body) // 2]
        headers["Content-Length"] = str(len(body))
        return await self._send(
            request, web.StreamResponse(status=status, headers=headers), body, mood
        )

    async def _send(
        self, request: web.Request, response: web.StreamResponse, body: bytes, mood: Rude | None
    ) -> web.StreamResponse:
        await response.prepare(request)
        if mood is Rude.TRICKLE:
            for start in range(0, len(body), TRICKLE):
                await response.write(body[start : start + TRICKLE])
                await asyncio.sleep(0.1)
            return response
        whole = mood not in (Rude.RESET_HALF, Rude.HANG_HALF)
        await response.write(body if whole else body[: len(body) // 2])
        if mood is Rude.HANG_HALF:
            await self.over.wait()
        if not whole:
            cut(request)
        return response


def md5(data: bytes) -> bytes:
    """Return the sum of ``data``."""
    return hashlib.md5(data, usedforsecurity=False).digest()


def digest(data: bytes) -> dict[str, str]:
    """Return the header for ``data``."""
    return {"Digest": f"md5={base64.b64encode(md5(data)).decode()}"}


def refuse(request: web.Request, mood: Rude) -> web.Response:
    """Return the refusal that ``mood`` is, or cut the connection."""
    match mood:
        case Rude.BUSY:
            return web.Response(status=503, text="ServiceUnavailable come again")
        case Rude.BROKEN:
            return web.Response(status=500, text="<html>Traceback</html>")
        case Rude.DOUBTFUL:
            return web.Response(status=412, text="ChecksumMismatch other bytes came")
        case Rude.GONE:
            return web.Response(status=404, text="EndpointNotFound it has expired")
        case Rude.REFUSED:
            return web.Response(status=403, text="PermissionDenied not yours")
        case _:
            cut(request)
            return web.Response()


def cut(request: web.Request) -> None:
    """Reset the connection."""
    assert request.transport is not None
    request.transport.abort()


async def stream(*chunks: bytes) -> AsyncIterator[bytes]:
    """Give ``chunks`` one after the other."""
    for chunk in chunks:
        yield chunk
