"""Large files of a mount that flow from a socket into a pipe: the same bytes, whatever breaks."""

import asyncio
import os
import random
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mount_support
import pytest
from mount_support import Site, mounted
from rude_space import Rude, RudeSpace

from pyvospace_ngas.errors import PreconditionFailed
from pyvospace_ngas.fuse import chunks, flows
from pyvospace_ngas.fuse.chunks import BLOCK, Content
from pyvospace_ngas.fuse.flows import Pipes
from pyvospace_ngas.ngas import splicing

pytestmark = pytest.mark.skipif(not splicing.works(), reason="needs splice(2)")
DATA = random.Random(9).randbytes(12 * BLOCK + 5)
PIECE = 128 << 10
PATIENCE = 1.0


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have small files flow, from their second block on."""
    monkeypatch.setattr(chunks, "_MUCH", BLOCK)
    monkeypatch.setattr(chunks, "_LONGEST", 1)
    monkeypatch.setattr(chunks, "_WORTH", PIECE)


@pytest.fixture
def rude() -> RudeSpace:
    return RudeSpace(files={"/a": DATA})


@pytest.fixture
async def content(rude: RudeSpace, tmp_path: Path) -> AsyncIterator[Content]:
    async with mount_support.content(rude, "/a", tmp_path, PATIENCE) as found:
        yield found


class Reading:
    """What the binding does for each read of the kernel's, and how much of it flowed."""

    def __init__(self, content: Content) -> None:
        self._content = content
        self.flowed = 0

    def at(self, offset: int, count: int = PIECE) -> bytes:
        poured = self._content.pour(offset, count)
        if poured is None:
            data = bytearray(count)
            return bytes(data[: self._content.read(offset, memoryview(data))])
        pipe, count = poured
        self.flowed += count
        found = os.read(pipe, count)
        assert len(found) == count
        return found

    def all(self, start: int = 0, end: int = len(DATA)) -> None:
        for offset in range(start, end, PIECE):
            assert self.at(offset) == DATA[offset : offset + PIECE], offset


@pytest.fixture
def reading(content: Content) -> Reading:
    return Reading(content)


def rests(rude: RudeSpace) -> int:
    """Return how often all that follows was asked for."""
    return sum(seen.headers.get("Range", "").endswith("-") for seen in rude.seen)


async def test_what_is_read_in_order_flows(rude: RudeSpace, reading: Reading) -> None:
    await asyncio.to_thread(reading.all)
    assert reading.flowed == len(DATA) - BLOCK
    assert rests(rude) == 1


async def test_small_requests_are_served_from_memory(
    monkeypatch: pytest.MonkeyPatch, rude: RudeSpace, reading: Reading
) -> None:
    monkeypatch.setattr(chunks, "_WORTH", 2 * PIECE)
    await asyncio.to_thread(reading.all)
    assert (reading.flowed, rests(rude)) == (0, 0)


