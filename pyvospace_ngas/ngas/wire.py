"""HTTP as NGAS speaks it: requests of HTTP/1.0 over plain sockets.

A client of its own, because a node refuses an upload by answering and closing while we still
send. asyncio's transports, and so aiohttp's client, drop the answer that has already arrived when
a write fails; a socket still gives it. HTTP/1.0 is what the real server speaks, and it keeps
chunked bodies and ``100 Continue`` away; a connection that the node keeps alive is used again.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Final

from pyvospace_ngas.ngas import splicing
from pyvospace_ngas.ngas.checksum import Buffer
from pyvospace_ngas.ngas.errors import Malformed, Unreachable, Untrusted
from pyvospace_ngas.ngas.lines import Line, Plain, Secured
from pyvospace_ngas.ngas.placement import Entry

READ: Final = 256 * 1024
LONGEST_HEAD: Final = 64 * 1024
LONGEST_DOCUMENT: Final = 64 * 1024 * 1024
KEPT: Final = 8  # idle connections to one node
# Bounds what is on its way to a node that reads nothing, well below what is kept for replay.
SEND_BUFFER: Final = 512 * 1024
STATUS_LINE: Final = re.compile(r"HTTP/1\.[01] (\d{3})(?: .*)?")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long what is waited for, in seconds."""

    connect: float = 10.0
    ask: float = 15.0  # for the answer to a short question
    idle: float = 60.0  # without a byte moving
    answer: float = 60.0  # after the last byte of a request, and longer the more was sent
    rate: float = 10.0 * 2**20  # bytes for which the node gets one second more
    settle: float = 30.0  # to find out what became of an upload whose answer was lost
    admission: float = 30.0  # for a node to have a request to spare, by our count or by its own

    def after(self, size: int) -> float:
        """Return the time a node has to answer when it was sent ``size`` bytes."""
        return self.answer + size / self.rate


@dataclass(frozen=True, slots=True)
class Head:
    """The status and the header fields (names in lower case) of an answer."""

    status: int
    fields: Mapping[str, str]

    @property
    def length(self) -> int | None:
        """The length of the body; None: it ends with the connection."""
        if self.status in (204, 304):
            return 0
        text = self.fields.get("content-length")
        return None if text is None else int(text)

    @property
    def keeps_alive(self) -> bool:
        """Whether the node says that another request may follow."""
        return (
            self.length is not None and "keep-alive" in self.fields.get("connection", "").lower()
        )


class Connection:
    """A connection to a node: a request out, an answer in."""

    __slots__ = ("_kept", "_line", "_patience", "entry", "used")

    def __init__(self, entry: Entry, line: Line, patience: Patience) -> None:
        self.entry = entry
        self.used = False
        self._line = line
        self._patience = patience
        self._kept = b""  # read with the head, and part of the body

    async def send(self, data: Buffer) -> None:
        """Send all of ``data``; the time-out starts again with every piece that left."""
        view = memoryview(data)
        try:
            for start in range(0, len(view), READ):
                async with asyncio.timeout(self._patience.idle):
                    await self._line.send(view[start : start + READ])
        except OSError as error:
            raise self._broken("while sending", error) from error

    async def head(self, wait: float | None) -> Head:
        """Read the head of an answer, for ``wait`` seconds at most."""
        data = b""
        try:
            async with asyncio.timeout(wait):
                while (end := data.find(b"\r\n\r\n")) < 0:
                    if len(data) > LONGEST_HEAD:
                        raise Malformed(f"{self.entry.address} sent an endless head")
                    piece = await self._line.receive(READ)
                    if not piece:
                        raise Unreachable(f"{self.entry.address} closed without an answer")
                    data += piece
        except OSError as error:
            raise self._broken("before an answer", error) from error
        self._kept = data[end + 4 :]
        return _head(data[:end], self.entry)

    async def read(self, most: int = READ) -> bytes:
        """Return some bytes of the body, none at its end."""
        if self._kept:
            piece, self._kept = self._kept[:most], self._kept[most:]
            return piece
        try:
            async with asyncio.timeout(self._patience.idle):
                return await self._line.receive(most)
        except OSError as error:
            raise self._broken("in the middle of an answer", error) from error

    @property
    def can_pour(self) -> bool:
        """Whether bytes can go past us, by the kernel alone."""
        return self._line.bare is not None and splicing.works()

    async def pour(self, pipe: int, most: int) -> int:
        """Put what `read` would return into an empty pipe, and return how much that is."""
        if self._kept:
            count = os.write(pipe, self._kept[:most])
            self._kept = self._kept[count:]
            return count
        bare = self._line.bare
        if bare is None:
            raise RuntimeError("what is within TLS comes only by us")
        ready = partial(splicing.readable, bare)
        try:
            return await splicing.move(bare, pipe, most, ready, self._patience.idle)
        except OSError as error:
            raise self._broken("in the middle of an answer", error) from error

    async def document(self, head: Head) -> bytes:
        """Read the whole of a short body.

        A refusal without a length is what arrived of it: the node resets right behind it.
        """
        wanted = LONGEST_DOCUMENT if head.length is None else head.length
        if wanted > LONGEST_DOCUMENT or (head.length or 0) < 0:
            raise Malformed(f"{self.entry.address} sent a document of {head.length} bytes")
        pieces, got = [], 0
        while got < wanted:
            try:
                piece = await self.read(min(READ, wanted - got))
            except Unreachable:
                if head.length is None and head.status != 200:
                    break
                raise
            if not piece:
                break
            pieces.append(piece)
            got += len(piece)
        if head.length is not None and got < head.length:
            raise Unreachable(f"{self.entry.address} closed in the middle of an answer")
        return b"".join(pieces)

    def is_fresh(self) -> bool:
        """Whether an idle connection is still open and silent."""
        return self._line.is_fresh()

    def close(self) -> None:
        """Close it; nothing may be waiting on it."""
        self._line.close()

    def _broken(self, when: str, error: OSError) -> Unreachable:
        reason = "time-out" if isinstance(error, TimeoutError) else type(error).__name__
        return Unreachable(f"{self.entry.address} broke off {when}: {reason}")


