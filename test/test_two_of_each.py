"""Two servers of each kind on one database work as one, and a storm leaves a sound tree."""

import asyncio
import hashlib
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest
import stack
from aiohttp import ClientSession
from archive_support import running_node
from processes import Cluster, cluster, query
from stack import Answer, Caller, relocation, transfer
from waiting_support import PATIENCE, until_true

from pyvospace_ngas.client.vospace import VOSpace

KILOBYTES: Final = b"0123456789abcdef" * 600


@dataclass(frozen=True, slots=True)
class Pair:
    """Two space and two storage servers in this process, before two archive nodes."""

    dsn: str
    http: ClientSession
    spaces: list[str]
    storages: list[str]

    def caller(self, space: int, user: str | None = "alice") -> Caller:
        return Caller(self.http, self.spaces[space], user)


@pytest.fixture
async def pair(dsn: str, empty_dsn: str, tmp_path: Path) -> AsyncIterator[Pair]:
    async with running_pair(dsn, empty_dsn, tmp_path) as running:
        yield running


@asynccontextmanager
async def running_pair(dsn: str, archive_dsn: str, folder: Path) -> AsyncIterator[Pair]:
    await stack.add_user(dsn, "alice")
    async with AsyncExitStack() as exits:
        nodes = [
            await exits.enter_async_context(running_node(folder / f"node{n}", archive_dsn))
            for n in range(2)
        ]
        spaces, storages = [], []
        for number in range(2):
            config = stack.parsed(
                stack.settings(dsn, folder / f"staging{number}", [node.port for node in nodes])
            )
            spaces.append(await exits.enter_async_context(stack.space_server(config)))
            storages.append(await exits.enter_async_context(stack.storage_server(config)))
        http = await exits.enter_async_context(ClientSession(auto_decompress=False))
        yield Pair(dsn, http, spaces, storages)


def at(job: str, base: str) -> str:
    """Return the URL of the same job at another server."""
    return f"{base}/transfers/{job.rpartition('/')[2]}"


def endpoints(details: Answer) -> list[str]:
    """Return the endpoints of a transfer document."""
    found = details.text.split("<vos:endpoint>")[1:]
    return [one.partition("<")[0].replace("&amp;", "&") for one in found]


async def phase_at_the_end(caller: Caller, job: str) -> str:
    """Wait for a job, through the phases that it has in between."""
    async with asyncio.timeout(PATIENCE):
        while True:
            phase = (await caller.get(f"{job}/phase")).text
            if phase not in ("PENDING", "QUEUED", "EXECUTING"):
                return phase
            await caller.get(f"{job}?WAIT=10&PHASE={phase}")


async def offered(caller: Caller, path: str, direction: str, protocol: str) -> list[str]:
    """Negotiate at one server; return all endpoints."""
    answer = await caller.sync(transfer(path, direction, protocol))
    return endpoints(await caller.get(answer.location))


async def test_a_session_of_one_server_is_valid_at_the_other_and_log_out_ends_it_at_both(
    pair: Pair,
) -> None:
    logged_in = await pair.caller(0).request("POST", "/login")
    cookie = {"Cookie": logged_in.headers["Set-Cookie"].partition(";")[0]}
    inside = [await pair.caller(n, None).get("/nodes/home/alice", **cookie) for n in range(2)]
    same_origin = cookie | {"Sec-Fetch-Site": "same-origin"}
    await pair.caller(1, None).request("POST", "/logout", headers=same_origin)
    outside = [await pair.caller(n, None).get("/nodes/home/alice", **cookie) for n in range(2)]

    assert [answer.status for answer in inside] == [200, 200]
    assert [answer.status for answer in outside] == [403, 403]


async def test_a_job_made_at_one_server_is_run_at_the_other(pair: Pair) -> None:
    first, second = pair.caller(0), pair.caller(1)
    await first.make("/home/alice/a")
    made = await first.request(
        "POST", "/transfers", relocation("/home/alice/a", "/home/alice/b", keep=False)
    )
    job = at(made.location, second.base)
    started = await second.form(f"{job}/phase", "PHASE=RUN")

    assert started.status == 303
    assert await phase_at_the_end(first, made.location) == "COMPLETED"
    assert (await first.get("/nodes/home/alice/b")).status == 200
    assert (await second.get("/nodes/home/alice/a")).status == 404


