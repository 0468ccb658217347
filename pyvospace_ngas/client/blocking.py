"""Requests that the calling thread makes itself, for programs of threads.

A small request costs more on its way to an event loop in another thread, through it and back, than
a server takes to answer it.
"""

import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from concurrent.futures import CancelledError
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any, Final, TypeVar

from multidict import CIMultiDict
from yarl import URL

from pyvospace_ngas.client.connection import Answer, Connection, NotConnected
from pyvospace_ngas.client.wire import CONNECT, Span, cut, is_silent, receive

T = TypeVar("T")
_PART: Final = 256 << 10  # bytes of an answer that may take as long as a whole short one
_KEPT: Final = 16  # idle connections to one server
_CORK: Final[int] = getattr(socket, "TCP_CORK", 0)  # Linux only


def done(work: Coroutine[Any, Any, T]) -> T:
    """Return what ``work`` does with a `BlockingConnection`, and with nothing else that waits."""
    try:
        work.send(None)
    except StopIteration as end:
        found: T = end.value
        return found
    work.close()
    raise RuntimeError("what is done without an event loop may not wait for one")


@dataclass(slots=True)
class _Term:
    """What one thread does within some time: until when, and whether that was given up."""

    seconds: float
    over: threading.Event
    until: float = float("inf")

    def begin(self) -> None:
        """Let the time begin anew."""
        self.until = time.monotonic() + self.seconds


class _Local(threading.local):
    term = _Term(float("inf"), threading.Event())


