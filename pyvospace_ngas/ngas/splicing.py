"""Bytes from a socket into a pipe and out of it into another, by the kernel alone (splice(2))."""

import asyncio
import fcntl
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from typing import Final

ROOM: Final = 256 * 1024  # bytes that a pipe should hold; a user may have some hundred such ones
LARGE: Final = 1024 * 1024  # for what is long: fewer turns, in two thirds of the time
_LONG: Final = 64 * 1024 * 1024  # bytes
_SET_SIZE: Final = 1031  # F_SETPIPE_SZ


@dataclass(frozen=True, slots=True)
class Pipe:
    """Both ends of a pipe, neither of which makes anybody wait."""

    source: int
    sink: int


@contextmanager
def pipe(length: int = 0) -> Iterator[Pipe]:
    """Open a pipe, for ``length`` bytes to pass, with room as the user may have it."""
    source, sink = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # what a user may have is used up: a small one does as well
            fcntl.fcntl(sink, _SET_SIZE, LARGE if length >= _LONG else ROOM)
        yield Pipe(source, sink)
    finally:
        os.close(source)
        os.close(sink)


@cache
def works() -> bool:
    """Tell whether this system can do it, between sockets and pipes as we need it."""
    if not hasattr(os, "splice"):
        return False
    ours, theirs = socket.socketpair()
    with ours, theirs, pipe() as between:
        try:
            theirs.sendall(b"x")
            os.splice(ours.fileno(), between.sink, 1)
            os.splice(between.source, ours.fileno(), 1)
            return theirs.recv(1) == b"x"
        except OSError:
            return False


async def move(
    source: int, sink: int, most: int, ready: Callable[[], Awaitable[None]], patience: float
) -> int:
    """Move some bytes, ``most`` at most, and 0 at the end of the source.

    ``ready`` waits for the one of both that is a socket, for ``patience`` seconds at a time
    (`TimeoutError`); the pipe must have bytes, or room.
    """
    flags = os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE
    while True:
        try:
            return os.splice(source, sink, most, flags=flags)
        except BlockingIOError:
            async with asyncio.timeout(patience):  # not before: mostly there is no need to wait
                await ready()


async def readable(socket_: int) -> None:
    """Wait until there is something to read."""
    loop = asyncio.get_running_loop()
    await _called(lambda call: loop.add_reader(socket_, call), lambda: loop.remove_reader(socket_))


async def writable(socket_: int) -> None:
    """Wait until there is room to write."""
    loop = asyncio.get_running_loop()
    await _called(lambda call: loop.add_writer(socket_, call), lambda: loop.remove_writer(socket_))


async def _called(begin: Callable[[Callable[[], None]], None], end: Callable[[], object]) -> None:
    happened = asyncio.Event()
    begin(happened.set)
    try:
        await happened.wait()
    finally:
        end()