async def test_a_push_made_at_one_server_is_aborted_at_the_other(pair: Pair) -> None:
    first, second = pair.caller(0), pair.caller(1)
    made = await first.request(
        "POST", "/transfers", transfer("/home/alice/f", "pushToVoSpace", "httpput")
    )
    await first.form(f"{made.location}/phase", "PHASE=RUN")
    urls = endpoints(await first.get(f"{made.location}/results/transferDetails"))
    aborted = await second.form(f"{at(made.location, second.base)}/phase", "PHASE=ABORT")
    refused = [await first.request("PUT", url, KILOBYTES) for url in urls]

    assert aborted.status == 303
    assert (await first.get(f"{made.location}/phase")).text == "ABORTED"
    assert [answer.status for answer in refused] == [404, 404]
    assert (await second.get("/nodes/home/alice/f")).status == 404


async def test_both_storage_servers_are_offered_and_either_takes_and_gives(pair: Pair) -> None:
    first, second = pair.caller(0), pair.caller(1)
    gave = []
    for number in range(2):
        path = f"/home/alice/f{number}"
        urls = await offered(first, path, "pushToVoSpace", "httpput")
        assert {url.partition("/files/")[0] for url in urls} == set(pair.storages)
        there = next(url for url in urls if url.startswith(pair.storages[number]))
        assert (await first.request("PUT", there, KILOBYTES)).status == 201
        for url in await offered(second, path, "pullFromVoSpace", "httpget"):
            gave.append(await second.get(url))

    assert len(gave) == 4
    assert all(answer.body == KILOBYTES for answer in gave)


async def test_an_upload_at_one_server_is_seen_as_busy_at_all_of_them(pair: Pair) -> None:
    path = "/home/alice/f"
    url = (await offered(pair.caller(0), path, "pushToVoSpace", "httpput"))[0]
    half_way, go_on = asyncio.Event(), asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield KILOBYTES
        half_way.set()
        await go_on.wait()
        yield KILOBYTES

    async def put() -> int:
        length = {"Content-Length": str(2 * len(KILOBYTES))}
        async with pair.http.put(url, data=slowly(), headers=length) as response:
            return response.status

    putting = asyncio.create_task(put())
    await half_way.wait()
    await until_true(lambda: is_live(pair.dsn))
    listings = [await pair.caller(n).get("/nodes/home/alice?detail=min") for n in range(2)]
    refusals = []
    for number in range(2):
        caller = pair.caller(number)
        answer = await caller.sync(transfer(path, "pushToVoSpace", "httpput"))
        job = answer.location.partition("/results")[0]
        refusals.append(await caller.get(f"{job}/error"))
    go_on.set()

    assert await putting == 201
    assert all('busy="true"' in listing.text for listing in listings)
    assert [answer.fault for answer in refusals] == ["NodeBusy", "NodeBusy"]
    after = [await pair.caller(n).get("/nodes/home/alice/f?detail=min") for n in range(2)]
    assert not any('busy="true"' in answer.text for answer in after)


async def is_live(dsn: str) -> bool:
    return bool(await query(dsn, "select 1 from attempt where ended is null"))


async def test_two_moves_into_each_other_never_make_a_circle(pair: Pair) -> None:
    """Ours alone and in pairs at two servers: at most one of each pair is done."""
    callers = pair.caller(0), pair.caller(1)
    for round_ in range(12):
        a, b = f"/home/alice/a{round_}", f"/home/alice/b{round_}"
        await asyncio.gather(callers[0].make(a), callers[1].make(b))
        answers = await asyncio.gather(
            callers[0].sync(relocation(a, f"{b}/inner", keep=False)),
            callers[1].sync(relocation(b, f"{a}/inner", keep=False)),
        )
        assert [answer.status for answer in answers] == [303, 303]
    await check_tree(pair.dsn)
    phases = await query(pair.dsn, "select phase from job where kind = 'move'")
    assert Counter(phase for (phase,) in phases) == {"COMPLETED": 12, "ERROR": 12}


async def check_tree(dsn: str) -> None:
    """Every node hangs below the root or lies in the trash; nothing else is half done."""
    lost = await query(
        dsn,
        """
        with recursive tree as (
            select id from node where parent_id is null
             union
            select n.id from tree join node n on n.parent_id = tree.id
        ) select id, parent_id, name from node where id not in (select id from tree)
        """,
    )
    assert lost == []
    assert await query(dsn, "select id, name from node where parent_id = -2") == []
    assert (
        await query(
            dsn,
            "select coalesce(n.id, t.node_id), n.parent_id from trash t full join"
            " (select id, parent_id from node where parent_id = -1) n on n.id = t.node_id"
            " where n.id is null or t.node_id is null",
        )
        == []
    )
    # Bytes: each blob is some node's, and none of them waits to be discarded.
    assert await query(dsn, "select id from blob except select blob_id from node") == []
    assert await query(dsn, "select file_id from discard intersect select file_id from copy") == []


