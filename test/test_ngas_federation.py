"""A federation of nodes that misbehave as the real ones do, and worse."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from crc32c import crc32c
from rude_ngas import NO_ARCHIVING, RudeNgas

from pyvospace_ngas.ngas import splicing
from pyvospace_ngas.ngas.body import KEPT
from pyvospace_ngas.ngas.client import Discarded
from pyvospace_ngas.ngas.errors import (
    ChecksumMismatch,
    LostAnswer,
    NgasError,
    NoNode,
    NotFound,
    RemovalRefused,
    Unreachable,
    WrongLength,
)
from pyvospace_ngas.ngas.federation import Federation, Stored
from pyvospace_ngas.ngas.placement import Entry
from pyvospace_ngas.ngas.replicas import Copy
from pyvospace_ngas.ngas.wire import Patience

SHORT = Patience(connect=5, idle=5, answer=5, settle=0.4, admission=5)
SMALL = random.Random(1).randbytes(100_000)
LARGE = random.Random(2).randbytes(3 * KEPT)


def entry_of(rude: RudeNgas) -> Entry:
    return Entry("127.0.0.1", rude.port)


def copy_of(stored: Stored) -> Copy:
    return Copy(stored.entry.address, stored.host_id, stored.disk_id, stored.version)


async def pieces(data: bytes, size: int = 256 * 1024) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        await asyncio.sleep(0)
        yield data[start : start + size]


async def put(federation: Federation, data: bytes, name: str = "one", **more: Any) -> Stored:
    return await federation.archive(name, len(data), pieces(data), **more)


async def get(
    federation: Federation,
    copies: Sequence[Copy],
    start: int,
    end: int,
    name: str = "one",
    *,
    poured: bool = False,
) -> bytes:
    async with federation.retrieve(copies, name, start, end) as found:
        if not poured:
            return b"".join([piece async for piece in found.chunks()])
        got = b""
        with splicing.pipe() as pipe:
            while count := await found.pour(pipe.sink):
                got += os.read(pipe.source, count)
                assert found.left == end - start - len(got)
        return got


ways = pytest.mark.parametrize("poured", [False, True], ids=["read", "poured"])


@asynccontextmanager
async def federated(
    count: int = 1, **more: Any
) -> AsyncIterator[tuple[Federation, list[RudeNgas]]]:
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(RudeNgas()) for _ in range(count)]
        entries = [entry_of(node) for node in nodes]
        options: dict[str, Any] = {
            "patience": SHORT,
            "probe_interval": 3600.0,
            "rng": random.Random(3),
            **more,
        }
        federation = await stack.enter_async_context(Federation(entries, **options))
        await federation.wait_until_ready()
        yield federation, nodes


def spoil(nodes: Sequence[RudeNgas], **faults: Any) -> None:
    for node in nodes:
        for name, value in faults.items():
            assert hasattr(node.faults, name)
            setattr(node.faults, name, value)


async def test_bytes_come_back_as_they_were_stored() -> None:
    async with federated() as (federation, (rude,)):
        stored = await put(federation, LARGE)
        assert stored == Stored(
            entry_of(rude), rude.host_id, f"disk-{rude.port}", "one", 1, len(LARGE),
            str(crc32c(LARGE)), "crc32c",
        )  # fmt: skip
        assert await get(federation, [copy_of(stored)], 0, len(LARGE)) == LARGE


async def test_an_upload_says_its_length_and_never_expects() -> None:
    async with federated() as (federation, (rude,)):
        await put(federation, SMALL)
        (request,) = rude.commands("QARCHIVE")
        assert request.headers["content-length"] == str(len(SMALL))
        assert not {"expect", "transfer-encoding"} & set(request.headers)
        assert request.parameters == {
            "filename": "one.bin",
            "file_id": "one",
            "mime_type": "application/octet-stream",
            "crc_variant": "crc32c",
        }


@pytest.mark.parametrize(
    "faults",
    [
        {"refuse_archive": NO_ARCHIVING},
        {"refuse_archive": NO_ARCHIVING, "refuse_and_stall": True},
        {"refuse_archive": NO_ARCHIVING, "latin_1": True},
        {"failure_with_200": True},
        {"busy": True},
        {"reset_after": 50_000},
        {"lose_upload": True},
        {"capacity": 0},
    ],
    ids=str,
)
async def test_a_node_that_does_not_take_a_small_file_is_replaced(faults: dict[str, Any]) -> None:
    attempts: list[bool] = []
    for seed in range(6):  # the first choice is random
        async with federated(2, rng=random.Random(seed)) as (federation, (good, bad)):
            refusing = entry_of(bad)

            async def remember(entry: Entry, refusing: Entry = refusing) -> None:
                attempts.append(entry == refusing)

            spoil([bad], **faults)
            stored = await put(federation, SMALL, on_attempt=remember)
            assert stored.entry == entry_of(good)
            assert good.files["one"].data == SMALL
    assert set(attempts) == {True, False}


@pytest.mark.parametrize(
    "faults",
    [
        {"refuse_archive": NO_ARCHIVING},
        {"refuse_archive": NO_ARCHIVING, "refuse_and_stall": True},
        {"busy": True},
        {"reset_after": KEPT // 2},
    ],
    ids=str,
)
async def test_a_large_file_goes_elsewhere_while_its_beginning_is_kept(
    faults: dict[str, Any],
) -> None:
    for seed in range(4):
        async with federated(2, rng=random.Random(seed)) as (federation, (good, bad)):
            spoil([bad], **faults)
            stored = await put(federation, LARGE)
            assert stored.entry == entry_of(good)
            assert stored.checksum == str(crc32c(LARGE))


async def test_a_large_file_that_is_cut_off_later_is_an_error() -> None:
    async with federated(2) as (federation, nodes):
        spoil(nodes, reset_after=2 * KEPT)
        with pytest.raises(NoNode):
            await put(federation, LARGE)
        assert sum(len(node.commands("QARCHIVE")) for node in nodes) == 1


async def test_the_reason_of_a_refusal_is_read_behind_a_reset() -> None:
    async with federated() as (federation, (rude,)):
        rude.faults.refuse_archive = NO_ARCHIVING
        with pytest.raises(NoNode, match="4017"):
            await put(federation, LARGE)


async def test_a_stranger_on_the_port_is_no_node() -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with server:
        entry = Entry("127.0.0.1", server.sockets[0].getsockname()[1])
        async with Federation([entry], patience=SHORT) as federation:
            with pytest.raises(LostAnswer):
                await put(federation, SMALL)
            with pytest.raises(Unreachable):
                await get(federation, [], 0, 5)


@pytest.mark.parametrize("fault", ["lose_answer", "half_answer"])
async def test_a_lost_answer_is_asked_for(fault: str) -> None:
    async with federated() as (federation, (rude,)):
        spoil([rude], **{fault: True})
        stored = await put(federation, SMALL)
        assert (stored.size, stored.checksum) == (len(SMALL), str(crc32c(SMALL)))
        assert len(rude.commands("QARCHIVE")) == 1


async def test_a_file_whose_upload_left_no_trace_goes_elsewhere() -> None:
    async with federated(2) as (federation, (good, bad)):
        bad.faults.lose_upload = True
        for number in range(2):
            assert (await put(federation, SMALL, f"f{number}")).entry == entry_of(good)
        assert not bad.files


async def test_an_upload_whose_node_fell_silent_is_neither_stored_nor_not() -> None:
    async with federated() as (federation, (rude,)):
        rude.faults.late = asyncio.Event()
        upload = asyncio.create_task(put(federation, SMALL))
        await rude.stored.wait()
        await rude.stop()
        with pytest.raises(LostAnswer):
            await upload


async def test_a_node_that_is_gone_is_replaced() -> None:
    for seed in range(4):
        async with federated(2, rng=random.Random(seed)) as (federation, (good, gone)):
            await gone.stop()
            assert (await put(federation, LARGE)).entry == entry_of(good)


async def test_a_node_that_is_not_online_cannot_deny_an_upload() -> None:
    async with federated() as (federation, (rude,)):
        spoil([rude], lose_upload=True, state="OFFLINE")
        with pytest.raises(LostAnswer):
            await put(federation, SMALL)


@pytest.mark.parametrize("fault", ["wrong_checksum", "wrong_size"])
async def test_other_bytes_than_were_sent_are_an_error_and_stay(fault: str) -> None:
    async with federated(2) as (federation, nodes):
        spoil(nodes, **{fault: True})
        with pytest.raises(ChecksumMismatch):
            await put(federation, SMALL)
        assert not any(node.commands("DISCARD") for node in nodes)
        assert sum(len(node.files) for node in nodes) == 1


async def test_no_checksum_is_refused_unless_allowed() -> None:
    async with federated() as (federation, (rude,)):
        rude.faults.checksum = "none"
        with pytest.raises(ChecksumMismatch):
            await put(federation, SMALL)
        lax = Federation([entry_of(rude)], patience=SHORT, allow_no_checksum=True)
        async with lax:
            assert (await put(lax, SMALL, "two")).variant == "none"


@pytest.mark.parametrize("plugin", ["crc32", "ngamsGenCrc32", "crc32z"])
async def test_a_checksum_of_another_kind_is_read_back_once(plugin: str) -> None:
    async with federated() as (federation, (rude,)):
        rude.faults.checksum = plugin
        await put(federation, SMALL, "a")
        await put(federation, SMALL, "b")
        assert len(rude.commands("RETRIEVE")) == 1
        rude.faults.wrong_checksum = True
        with pytest.raises(ChecksumMismatch):
            await put(federation, SMALL, "c")


async def test_a_wrong_checksum_of_another_kind_is_found_by_reading_back() -> None:
    async with federated() as (federation, (rude,)):
        spoil([rude], checksum="crc32z", wrong_checksum=True)
        with pytest.raises(ChecksumMismatch):
            await put(federation, SMALL)


async def test_a_checksum_that_the_caller_computed_is_the_one_compared() -> None:
    async with federated() as (federation, _):
        await put(federation, SMALL, "good", crc=lambda: crc32c(SMALL))
        with pytest.raises(ChecksumMismatch):
            await put(federation, SMALL, "bad", crc=lambda: 1)


@pytest.mark.parametrize("said", [0, len(SMALL) - 1, len(SMALL) + 1])
async def test_a_body_of_another_length_stores_nothing(said: int) -> None:
    async with federated() as (federation, (rude,)):
        with pytest.raises(WrongLength):
            await federation.archive("one", said, pieces(SMALL))
        assert not rude.files


async def test_what_the_source_raises_comes_through_and_stores_nothing() -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield SMALL[:1000]
        raise ConnectionResetError

    async with federated() as (federation, (rude,)):
        with pytest.raises(ConnectionResetError):
            await federation.archive("one", len(SMALL), broken())
        assert not rude.files
        await put(federation, SMALL)  # the request was given back


async def test_a_cancelled_upload_lets_go_of_its_node() -> None:
    async with federated(cap=1) as (federation, (rude,)):
        rude.faults.late = asyncio.Event()
        upload = asyncio.create_task(put(federation, SMALL))
        await rude.stored.wait()
        upload.cancel()
        with pytest.raises(asyncio.CancelledError):
            await upload
        rude.faults.late = None
        await put(federation, SMALL, "two")


async def test_a_node_is_not_given_more_than_its_cap() -> None:
    async with federated(cap=3) as (federation, (rude,)):
        rude.faults.capacity = 5
        await asyncio.gather(*[put(federation, SMALL, f"f{number}") for number in range(30)])
        assert len(rude.files) == 30
        assert rude.most_at_once <= 5


@pytest.mark.parametrize("action", ["put", "get"])
async def test_a_federation_that_is_busy_for_a_moment_is_tried_again(action: str) -> None:
    async with federated(2) as (federation, nodes):
        copy = copy_of(await put(federation, LARGE))
        spoil(nodes, busy=True)
        for node in nodes:
            node.faults.once.add("busy")
        if action == "put":
            await put(federation, LARGE, "two")
        else:
            nodes[0].files["one"] = nodes[1].files["one"] = next(
                node.files["one"] for node in nodes if node.files
            )
            assert await get(federation, [copy], 1, 9) == LARGE[1:9]


async def test_a_federation_that_stays_busy_is_an_error() -> None:
    hasty = Patience(connect=5, idle=5, answer=5, settle=0.4, admission=0.2)
    async with federated(2, patience=hasty) as (federation, nodes):
        copy = copy_of(await put(federation, SMALL))
        spoil(nodes, busy=True)
        with pytest.raises(NoNode):
            await put(federation, SMALL, "two")
        with pytest.raises(Unreachable):
            await get(federation, [copy], 1, 9)


async def test_a_full_disk_gets_no_files() -> None:
    async with federated(2) as (federation, (good, full)):
        full.faults.available_mb = 0
        await federation.wait_until_ready()
        for number in range(8):
            assert (await put(federation, SMALL, f"f{number}")).entry == entry_of(good)
        assert not full.commands("QARCHIVE")


async def test_no_room_anywhere_is_said() -> None:
    async with federated() as (federation, (rude,)):
        rude.faults.completed = 1
        await federation.wait_until_ready()
        with pytest.raises(NoNode, match="room"):
            await put(federation, SMALL)


@ways
@pytest.mark.parametrize("ranges", ["start", "full", "none"])
@pytest.mark.parametrize("doubled", [False, True])
async def test_exactly_the_wanted_bytes_arrive_whatever_the_node_answers(
    ranges: str, doubled: bool, poured: bool
) -> None:
    async with federated() as (federation, (rude,)):
        spoil([rude], ranges=ranges, doubled_headers=doubled)
        copies = [copy_of(await put(federation, LARGE))]
        size = len(LARGE)
        wanted = [(0, size), (0, 1), (1, 2), (500, size), (size - 1, size), (700_000, 900_000)]
        for start, end in [*wanted, *wanted]:
            got = await get(federation, copies, start, end, poured=poured)
            assert got == LARGE[start:end]
        assert await get(federation, copies, 5, 5) == b""


async def test_a_node_that_answers_206_is_asked_for_the_end_too() -> None:
    async with federated() as (federation, (rude,)):
        rude.faults.ranges = "full"
        copies = [copy_of(await put(federation, SMALL))]
        for _ in range(2):
            await get(federation, copies, 10, 20)
        asked = [request.headers["range"] for request in rude.commands("RETRIEVE")]
        assert asked == ["bytes=10-", "bytes=10-19"]
        rude.faults.ranges = "start"  # the real server in its place
        assert await get(federation, copies, 10, 20) == SMALL[10:20]


async def test_bytes_beyond_the_end_are_an_error() -> None:
    async with federated() as (federation, _):
        copies = [copy_of(await put(federation, SMALL))]
        with pytest.raises(Unreachable):
            await get(federation, copies, 0, len(SMALL) + 1)


@pytest.mark.parametrize("fault", ["deny", "vanished", "busy", "silent"])
async def test_another_node_answers_when_the_holder_does_not(fault: str) -> None:
    async with federated(2) as (federation, nodes):
        stored = await put(federation, SMALL)
        holder, other = sorted(nodes, key=lambda node: entry_of(node) != stored.entry)
        other.files["one"] = holder.files["one"]
        spoil([holder], **{fault: True})
        assert await get(federation, [copy_of(stored)], 10, 5000) == SMALL[10:5000]
        if fault != "silent":
            assert holder.requests[-1].command in {"RETRIEVE", "QARCHIVE", "QUERY", "STATUS"}


async def test_the_holder_is_asked_first() -> None:
    async with federated(3) as (federation, nodes):
        stored = await put(federation, SMALL)
        for _ in range(6):
            await get(federation, [copy_of(stored)], 0, 10)
        asked = {entry_of(node) for node in nodes if node.commands("RETRIEVE")}
        assert asked == {stored.entry}


async def test_the_holder_is_found_by_its_host_id_when_addresses_changed() -> None:
    async with federated(3) as (federation, _):
        stored = await put(federation, SMALL)
        moved = Copy("old-name:7777", stored.host_id, stored.disk_id, stored.version)
        async with federation.retrieve([moved], "one", 0, 5) as found:
            assert found.entry == stored.entry


@ways
@pytest.mark.parametrize("ranges", ["start", "full", "none"])
async def test_a_broken_download_goes_on_at_another_node(ranges: str, poured: bool) -> None:
    async with federated(3) as (federation, nodes):
        stored = await put(federation, LARGE)
        for node in nodes:
            node.files["one"] = nodes[0].files.get("one", node.files.get("one")) or next(
                other.files["one"] for other in nodes if other.files
            )
            spoil([node], ranges=ranges, cut_download=1_000_000)
            node.faults.once.add("cut_download")
        got = await get(federation, [copy_of(stored)], 100, len(LARGE) - 100, poured=poured)
        assert got == LARGE[100:-100]


@ways
async def test_a_broken_download_goes_on_at_its_only_node_once(poured: bool) -> None:
    async with federated() as (federation, (rude,)):
        copies = [copy_of(await put(federation, LARGE))]
        spoil([rude], cut_download=2_000_000, once={"cut_download"})
        assert await get(federation, copies, 0, len(LARGE), poured=poured) == LARGE
        spoil([rude], cut_download=2_000_000)
        with pytest.raises(Unreachable):
            await get(federation, copies, 0, len(LARGE), poured=poured)


async def test_a_reader_that_stops_lets_go_of_the_node() -> None:
    async with federated(cap=1) as (federation, _):
        copies = [copy_of(await put(federation, LARGE))]
        for _ in range(3):
            async with federation.retrieve(copies, "one", 0, len(LARGE)) as found:
                async for piece in found.chunks():
                    assert piece
                    break


async def test_a_redirect_is_followed_only_within_the_federation() -> None:
    async with federated(2) as (federation, nodes), RudeNgas() as stranger:
        stored = await put(federation, SMALL)
        holder, other = sorted(nodes, key=lambda node: entry_of(node) != stored.entry)
        stranger.files["one"] = holder.files["one"]
        other.faults.redirect = f"127.0.0.1:{holder.port}"
        nowhere = [Copy(entry_of(other).address, "", "d", 1)]
        async with federation.retrieve(nowhere, "one", 0, 9) as found:
            assert found.entry == entry_of(holder)
        spoil(nodes, redirect=f"127.0.0.1:{stranger.port}")
        with pytest.raises(Unreachable):
            await get(federation, nowhere, 0, 9)
        assert not stranger.requests


async def test_not_found_is_the_word_of_every_node() -> None:
    async with federated(2) as (federation, nodes):
        with pytest.raises(NotFound):
            await get(federation, [], 0, 9)
        assert await federation.locate("one") == []
        spoil(nodes[:1], state="OFFLINE")
        with pytest.raises(Unreachable):
            await get(federation, [], 0, 9)
        with pytest.raises(Unreachable):
            await federation.locate("one")
        spoil(nodes[:1], state="ONLINE", silent=True)
        with pytest.raises(Unreachable):
            await federation.locate("one")


async def test_a_file_is_located_although_a_node_is_away() -> None:
    async with federated(2) as (federation, nodes):
        stored = await put(federation, SMALL)
        await next(node for node in nodes if entry_of(node) != stored.entry).stop()
        assert await federation.locate("one") == [stored]


@pytest.mark.parametrize("host_id", [True, False])
async def test_a_copy_is_discarded_at_its_holder(host_id: bool) -> None:
    async with federated(3) as (federation, nodes):
        stored = await put(federation, SMALL)
        known = stored.host_id if host_id else "unknown:1"
        copy = Copy("old-name:7777", known, stored.disk_id, stored.version)
        assert await federation.discard(copy, "one") is Discarded.DISCARDED
        assert not any(node.files for node in nodes)
        if host_id:
            assert sum(len(node.commands("DISCARD")) for node in nodes) == 1
            assert await federation.discard(copy, "one") is Discarded.ABSENT
        else:
            with pytest.raises(Unreachable):
                await federation.discard(copy, "one")


async def test_a_holder_that_is_not_online_cannot_deny_a_copy() -> None:
    async with federated() as (federation, (rude,)):
        copy = copy_of(await put(federation, SMALL))
        rude.files.clear()
        rude.faults.state = "OFFLINE"
        with pytest.raises(Unreachable):
            await federation.discard(copy, "one")


async def test_a_node_that_does_not_remove_files_says_so() -> None:
    async with federated(3) as (federation, nodes):
        copy = copy_of(await put(federation, SMALL))
        spoil(nodes, removal=False)
        with pytest.raises(RemovalRefused, match="AllowRemoveReq"):
            await federation.discard(copy, "one")
        with pytest.raises(RemovalRefused):
            await federation.discard(Copy("", "unknown:1", "d", 1), "one")
        assert any(node.files for node in nodes)


async def test_willingness_to_discard_is_asked_once_a_minute_and_discards_nothing() -> None:
    now = 0.0
    async with federated(3, clock=lambda: now) as (federation, nodes):
        await put(federation, SMALL)
        willing, unwilling, away = nodes
        unwilling.faults.removal = False
        away.faults.silent = True
        answers = {entry_of(willing): True, entry_of(unwilling): False, entry_of(away): None}
        assert await federation.may_discard() == answers
        assert await federation.may_discard() == answers
        assert len(willing.commands("DISCARD")) == 1
        assert "execute" not in willing.commands("DISCARD")[0].parameters
        unwilling.faults.removal = True
        away.faults.silent = False
        now += 61
        assert set((await federation.may_discard()).values()) == {True}
        assert sum(len(node.files) for node in nodes) == 1


async def test_a_node_that_comes_up_late_is_waited_for_with_a_message() -> None:
    async with RudeNgas() as rude:
        await rude.stop()
        told: list[str] = []
        message = asyncio.Event()

        def notify(text: str) -> None:
            told.append(text)
            message.set()

        federation = Federation([entry_of(rude)], patience=SHORT, probe_interval=3600)
        async with federation:
            waiting = asyncio.create_task(federation.wait_until_ready(notify))
            await message.wait()
            await rude.start()
            await waiting
            assert told == [f"waiting for NGAS at 127.0.0.1:{rude.port}"]
            await put(federation, SMALL)


async def test_a_node_that_recovered_is_used_again() -> None:
    async with federated(2, probe_interval=0.05) as (federation, (steady, shaky)):
        await federation.wait_until_ready()
        await shaky.stop()
        for number in range(4):
            assert (await put(federation, SMALL, f"a{number}")).entry == entry_of(steady)
        await shaky.start()
        while not shaky.files:
            await put(federation, SMALL[:100], f"b{len(steady.files)}")


async def test_parallel_files_do_not_mix() -> None:
    contents = {f"f{number}": random.Random(number).randbytes(600_000) for number in range(12)}
    async with federated(2) as (federation, _):

        async def round_trip(name: str, data: bytes) -> bool:
            copy = copy_of(await put(federation, data, name))
            return await get(federation, [copy], 3, len(data), name) == data[3:]

        assert all(await asyncio.gather(*[round_trip(*item) for item in contents.items()]))


async def test_every_error_of_ours_is_an_ngas_error() -> None:
    async with federated() as (federation, (rude,)):
        await rude.stop()
        copy = Copy("", "x", "d", 1)
        for attempt in (
            put(federation, SMALL),
            get(federation, [copy], 0, 5),
            federation.locate("one"),
            federation.discard(copy, "one"),
        ):
            with pytest.raises(NgasError):
                await attempt
        assert await federation.may_discard() == {entry_of(rude): None}
