"""What the storage server relies on, at a node that is no fake. Leaves nothing behind."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import AsyncIterator

import pytest
from crc32c import crc32c

from pyvospace_ngas.ngas.client import Discarded
from pyvospace_ngas.ngas.errors import NotFound, WrongLength
from pyvospace_ngas.ngas.federation import Federation, Stored
from pyvospace_ngas.ngas.placement import Entry
from pyvospace_ngas.ngas.replicas import Copy

DATA = random.Random(5).randbytes(9_000_001)


def fresh_id() -> str:
    return f"vospacetest-{uuid.uuid4()}"


def copy_of(stored: Stored) -> Copy:
    return Copy(stored.entry.address, stored.host_id, stored.disk_id, stored.version)


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 200_000):
        yield data[start : start + 200_000]


async def get(federation: Federation, stored: Stored, start: int, end: int) -> bytes:
    async with federation.retrieve([copy_of(stored)], stored.file_id, start, end) as found:
        return b"".join([piece async for piece in found.chunks()])


async def test_a_file_lives_and_ends(federation: Federation, ngas_node: Entry) -> None:
    stored = await federation.archive(fresh_id(), len(DATA), pieces(DATA))
    assert (stored.entry, stored.version, stored.size) == (ngas_node, 1, len(DATA))
    assert (stored.variant, stored.checksum) == ("crc32c", str(crc32c(DATA)))
    assert await federation.locate(stored.file_id) == [stored]
    assert await get(federation, stored, 0, len(DATA)) == DATA
    assert await federation.may_discard() == {ngas_node: True}
    assert await federation.discard(copy_of(stored), stored.file_id) is Discarded.DISCARDED
    assert await federation.discard(copy_of(stored), stored.file_id) is Discarded.ABSENT
    assert await federation.locate(stored.file_id) == []
    with pytest.raises(NotFound):
        await get(federation, stored, 0, 1)


async def test_every_range_is_exact(federation: Federation) -> None:
    stored = await federation.archive(fresh_id(), len(DATA), pieces(DATA))
    size = len(DATA)
    wanted = [(0, 1), (1, size), (size - 1, size), (4_000_000, 4_000_001), (100, 5_000_000)]
    for start, end in [*wanted, *wanted]:
        assert await get(federation, stored, start, end) == DATA[start:end]
    await federation.discard(copy_of(stored), stored.file_id)


async def test_many_small_files_at_once(federation: Federation) -> None:
    async def round_trip(number: int) -> None:
        data = random.Random(number).randbytes(10_000 + number)
        stored = await federation.archive(fresh_id(), len(data), pieces(data))
        assert await get(federation, stored, 7, len(data)) == data[7:]
        assert await federation.discard(copy_of(stored), stored.file_id) is Discarded.DISCARDED

    await asyncio.gather(*[round_trip(number) for number in range(60)])


async def test_an_upload_that_ends_early_leaves_nothing(federation: Federation) -> None:
    name = fresh_id()
    with pytest.raises(WrongLength):
        await federation.archive(name, len(DATA) + 1, pieces(DATA))
    assert await federation.locate(name) == []


async def test_a_node_tells_its_state_and_room(federation: Federation, ngas_node: Entry) -> None:
    await federation.wait_until_ready()
    standing = federation.standings()[ngas_node]
    assert standing.healthy
    assert standing.room is not None
    assert standing.room.most >= standing.room.least > 0
