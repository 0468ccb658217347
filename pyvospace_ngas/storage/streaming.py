"""Bytes between clients and NGAS: piece by piece through us, or past us by the kernel."""

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from typing import Final

from aiohttp import ClientError, web

from pyvospace_ngas.errors import LengthMismatch
from pyvospace_ngas.ngas import splicing
from pyvospace_ngas.ngas.errors import NgasError
from pyvospace_ngas.ngas.replicas import Download
from pyvospace_ngas.storage.digests import Sums

log = logging.getLogger(__name__)

READ: Final = 256 * 1024  # what is read from a client at once; the body is paused at twice this
IDLE: Final = 60.0  # seconds without a byte until a client counts as gone


async def body(request: web.Request) -> AsyncIterator[bytes]:
    """Give the body of ``request`` as it arrives; `LengthMismatch` when it breaks off."""
    while True:
        try:
            async with asyncio.timeout(IDLE):
                piece = await request.content.readany()
        except TimeoutError:
            raise LengthMismatch(f"no byte came for {IDLE:.0f} seconds") from None
        except (OSError, ClientError, web.RequestPayloadError) as error:
            raise LengthMismatch("the body broke off before its end") from error
        if not piece:
            return
        yield piece


async def summed(pieces: AsyncIterator[bytes], sums: Sums) -> AsyncGenerator[bytes, None]:
    """Pass ``pieces`` on, summed up; the last one only if the client's digests are right.

    So a node is never given the whole of a file that is going to be refused.
    """
    held = b""
    async for piece in pieces:
        await sums.add(piece)
        if held:
            yield held
        held = piece
    await sums.settle()
    sums.check()
    if held:
        yield held


async def relay(
    request: web.Request,
    response: web.StreamResponse,
    source: Download,
    complete: Callable[[], Awaitable[None]],
) -> None:
    """Send ``source`` as the body of ``response``, which is prepared.

    ``complete`` is called before the last of it is sent. The status line is gone: when the source
    breaks off, a cut connection is the only honest answer that is left. Nothing is raised for
    that, as it would be written into the bytes.
    """
    try:
        await _write(response, source, complete)  # and the head with it
        if source.left and source.can_pour and _is_bare(request):
            await _pour(request, source, complete)
        while source.left:
            await _write(response, source, complete)
        await response.write_eof()
    except NgasError as error:
        log.warning("a download was cut: %s", error)
    except OSError as error:  # and so a time-out
        log.info("a client stopped reading: %s", type(error).__name__)
    else:
        return
    if request.transport is not None:
        request.transport.abort()


async def _write(
    response: web.StreamResponse, source: Download, complete: Callable[[], Awaitable[None]]
) -> None:
    piece = await source.read()
    if not source.left:
        await complete()
    async with asyncio.timeout(IDLE):
        await response.write(piece)


def _is_bare(request: web.Request) -> bool:
    """Tell whether the client gets bytes as they are, which the kernel alone can pass on."""
    transport = request.transport
    return transport is not None and transport.get_extra_info("sslcontext") is None


async def _pour(
    request: web.Request, source: Download, complete: Callable[[], Awaitable[None]]
) -> None:
    """Send the rest of ``source`` from the node's socket to the client's, without a copy of ours.

    That takes less than half of the processor time. The transport goes on watching the client; we
    write beside it, by a number of our own for the same socket.
    """
    transport = request.transport
    if not isinstance(transport, asyncio.WriteTransport):
        raise ConnectionResetError
    transport.set_write_buffer_limits(0)
    try:
        async with asyncio.timeout(IDLE):
            await request.writer.drain()  # first comes what was written
        with ExitStack() as opened:
            try:
                client = os.dup(transport.get_extra_info("socket").fileno())
                opened.callback(os.close, client)
                pipe = opened.enter_context(splicing.pipe(source.left))
            except OSError as error:  # too many files are open, or the client is gone
                log.warning("a download goes piece by piece: %s", error.strerror)
                return
            await _pour_by(pipe, client, request, source, complete)
    finally:
        transport.set_write_buffer_limits()


async def _pour_by(
    pipe: splicing.Pipe,
    client: int,
    request: web.Request,
    source: Download,
    complete: Callable[[], Awaitable[None]],
) -> None:
    ready = partial(splicing.writable, client)
    turn = 0  # bytes since others had theirs
    while count := await source.pour(pipe.sink):
        if not source.left:
            await complete()
        request.writer.output_size += count
        turn += count
        while count:
            count -= await splicing.move(pipe.source, client, count, ready, IDLE)
        if turn >= splicing.LARGE:  # neither side need have us wait
            turn = 0
            await asyncio.sleep(0)


async def answer_continue(request: web.Request) -> None:
    """Tell a client that waits for it that its body is welcome."""
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the answer itself has not begun


async def expect_later(request: web.Request) -> None:
    """Let the handler see a request before its body is asked for (see `answer_continue`)."""
    expect = request.headers.get("Expect", "100-continue")
    if expect.lower() != "100-continue":
        raise web.HTTPExpectationFailed(text=f"Unknown Expect: {expect[:80]}")
