"""The bytes of a file of a mount, from a server that is slow, or silent."""

import asyncio
import os
import random
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path

import mount_support
import pytest
from mount_support import Site, mounted
from rude_space import Rude, RudeSpace

from pyvospace_ngas.client.wire import Span
from pyvospace_ngas.errors import PreconditionFailed, ServiceUnavailable, TransferFailed
from pyvospace_ngas.fuse import remote as remote_
from pyvospace_ngas.fuse.chunks import BLOCK, Content, Fetch
from pyvospace_ngas.model.uri import NodePath

DATA = random.Random(8).randbytes(5 * BLOCK + 5)
PATIENCE = 1.0
PIECE = 128 << 10


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


@pytest.mark.parametrize(
    "mood",
    [
        Rude.RESET, Rude.RESET_HALF, Rude.BUSY, Rude.BROKEN, Rude.GONE, Rude.NO_RANGES,
        Rude.HANG_HALF, Rude.TRICKLE,
    ],
)  # fmt: skip
async def test_whatever_breaks_once_the_bytes_are_the_same(
    rude: RudeSpace, tmp_path: Path, mood: Rude
) -> None:
    rude.bytes_next.extend([None, mood])
    async with mount_support.content(rude, "/a", tmp_path, 3 * PATIENCE) as content:
        assert await asyncio.to_thread(read, content) == DATA
    assert not rude.bytes_next


@pytest.mark.parametrize("mood", [Rude.OTHER_RANGE, Rude.SHORT])
async def test_an_answer_that_does_not_fit_is_refused(
    rude: RudeSpace, content: Content, mood: Rude
) -> None:
    rude.bytes_next.extend([mood] * 20)
    with pytest.raises(TransferFailed):
        await asyncio.to_thread(read, content)
    rude.bytes_next.clear()
    await asyncio.to_thread(mount_support.wait_until, lambda: not content._coming)
    assert await asyncio.to_thread(read, content) == DATA


async def test_requests_that_overtake_each_other_get_their_own_bytes(content: Content) -> None:
    await asyncio.to_thread(content.read, 0, memoryview(bytearray(PIECE)))
    offsets = iter(range(0, len(DATA), PIECE))
    lock, source = threading.Lock(), random.Random(3)

    def work() -> None:
        data = bytearray(PIECE)
        while True:
            with lock:
                offset = next(offsets, None)
                pause = source.random() / 500
            if offset is None:
                return
            time.sleep(pause)
            count = content.read(offset, memoryview(data))
            assert data[:count] == DATA[offset : offset + PIECE]

    with ThreadPoolExecutor(4) as threads:
        for each in [threads.submit(work) for _ in range(4)]:
            await asyncio.wrap_future(each)


async def test_who_leaps_along_gets_his_bytes(content: Content) -> None:
    def work() -> None:
        data = bytearray(5000)
        for number in range(40):
            offset = number * 7 % 10 * BLOCK // 2 + 77
            assert content.read(offset, memoryview(data)) == len(data)
            assert data == DATA[offset : offset + 5000]

    await asyncio.to_thread(work)


async def test_of_many_that_read_in_order_nobody_has_bytes_fetched_twice(
    rude: RudeSpace, tmp_path: Path
) -> None:
    rude.files = {f"/{each}": random.Random(each).randbytes(24 * BLOCK) for each in range(6)}
    files, room = [*rude.files], 32 * BLOCK
    async with mount_support.contents(rude, files, tmp_path, 10 * PATIENCE, room) as found:

        def work() -> None:
            data = bytearray(BLOCK)
            for start in range(0, 24 * BLOCK, BLOCK):
                for content, whole in zip(found, rude.files.values(), strict=True):
                    assert content.read(start, memoryview(data)) == BLOCK
                    assert data == whole[start : start + BLOCK]

        await asyncio.to_thread(work)
    ranges = [one.headers["Range"] for one in rude.byte_requests("GET")]
    spans = [each.removeprefix("bytes=").split("-") for each in ranges]
    assert sum(int(last) + 1 - int(first) for first, last in spans) == 6 * 24 * BLOCK


async def test_two_versions_do_not_mix(rude: RudeSpace, content: Content) -> None:
    first = bytearray(PIECE)
    await asyncio.to_thread(content.read, 0, memoryview(first))
    assert first == DATA[:PIECE]
    rude.files["/a"] = DATA[::-1]
    with pytest.raises(PreconditionFailed):
        await asyncio.to_thread(read, content)


@pytest.mark.skipif(mount_support.why_not() is not None, reason=str(mount_support.why_not()))
@pytest.mark.parametrize("version", mount_support.versions())
def test_a_large_file_comes_whole_through_a_mount(
    site: Site, tmp_path: Path, version: int
) -> None:
    path, data = site.container(), random.Random(5).randbytes(128 << 20)
    site.run(site.alice.push(f"{path}/f", data))
    with mounted(site, tmp_path, path, f"fuse={version}") as m:
        before = m.status()["requests"]
        with (m / "f").open("rb") as file:
            assert file.read(5) == data[:5]
            assert file.read() == data[5:]
        assert m.status()["requests"] - before < 20
        device = m.path.stat().st_dev
        ahead = Path(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb")
        if os.access(ahead, os.W_OK):
            assert int(ahead.read_text(encoding="ascii")) == 1024


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


async def test_to_send_by_a_slow_link_is_no_failure(
    rude: RudeSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_, "_SLOWEST", 4 << 20)
    file, data = tmp_path / "f", random.Random(9).randbytes(16 << 20)
    file.write_bytes(data)
    async with mount_support.remote(rude, tmp_path, 3 * PATIENCE) as remote:
        rude.bytes_next.append(Rude.TRICKLE)
        begun = time.monotonic()
        path = NodePath(("b",))
        stored = await asyncio.to_thread(remote.push, path, file, len(data), None)
        assert time.monotonic() - begun > 8 * PATIENCE  # more than is allowed for one step
    assert (stored.length, rude.files["/b"] == data) == (len(data), True)
    assert len(rude.byte_requests("PUT")) == 1


async def test_a_server_that_takes_nothing_is_not_waited_for_longer(
    rude: RudeSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_, "_SLOWEST", 1 << 40)
    file = tmp_path / "f"
    file.write_bytes(bytes(16 << 20))
    async with mount_support.remote(rude, tmp_path, PATIENCE) as remote:
        rude.bytes_next.extend([Rude.HANG] * 20)
        begun = time.monotonic()
        with pytest.raises((ServiceUnavailable, TimeoutError)):
            await asyncio.to_thread(remote.push, NodePath(("b",)), file, 16 << 20, None)
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
