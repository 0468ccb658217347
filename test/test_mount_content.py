"""The bytes of a file of a mount, from a server that is slow, or silent."""

import asyncio
import random
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path

import mount_support
import pytest
from rude_space import Rude, RudeSpace

from pyvospace_ngas.client.wire import Span
from pyvospace_ngas.errors import ServiceUnavailable
from pyvospace_ngas.fuse.chunks import BLOCK, Content, Fetch

DATA = random.Random(8).randbytes(5 * BLOCK + 5)
PATIENCE = 1.0


@pytest.fixture
def rude() -> RudeSpace:
    return RudeSpace(files={"/a": DATA})


@pytest.fixture
async def content(rude: RudeSpace, tmp_path: Path) -> AsyncIterator[Content]:
    async with mount_support.content(rude, "/a", tmp_path, PATIENCE) as found:
        yield found


def read(content: Content) -> bytes:
    """Read as a program does that reads in order."""
    data = bytearray(len(DATA))
    for start in range(0, len(data), BLOCK // 2):
        content.read(start, memoryview(data)[start : start + BLOCK // 2])
    return bytes(data)


async def test_a_slow_link_is_no_failure(rude: RudeSpace, content: Content) -> None:
    rude.bytes_next.extend([Rude.TRICKLE] * 20)
    begun = time.monotonic()
    assert await asyncio.to_thread(read, content) == DATA
    assert time.monotonic() - begun > 2 * PATIENCE


async def test_a_server_that_is_silent_is_not_waited_for_longer(
    rude: RudeSpace, content: Content
) -> None:
    rude.bytes_next.extend([Rude.HANG] * 20)
    begun = time.monotonic()
    with pytest.raises((ServiceUnavailable, TimeoutError)):
        await asyncio.to_thread(read, content)
    assert time.monotonic() - begun < 10 * PATIENCE


def short(content: Content, fetch: Fetch) -> Content:
    """Return a small file, as ``content`` is, that is fetched by its readers."""
    return Content(content._remote, content._chunks, content._reader, "abc", 5, fetch)


async def test_a_small_file_is_fetched_once_by_its_first_reader(content: Content) -> None:
    begun, go_on, calls = threading.Event(), threading.Event(), []

    def fetch(span: Span, match: str) -> None:
        calls.append((threading.get_ident(), match))
        begun.set()
        assert go_on.wait(PATIENCE)
        span.pieces[0][:] = b"hello"

    small = short(content, fetch)

    def reader() -> tuple[int, bytes]:
        data = bytearray(9)
        return threading.get_ident(), bytes(data[: small.read(0, memoryview(data))])

    def work() -> None:
        with ThreadPoolExecutor(4) as threads:
            first = threads.submit(reader)
            assert begun.wait(PATIENCE)
            others = [threads.submit(reader) for _ in range(3)]
            go_on.set()
            assert [job.result()[1] for job in (first, *others)] == [b"hello"] * 4
            assert calls == [(first.result()[0], '"abc"')]

    await asyncio.to_thread(work)


async def test_a_small_file_that_did_not_come_is_fetched_by_the_next(content: Content) -> None:
    failures: list[Exception] = [ServiceUnavailable("away"), CancelledError()]

    def fetch(span: Span, _: str) -> None:
        if failures:
            raise failures.pop()
        span.pieces[0][:] = b"hello"

    small, data = short(content, fetch), bytearray(5)
    for error in (CancelledError, ServiceUnavailable):
        with pytest.raises(error):
            small.read(0, memoryview(data))
    assert small.read(0, memoryview(data)) == 5
    assert data == b"hello"
