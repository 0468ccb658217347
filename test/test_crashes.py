"""Clients, nodes and servers that stop half way: what was there stays, and all can be repeated."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiohttp
import pytest
import stack
from processes import Cluster, Process, cluster
from stack import Caller, relocation, transfer
from test_two_of_each import check_tree, endpoints, phase_at_the_end
from waiting_support import until, until_true

from pyvospace_ngas.client.vospace import VOSpace
from pyvospace_ngas.db.connect import Database, connect
from pyvospace_ngas.errors import VOSpaceError
from pyvospace_ngas.ngas.federation import Federation
from pyvospace_ngas.ngas.placement import Entry
from pyvospace_ngas.ops import discards, sweep

MIB: Final = 1 << 20
OLD: Final = b"what was there before"
FILE: Final = "/home/alice/f"


def client_of(site: Cluster, space: int = 0) -> VOSpace:
    return VOSpace(site.spaces[space].url, "alice", stack.PASSWORD)


async def read(site: Cluster, path: str = FILE) -> bytes:
    """Return the bytes of a file."""
    async with client_of(site) as client:
        return b"".join([piece async for piece in client.pull(path)])


async def write(site: Cluster, data: bytes, path: str = FILE) -> None:
    async with client_of(site) as client:
        await client.push(path, data)


async def offered(caller: Caller, path: str, direction: str = "pushToVoSpace") -> list[str]:
    """Negotiate, and return the endpoints, the first storage server's first."""
    protocol = "httpput" if direction.startswith("push") else "httpget"
    answer = await caller.sync(transfer(path, direction, protocol))
    return sorted(endpoints(await caller.get(answer.location)))


@dataclass(slots=True)
class Upload:
    """A PUT that goes on when it is told to."""

    size: int
    pieces: "asyncio.Queue[bytes | None]" = field(default_factory=asyncio.Queue)
    taken: int = 0

    async def body(self) -> AsyncIterator[bytes]:
        while (piece := await self.pieces.get()) is not None:
            yield piece
            self.taken += len(piece)

    async def put(self, site: Cluster, url: str) -> int:
        """Return the status, 0 when there was none."""
        headers = {"Content-Length": str(self.size)}
        try:
            async with site.http.put(url, data=self.body(), headers=headers) as response:
                return response.status
        except aiohttp.ClientError:
            return 0