class Pool:
    """Opens connections, and keeps those that a node keeps alive; with ``tls`` all are secured."""

    def __init__(self, patience: Patience, tls: ssl.SSLContext | None = None) -> None:
        self.patience = patience
        self.tls = tls
        self._idle: dict[Entry, list[Connection]] = {}

    async def connect(self, entry: Entry) -> Connection:
        """Open a connection, or raise `Unreachable`."""
        try:
            async with asyncio.timeout(self.patience.connect):
                line = await self._line(entry)
        except ssl.SSLCertVerificationError as error:
            text = f"the certificate of {entry.address} is not trusted: {error.verify_message}"
            raise Untrusted(text) from error
        except OSError as error:
            reason = "time-out" if isinstance(error, TimeoutError) else type(error).__name__
            raise Unreachable(f"{entry.address} cannot be connected to: {reason}") from error
        return Connection(entry, line, self.patience)

    async def _line(self, entry: Entry) -> Line:
        plain = Plain(await _connect(entry.host, entry.port))
        if self.tls is None:
            return plain
        with ExitStack() as failing:
            failing.callback(plain.close)
            secured = Secured(plain, self.tls, entry.host)
            await secured.shake_hands()
            failing.pop_all()
        return secured

    async def take(self, entry: Entry) -> Connection:
        """Return an idle connection, or a new one."""
        idle = self._idle.get(entry, [])
        while idle:
            connection = idle.pop()
            if connection.is_fresh():
                connection.used = True
                return connection
            connection.close()
        return await self.connect(entry)

    def give(self, connection: Connection, head: Head) -> None:
        """Take a connection back whose answer was read to the end."""
        idle = self._idle.setdefault(connection.entry, [])
        if head.keeps_alive and len(idle) < KEPT:
            idle.append(connection)
        else:
            connection.close()

    def close(self) -> None:
        """Close the idle connections."""
        for idle in self._idle.values():
            for connection in idle:
                connection.close()
        self._idle.clear()


def request_head(
    method: str, target: str, entry: Entry, fields: Mapping[str, str], *, keep: bool = False
) -> bytes:
    """Return the head of a request; its parts hold no line breaks."""
    host = f"[{entry.host}]" if ":" in entry.host else entry.host
    lines = [f"{method} {target} HTTP/1.0", f"Host: {host}:{entry.port}"]
    lines += [f"{name}: {value}" for name, value in fields.items()]
    lines += ["Connection: keep-alive"] if keep else []
    return "\r\n".join([*lines, "", ""]).encode("ascii")


async def addresses(entry: Entry) -> set[str]:
    """Return the numeric addresses of a node, none where its name is not known."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(entry.host, entry.port, type=socket.SOCK_STREAM)
    except OSError:
        return set()
    return {str(address[0]) for *_, address in found}


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
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
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


def _head(data: bytes, entry: Entry) -> Head:
    status_line, *lines = data.decode("latin-1").split("\r\n")
    found = STATUS_LINE.fullmatch(status_line)
    if found is None:
        raise Malformed(f"{entry.address} does not answer in HTTP/1")
    fields: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        key = name.strip().lower()
        # A proxying node repeats Server and Date; two lengths would be two bodies.
        if not colon or (
            key == "content-length" and fields.get(key, value.strip()) != value.strip()
        ):
            raise Malformed(f"{entry.address} sent a head that cannot be read")
        fields.setdefault(key, value.strip())
    if not fields.get("content-length", "0").isdecimal() or "transfer-encoding" in fields:
        raise Malformed(f"{entry.address} sent a body that cannot be measured")
    return Head(int(found[1]), fields)
