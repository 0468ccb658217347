"""Subscriptions: what is archived at a node is sent to who asked for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import ClientSession, web
from archive_support import (
    Edit,
    RunningNode,
    archive,
    command,
    retrieve,
    running_node,
    set_attributes,
)
from lxml import etree
from ports import free_port
from waiting_support import until_true

from pyvospace_ngas.archive.slots import Slots

FORMATS = "pyvospace_ngas.archive.examples.only_formats"
OFTEN = {"SuspensionTime": "0.05"}


@dataclass
class Taker:
    """A subscriber: takes files, or does not, as told."""

    statuses: list[int] = field(default_factory=list)  # of the next answers; then 200
    took: list[tuple[web.Request, bytes]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        status = self.statuses.pop(0) if self.statuses else 200
        if status == 200:
            self.took.append((request, body))
        return web.Response(status=status)


@pytest.fixture
async def http() -> AsyncIterator[ClientSession]:
    async with ClientSession() as session:
        yield session


@pytest.fixture
def taker() -> Taker:
    return Taker()


async def started(taker: Taker, port: int) -> web.AppRunner:
    app = web.Application()
    app.router.add_post("/QARCHIVE", taker.handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    return runner


@pytest.fixture
async def url(taker: Taker) -> AsyncIterator[str]:
    port = free_port()
    runner = await started(taker, port)
    yield f"http://127.0.0.1:{port}/QARCHIVE"
    await runner.cleanup()


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[RunningNode]:
    edit = set_attributes("SubscriptionDef", **OFTEN)
    async with running_node(tmp_path / "node", edit=edit) as running:
        yield running


async def queue(node: RunningNode) -> list[tuple[str, int]]:
    rows = await node.node.database.fetch(
        "select file_id, status from ngas_subscr_queue order by file_id"
    )
    return [(row[0], int(row[1])) for row in rows]


async def settled(node: RunningNode, *rows: tuple[str, int]) -> None:
    """Wait until the queue says this."""

    async def claim() -> bool:
        return await queue(node) == list(rows)

    await until_true(claim)


async def subscribe(
    http: ClientSession, node: RunningNode, url: str, **parameters: str
) -> tuple[int, str]:
    status, answer = await command(http, f"{node.url}/SUBSCRIBE", url=url, **parameters)
    return status, answer.status.status


async def test_what_is_archived_from_now_on_is_sent(
    node: RunningNode, http: ClientSession, taker: Taker, url: str
) -> None:
    await archive(http, node.url, "before.bin", b"before")
    assert await subscribe(http, node, url, subscr_id="T1") == (200, "SUCCESS")
    _, answer = await archive(http, node.url, 'né "1".txt', b"hello", mime_type="text/plain")
    await settled(node, ('né "1".txt', 0))
    [(request, body)] = taker.took
    assert body == b"hello"
    assert request.content_type == "text/plain"
    assert request.content_length == 5
    assert request.query["crc_variant"] == "crc32c"
    assert request.headers["NGAS-File-CRC"] == answer.disks[0].files[0].checksum
    assert 'filename="n%C3%A9 %221%22.txt"' in request.headers["Content-Disposition"]
    rows = await node.node.database.fetch("select last_file_ingestion_date from ngas_subscribers")
    assert rows[0][0] == answer.disks[0].files[0].ingestion_date


async def test_another_node_has_the_same_file_in_the_end(
    node: RunningNode, http: ClientSession, tmp_path: Path
) -> None:
    data = bytes(range(256)) * 9000
    await archive(http, node.url, "old", b"old", file_id="old-id")
    async with running_node(tmp_path / "other") as other:
        url = f"{other.url}/QARCHIVE"
        long_ago = "2001-01-01T00:00:00.000"
        assert (await subscribe(http, node, url, start_date=long_ago))[0] == 200
        await archive(http, node.url, "a b%.bin", data, file_id="new id")
        await settled(node, ("new id", 0), ("old-id", 0))
        assert await retrieve(http, other.url, "new id") == data
        assert await retrieve(http, other.url, "old-id") == b"old"


async def test_the_same_subscription_again_is_no_mistake_and_another_is(
    node: RunningNode, http: ClientSession, url: str
) -> None:
    parameters = {"subscr_id": "T1", "priority": "2", "concurrent_threads": "3"}
    assert await subscribe(http, node, url, **parameters) == (200, "SUCCESS")
    assert await subscribe(http, node, url, **parameters) == (201, "SUCCESS")
    assert await subscribe(http, node, url, subscr_id="T1") == (409, "FAILURE")


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"url": "file:///etc/passwd"},
        {"url": "http://"},
        {"url": f"http://x/{'y' * 300}"},
        {"url": "http://x/", "priority": "0"},
        {"url": "http://x/", "concurrent_threads": "1000"},
        {"url": "http://x/", "start_date": "tomorrow"},
        {"url": "http://x/", "filter_plug_in": "os.system"},
        {"url": "http://x/", "filter_plug_in": "subprocess.run"},
        {"url": "http://x/", "filter_plug_in": "pyvospace_ngas.archive.plugins.load"},
        {"url": "http://x/", "filter_plug_in": "pyvospace_ngas.archive.examples.gone"},
    ],
)
async def test_what_is_no_subscription_is_refused(
    node: RunningNode, http: ClientSession, parameters: dict[str, str]
) -> None:
    status, answer = await command(http, f"{node.url}/SUBSCRIBE", **parameters)
    assert (status, answer.status.status) == (400, "FAILURE")
    assert await node.node.database.fetch("select * from ngas_subscribers") == []


async def test_a_filter_says_what_is_wanted(
    node: RunningNode, http: ClientSession, taker: Taker, url: str
) -> None:
    wishes = {"filter_plug_in": FORMATS, "plug_in_pars": "text/plain, text/xml"}
    assert (await subscribe(http, node, url, **wishes))[0] == 200
    for name, mime_type in (("a.bin", "application/x-a"), ("b.txt", "text/plain")):
        await archive(http, node.url, name, name.encode(), mime_type=mime_type)
    await settled(node, ("a.bin", 0), ("b.txt", 0))
    assert [body for _, body in taker.took] == [b"b.txt"]


async def test_what_is_not_taken_is_sent_again_and_does_not_hold_up_the_rest(
    node: RunningNode, http: ClientSession, taker: Taker, url: str
) -> None:
    taker.statuses = [400, 400]
    await subscribe(http, node, url)
    await archive(http, node.url, "a.bin", b"a")
    await archive(http, node.url, "b.bin", b"b")
    await settled(node, ("a.bin", 0), ("b.bin", 0))
    assert sorted(body for _, body in taker.took) == [b"a", b"b"]
    assert await node.node.database.fetch("select * from ngas_subscr_back_log") == []


async def test_what_waits_outlives_the_node(
    tmp_path: Path, http: ClientSession, taker: Taker
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/QARCHIVE"
    edit = set_attributes("SubscriptionDef", **OFTEN)
    async with running_node(tmp_path, edit=edit) as node:
        await subscribe(http, node, url)
        await archive(http, node.url, "a.bin", b"a")

        async def failed() -> bool:
            return [status > 0 for _, status in await queue(node)] == [True]

        await until_true(failed)
        rows = await node.node.database.fetch("select file_id from ngas_subscr_back_log")
        assert [row[0] for row in rows] == ["a.bin"]
        same_port = node.port
    runner = await started(taker, port)
    async with running_node(tmp_path, edit=edit, port=same_port) as node:
        await settled(node, ("a.bin", 0))
    await runner.cleanup()
    assert [body for _, body in taker.took] == [b"a"]


async def test_what_waits_for_too_long_is_given_up(tmp_path: Path, http: ClientSession) -> None:
    edit = set_attributes("SubscriptionDef", BackLogExpTime="0.001", **OFTEN)
    async with running_node(tmp_path, edit=edit) as node:
        await subscribe(http, node, f"http://127.0.0.1:{free_port()}/QARCHIVE")
        await archive(http, node.url, "a.bin", b"a")

        async def given_up() -> bool:
            rows = await node.node.database.fetch("select * from ngas_subscr_back_log")
            return rows == [] and [status > 0 for _, status in await queue(node)] == [True]

        await until_true(given_up)


async def test_after_an_unsubscription_nothing_comes(
    node: RunningNode, http: ClientSession, taker: Taker, url: str
) -> None:
    await subscribe(http, node, url, subscr_id="T1")
    await archive(http, node.url, "a.bin", b"a")
    await settled(node, ("a.bin", 0))
    status, _ = await command(http, f"{node.url}/UNSUBSCRIBE", subscr_id="T1")
    assert status == 200
    await archive(http, node.url, "b.bin", b"b")
    assert await queue(node) == []
    for wrong in ({"subscr_id": "T1"}, {"url": url}):
        status, answer = await command(http, f"{node.url}/UNSUBSCRIBE", **wrong)
        assert (status, answer.status.status) == (404, "FAILURE")
    assert (await subscribe(http, node, url))[0] == 200
    assert (await command(http, f"{node.url}/UNSUBSCRIBE", url=url))[0] == 200
    assert len(taker.took) == 1


async def test_a_replica_is_not_sent_twice(
    tmp_path: Path, http: ClientSession, taker: Taker, url: str
) -> None:
    async with running_node(tmp_path, volumes=2) as node:
        await archive(http, node.url, "a.bin", b"a")
        assert (await command(http, f"{node.url}/CLONE", file_id="a.bin"))[0] == 200
        assert len(await node.node.database.fetch("select * from ngas_files")) == 2
        await subscribe(http, node, url, start_date="2001-01-01")
        await settled(node, ("a.bin", 0))
        assert len(taker.took) == 1


async def test_a_node_subscribes_itself_while_it_is_online(
    tmp_path: Path, http: ClientSession
) -> None:
    async with running_node(tmp_path / "source") as source:
        port = free_port()

        def edit(document: etree._Element) -> None:
            definition = etree.SubElement(document, "SubscriptionDef", Enable="1")
            definition.append(
                etree.Element(
                    "Subscription",
                    HostId="127.0.0.1",
                    PortNo=str(source.port),
                    SubscriberUrl=f"http://127.0.0.1:{port}",
                )
            )

        async def subscribed() -> bool:
            rows = await source.node.database.fetch("select subscr_url from ngas_subscribers")
            return [row[0] for row in rows] == [f"http://127.0.0.1:{port}/QARCHIVE"]

        async with running_node(tmp_path / "sink", edit=edit, port=port) as sink:
            await until_true(subscribed)
            await archive(http, source.url, "a.bin", b"a")
            await settled(source, ("a.bin", 0))
            assert await retrieve(http, sink.url, "a.bin") == b"a"
        assert not await subscribed()


async def test_a_cluster_on_postgresql_delivers_too(
    tmp_path: Path, empty_dsn: str, http: ClientSession, taker: Taker, url: str
) -> None:
    edit: Edit = set_attributes("SubscriptionDef", **OFTEN)
    async with running_node(tmp_path, empty_dsn, edit=edit) as node:
        taker.statuses = [500]
        await subscribe(http, node, url)
        await archive(http, node.url, "a.bin", b"a")
        await settled(node, ("a.bin", 0))
        assert (await command(http, f"{node.url}/UNSUBSCRIBE", url=url))[0] == 200
        assert await queue(node) == []


async def test_a_site_signs_its_deliveries(
    tmp_path: Path, http: ClientSession, taker: Taker, url: str
) -> None:
    (tmp_path / "signing.py").write_text(
        "def signed(name, url):\n    return f'Bearer {name} {len(url)}'\n"
    )

    def edit(document: etree._Element) -> None:
        set_attributes("Server", PluginsPath=str(tmp_path))(document)
        set_attributes("SubscriptionAuth", PlugInName="signing.signed")(document)

    async with running_node(tmp_path / "node", edit=edit) as node:
        await subscribe(http, node, url)
        await archive(http, node.url, "a.bin", b"a")
        await settled(node, ("a.bin", 0))
    assert taker.took[0][0].headers["Authorization"] == f"Bearer a.bin {len(url)}"


async def test_places_are_given_by_priority() -> None:
    slots, order = Slots(1), list[int]()

    async def work(priority: int) -> None:
        async with slots.hold(priority):
            order.append(priority)

    async with asyncio.TaskGroup() as group, slots.hold(9):
        for priority in (3, 1, 2):
            group.create_task(work(priority))
        gone = group.create_task(work(1))
        await asyncio.sleep(0)
        gone.cancel()
        assert order == []
    assert order == [1, 2, 3]