@asynccontextmanager
async def half_way(
    site: Cluster, url: str, first: int, size: int
) -> AsyncIterator[tuple[Upload, "asyncio.Task[int]"]]:
    """Send ``first`` of ``size`` bytes, all of which a node has begun to get."""
    upload = Upload(size)
    putting = asyncio.create_task(upload.put(site, url))
    for start in range(0, first, MIB // 4):
        upload.pieces.put_nowait(b"n" * min(MIB // 4, first - start))
    try:
        await until_true(lambda: has_begun(site, upload, first))
        yield upload, putting
    finally:
        putting.cancel()
        await asyncio.wait([putting])


async def has_begun(site: Cluster, upload: Upload, first: int) -> bool:
    sent = "select 1 from attempt where ended is null and entry is not null"
    return upload.taken >= first and bool(await site.query(sent))


def finish(upload: Upload, first: int) -> None:
    """Let an upload go on to its end."""
    for start in range(first, upload.size, MIB // 4):
        upload.pieces.put_nowait(b"n" * min(MIB // 4, upload.size - start))
    upload.pieces.put_nowait(None)


async def is_busy(site: Cluster, path: str = FILE) -> bool:
    answer = await site.caller("alice").get(f"/nodes{path}?detail=min")
    return 'busy="true"' in answer.text


async def is_free(site: Cluster) -> bool:
    return not await is_busy(site)


@asynccontextmanager
async def archive_of(site: Cluster) -> AsyncIterator[tuple[Database, Federation]]:
    """Give what the janitor works with."""
    ports = [int(node.url.rpartition(":")[2]) for node in site.nodes]
    entries = [Entry("127.0.0.1", port) for port in ports]
    async with Database(site.dsn, 2) as database, Federation(entries) as federation:
        await federation.wait_until_ready()
        yield database, federation


async def node_in_use(site: Cluster) -> Process:
    entry = await site.value("select entry from attempt where ended is null")
    return next(node for node in site.nodes if node.url.endswith(entry))


async def test_a_client_that_stops_half_way_changes_nothing_and_can_come_again(
    dsn: str, empty_dsn: str, tmp_path: Path
) -> None:
    async with cluster(dsn, empty_dsn, tmp_path) as site:
        await write(site, OLD)
        [url] = await offered(site.caller("alice"), FILE)
        for first in (1, MIB, 6 * MIB):
            async with half_way(site, url, first, 8 * MIB):
                assert await is_busy(site)
                assert await read(site) == OLD
            await until_true(lambda: is_free(site))
            assert await read(site) == OLD
        again = await site.caller("alice").request("PUT", url, b"new")

        assert again.status == 201
        assert await read(site) == b"new"
        assert "Traceback" not in site.storages[0].said


async def test_a_client_that_stops_reading_holds_nothing_up(
    dsn: str, empty_dsn: str, tmp_path: Path
) -> None:
    data = random.Random(1).randbytes(24 * MIB)
    async with cluster(dsn, empty_dsn, tmp_path) as site:
        await write(site, data)
        [url] = await offered(site.caller("alice"), FILE, "pullFromVoSpace")
        for _ in range(30):  # more than a node serves at once, and than there are connections
            async with site.http.get(url) as response:
                assert await response.content.readexactly(1000) == data[:1000]
                response.close()

        assert await read(site) == data
        assert "Traceback" not in site.storages[0].said


async def test_a_node_that_dies_early_in_an_upload_is_replaced_by_the_other(
    dsn: str, empty_dsn: str, tmp_path: Path
) -> None:
    async with cluster(dsn, empty_dsn, tmp_path) as site:
        [url] = await offered(site.caller("alice"), FILE)
        async with half_way(site, url, MIB, 3 * MIB) as (upload, putting):
            await (await node_in_use(site)).kill()
            finish(upload, MIB)
            assert await putting == 201

        assert await read(site) == b"n" * 3 * MIB


async def test_a_node_that_dies_late_in_an_upload_is_an_error_that_can_be_repeated(
    dsn: str, empty_dsn: str, tmp_path: Path
) -> None:
    async with cluster(dsn, empty_dsn, tmp_path) as site:
        await write(site, OLD)
        holder = await site.value("select entry from copy")
        [url] = await offered(site.caller("alice"), FILE)
        first = 12 * MIB
        async with half_way(site, url, first, 16 * MIB) as (upload, putting):
            dead = await node_in_use(site)
            await dead.kill()
            finish(upload, first)
            assert await putting in (503, 0)  # 0: the answer came while we still sent
        await until_true(lambda: is_free(site))
        if dead.url.endswith(holder):
            await dead.start()
        assert await read(site) == OLD
        again = await site.caller("alice").request("PUT", url, b"new")

        assert again.status == 201
        assert await read(site) == b"new"


async def until_it_breaks(response: aiohttp.ClientResponse) -> bytes:
    """Return what still comes; fail if it ends as if that were all."""
    came = b""
    try:
        while piece := await response.content.readany():
            came += piece
    except aiohttp.ClientError:
        return came
    raise AssertionError("the answer ended well")


async def test_a_node_that_dies_in_a_download_cuts_it_and_gives_the_rest_when_it_is_back(
    dsn: str, empty_dsn: str, tmp_path: Path
) -> None:
    data = random.Random(2).randbytes(48 * MIB)
    async with cluster(dsn, empty_dsn, tmp_path, nodes=1) as site:
        await write(site, data)
        [url] = await offered(site.caller("alice"), FILE, "pullFromVoSpace")
        async with site.http.get(url) as response:
            came = await response.content.readexactly(MIB)
            await site.nodes[0].kill()
            came += await until_it_breaks(response)
        while_away = await site.caller("alice").get(url, Range=f"bytes={len(came)}-")
        await site.nodes[0].start()
        rest = await site.caller("alice").get(url, Range=f"bytes={len(came)}-")

        assert while_away.status == 503
        assert rest.status == 206
        assert came + rest.body == data


async def test_a_storage_server_that_is_killed_leaves_the_old_bytes_and_a_free_node(
    dsn: str, empty_dsn: str, tmp_path: Path
) -> None:
    async with cluster(dsn, empty_dsn, tmp_path, servers=2) as site:
        await write(site, OLD)
        caller = site.caller("alice")
        urls = await offered(caller, FILE)
        at = {url.partition("/files/")[0]: url for url in urls}
        async with half_way(site, at[site.storages[0].url], 6 * MIB, 8 * MIB) as (_, putting):
            await site.storages[0].kill()
            assert await putting == 0
        assert await is_busy(site)  # for as long as it may only be slow
        assert await read(site) == OLD
        same_endpoint = await caller.request("PUT", at[site.storages[1].url], b"newer")
        assert same_endpoint.status == 201
        assert not await is_busy(site)
        assert await read(site) == b"newer"


async def test_what_a_killed_storage_server_held_is_free_after_its_lease_and_swept(
    dsn: str, empty_dsn: str, tmp_path: Path
) -> None:
    async with cluster(dsn, empty_dsn, tmp_path) as site:
        await write(site, OLD)
        [url] = await offered(site.caller("alice"), FILE)
        async with half_way(site, url, 6 * MIB, 8 * MIB) as (_, putting):
            await site.storages[0].kill()
            assert await putting == 0
        await site.storages[0].start()
        lease = await site.value("select lease - now() < '31 s' from attempt where ended is null")
        assert lease is True
        await site.forget_leases()
        assert not await is_busy(site)
        assert await read(site) == OLD
        await write(site, b"newer")
        assert await read(site) == b"newer"
        async with archive_of(site) as (database, federation):
            await sweep.work(database, federation, 0, grace=0)
            await discards.work(database, federation)
        assert await read(site) == b"newer"
        unswept = "select 1 from attempt where outcome <> 'committed' and swept is null"
        assert await site.query(unswept) == []


async def test_a_tree_that_is_deleted_during_an_upload_into_it_takes_nothing_back(
    dsn: str, empty_dsn: str, tmp_path: Path
) -> None:
    async with cluster(dsn, empty_dsn, tmp_path) as site:
        caller = site.caller("alice")
        await caller.make("/home/alice/d")
        [url] = await offered(caller, "/home/alice/d/f")
        async with half_way(site, url, MIB, 2 * MIB) as (upload, putting):
            assert (await caller.delete("/nodes/home/alice/d")).status == 204
            finish(upload, MIB)
            assert await putting == 404
        file_id = await site.value("select file_id from attempt")
        assert (await caller.get("/nodes/home/alice/d")).status == 404
        async with archive_of(site) as (database, federation):
            assert len(await federation.locate(file_id)) == 1
            await sweep.work(database, federation, 0, grace=0)
            await until_true(lambda: is_discarded(database, federation, file_id))


async def is_discarded(database: Database, federation: Federation, file_id: str) -> bool:
    """Work, beside the server's own janitor; tell whether no node has the file."""
    await discards.work(database, federation)
    return not await federation.locate(file_id)


async def big_tree(site: Cluster, files: int) -> int:
    """Make a tree that shares one file's bytes; return its blob."""
    await write(site, OLD, "/home/alice/seed")
    await site.caller("alice").make("/home/alice/big")
    await site.query(
        """
        insert into node (parent_id, name, type, owner, blob_id, length, md5)
             select big.id, 'f' || n, 2, 'alice', seed.blob_id, seed.length, seed.md5
               from node big, node seed, generate_series(1, $1) n
              where big.name = 'big' and seed.name = 'seed'
        """,
        files,
    )
    return int(await site.value("select blob_id from node where name = 'seed'"))


async def copies(site: Cluster) -> int:
    return int(
        await site.value(
            "select count(*) from node n join node above on above.id = n.parent_id"
            " where above.name = 'copy'"
        )
    )


async def waits_for_a_lock(site: Cluster) -> bool:
    return bool(
        await site.query(
            "select 1 from pg_stat_activity where datname = current_database()"
            " and wait_event_type = 'Lock'"
        )
    )


@pytest.mark.parametrize("asked", ["by a job", "synchronously"])
async def test_a_copy_whose_server_is_killed_is_done_by_another_one(
    dsn: str, empty_dsn: str, tmp_path: Path, asked: str
) -> None:
    """It is visible at once or not at all, and its job ends."""
    async with cluster(dsn, empty_dsn, tmp_path, servers=2) as site:
        first, second = site.caller("alice", 0), site.caller("alice", 1)
        blob = await big_tree(site, 3000)
        document = relocation("/home/alice/big", "/home/alice/copy", keep=True)
        db = await connect(site.dsn)
        asking = None
        try:
            async with db.transaction():
                # The copy has to wait in its middle for this row.
                await db.execute("select id from blob where id = $1 for update", blob)
                if asked == "synchronously":
                    asking = asyncio.create_task(first.sync(document))
                    victim = 0
                    await until_true(lambda: waits_for_a_lock(site))
                else:
                    made = await first.request("POST", "/transfers", document)
                    await first.form(f"{made.location}/phase", "PHASE=RUN")
                    await until_true(lambda: waits_for_a_lock(site))
                    executor = await site.value("select executor from job where kind = 'copy'")
                    pids = [str(space.pid) for space in site.spaces]
                    victim = pids.index(executor.split(":")[-2])
                await site.spaces[victim].kill()
        finally:
            await db.close()
        if asking is not None:
            with pytest.raises(aiohttp.ClientError):
                await asking
        survivor = (first, second)[1 - victim]
        assert (await survivor.get("/nodes/home/alice/copy")).status == 404
        await site.forget_leases()
        job_id = await site.value("select id from job where kind = 'copy'")
        phase = await phase_at_the_end(survivor, f"{survivor.base}/transfers/{job_id}")

        assert phase == "COMPLETED"
        assert await copies(site) == 3000
        await check_tree(site.dsn)


async def test_servers_killed_at_any_moment_of_copies_and_moves_leave_all_or_nothing(
    dsn: str, empty_dsn: str, tmp_path: Path
) -> None:
    chance = random.Random(3)
    async with cluster(dsn, empty_dsn, tmp_path, nodes=1, servers=2) as site:
        await big_tree(site, 3000)
        second = site.caller("alice", 1)
        for round_ in range(4):
            document = relocation("/home/alice/big", f"/home/alice/copy{round_}", keep=True)
            made = await second.request("POST", "/transfers", document)
            await second.form(f"{made.location}/phase", "PHASE=RUN")
            await asyncio.sleep(chance.uniform(0, 0.4))
            await site.spaces[0].kill()
            await site.forget_leases()
            assert await phase_at_the_end(second, made.location) == "COMPLETED"
            await site.spaces[0].start()
        counts = await site.query(
            "select count(n.id) as files from node above join node n on n.parent_id = above.id"
            " where above.name like 'copy%' group by above.id"
        )
        assert [row["files"] for row in counts] == [3000] * 4
        await check_tree(site.dsn)


@dataclass(slots=True)
class Writer:
    """Writes small files, some over and over, and keeps what it was promised."""

    site: Cluster
    number: int
    # By path: the last bytes that were acknowledged, and what was tried since then.
    promised: dict[str, bytes | None] = field(default_factory=dict)
    tried: dict[str, list[bytes]] = field(default_factory=dict)
    acknowledged: int = 0
    failures: int = 0

    async def write(self, chance: random.Random, over: asyncio.Event) -> None:
        async with client_of(self.site) as client:
            count = 0
            while not over.is_set():
                count += 1
                name = count if chance.random() < 0.7 else chance.randrange(4)
                await self._one(client, f"/home/alice/w{self.number}-{name}", chance)

    async def _one(self, client: VOSpace, path: str, chance: random.Random) -> None:
        data = chance.randbytes(chance.randrange(1, 20_000))
        self.promised.setdefault(path, None)
        self.tried.setdefault(path, []).append(data)
        try:
            await client.push(path, data)
        except VOSpaceError:
            self.failures += 1
            return
        self.promised[path], self.tried[path] = data, []
        self.acknowledged += 1

    async def check(self) -> None:
        """Every file holds what was promised, or what was tried after that."""
        async with client_of(self.site) as client:
            for path, promised in self.promised.items():
                try:
                    came = b"".join([piece async for piece in client.pull(path)])
                except VOSpaceError:
                    assert promised is None, path
                    continue
                assert came in [b"" if promised is None else promised, *self.tried[path]], path


def acknowledged(writers: Sequence[Writer]) -> int:
    return sum(writer.acknowledged for writer in writers)


async def strike(
    site: Cluster,
    victims: Sequence[Process],
    writers: Sequence[Writer],
    kills: int,
    chance: random.Random,
) -> None:
    """Kill one after the other at random moments while files are written, and start it again."""
    for number in range(kills):
        goal = acknowledged(writers) + chance.randrange(5, 20)
        await until(lambda goal=goal: acknowledged(writers) >= goal)  # type: ignore[misc]
        await asyncio.sleep(chance.uniform(0, 0.05))  # any moment of what is under way
        victim = victims[number % len(victims)]
        await victim.kill()
        if victim.module == "storage":
            await site.forget_leases()
        await victim.start()


@pytest.mark.parametrize(
    ("modules", "kills"),
    [
        (("storage",), 6),
        (("storage", "space"), 4),
        pytest.param(("storage",), 80, marks=pytest.mark.scale),
        pytest.param(("storage", "space", "node"), 80, marks=pytest.mark.scale),
    ],
)
async def test_what_was_acknowledged_outlives_servers_killed_at_any_moment(
    dsn: str, empty_dsn: str, tmp_path: Path, modules: Sequence[str], kills: int
) -> None:
    async with cluster(dsn, empty_dsn, tmp_path) as site:
        victims = [
            process
            for process in (*site.storages, *site.spaces, *site.nodes)
            if process.module in modules
        ]
        writers = [Writer(site, number) for number in range(6)]
        over = asyncio.Event()
        writing = [
            asyncio.create_task(writer.write(random.Random(writer.number), over))
            for writer in writers
        ]
        try:
            await strike(site, victims, writers, kills, random.Random(kills))
        finally:
            over.set()
            await asyncio.wait(writing)
        for task in writing:
            task.result()
        await site.forget_leases()
        await asyncio.gather(*[writer.check() for writer in writers])
        async with archive_of(site) as (database, federation):
            await sweep.work(database, federation, 0, grace=0)
            await discards.work(database, federation)
        await asyncio.gather(*[writer.check() for writer in writers])
        await check_tree(dsn)
        for process in victims:
            assert "Traceback" not in process.said, process.said
