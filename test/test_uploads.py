"""Uploads that meet trouble: clients, nodes, servers and databases that go away half way."""

import asyncio
import random
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import stack
import storage_support
from aiohttp import ClientError, ClientSession
from lossy_proxy import lossy
from rude_ngas import NO_ARCHIVING, RudeNgas
from storage_support import Answer, Site
from waiting_support import until, until_true

from pyvospace_ngas.db.connect import connect
from pyvospace_ngas.ops import jobs, uploads

OLD, NEW = random.Random(1).randbytes(300_000), random.Random(2).randbytes(500_000)
LARGE = random.Random(3).randbytes(9 * 2**20)


@pytest.fixture
async def rudes() -> AsyncIterator[list[RudeNgas]]:
    async with RudeNgas() as one, RudeNgas() as other:
        yield [one, other]


@pytest.fixture
async def site(dsn: str, tmp_path: Path, rudes: list[RudeNgas]) -> AsyncIterator[Site]:
    async with storage_support.site(dsn, tmp_path, [rude.port for rude in rudes]) as running:
        yield running


@pytest.fixture
async def node(site: Site) -> int:
    """A node that holds `OLD`."""
    made = await site.node()
    assert (await site.push(made, OLD)).status == 201
    return made


class Slow:
    """An upload over a bare socket, of which only a part is sent for now."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> str:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        status = head.split()[1]
        length = int(head.lower().partition("content-length: ")[2].split()[0])
        body = (await self.reader.readexactly(length)).decode().split()
        return f"{status} {body[0]}" if body else status


@asynccontextmanager
async def slow(endpoint: str, length: int | None, first: bytes) -> AsyncIterator[Slow]:
    host, _, path = endpoint.removeprefix("http://").partition("/")
    reader, writer = await asyncio.open_connection(*host.split(":"))
    body = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    upload = Slow(reader, writer)
    await upload.send(f"PUT /{path} HTTP/1.1\r\nHost: {host}\r\n{body}\r\n\r\n".encode() + first)
    try:
        yield upload
    finally:
        writer.close()


async def begun(site: Site, endpoint: str) -> None:
    """Return once bytes flow to a node of NGAS for ``endpoint``."""

    async def sent() -> bool:
        return bool(
            await site.value(
                "select exists (select 1 from attempt where job_id = $1 and entry is not null"
                " and ended is null)",
                site.jobs[endpoint],
            )
        )

    await until_true(sent)


async def idle(site: Site, node: int) -> None:
    async def over() -> bool:
        return not await site.busy(node)

    await until_true(over)


@pytest.mark.parametrize("length", [len(NEW), None])
async def test_a_client_that_stops_half_way_changes_nothing(
    site: Site, node: int, rudes: list[RudeNgas], length: int | None
) -> None:
    endpoint = await site.endpoint("PUT", node)
    part = NEW[:100_000] if length else b"5\r\nhello\r\n"
    async with slow(endpoint, length, part):

        async def busy() -> bool:
            return await site.busy(node)

        await until_true(busy)
    await idle(site, node)
    assert (await site.pull(node)).body == OLD
    assert sum(len(rude.files) for rude in rudes) == 1
    assert await site.phase(endpoint) == "EXECUTING"
    assert (await site.send("PUT", endpoint, data=NEW)).status == 201
    assert (await site.pull(node)).body == NEW


async def test_a_new_file_whose_upload_is_not_over_is_no_empty_one(site: Site) -> None:
    node = await site.node()
    pull = await site.endpoint("GET", node)
    endpoint = await site.endpoint("PUT", node)
    async with slow(endpoint, len(NEW), NEW[:-1]):
        await begun(site, endpoint)
        for method in ("GET", "HEAD"):
            assert (await site.send(method, pull)).status == 409
    await idle(site, node)
    refused = await site.send("GET", pull)
    assert (refused.status, refused.fault) == (409, "NodeBusy")
    assert await site.phase(pull) == "EXECUTING"
    assert (await site.send("PUT", endpoint, data=b"")).status == 201
    assert (await site.send("GET", pull)).body == b""


async def test_a_new_file_whose_upload_broke_off_long_ago_goes(site: Site, node: int) -> None:
    async def aged_and_cleaned(seconds: float) -> None:
        await site.query("update attempt set ended = now() - make_interval(secs => $1)", seconds)
        db = await connect(site.dsn)
        await jobs.clean_up(db)
        await db.close()

    new, waits = await site.node("new"), await site.node("waits")
    broken = [await site.endpoint("PUT", target) for target in (new, node)]
    for endpoint in broken:
        async with slow(endpoint, len(NEW), NEW[:-1]):
            await begun(site, endpoint)
    for target in (new, node):
        await idle(site, target)
    unused = await site.endpoint("PUT", waits)
    await aged_and_cleaned(jobs.LEFT_AFTER - 60)
    assert [await site.phase(each) for each in broken] == ["EXECUTING"] * 2
    await aged_and_cleaned(jobs.LEFT_AFTER + 1)
    assert [await site.phase(each) for each in (*broken, unused)] == [
        "ABORTED",
        "EXECUTING",
        "EXECUTING",
    ]
    left = await site.query("select id from node where id = any($1)", [new, node, waits])
    assert {row["id"] for row in left} == {node, waits}
    assert (await site.send("PUT", broken[0], data=NEW)).status == 404
    assert (await site.pull(node)).body == OLD


async def test_malformed_chunks_are_refused(site: Site, node: int) -> None:
    endpoint = await site.endpoint("PUT", node)
    async with slow(endpoint, None, b"5\r\nhello\r\nzz\r\n") as upload:
        assert (await upload.answer()).startswith("400 ")
    assert (await site.pull(node)).body == OLD


async def test_another_node_takes_what_one_drops_early(
    site: Site, node: int, rudes: list[RudeNgas]
) -> None:
    for rude in rudes:
        rude.faults.once = {"reset_after"}
    rudes[0].faults.reset_after = rudes[1].faults.reset_after = 200_000
    rudes[1].faults.once = set()
    rudes[1].faults.reset_after = None
    for _ in range(4):  # whichever node is asked first
        rudes[0].faults.reset_after = 200_000
        assert (await site.push(node, NEW)).status == 201
    assert (await site.pull(node)).body == NEW


async def test_beyond_the_first_bytes_the_client_repeats(
    site: Site, node: int, rudes: list[RudeNgas]
) -> None:
    for rude in rudes:
        rude.faults.reset_after = 8 * 2**20
    endpoint = await site.endpoint("PUT", node)
    refused = await site.send("PUT", endpoint, data=LARGE)
    assert (refused.status, refused.fault) == (503, "ArchiveUnreachable")
    assert "Retry-After" in refused.headers
    assert not await site.busy(node)
    assert (await site.pull(node)).body == OLD
    for rude in rudes:
        rude.faults.reset_after = None
    assert (await site.send("PUT", endpoint, data=LARGE)).status == 201
    assert (await site.pull(node)).body == LARGE


@pytest.mark.parametrize("fault", ["silent", "refuse_archive"])
async def test_nodes_that_all_refuse_leave_the_endpoint_good(
    site: Site, node: int, rudes: list[RudeNgas], fault: str
) -> None:
    for rude in rudes:
        setattr(rude.faults, fault, NO_ARCHIVING if fault == "refuse_archive" else True)
    endpoint = await site.endpoint("PUT", node)
    refused = await site.send("PUT", endpoint, data=NEW)
    assert (refused.status, refused.fault) == (503, "ArchiveUnreachable")
    assert b"127.0.0.1" not in refused.body
    for rude in rudes:
        setattr(rude.faults, fault, "" if fault == "refuse_archive" else False)
    assert (await site.send("PUT", endpoint, data=NEW)).status == 201
    assert (await site.pull(node)).body == NEW


async def test_a_node_that_stays_full_leaves_the_endpoint_good(
    dsn: str, tmp_path: Path, rudes: list[RudeNgas]
) -> None:
    patience = replace(storage_support.SHORT, admission=0.5)
    ports = [rudes[0].port]
    async with storage_support.site(dsn, tmp_path, ports, patience=patience) as site:
        endpoint = await site.endpoint("PUT", await site.node())
        rudes[0].faults.busy = True
        refused = await site.send("PUT", endpoint, data=NEW)
        assert (refused.status, refused.fault) == (503, "ArchiveUnreachable")
        rudes[0].faults.busy = False
        assert (await site.send("PUT", endpoint, data=NEW)).status == 201


async def test_a_lost_answer_of_a_node_is_asked_for(
    site: Site, node: int, rudes: list[RudeNgas]
) -> None:
    for rude in rudes:
        rude.faults.lose_answer = True
    assert (await site.push(node, NEW)).status == 201
    assert (await site.pull(node)).body == NEW


async def test_a_node_that_stored_other_bytes_is_not_believed(
    site: Site, node: int, rudes: list[RudeNgas]
) -> None:
    for rude in rudes:
        rude.faults.wrong_checksum = True
    endpoint = await site.endpoint("PUT", node)
    assert (await site.send("PUT", endpoint, data=NEW)).status == 503
    assert (await site.pull(node)).body == OLD
    assert await site.phase(endpoint) == "EXECUTING"
    assert not any(rude.commands("DISCARD") for rude in rudes)


async def test_a_new_upload_at_the_same_endpoint_supersedes_the_old(site: Site, node: int) -> None:
    endpoint = await site.endpoint("PUT", node)
    async with slow(endpoint, len(NEW), NEW[:-1]) as upload:
        await begun(site, endpoint)
        assert (await site.send("PUT", endpoint, data=b"second")).status == 201
        await upload.send(NEW[-1:])
        assert await upload.answer() == "409 NodeBusy"
    assert (await site.pull(node)).body == b"second"
    outcomes = await site.query(
        "select outcome from attempt where job_id = $1 order by number", site.jobs[endpoint]
    )
    assert [row["outcome"] for row in outcomes] == ["superseded", "committed"]


async def test_another_job_waits_until_the_lease_is_over(site: Site, node: int) -> None:
    endpoint = await site.endpoint("PUT", node)
    async with slow(endpoint, len(NEW), NEW[:-1]) as upload:
        await begun(site, endpoint)
        busy = await site.push(node, b"other")
        assert (busy.status, busy.fault) == (409, "NodeBusy")
        await site.forget_leases()
        assert (await site.push(node, b"other")).status == 201
        await upload.send(NEW[-1:])
        assert await upload.answer() == "409 NodeBusy"
    assert (await site.pull(node)).body == b"other"


@pytest.mark.parametrize(
    ("meanwhile", "answer"),
    [
        ("update job set phase = 'ABORTED' where id = $2 and $1 > 0", "404 EndpointNotFound"),
        ("delete from job where id = $2 and $1 > 0", "404 EndpointNotFound"),
        ("update node set parent_id = -1 where id = $1 and $2 <> ''", "404 NodeNotFound"),
        ("update node set owner = 'bob' where id = $1 and $2 <> ''", "403 PermissionDenied"),
        ("update account set disabled = true where $1 > 0 and $2 <> ''", "403 PermissionDenied"),
    ],
)
async def test_the_commit_looks_again(site: Site, node: int, meanwhile: str, answer: str) -> None:
    endpoint = await site.endpoint("PUT", node)
    async with slow(endpoint, len(NEW), NEW[:-1]) as upload:
        await begun(site, endpoint)
        await site.query(meanwhile, node, site.jobs[endpoint])
        await upload.send(NEW[-1:])
        assert await upload.answer() == answer
    assert not await site.busy(node)
    md5 = await site.value("select md5 from node where id = $1", node)
    assert md5 == await site.value("select md5 from blob")
    assert await site.value("select length from blob") == len(OLD)
    assert await site.value("select count(*) from discard") == 0


async def test_a_node_that_is_gone_for_good_takes_nothing(site: Site, node: int) -> None:
    endpoint = await site.endpoint("PUT", node)
    async with slow(endpoint, len(NEW), NEW[:-1]) as upload:
        await begun(site, endpoint)
        await site.query("delete from node where id = $1", node)
        await upload.send(NEW[-1:])
        assert await upload.answer() == "404 NodeNotFound"
    assert (await site.send("PUT", endpoint, data=NEW)).fault == "NodeNotFound"


@pytest.mark.parametrize(("lose", "status"), [("answer", 201), ("request", 503)])
async def test_a_lost_commit_is_asked_for(
    dsn: str, tmp_path: Path, rudes: list[RudeNgas], lose: str, status: int
) -> None:
    async with (
        lossy(dsn) as proxy,
        storage_support.site(proxy.dsn, tmp_path, [rudes[0].port]) as running,
    ):
        site = replace(running, dsn=dsn)
        node = await site.node()
        endpoint = await site.endpoint("PUT", node)
        async with slow(endpoint, len(NEW), NEW[:-1]) as upload:
            await begun(site, endpoint)
            proxy.lose = lose
            await upload.send(NEW[-1:])
            assert (await upload.answer()).split()[0] == str(status)
        assert proxy.lost == 1
        pulled = await site.pull(node)
        assert pulled.body == NEW if status == 201 else pulled.fault == "NodeBusy"
        assert (await site.send("PUT", endpoint, data=NEW)).status == 201
        assert len(rudes[0].files) == (1 if status == 201 else 2)
        assert (await site.pull(node)).body == NEW


async def test_a_replacement_during_a_download_does_not_mix(site: Site) -> None:
    node = await site.node()
    await site.push(node, LARGE)
    endpoint = await site.endpoint("GET", node)
    async with site.http.get(endpoint) as response:
        first = await response.content.readexactly(1000)
        assert (await site.push(node, NEW)).status == 201
        assert first + await response.read() == LARGE
    assert (await site.send("GET", endpoint)).body == NEW


async def test_a_download_that_breaks_off_is_cut(site: Site, rudes: list[RudeNgas]) -> None:
    node = await site.node()
    await site.push(node, LARGE)
    for rude in rudes:
        rude.faults.cut_download = 2**20
    endpoint = await site.endpoint("GET", node)
    with pytest.raises(ClientError):
        await site.send("GET", endpoint)
    assert await site.phase(endpoint) == "EXECUTING"
    for rude in rudes:
        rude.faults.cut_download, rude.faults.silent = None, True
    away = await site.send("GET", endpoint)
    assert (away.status, away.fault) == (503, "ArchiveUnreachable")
    assert "ETag" not in away.headers


async def test_another_holder_goes_on_where_one_breaks_off(
    site: Site, rudes: list[RudeNgas]
) -> None:
    node = await site.node()
    await site.push(node, LARGE)
    for rude in rudes:
        for other in rudes:
            rude.files |= other.files
    for rude in rudes:
        rude.faults.cut_download, rude.faults.once = 2**20, {"cut_download"}
    rudes[1].faults.cut_download = None
    assert (await site.pull(node)).body == LARGE


async def test_two_servers_on_one_database_are_one(
    site: Site, dsn: str, tmp_path: Path, rudes: list[RudeNgas]
) -> None:
    ports = [rude.port for rude in rudes]
    async with storage_support.site(dsn, tmp_path, ports, user=False) as second:
        node = await site.node()
        one = await site.endpoint("PUT", node)
        other = one.replace(site.url, second.url)
        async with slow(one, len(NEW), NEW[:-1]) as upload:
            await begun(site, one)
            assert (await site.push(node, b"third")).fault == "NodeBusy"
            assert (await site.send("PUT", other, data=OLD)).status == 201
            await upload.send(NEW[-1:])
            assert await upload.answer() == "409 NodeBusy"
        assert (await second.send("PUT", one, data=OLD)).status == 201
        pull = await site.endpoint("GET", node, server=second.url)
        assert (await site.send("GET", pull)).body == OLD


async def test_a_killed_server_loses_nothing(
    dsn: str, tmp_path: Path, rudes: list[RudeNgas]
) -> None:
    ports = [rude.port for rude in rudes]
    async with storage_support.site(dsn, tmp_path, ports) as site:
        node = await site.node()
        await site.push(node, OLD)
        sections = stack.settings(dsn, tmp_path / "staging", ports)
        ini = stack.write_ini(tmp_path / "killed.ini", sections)
        url = stack.parsed(sections).storage.listen.public_url
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "pyvospace_ngas.cli.storage", "--cfg", str(ini)
        )
        try:
            await until_true(lambda: _answers(site.http, url))
            streamed = await site.endpoint("PUT", node, server=url)
            staged = await site.endpoint("PUT", await site.node(), server=url)
            async with (
                slow(streamed, len(NEW), NEW[:-1]),
                slow(staged, None, b"5\r\nhello\r\n"),
            ):
                await begun(site, streamed)
                staging = tmp_path / "staging"
                await until(lambda: any(staging.iterdir()))
                process.kill()
                await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert await site.busy(node)
        assert (await site.pull(node)).body == OLD
        await site.forget_leases()
        assert not await site.busy(node)
        assert any(staging.iterdir())
        async with storage_support.site(dsn, tmp_path, ports, user=False):
            assert not any(staging.iterdir())
        again = streamed.replace(url, site.url)
        assert (await site.send("PUT", again, data=NEW)).status == 201
        assert (await site.pull(node)).body == NEW


async def _answers(http: ClientSession, url: str) -> bool:
    try:
        async with http.get(f"{url}/health") as response:
            return response.status == 200
    except ClientError:
        return False


async def test_a_client_that_goes_away_while_reading_ends_nothing(site: Site) -> None:
    node = await site.node()
    await site.push(node, LARGE)
    endpoint = await site.endpoint("GET", node)
    async with site.http.get(endpoint) as response:
        await response.content.readexactly(1000)
        response.close()
    got: Answer = await site.send("GET", endpoint, headers={"Range": "bytes=1000-"})
    assert got.body == LARGE[1000:]


async def test_a_slow_upload_keeps_its_node(
    site: Site, node: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "HEARTBEAT", 0.05)
    endpoint = await site.endpoint("PUT", node)
    async with slow(endpoint, len(NEW), NEW[:-1]) as upload:
        await begun(site, endpoint)
        await site.forget_leases()

        async def renewed() -> bool:
            return await site.busy(node)

        await until_true(renewed)
        await upload.send(NEW[-1:])
        assert await upload.answer() == "201"


async def test_a_superseded_upload_is_not_read_to_its_end(
    site: Site, node: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "HEARTBEAT", 0.05)
    endpoint = await site.endpoint("PUT", node)
    async with slow(endpoint, 2**30, NEW) as upload:
        await begun(site, endpoint)
        assert (await site.send("PUT", endpoint, data=NEW)).status == 201
        sending = asyncio.create_task(_flood(upload))
        assert await upload.answer() == "409 NodeBusy"
        sending.cancel()
        await asyncio.wait([sending])


async def _flood(upload: Slow) -> None:
    while True:
        await upload.send(b"x" * 1000)
        await asyncio.sleep(0.01)
