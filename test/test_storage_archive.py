"""The storage server before archive nodes of our own, which share one database."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import storage_support
from archive_support import running_node
from storage_support import Site

from pyvospace_ngas.db.connect import Database
from pyvospace_ngas.ngas.federation import Federation
from pyvospace_ngas.ngas.placement import Entry
from pyvospace_ngas.ops import discards

DATA = random.Random(1).randbytes(6 * 2**20 + 12_345)


@pytest.fixture
async def site(dsn: str, tmp_path: Path) -> AsyncIterator[Site]:
    database = str(tmp_path / "ngas.sqlite")
    async with (
        running_node(tmp_path / "one", database) as one,
        running_node(tmp_path / "two", database) as two,
        storage_support.site(
            dsn, tmp_path, [one.port, two.port], {"discard_delay": "0"}
        ) as running,
    ):
        yield running


async def test_files_spread_over_the_nodes_and_come_back(site: Site) -> None:
    files = {await site.node(): random.Random(n).randbytes(1 + n * 9_999) for n in range(16)}
    puts = await asyncio.gather(*[site.push(node, data) for node, data in files.items()])
    assert {put.status for put in puts} == {201}
    got = await asyncio.gather(*[site.pull(node) for node in files])
    assert [one.body for one in got] == list(files.values())
    assert await site.value("select count(distinct host_id) from copy") == 2


@pytest.mark.parametrize("asked", ["bytes=0-0", "bytes=6000000-6000099", "bytes=-1"])
async def test_a_part_of_a_large_file_comes_exactly(site: Site, asked: str) -> None:
    node = await site.node()
    await site.push(node, DATA)
    part = await site.pull(node, headers={"Range": asked})
    start, _, end = part.headers["Content-Range"].removeprefix("bytes ").partition("-")
    assert part.status == 206
    assert part.body == DATA[int(start) : int(end.partition("/")[0]) + 1]


async def test_what_was_replaced_is_discarded_at_its_holder(site: Site) -> None:
    node = await site.node()
    for number in range(4):
        assert (await site.push(node, DATA[number:])).status == 201
    entries = [Entry(one.hostname, one.port) for one in site.config.storage.ngas_servers]
    replaced = [row["file_id"] for row in await site.query("select file_id from discard")]
    async with Database(site.dsn, 2) as database, Federation(entries) as federation:
        assert len(replaced) == 3
        assert await discards.refusing(federation) == frozenset()
        assert await discards.work(database, federation) == 3
        assert await asyncio.gather(*map(federation.locate, replaced)) == [[], [], []]
    assert (await site.pull(node)).body == DATA[3:]
