"""A line to a node: bytes out and bytes in over a socket, plain or within TLS.

Everything that breaks is an `OSError`, as `ssl.SSLError` is one.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Final, Protocol, TypeVar

Result = TypeVar("Result")

RECORD: Final = 64 * 1024  # read or encrypted at once


class Line(Protocol):
    """What a connection needs; one may send while another receives."""

    @property
    def bare(self) -> int | None:
        """The socket that gives bytes as they are; None where only we can tell what they are."""

    async def send(self, data: memoryview) -> None:
        """Send all of it."""

    async def receive(self, most: int) -> bytes:
        """Return some bytes, none at the end."""

    def is_fresh(self) -> bool:
        """Whether an idle line is still open and silent."""

    def close(self) -> None:
        """Close it; nothing may be waiting on it."""


class Plain:
    """Bytes as they are."""

    __slots__ = ("_socket",)

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    @property
    def bare(self) -> int:
        return self._socket.fileno()

    async def send(self, data: memoryview) -> None:
        await asyncio.get_running_loop().sock_sendall(self._socket, data)

    async def receive(self, most: int) -> bytes:
        return await asyncio.get_running_loop().sock_recv(self._socket, most)

    def is_fresh(self) -> bool:
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def close(self) -> None:
        self._socket.close()


class Secured:
    """TLS over a plain line."""

    __slots__ = ("_in", "_line", "_out", "_sending", "_tls")

    def __init__(self, line: Plain, context: ssl.SSLContext, host: str) -> None:
        self._line = line
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_hostname=host)
        self._sending = asyncio.Lock()  # records must not mix

    @property
    def bare(self) -> None:
        return None

    async def shake_hands(self) -> None:
        """Agree on keys, and learn that the other side is who it should be."""
        try:
            await self._done(self._tls.do_handshake)
        finally:
            await self._flush()  # tells the other side, too, what was wrong with it

    async def send(self, data: memoryview) -> None:
        for start in range(0, len(data), RECORD):
            self._tls.write(data[start : start + RECORD])
            await self._flush()

    async def receive(self, most: int) -> bytes:
        try:
            return await self._done(lambda: self._tls.read(most))
        except ssl.SSLZeroReturnError:  # it said goodbye; an end without that is an error
            return b""

    def is_fresh(self) -> bool:
        return not self._in.pending and not self._tls.pending() and self._line.is_fresh()

    def close(self) -> None:
        self._line.close()

    async def _done(self, act: Callable[[], Result]) -> Result:
        """Do what may need more bytes from the other side first."""
        while True:
            try:
                return act()
            except ssl.SSLWantReadError:
                await self._flush()
            data = await self._line.receive(RECORD)
            if data:
                self._in.write(data)
            else:
                self._in.write_eof()

    async def _flush(self) -> None:
        async with self._sending:
            if self._out.pending:
                await self._line.send(memoryview(self._out.read()))
