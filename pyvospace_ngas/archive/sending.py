"""The bytes of a file to a client: small ones at once, large ones by the kernel."""

from __future__ import annotations

import asyncio
import os
import select
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from aiohttp import web

SMALL: Final = 256 * 1024
STEP: Final = 256 * 1024  # more at once is slower: measured
PATIENCE_MS: Final = 50  # of a thread for a client, before the loop waits instead
SENDERS: Final = ThreadPoolExecutor(16, "send")


class ClientGone(Exception):
    """The client left, or took nothing for too long."""


async def read_small(fd: int, offset: int, count: int) -> bytes:
    """Read a small part of a file: here when it is in memory, else in a thread."""
    buffer = bytearray(count)
    try:
        if os.preadv(fd, [buffer], offset, os.RWF_NOWAIT) == count:
            return bytes(buffer)
    except OSError:  # not in memory, or the file system cannot tell
        pass
    return await asyncio.to_thread(os.pread, fd, count, offset)


async def send(
    request: web.Request, response: web.StreamResponse, fd: int, span: range, idle: float
) -> None:
    """Send a part of a file after the headers of a prepared response."""
    transport = request.transport
    if transport is None or transport.get_extra_info("sslcontext") is not None:
        await send_plainly(response, fd, span, idle)
        return
    await send_by_kernel(request, response, fd, span, idle)


async def send_plainly(response: web.StreamResponse, fd: int, span: range, idle: float) -> None:
    """Send by reading and writing: works with every transport."""
    loop = asyncio.get_running_loop()
    offset = span.start
    while offset < span.stop:
        count = min(STEP, span.stop - offset)
        data = await loop.run_in_executor(SENDERS, os.pread, fd, count, offset)
        if not data:
            raise EOFError("the file became shorter while it was sent")
        try:
            async with asyncio.timeout(idle):
                await response.write(data)
        except (TimeoutError, ConnectionError) as error:
            raise ClientGone from error
        offset += len(data)


async def send_by_kernel(
    request: web.Request, response: web.StreamResponse, fd: int, span: range, idle: float
) -> None:
    """Send with sendfile on the connection's own socket, beside aiohttp."""
    socket = await _detach(request, response, idle)
    loop = asyncio.get_running_loop()
    offset = span.start
    stop = threading.Event()
    job: asyncio.Future[int] | None = None
    try:
        while offset < span.stop:
            job = loop.run_in_executor(SENDERS, _burst, socket, fd, range(offset, span.stop), stop)
            offset += await asyncio.shield(job)
            if offset < span.stop:
                await _until_writable(socket, idle)
    finally:
        stop.set()
        if job is not None:  # a thread must not be left with a number that means another socket
            await asyncio.wait([job])
        os.close(socket)


def _burst(socket: int, fd: int, span: range, stop: threading.Event) -> int:
    """Send until the client does not keep up; return how much."""
    offset = span.start
    poll = select.poll()
    poll.register(socket, select.POLLOUT)
    while offset < span.stop and not stop.is_set():
        try:
            sent = os.sendfile(socket, fd, offset, min(STEP, span.stop - offset))
        except BlockingIOError:
            if not poll.poll(PATIENCE_MS):
                break
            continue
        except OSError as error:
            raise ClientGone from error
        if sent == 0:
            raise EOFError("the file became shorter while it was sent")
        offset += sent
    return offset - span.start


async def _until_writable(socket: int, idle: float) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_writer(socket, ready.set)
    try:
        async with asyncio.timeout(idle):
            await ready.wait()
    except TimeoutError as error:
        raise ClientGone from error
    finally:
        loop.remove_writer(socket)


async def _detach(request: web.Request, response: web.StreamResponse, idle: float) -> int:
    """Send the headers and return a second descriptor of the connection's socket.

    aiohttp holds the headers back until the first byte of the body, hence the private names;
    a test compares with `send_plainly` and fails when a new aiohttp changes them.
    """
    transport, writer = request.transport, response._payload_writer
    if transport is None or writer is None:
        raise ClientGone
    writer.send_headers()
    transport.set_write_buffer_limits(0)
    try:
        async with asyncio.timeout(idle):
            await writer.drain()
    except (TimeoutError, ConnectionError) as error:
        raise ClientGone from error
    finally:
        transport.set_write_buffer_limits()
    if transport.is_closing() or transport.get_write_buffer_size():
        raise ClientGone
    return os.dup(transport.get_extra_info("socket").fileno())