@dataclass(slots=True)
class Storm:
    """A client that does anything to a small tree, and keeps what it was told."""

    random: random.Random
    cluster: Cluster
    statuses: Counter[str] = field(default_factory=Counter)
    faults: list[Answer] = field(default_factory=list)

    def caller(self) -> Caller:
        return self.cluster.caller("alice", self.random.randrange(len(self.cluster.spaces)))

    def path(self) -> str:
        depth = self.random.choice((1, 2, 2, 3, 3))
        return "/home/alice/" + "/".join(self.random.choice("abcd") for _ in range(depth))

    async def step(self) -> None:
        caller, path = self.caller(), self.path()
        act = self.random.choices(
            ("container", "push", "move", "copy", "delete", "list"), (6, 6, 5, 4, 3, 2)
        )[0]
        if act == "container":
            answers = [await caller.make(path)]
        elif act == "delete":
            answers = [await caller.delete(f"/nodes{path}")]
        elif act == "list":
            answers = [await caller.get(f"/nodes{path.rpartition('/')[0]}?detail=max")]
        elif act == "push":
            answers = await self.push(caller, path)
        else:
            document = relocation(path, self.path(), keep=act == "copy")
            answers = [await caller.sync(document)]
            answers.append(await caller.get(answers[0].location.partition("/results")[0]))
        for answer in answers:
            self.statuses[f"{act} {answer.status}"] += 1
            if answer.status >= 500 or "Internal" in answer.text:
                self.faults.append(answer)

    async def push(self, caller: Caller, path: str) -> list[Answer]:
        answer = await caller.sync(transfer(path, "pushToVoSpace", "httpput"))
        urls = endpoints(await caller.get(answer.location))
        if not urls:
            return [answer]
        data = self.random.randbytes(self.random.randrange(1, 5000))
        return [answer, await caller.request("PUT", self.random.choice(urls), data)]


@pytest.mark.parametrize(
    ("workers", "steps"), [(16, 60), pytest.param(16, 1500, marks=pytest.mark.scale)]
)
async def test_a_storm_at_two_servers_of_each_kind_leaves_a_sound_tree(
    dsn: str, empty_dsn: str, tmp_path: Path, workers: int, steps: int
) -> None:
    async with cluster(dsn, empty_dsn, tmp_path, servers=2) as site:
        storms = [Storm(random.Random(seed), site) for seed in range(workers)]

        async def rage(storm: Storm) -> None:
            for _ in range(steps):
                await storm.step()

        await asyncio.gather(*[rage(storm) for storm in storms])
        statuses = sum((storm.statuses for storm in storms), Counter[str]())
        faults = [fault for storm in storms for fault in storm.faults]
        for process in (*site.spaces, *site.storages, *site.nodes):
            assert "Traceback" not in process.said, process.said
        assert faults == [], statuses
        assert statuses["push 201"] > workers
        assert await site.value("select count(*) from job where phase in ('QUEUED')") == 0
        await check_tree(dsn)
        # By chance no file at all is left, once in some thirty storms.
        last = await storms[0].push(storms[0].caller(), "/home/alice/last")
        assert last[-1].status == 201
        await check_bytes(site)


async def check_bytes(site: Cluster) -> None:
    """Every file of the tree is given with the length and sum that the tree knows."""
    rows = await site.query(
        """
        with recursive tree as (
            select id, ''::text collate "C" as path, md5, length, type from node where id = 0
             union all
            select n.id, tree.path || '/' || n.name, n.md5, n.length, n.type
              from tree join node n on n.parent_id = tree.id and not n.provisional
        ) select path, md5, length from tree where type between 1 and 3 and md5 is not null
        """
    )
    assert rows
    async with VOSpace(site.spaces[0].url, "alice", stack.PASSWORD) as client:
        for row in rows:
            data = b"".join([piece async for piece in client.pull(row["path"])])
            assert len(data) == row["length"], row
            assert hashlib.md5(data, usedforsecurity=False).hexdigest() == row["md5"], row


async def test_when_one_server_of_each_kind_is_killed_the_others_serve(
    dsn: str, empty_dsn: str, tmp_path: Path
) -> None:
    async with (
        cluster(dsn, empty_dsn, tmp_path, servers=2) as site,
        VOSpace(site.spaces[1].url, "alice", stack.PASSWORD) as client,
    ):
        await client.push("/home/alice/before", KILOBYTES)
        await site.spaces[0].kill()
        await site.storages[0].kill()
        assert len(await site.query("select 1 from storage_server")) == 2  # it was not asked

        for number in range(8):
            await client.push(f"/home/alice/after{number}", KILOBYTES)
            pieces = [piece async for piece in client.pull(f"/home/alice/after{number}")]
            assert b"".join(pieces) == KILOBYTES
        assert b"".join([p async for p in client.pull("/home/alice/before")]) == KILOBYTES
