"""Many small requests from one thread: kept connections, ready-made bytes, answers hardly read."""

import http.client
import select
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

HOST: Final = "127.0.0.1"
READ: Final = 1 << 18
PATIENCE: Final = 60.0
_END: Final = b"\r\n\r\n"
_LAST_CHUNK: Final = b"0\r\n\r\n"


class Failed(Exception):
    """A server answered what it must not: there is nothing to measure."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was answered, in which time."""

    answers: int
    seconds: float
    own_cpu: float  # of this program: near 1 a second, it is what is measured

    @property
    def rate(self) -> float:
        return self.answers / self.seconds


def request(
    method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> bytes:
    """Return the bytes of a request."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {HOST}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    lines += [f"Content-Length: {len(body)}"] if body or method in ("PUT", "POST") else []
    return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that is of interest itself."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def ask(
    port: int,
    method: str,
    target: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Send one request that is not measured; raise `Failed` from status 400 on."""
    connection = http.client.HTTPConnection(HOST, port, timeout=PATIENCE)
    try:
        connection.request(method, target, body, dict(headers or {}))
        with connection.getresponse() as answer:
            found = Answer(answer.status, dict(answer.getheaders()), answer.read())
    finally:
        connection.close()
    if found.status >= 400:
        raise Failed(f"{method} {target}: {found.status} {found.body[:500]!r}")
    return found


def drive(
    port: int, requests: Iterator[bytes], at_once: int, seconds: float = PATIENCE
) -> Outcome:
    """Keep ``at_once`` requests under way until the time is over or there are no more."""
    lines = [_Line(port) for _ in range(at_once)]
    try:
        return _drive(lines, requests, seconds)
    finally:
        for line in lines:
            line.close()


def _drive(lines: list["_Line"], requests: Iterator[bytes], seconds: float) -> Outcome:
    poll = select.epoll()
    began, cpu = time.perf_counter(), time.process_time()
    busy: dict[int, _Line] = {}
    with poll:
        for line in lines:
            if (first := next(requests, None)) is not None:
                line.send(first)
                busy[line.number] = line
                poll.register(line.number, select.EPOLLIN)
        answers = 0
        until = began + seconds
        while busy:
            for number, _ in poll.poll(PATIENCE) or _nothing_came():
                line = busy[number]
                if not line.receive():
                    continue
                answers += 1
                going = time.perf_counter() < until
                following = next(requests, None) if going else None
                if following is None:
                    poll.unregister(number)
                    del busy[number]
                    continue
                if line.must_reopen:
                    del busy[number]
                    line.reopen()
                    busy[line.number] = line
                    poll.register(line.number, select.EPOLLIN)
                line.send(following)
    return Outcome(answers, time.perf_counter() - began, time.process_time() - cpu)


def _nothing_came() -> list[tuple[int, int]]:
    raise Failed(f"no answer came for {PATIENCE:.0f} seconds")


class _Line:
    """A connection with one request under way."""

    __slots__ = ("_got", "_port", "_socket", "_wanted", "must_reopen", "number")

    def __init__(self, port: int) -> None:
        self._port = port
        self._connect()

    def _connect(self) -> None:
        self._socket = socket.create_connection((HOST, self._port), PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.number = self._socket.fileno()
        self.must_reopen = False

    def reopen(self) -> None:
        self._socket.close()
        self._connect()

    def close(self) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._got = b""
        self._wanted: int | None = None  # None: as long as chunks come, or the head is not here
        self._socket.sendall(data)

    def receive(self) -> bool:
        """Take in what has come; tell whether the answer is complete."""
        piece = self._socket.recv(READ)
        if not piece:
            raise Failed(f"a connection was closed in an answer: {self._got[:500]!r}")
        if self._wanted is not None:
            self._wanted -= len(piece)
            return self._wanted <= 0
        self._got = self._got + piece if len(self._got) < READ else self._got[-8:] + piece
        if self._got.startswith(b"HTTP/"):
            end = self._got.find(_END)
            if end < 0:
                return False
            length = self._check(self._got[:end])
            if length is not None:
                self._wanted = length - (len(self._got) - end - len(_END))
                return self._wanted <= 0
        return self._got.endswith(_LAST_CHUNK)

    def _check(self, head: bytes) -> int | None:
        """Return the length of the body, None when it comes in chunks."""
        if not head.startswith((b"HTTP/1.1 2", b"HTTP/1.0 2")):
            raise Failed(repr(self._got[:1000]))
        lower = head.lower()
        self.must_reopen = b"\r\nconnection: close" in lower
        start = lower.find(b"\r\ncontent-length:")
        if start >= 0:
            return int(lower[start + 17 :].split(b"\r", 1)[0])
        if b"\r\ntransfer-encoding: chunked" not in lower:
            raise Failed(f"an answer without a length: {head!r}")
        return None
