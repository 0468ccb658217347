"""Ranges of bytes over plain sockets, straight into the caller's memory.

On its way through aiohttp's client every byte is copied several times, in the thread of the event
loop: that costs more than both servers that send it. Here a thread of its own receives it where
it is wanted. What is asked, and what is refused, is the same; there are no proxies and no cookies.
"""

import asyncio
import re
import select
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Final

from yarl import URL

from pyvospace_ngas import errors
from pyvospace_ngas.client.faults import fault

CONNECT: Final = 10.0  # seconds
_THREADS: Final = 32  # and so many connections at once
_KEPT: Final = 8  # idle connections to one server
_SCRATCH: Final = 64 << 10
_LONGEST_REFUSAL: Final = 1 << 20
_SPAN: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)\Z")


@dataclass(slots=True)
class Span:
    """Consecutive bytes that are wanted in pieces, from ``start`` on; ``done`` of them are full.

    ``arrived`` is called with the number of each piece once it is full, in another thread.
    """

    start: int
    pieces: Sequence[memoryview]
    arrived: Callable[[int], None]
    done: int = 0

    @property
    def left(self) -> tuple[int, int]:
        """Return the first byte that is still wanted, and the one after the last."""
        sizes = [len(piece) for piece in self.pieces]
        return self.start + sum(sizes[: self.done]), self.start + sum(sizes)


class Wire:
    """Connections that are used again, and the threads that read from them."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout  # seconds without a byte
        self._idle: dict[URL, list[HTTPConnection]] = {}
        self._threads = ThreadPoolExecutor(_THREADS, "bytes")
        self._tls: ssl.SSLContext | None = None

    async def fetch(self, url: URL, fields: Mapping[str, str], span: Span) -> None:
        """Fill ``span``; raises what breaks as an `OSError`. Cancelled, it leaves no thread."""
        origin = url.origin()
        line = self._kept(origin) or await self._connected(origin)
        again = False
        try:
            again = await self._received(line, url.raw_path_qs, fields, span)
        finally:
            self._give(origin, line, again=again)

    async def _received(
        self, line: HTTPConnection, target: str, fields: Mapping[str, str], span: Span
    ) -> bool:
        """Do `receive` in a thread; cut short, it ends before this does."""
        loop = asyncio.get_running_loop()
        job = loop.run_in_executor(self._threads, receive, line, target, fields, span)
        try:
            return await asyncio.shield(job)
        finally:
            if not job.done():
                cut(line)
                await asyncio.gather(job, return_exceptions=True)  # which nobody is told any more

    def _give(self, origin: URL, line: HTTPConnection, *, again: bool) -> None:
        idle = self._idle.setdefault(origin, [])
        if again and len(idle) < _KEPT:
            idle.append(line)
        else:
            line.close()

    def close(self) -> None:
        """Close idle connections; nothing may be under way."""
        for line in (each for idle in self._idle.values() for each in idle):
            line.close()
        self._idle.clear()
        self._threads.shutdown(wait=False)

    def _kept(self, origin: URL) -> HTTPConnection | None:
        """Return an idle connection that the server has not ended."""
        idle = self._idle.get(origin, [])
        while idle:
            line = idle.pop()
            if is_silent(line.sock):
                return line
            line.close()
        return None

    async def _connected(self, origin: URL) -> HTTPConnection:
        host, port = origin.host or "", origin.port
        async with asyncio.timeout(CONNECT):
            sock = await _connect(host, port or 0)
        sock.settimeout(self._timeout)
        line: HTTPConnection
        if origin.scheme == "https":
            if self._tls is None:
                self._tls = await asyncio.to_thread(ssl.create_default_context)
            line = HTTPSConnection(host, port, context=self._tls)
            line.sock = self._tls.wrap_socket(
                sock, server_hostname=host, do_handshake_on_connect=False
            )
        else:
            line = HTTPConnection(host, port)
            line.sock = sock
        line.auto_open = 0  # a connection that is cut stays so
        return line


def first_byte(status: int, content_range: str | None, wanted: int) -> int:
    """Return how many bytes lie before ``wanted`` in the body of an answer that is no refusal."""
    if status == 200:
        return wanted
    span = _SPAN.match(content_range or "")
    if span is None or int(span[1]) != wanted:
        raise errors.TransferFailed("the service sent another range than was asked for")
    return 0


def total(content_range: str | None, length: int | None) -> int | None:
    """Return the length of the whole file, as far as an answer tells."""
    span = _SPAN.match(content_range or "")
    if span is not None:
        return None if span[3] == "*" else int(span[3])
    return length


def receive(line: HTTPConnection, target: str, fields: Mapping[str, str], span: Span) -> bool:
    """Ask for the rest of ``span`` and fill it; return whether the connection can be used again.

    A thread may be cut off at any moment: what it is told then is only that its bytes do not come.
    """
    start, end = span.left
    try:
        response = _asked(line, target, {**fields, "Range": f"bytes={start}-{end - 1}"})
        _take(response, start, end, span)
    except HTTPException as error:
        raise ConnectionError(f"no answer in HTTP: {type(error).__name__}") from error
    return response.isclosed() and not response.will_close


def _asked(line: HTTPConnection, target: str, fields: Mapping[str, str]) -> HTTPResponse:
    """Return an answer of which only the header was read, unless it is a refusal."""
    if isinstance(line.sock, ssl.SSLSocket):
        line.sock.do_handshake()  # nothing, on a connection that has had it
    line.request("GET", target, headers=dict(fields))
    response = line.getresponse()
    if response.status not in (200, 206):
        raise fault(response.status, response.read(_LONGEST_REFUSAL))
    return response


def _take(response: HTTPResponse, start: int, end: int, span: Span) -> None:
    skip = first_byte(response.status, response.getheader("Content-Range"), start)
    length = response.length
    if length is not None and length - skip < end - start:
        raise errors.TransferFailed(f"{length - skip} of {end - start} bytes came")
    scratch = memoryview(bytearray(min(skip, _SCRATCH)))
    while skip:
        part = scratch[: min(skip, _SCRATCH)]
        _fill(response, part)
        skip -= len(part)
    while span.done < len(span.pieces):
        _fill(response, span.pieces[span.done])
        span.done += 1
        span.arrived(span.done - 1)


def _fill(response: HTTPResponse, piece: memoryview) -> None:
    filled = 0
    while filled < len(piece):
        count = response.readinto(piece[filled:])
        if not count:
            raise ConnectionResetError("the connection broke in the middle of the bytes")
        filled += count


def is_silent(sock: socket.socket) -> bool:
    """Tell whether nothing came, the end neither."""
    waiting = select.poll()
    waiting.register(sock, select.POLLIN)
    return not waiting.poll(0)


def cut(line: HTTPConnection) -> None:
    """Have whoever reads there read no more."""
    if line.sock is not None:
        try:
            # Not the method of a TLS socket: it takes from its reader what that works with.
            socket.socket.shutdown(line.sock, socket.SHUT_RDWR)
        except OSError:  # it has ended by itself
            return


async def _connect(host: str, port: int) -> socket.socket:
    loop = asyncio.get_running_loop()
    last = OSError("no address")
    for family, kind, protocol, _, address in await loop.getaddrinfo(
        host, port, type=socket.SOCK_STREAM
    ):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.sock_connect(sock, address)
        except OSError as error:
            sock.close()
            last = error
        except asyncio.CancelledError:
            sock.close()
            raise
        else:
            return sock
    raise last