class BlockingConnection(Connection):
    """A `Connection` whose coroutines never suspend (see `done`): whoever runs them waits.

    It is open from its beginning, and its methods are for all threads.
    """

    def __init__(
        self,
        url: str,
        user: str | None,
        password: str | None,
        *,
        timeout: float,
        pause: float,
    ) -> None:
        super().__init__(url, user, password, timeout=timeout, pause=pause)
        self._local = _Local()
        self._lock = threading.Lock()
        self._idle: dict[URL, list[HTTPConnection]] = {}
        self._busy: dict[HTTPConnection, _Term] = {}
        self._over = threading.Event()  # of all that is under way; set when it is given up
        self._tls: ssl.SSLContext | None = None

    @asynccontextmanager
    async def within(self, seconds: float) -> AsyncIterator[None]:
        """Raise `TimeoutError` in what takes longer, once somebody looks (see `cut_overdue`).

        The time begins anew with each part of a long answer: a slow link is not a server away.
        """
        self._local.term = _Term(seconds, self._over)
        self._local.term.begin()
        yield

    async def sleep(self, seconds: float) -> None:
        """Wait; `CancelledError` when all is given up meanwhile."""
        if self._local.term.over.wait(seconds):
            raise CancelledError

    def abandon(self) -> None:
        """Give up all that is under way: who waits for it gets a `CancelledError`."""
        with self._lock:
            over, self._over = self._over, threading.Event()
            over.set()
            for line in self._busy:
                cut(line)

    def cut_overdue(self) -> None:
        """End what has taken too long, however little came all the time."""
        now = time.monotonic()
        with self._lock:
            for line, term in self._busy.items():
                if term.until < now:
                    cut(line)

    async def close(self) -> None:
        """Close idle connections; nothing may be under way."""
        with self._lock:
            for line in (each for idle in self._idle.values() for each in idle):
                line.close()
            self._idle.clear()

    async def send(
        self,
        method: str,
        url: URL,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        patience: float | None = None,
    ) -> Answer:
        """Return an answer, read to its end; one attempt, with these headers only."""

        def work(line: HTTPConnection) -> tuple[Answer, bool]:
            response = _asked(line, method, url, headers, body)
            fields = CIMultiDict(response.getheaders())
            answer = Answer(response.status, fields, _whole(response, self._local.term), url)
            return answer, response.isclosed() and not response.will_close

        return self._over_a_line(url, patience or self.timeout, work)

    async def fetch(self, url: str, headers: Mapping[str, str], span: Span) -> None:
        """Fill ``span`` from a byte endpoint, which gets no credentials; one attempt."""
        place = URL(url, encoded=True)

        def work(line: HTTPConnection) -> tuple[None, bool]:
            return None, receive(line, place.raw_path_qs, headers, span)

        self._over_a_line(place, self.timeout, work)

    def _over_a_line(
        self, url: URL, patience: float, work: Callable[[HTTPConnection], tuple[T, bool]]
    ) -> T:
        """Return what ``work`` does with a connection, which it may leave to be used again."""
        term = self._local.term
        seconds = min(patience, term.until - time.monotonic())
        if seconds <= 0:
            raise TimeoutError("there was no time left")
        line = self._taken(url.origin(), term)
        again = False
        try:
            if line.sock is None:
                self._connect(line, min(CONNECT, seconds))
            if term.over.is_set():  # from now on it is cut
                raise CancelledError
            line.sock.settimeout(seconds)
            found, again = work(line)
        except (HTTPException, OSError) as error:
            if term.over.is_set():
                raise CancelledError from error
            if term.until < time.monotonic():
                raise TimeoutError("it took too long") from error
            if isinstance(error, OSError):
                raise
            raise ConnectionError(f"no answer in HTTP: {type(error).__name__}") from error
        finally:
            self._give(url.origin(), line, again=again)
        return found

    def _taken(self, origin: URL, term: _Term) -> HTTPConnection:
        """Return a connection that the server has not ended, or one that is to be made."""
        with self._lock:
            idle = self._idle.get(origin, [])
            while idle and not is_silent(idle[-1].sock):
                idle.pop().close()
            line = idle.pop() if idle else self._new(origin)
            self._busy[line] = term
            self.requests += 1
        return line

    def _new(self, origin: URL) -> HTTPConnection:
        host, port = origin.host or "", origin.port
        line: HTTPConnection
        if origin.scheme == "https":
            self._tls = self._tls or ssl.create_default_context()
            line = HTTPSConnection(host, port, context=self._tls)
        else:
            line = HTTPConnection(host, port)
        line.auto_open = 0  # a connection that is cut stays so
        return line

    def _connect(self, line: HTTPConnection, seconds: float) -> None:
        line.timeout = seconds
        try:
            line.connect()
        except OSError as error:
            raise NotConnected(*error.args) from error

    def _give(self, origin: URL, line: HTTPConnection, *, again: bool) -> None:
        with self._lock:
            term = self._busy.pop(line)
            idle = self._idle.setdefault(origin, [])
            if again and len(idle) < _KEPT and not term.over.is_set():
                idle.append(line)
                return
        line.close()


def _whole(response: HTTPResponse, term: _Term) -> bytes:
    """Return a body, whose reader's time begins anew with each large part of it."""
    parts = []
    while response.length is None or response.length > _PART:
        parts.append(response.read(_PART))
        if len(parts[-1]) < _PART:
            if response.length:
                raise ConnectionResetError("the connection broke in the middle of a body")
            return b"".join(parts)
        term.begin()
    return b"".join((*parts, response.read()))


def _asked(
    line: HTTPConnection, method: str, url: URL, headers: Mapping[str, str], body: bytes | None
) -> HTTPResponse:
    # A header goes with the body that follows: a server that gets both at once wakes once.
    is_corked = body is not None and _CORK
    if is_corked:
        line.sock.setsockopt(socket.IPPROTO_TCP, _CORK, 1)
    # A server may refuse what is still being sent, and read no more of it.
    with suppress(BrokenPipeError, ConnectionResetError):
        line.request(method, url.raw_path_qs, body, dict(headers))
        if is_corked:
            line.sock.setsockopt(socket.IPPROTO_TCP, _CORK, 0)
    response = line.getresponse()
    ends = response.chunked or response.length is not None or response.version < 11
    if not ends and (response.getheader("Connection") or "").lower() != "close":
        # http.client takes a header that was cut off for a whole one.
        raise ConnectionResetError("the connection broke in the middle of a header")
    return response
