"""The stream of changes: whatever is done is told, once it is done, to those who may know."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
import stack
import views_support
from aiohttp import ClientResponse, ClientSession, encode_basic_auth
from stack import AUTHORITY, Caller, properties, relocation
from test_recursive_jobs import ended
from waiting_support import until, until_true
from yarl import URL

from pyvospace_ngas.client import changes as client
from pyvospace_ngas.client.changes import Began, Changed, Current, messages_of
from pyvospace_ngas.client.vospace import VOSpace
from pyvospace_ngas.config import Config
from pyvospace_ngas.db import nodes
from pyvospace_ngas.db.changes import NOTE
from pyvospace_ngas.db.connect import Connection, connect
from pyvospace_ngas.errors import ChangesPruned, PermissionDenied
from pyvospace_ngas.model.access import ANONYMOUS, Identity
from pyvospace_ngas.model.change import Change, Told, told
from pyvospace_ngas.model.node import Node, NodeType
from pyvospace_ngas.model.token import Scope
from pyvospace_ngas.model.uri import ROOT, NodePath
from pyvospace_ngas.ops import accounts
from pyvospace_ngas.ops import changes as ops
from pyvospace_ngas.space import feed
from pyvospace_ngas.space.handlers import changes as handlers

HOME: Final = NodePath(("home", "alice"))


# What one is told: the rule


def container(name: str, owner: str = "alice", *, public: bool = False) -> Node:
    return Node(1, 0, name, NodeType.CONTAINER, owner, public_read=public)


def file(*, public: bool = False) -> Node:
    return Node(7, 1, "f", NodeType.DATA, "alice", public_read=public, length=5, version=3)


OPEN: Final = (container("", "", public=True), container("home", "", public=True))
PRIVATE: Final = (*OPEN, container("alice"))
ALICE, BOB = Identity("alice"), Identity("bob")
WITHIN: Final = Identity("alice", scope=Scope(path=HOME / "d"))
WHOLE: Final = Told(HOME / "f", NodeType.DATA, '"7-3"', 5)
BARE: Final = Told(HOME / "f", NodeType.DATA)


@pytest.mark.parametrize(
    ("who", "line", "node", "root", "wanted"),
    [
        (ALICE, PRIVATE, file(), HOME, WHOLE),
        (ALICE, PRIVATE, file(), ROOT, WHOLE),
        (ALICE, PRIVATE, None, ROOT, Told(HOME / "f")),
        (ALICE, PRIVATE, file(), HOME / "f", WHOLE),
        (ALICE, PRIVATE, file(), HOME / "f" / "g", BARE),  # what happens around one's root
        (ALICE, PRIVATE, file(), HOME / "g", None),
        (BOB, PRIVATE, file(public=True), ROOT, None),
        (BOB, PRIVATE, None, ROOT, None),
        (ANONYMOUS, PRIVATE, file(), ROOT, None),
        (BOB, (*OPEN, container("alice", public=True)), file(), ROOT, BARE),
        (BOB, (*OPEN, container("alice", public=True)), file(public=True), ROOT, WHOLE),
        (Identity("root", admin=True), PRIVATE, file(), ROOT, WHOLE),
        (WITHIN, PRIVATE, file(), ROOT, None),
        (Identity("alice", scope=Scope(path=HOME / "f" / "g")), PRIVATE, file(), ROOT, BARE),
    ],
)
def test_one_is_told_what_a_listing_would_show(
    who: Identity, line: tuple[Node, ...], node: Node | None, root: NodePath, wanted: Told | None
) -> None:
    assert told(Change(9, HOME / "f", line, node), who, root) == wanted


def test_the_root_stands_for_all_below_it() -> None:
    root = container("", "", public=True)
    assert told(Change(9, ROOT, (), root), BOB, HOME) == Told(ROOT, NodeType.CONTAINER)


async def test_a_stream_can_come_in_any_pieces() -> None:
    raw = (
        'id: 5\ndata: {"a": "é"}\n\n: nothing\n\nevent: x\ndata: 1\n\nid: 7\n\ndata: cut'.encode()
    )
    for size in (1, 2, 3, 7, len(raw)):

        async def pieces(size: int = size) -> AsyncGenerator[bytes, None]:
            for start in range(0, len(raw), size):
                yield raw[start : start + size]

        found = [(each.id, each.name, each.data) async for each in messages_of(pieces())]
        assert found == [
            ("5", "message", '{"a": "é"}'), (None, "message", ""), (None, "x", "1"),
            ("7", "message", ""),
        ]  # fmt: skip


# Reading the table


@asynccontextmanager
async def connections(dsn: str, number: int) -> AsyncIterator[list[Connection]]:
    async with AsyncExitStack() as opened:
        found = []
        for _ in range(number):
            db = await connect(dsn)
            opened.push_async_callback(db.close)
            found.append(db)
        yield found


async def make(db: Connection, name: str) -> None:
    await accounts.add(db, name, stack.PASSWORD)  # and so /home/NAME


async def names_since(db: Connection, since: int) -> list[str]:
    return [change.path.name for change in (await ops.page(db, since)).changes]


async def test_of_two_transactions_that_commit_in_the_other_order_none_is_lost(dsn: str) -> None:
    async with connections(dsn, 3) as (first, second, reader):
        start = await ops.begin(reader, None)
        slow = first.transaction()
        await slow.start()
        await make(first, "slow")
        await make(second, "quick")  # its number is the greater one, and it is there before
        page = await ops.page(reader, start)
        assert [change.path.name for change in page.changes] == []
        assert page.end < page.next
        await slow.commit()
        seen: list[str] = []

        async def all_seen() -> bool:
            nonlocal page
            page = await ops.page(reader, page.end)  # goes on, whatever others do meanwhile
            seen.extend(change.path.name for change in page.changes)
            return len(seen) == 2

        await until_true(all_seen)
        assert sorted(seen) == ["quick", "slow"]


async def test_what_is_rolled_back_is_not_told(dsn: str) -> None:
    async with connections(dsn, 1) as (db,):
        start = await ops.begin(db, None)
        undone = db.transaction()
        await undone.start()
        await make(db, "undone")
        await undone.rollback()
        await make(db, "done")
        await until_true(lambda: _is(names_since(db, start), ["done"]))


async def _is(found: Any, wanted: object) -> bool:
    return bool(await found == wanted)


async def test_pages_are_of_whole_transactions(dsn: str) -> None:
    async with connections(dsn, 1) as (db,):
        start = await ops.begin(db, None)
        async with db.transaction():
            for name in "abc":
                await make(db, name)
        for name in "de":
            await make(db, name)
        await until_true(lambda: _is(names_since(db, start), list("abcde")))
        first = await ops.page(db, start, 2)
        assert ([c.path.name for c in first.changes], first.is_last) == (list("abc"), False)
        second = await ops.page(db, first.end, 2)
        assert [c.path.name for c in second.changes] == list("de")
        assert (await ops.page(db, second.end, 2)).changes == []


async def test_what_is_old_is_pruned_and_who_comes_with_it_is_told_so(dsn: str) -> None:
    async with connections(dsn, 1) as (db,):
        start = await ops.begin(db, None)
        await make(db, "a")
        await ops.prune(db, 3600.0)
        await until_true(lambda: _is(names_since(db, start), ["a"]))

        async def pruned() -> bool:
            await db.execute("update change_mark set at = at - interval '2 minutes'")
            await ops.prune(db, 0.0)
            return bool(await db.fetchval("select count(*) from change") == 0)

        await until_true(pruned)
        with pytest.raises(ChangesPruned):
            await ops.page(db, start)
        with pytest.raises(ChangesPruned):
            await ops.begin(db, start)
        await make(db, "b")
        now = await ops.begin(db, None)
        assert await ops.begin(db, now) == now


async def test_a_restored_database_forgets_the_numbers_of_the_old_one(dsn: str) -> None:
    async with connections(dsn, 1) as (db,):
        await db.execute("delete from change_mark")
        await db.execute("insert into change_mark (tx) values ('123456789012')")
        await db.execute("insert into change (tx, name) values ('123456789012', '')")
        await ops.prune(db)
        start = await ops.begin(db, None)
        assert await ops.begin(db, start) == start
        assert await db.fetchval("select count(*) from change") == 0
        with pytest.raises(ChangesPruned):  # which another server gave out
            await ops.begin(db, 123456789012)


async def test_a_change_of_too_many_names_at_once_is_one_of_the_whole_tree(dsn: str) -> None:
    async with connections(dsn, 1) as (db,):
        await make(db, "a")
        await db.execute(
            "insert into node (parent_id, name, type, owner, provisional, ctime)"
            " select 0, 'n' || i, 1, 'a', true, now() - interval '1 day'"
            " from generate_series(1, 1001) i"
        )
        start = await ops.begin(db, None)
        assert await nodes.delete_abandoned(db) == 1001

        async def told() -> list[NodePath]:
            return [change.path for change in (await ops.page(db, start)).changes]

        await until_true(lambda: _is(told(), [ROOT]))


# The stream


@dataclass(slots=True)
class Heard:
    """A stream that is open, and what came so far."""

    answer: ClientResponse
    events: list[dict[str, Any]] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    id: str = ""
    lag: float = 0.0
    over: bool = False

    @property
    def names(self) -> list[str]:
        return [event["uri"].rpartition("/")[2] for event in self.events]

    async def read(self) -> None:
        async for message in messages_of(self.answer.content.iter_any()):
            self.id = message.id or self.id
            self.words.append(message.name)
            if message.name == "message" and message.data:
                self.events.append(json.loads(message.data))
            if message.name == "current":
                self.lag = json.loads(message.data)["lag"]
        self.over = True


@asynccontextmanager
async def follow(caller: Caller, query: str = "", **headers: str) -> AsyncIterator[Heard]:
    """Open a stream; give what is heard once it has begun."""
    if caller.user is not None and "Cookie" not in headers:
        headers["Authorization"] = encode_basic_auth(caller.user, stack.PASSWORD)
    url = URL(f"{caller.base}/changes{query}", encoded=True)
    async with caller.http.get(url, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        heard = Heard(answer)
        reading = asyncio.create_task(heard.read())
        try:
            await until(lambda: bool(heard.words))
            yield heard
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


@pytest.fixture
async def config(dsn: str, tmp_path: Path) -> Config:
    for name in ("alice", "bob"):
        await stack.add_user(dsn, name)
    return stack.parsed(stack.settings(dsn, tmp_path / "staging"))


@pytest.fixture
async def alice(config: Config) -> AsyncIterator[Caller]:
    async with stack.space_server(config) as url, ClientSession() as http:
        yield Caller(http, url, "alice")


async def test_a_change_is_told_with_what_the_node_is_now(alice: Caller) -> None:
    async with follow(alice, f"?path={HOME}") as heard:
        assert heard.answer.content_type == "text/event-stream"
        assert heard.words[0] == "began"
        made = await alice.make("/home/alice/a%20b", "DataNode", properties(title="T"))
        await until(lambda: bool(heard.events))
        wanted = {"type": "DataNode", "etag": made.headers["ETag"], "length": 0}
        assert heard.events == [{"uri": f"{AUTHORITY}/home/alice/a%20b", **wanted}]
        await alice.delete("/nodes/home/alice/a%20b")
        await until(lambda: len(heard.events) == 2)
        assert heard.events[1] == {"uri": f"{AUTHORITY}/home/alice/a%20b", "type": None}
        await until(lambda: "current" in heard.words)


async def test_the_first_one_to_follow_is_told_at_once_how_current_it_is(
    alice: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handlers, "BEAT", 3600.0)
    for _ in range(2):  # in between nobody follows, and the server looks no more
        async with follow(alice) as heard:
            await until(lambda: "current" in heard.words)
        await asyncio.sleep(2 * feed.TICK)


async def test_a_stream_goes_on_where_another_ended(alice: Caller) -> None:
    async with follow(alice) as heard:
        await alice.make("/home/alice/before", "DataNode")
        await until(lambda: heard.names == ["before"])
        await until(lambda: heard.words[-1] == "current")
    await alice.make("/home/alice/between", "DataNode")
    async with follow(alice, **{"Last-Event-ID": heard.id}) as again:
        await until(lambda: bool(again.events))
        await alice.make("/home/alice/after", "DataNode")
        await until(lambda: len(again.events) == 2)
        assert (again.names, "began" in again.words) == (["between", "after"], False)
    async with follow(alice, f"?since={again.id}&path={AUTHORITY}{HOME}") as third:
        await alice.delete("/nodes/home/alice/after")
        await until(lambda: bool(third.events))
        assert third.names == ["after"]


async def test_a_stranger_hears_nothing_of_private_nodes(alice: Caller) -> None:
    bob = alice("bob")
    async with follow(bob) as heard, follow(alice(None)) as nobody, follow(alice) as own:
        await alice.make("/home/alice/private")
        await alice.make("/home/alice/private/f", "DataNode", properties(publicread="true"))
        await alice.set("/home/alice/private", properties(title="secret"))
        await alice.delete("/nodes/home/alice/private/f")
        await alice.set("/home/alice", properties(title="last"))
        await until(lambda: own.names[-1:] == ["alice"])
        await until(lambda: heard.names == nobody.names == ["alice"])
        # Its name is seen by whoever lists /home, nothing else of it.
        assert heard.events == [{"uri": f"{AUTHORITY}/home/alice", "type": "ContainerNode"}]
        assert set(own.names) == {"private", "f", "alice"}
        await alice.set("/home/alice", properties(publicread="true"))
        await alice.make("/home/alice/shown", "DataNode", properties(publicread="true"))
        await until(lambda: "shown" in heard.names and "shown" in nobody.names)
        assert "etag" in heard.events[-1]
    refused = await bob.get("/changes?path=/home/alice/private")
    assert (refused.status, refused.fault) == (403, "PermissionDenied")


async def test_what_cannot_be_followed_is_refused(alice: Caller) -> None:
    for query, status, fault in (
        ("?path=/home/alice/no", 404, "NodeNotFound"),
        ("?path=vos://other/a", 400, "InvalidURI"),
        ("?since=x", 400, "InvalidArgument"),
        ("?since=-1", 400, "InvalidArgument"),
        ("?since=1", 410, "ChangesPruned"),
        (f"?since={2**61}", 410, "ChangesPruned"),
    ):
        answer = await alice.get(f"/changes{query}")
        assert (answer.status, answer.fault) == (status, fault), query
    assert (await alice.request("HEAD", "/changes")).status == 200


async def test_a_client_is_told_why_it_cannot_follow(alice: Caller) -> None:
    async with (
        VOSpace(alice.base, "bob", stack.PASSWORD) as space,
        aclosing(space.changes("/home/alice/no")) as events,
    ):
        with pytest.raises(PermissionDenied):
            await anext(events)


async def test_nobody_has_more_streams_than_are_allowed(
    alice: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "MOST_EACH", 2)
    async with follow(alice) as one, follow(alice) as two:
        answer = await alice.get("/changes")
        assert (answer.status, answer.fault) == (429, "TooManyRequests")
        assert "Retry-After" in answer.headers
        async with follow(alice("bob")):
            await alice.make("/home/alice/a", "DataNode")
            await until(lambda: one.names == two.names == ["a"])
    monkeypatch.setattr(feed, "MOST", 0)
    assert (await alice.get("/changes")).status == 503


async def test_a_stream_ends_with_the_session_that_it_belongs_to(
    alice: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handlers, "CHECK", 0.0)
    login = await alice.request("POST", "/login")
    cookie = login.headers["Set-Cookie"].partition(";")[0]
    async with follow(alice, Cookie=cookie) as heard:
        out = {"Cookie": cookie, "Sec-Fetch-Site": "same-origin"}
        assert (await alice(None).request("POST", "/logout", headers=out)).status == 200
        await until(lambda: heard.over)


async def test_all_begins_anew_when_the_caller_may_read_other_things(
    alice: Caller, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handlers, "CHECK", 0.0)
    login = await alice.request("POST", "/login")
    cookie = login.headers["Set-Cookie"].partition(";")[0]
    async with follow(alice, Cookie=cookie) as heard, connections(config.space.dsn, 1) as (db,):
        await accounts.change_groups(db, "alice", ["stars"], [])
        await until(lambda: heard.words.count("began") == 2)
        assert not heard.over


async def test_who_falls_behind_reads_from_the_database(
    alice: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "_RECENT", 2)
    async with follow(alice) as heard:
        begin = heard.id
        for number in range(6):
            await alice.make(f"/home/alice/n{number}", "DataNode")
        await until(lambda: len(heard.events) == 6)
        async with follow(alice, **{"Last-Event-ID": begin}) as late:
            await until(lambda: len(late.events) == 6)
            assert late.names == heard.names == [f"n{number}" for number in range(6)]


async def test_a_reader_that_takes_nothing_is_let_go(
    alice: Caller, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handlers, "PATIENCE", 0.2)
    monkeypatch.setattr(feed, "MOST_EACH", 1)
    url = URL(f"{alice.base}/changes")
    reader, writer = await asyncio.open_connection(str(url.host), url.port, limit=1024)
    secret = encode_basic_auth("alice", stack.PASSWORD)
    writer.write(f"GET {url.path} HTTP/1.1\r\nHost: x\r\nAuthorization: {secret}\r\n\r\n".encode())
    assert b"200" in await reader.readline()  # and nothing more
    async with connections(config.space.dsn, 1) as (db,):
        for number in range(20):
            await db.execute(
                "with home as (select id from node where name = 'alice'), made as ("
                " insert into node (parent_id, name, type, owner)"
                " select id, $1 || repeat('n', 230) || i, 1, 'alice'"
                "   from home, generate_series(1, 1000) i returning parent_id, name)"
                f" {NOTE} made",
                f"{number} ",
            )

    async def is_let_go() -> bool:
        async with alice.http.get(url, headers={"Authorization": secret}) as answer:
            return answer.status == 200

    await until_true(is_let_go)
    writer.close()


async def test_a_stream_says_how_far_it_is_behind_and_catches_up(
    alice: Caller, config: Config
) -> None:
    async with follow(alice) as heard, connections(config.space.dsn, 1) as (db,):
        slow = db.transaction()
        await slow.start()
        await make(db, "slow")
        await alice.make("/home/alice/quick", "DataNode")
        await until(lambda: heard.lag > 1.0)
        assert heard.events == []
        await slow.commit()
        await until(lambda: heard.names != [] and heard.lag < 1.0)
        assert "quick" in heard.names


async def test_what_is_done_at_one_server_is_told_at_another(
    alice: Caller, config: Config
) -> None:
    other = stack.parsed(stack.settings(config.space.dsn, Path("/nowhere")))
    async with stack.space_server(other) as url, follow(alice) as heard:
        await Caller(alice.http, url, "alice").make("/home/alice/elsewhere", "DataNode")
        await until(lambda: heard.names == ["elsewhere"])


async def test_a_client_goes_on_at_a_server_that_was_started_again(config: Config) -> None:
    seen: list[client.Event] = []

    async def listen(space: VOSpace) -> None:
        async with aclosing(space.changes("/home/alice")) as events:
            async for event in events:
                seen.append(event)

    def paths() -> list[str]:
        return [event.path.name for event in seen if isinstance(event, Changed)]

    async with ClientSession() as http, AsyncExitStack() as opened:
        async with stack.space_server(config) as url:
            alice = Caller(http, url, "alice")
            space = await opened.enter_async_context(
                VOSpace(url, "alice", stack.PASSWORD, pause=0.01)
            )
            listening = asyncio.create_task(listen(space))
            opened.callback(listening.cancel)
            await until(lambda: any(isinstance(event, Current) for event in seen))
            await alice.make("/home/alice/one", "DataNode")
            await until(lambda: paths() == ["one"])
        # Another server of the same space, while this one is down.
        other = stack.parsed(stack.settings(config.space.dsn, Path("/nowhere")))
        async with stack.space_server(other) as url:
            await Caller(http, url, "alice").make("/home/alice/two", "DataNode")
        async with stack.space_server(config):
            await alice.make("/home/alice/three", "DataNode")
            await until(lambda: "three" in paths())
        assert paths() == ["one", "two", "three"]
        assert [type(event) for event in seen].count(Began) == 1


# Whatever is done is told


@dataclass(slots=True)
class Mirror:
    """The tree below ``/home/alice`` as one has it who looks only where a change was told."""

    dsn: str
    nodes: dict[str, tuple[int, int]] = field(default_factory=dict)

    async def look(self, path: str) -> dict[str, tuple[int, int]]:
        """Return what really is at ``path`` and below: id and version by path."""
        db = await connect(self.dsn)
        try:
            rows = await db.fetch(
                """
                with recursive tree as (
                    select id, version, '' collate "C" as path from node where id = 0
                     union all
                    select n.id, n.version, tree.path || '/' || n.name
                      from tree join node n on n.parent_id = tree.id
                ) select * from tree where path = $1 or starts_with(path, $1 || '/')
                """,
                path,
            )
        finally:
            await db.close()
        return {row["path"]: (row["id"], row["version"]) for row in rows}

    async def take(self, event: client.Event) -> None:
        if isinstance(event, Changed):
            if HOME.is_below(event.path):
                self.nodes = await self.look(str(HOME))
                return
            path = str(event.path)
            if event.type in (None, NodeType.CONTAINER):
                gone = [each for each in self.nodes if each.startswith(path + "/")]
                for each in [path, *gone]:
                    self.nodes.pop(each, None)
            now = await self.look(path)
            whole = event.type is NodeType.CONTAINER
            self.nodes |= {each: node for each, node in now.items() if whole or each == path}


@asynccontextmanager
async def mirrored(space: VOSpace, dsn: str) -> AsyncIterator[Mirror]:
    """Follow ``/home/alice`` into a mirror."""
    mirror, begun = Mirror(dsn), asyncio.Event()

    async def listen() -> None:
        async with aclosing(space.changes("/home/alice")) as events:
            async for event in events:
                if isinstance(event, Began):
                    mirror.nodes = await mirror.look("/home/alice")
                    begun.set()
                await mirror.take(event)

    listening = asyncio.create_task(listen())
    try:
        await until(lambda: begun.is_set() or listening.done())
        yield mirror
    finally:
        listening.cancel()
        with suppress(asyncio.CancelledError):
            await listening


Act = Callable[[Caller], Any]


async def restored(alice: Caller) -> None:
    entry = json.loads((await alice.get("/trash?limit=1")).text)["entries"][0]
    assert (await alice.form(f"/trash/{entry['id']}", "restore")).status == 200


async def relocated(alice: Caller, source: str, destination: str, *, keep: bool) -> None:
    _, job = await alice.run(relocation(f"{HOME}/{source}", f"{HOME}/{destination}", keep=keep))
    assert "COMPLETED" in job.text, job


async def whole_tree(alice: Caller, url: str, body: str) -> None:
    form = "<" not in body
    answer = await (alice.form(url, body) if form else alice.request("POST", url, body))
    await ended(alice, answer.location)


async def aborted(alice: Caller) -> None:
    made = await alice.sync(stack.transfer(f"{HOME}/abandoned", "pushToVoSpace", "httpput"))
    job = made.location.partition("/results")[0]
    assert (await alice.form(f"{job}/phase", "PHASE=ABORT")).status == 303


async def given(dsn: str, name: str, to: str) -> None:
    async with connections(dsn, 1) as (db,):
        await accounts.remove(db, name, to)


async def test_a_mirror_that_looks_only_where_it_is_told_to_stays_true(
    dsn: str, tmp_path: Path
) -> None:
    small = views_support.several((views_support.info("in/x", size=2), b"hi"))
    await stack.add_user(dsn, "alice")
    await stack.add_user(dsn, "bob", "stars")
    acts: dict[str, Act] = {
        "make": lambda alice: alice.make(f"{HOME}/c"),
        "make in it": lambda alice: alice.make(f"{HOME}/c/d"),
        "push": lambda alice: alice.push(f"{HOME}/c/d/f", b"bytes"),
        "push again": lambda alice: alice.push(f"{HOME}/c/d/f", b"others"),
        "abort": aborted,
        "set": lambda alice: alice.set(f"{HOME}/c/d/f", properties(title="T")),
        "copy": lambda alice: relocated(alice, "c", "copy", keep=True),
        "move": lambda alice: relocated(alice, "c/d", "copy/e", keep=False),
        "rename": lambda alice: relocated(alice, "copy/e/f", "copy/e/g", keep=False),
        "delete": lambda alice: alice.delete(f"/nodes{HOME}/copy"),
        "restore": restored,
        "unpack": lambda alice: views_support.unpack(alice, f"{HOME}/c", "tar", small),
        "set all": lambda alice: whole_tree(
            alice, "/async-setprops", stack.node(f"{HOME}/copy", "Node", properties(title="all"))
        ),
        "delete all": lambda alice: whole_tree(
            alice, "/async-delete", f"target={AUTHORITY}{HOME}/copy"
        ),
        "give": lambda _: given(dsn, "bob", "alice"),
    }
    async with (
        stack.whole_stack(dsn, tmp_path, nodes=1, space={"trash_delay": "3600"}) as running,
        ClientSession() as http,
        VOSpace(running.url, "alice", stack.PASSWORD) as space,
        mirrored(space, dsn) as mirror,
    ):
        alice = Caller(http, running.url, "alice")
        await alice.set(f"{HOME}", properties(groupwrite="stars"))
        await alice("bob").make(f"{HOME}/of-bob")
        for name, act in acts.items():
            before = dict(mirror.nodes)
            answer = await act(alice)
            assert answer is None or answer.status < 300, (name, answer)

            async def is_true() -> bool:
                return mirror.nodes == await mirror.look("/home/alice")

            try:
                await until_true(is_true, 30)
            except TimeoutError:
                pytest.fail(f"{name} is not told: {mirror.nodes}")
            assert name == "abort" or mirror.nodes != before, name