async def test_a_read_across_the_beginning_is_no_gap(rude: RudeSpace, reading: Reading) -> None:
    def work() -> None:
        reading.all(0, BLOCK - PIECE // 2)
        for offset in range(BLOCK - PIECE // 2, len(DATA), PIECE):
            assert reading.at(offset) == DATA[offset : offset + PIECE]

    await asyncio.to_thread(work)
    assert reading.flowed > 10 * BLOCK
    assert rests(rude) == 1


async def test_what_nobody_reads_is_passed_by(rude: RudeSpace, reading: Reading) -> None:
    def work() -> None:
        reading.all(0, 2 * BLOCK)
        reading.all(2 * BLOCK + 3 * PIECE)

    await asyncio.to_thread(work)
    assert reading.flowed > 10 * BLOCK
    assert rests(rude) == 1


async def test_requests_that_overtake_each_other_get_their_own_bytes(reading: Reading) -> None:
    await asyncio.to_thread(reading.all, 0, BLOCK)
    offsets = iter(range(BLOCK, len(DATA), PIECE))
    lock, source = threading.Lock(), random.Random(3)

    def work() -> None:
        while True:
            with lock:
                offset = next(offsets, None)
                pause = source.random() / 500
            if offset is None:
                return
            time.sleep(pause)
            assert reading.at(offset) == DATA[offset : offset + PIECE]

    with ThreadPoolExecutor(4) as threads:
        for each in [threads.submit(work) for _ in range(4)]:
            await asyncio.wrap_future(each)
    assert reading.flowed > len(DATA) // 2


@pytest.mark.parametrize(
    "mood",
    [
        Rude.RESET, Rude.RESET_HALF, Rude.BUSY, Rude.BROKEN, Rude.GONE, Rude.NO_RANGES,
        Rude.OTHER_RANGE, Rude.HANG, Rude.HANG_HALF, Rude.TRICKLE, Rude.SHORT,
    ],
)  # fmt: skip
async def test_whatever_breaks_the_bytes_are_the_same(
    rude: RudeSpace, reading: Reading, mood: Rude
) -> None:
    rude.rest_next.extend([mood] * 3)
    await asyncio.to_thread(reading.all)
    assert rude.rest_next != 3 * [mood]


async def test_a_pipe_that_has_no_room_is_given_up(
    rude: RudeSpace, reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(splicing, "LARGE", 4096)
    await asyncio.to_thread(reading.all)
    assert reading.flowed == 0
    assert rests(rude) <= 3


async def test_a_server_that_cannot_is_asked_once(rude: RudeSpace, reading: Reading) -> None:
    rude.rest_next.extend([Rude.NO_RANGES] * 9)
    await asyncio.to_thread(reading.all)
    assert rests(rude) == 1


async def test_who_leaps_along_is_served_by_blocks(content: Content, reading: Reading) -> None:
    def work() -> None:
        reading.all(0, 2 * BLOCK)
        for offset in range(2 * BLOCK, len(DATA), 3 * PIECE):
            assert reading.at(offset) == DATA[offset : offset + PIECE]

    await asyncio.to_thread(work)
    assert not content._flows


async def test_what_an_answer_that_failed_left_in_a_pipe_is_not_in_the_next() -> None:
    pipes = Pipes()
    first = pipes.empty()
    assert pipes.empty() == first
    os.write(first.sink, b"left")
    second = pipes.empty()
    os.write(second.sink, b"next")
    assert os.read(second.source, 10) == b"next"
    pipes.drop()


async def test_leaps_are_served_and_end_it_until_there_is_an_order_again(
    content: Content, reading: Reading
) -> None:
    def work() -> None:
        reading.all(0, 3 * BLOCK)
        before = reading.flowed
        for number in range(20):
            offset = (number * 5 % 9 + 3) * BLOCK + 77
            assert reading.at(offset, 5000) == DATA[offset : offset + 5000]
        assert content._flow is None
        reading.all()
        assert reading.flowed > before

    await asyncio.to_thread(work)


async def test_two_readers_of_one_file_are_served_from_memory(
    content: Content, reading: Reading
) -> None:
    def work() -> None:
        reading.all(0, 6 * BLOCK)
        for offset in range(BLOCK, 4 * BLOCK, PIECE):
            assert reading.at(offset) == DATA[offset : offset + PIECE]
        before = reading.flowed
        reading.all()
        assert reading.flowed == before

    await asyncio.to_thread(work)
    assert content._flow is None


async def test_who_pauses_holds_no_connection(
    rude: RudeSpace, content: Content, reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flows, "IDLE", 60.0)  # no pause but that of the test
    monkeypatch.setattr(chunks, "IDLE", 0.3)

    def work() -> None:
        reading.all(0, 3 * BLOCK)
        monkeypatch.setattr(flows, "IDLE", 0.3)
        until = time.monotonic() + 20
        while content._flow is not None and time.monotonic() < until:
            time.sleep(0.05)
        assert content._flow is None
        monkeypatch.setattr(flows, "IDLE", 60.0)
        reading.all(3 * BLOCK)

    await asyncio.to_thread(work)
    assert rests(rude) == 2  # and flows again


async def test_two_versions_do_not_mix(
    rude: RudeSpace, content: Content, reading: Reading
) -> None:
    content._flows = False
    await asyncio.to_thread(reading.all, 0, BLOCK)
    rude.files["/a"] = DATA[::-1]
    content._flows = True
    with pytest.raises(PreconditionFailed):
        await asyncio.to_thread(reading.all, BLOCK)


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
        asked = m.status()["requests"] - before
        device = m.path.stat().st_dev
        ahead = Path(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb")
        if may_extend := os.access(ahead, os.W_OK):
            assert int(ahead.read_text(encoding="ascii")) == 512
        # With libfuse 2, or with the kernel's usual 128 KiB, nothing flows.
        assert asked < (12 if version == 3 and may_extend else 30)


async def test_the_end_wakes_who_waits(
    rude: RudeSpace, content: Content, reading: Reading
) -> None:
    rude.rest_next.append(Rude.HANG_HALF)
    job = asyncio.create_task(asyncio.to_thread(reading.all))
    await asyncio.sleep(0.3)
    begun = time.monotonic()
    await asyncio.to_thread(content.end)
    assert time.monotonic() - begun < PATIENCE
    await job
