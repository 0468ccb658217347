"""Bytes between clients and NGAS, in their plain form: through this process, piece by piece."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final

from aiohttp import ClientError, web

from pyvospace_ngas.errors import LengthMismatch
from pyvospace_ngas.ngas.errors import NgasError
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
    request: web.Request, response: web.StreamResponse, pieces: AsyncIterator[bytes]
) -> None:
    """Send ``pieces`` as the body of ``response``, which is prepared.

    The status line is gone: when the source breaks off, a cut connection is the only honest
    answer that is left. Nothing is raised for that, as it would be written into the bytes.
    """
    try:
        async for piece in pieces:
            async with asyncio.timeout(IDLE):
                await response.write(piece)
        await response.write_eof()
    except NgasError as error:
        log.warning("a download was cut: %s", error)
    except OSError as error:  # and so a time-out
        log.info("a client stopped reading: %s", type(error).__name__)
    else:
        return
    if request.transport is not None:
        request.transport.abort()


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
