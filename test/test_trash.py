"""What was deleted can be listed and brought back, by who deleted it, until it is purged."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import stack
from aiohttp import ClientSession
from stack import AUTHORITY, Caller, properties
from waiting_support import until_true

from pyvospace_ngas.cli import admin
from pyvospace_ngas.db.connect import connect

DATA = b"The quick brown fox\n" * 1000


@pytest.fixture
async def alice(dsn: str, tmp_path: Path) -> AsyncIterator[Caller]:
    """Alice, at a server that keeps what is deleted for an hour; bob and root exist too."""
    await stack.add_user(dsn, "root", admin=True)
    await stack.add_user(dsn, "alice")
    await stack.add_user(dsn, "bob", "stars")
    config = stack.parsed(stack.settings(dsn, tmp_path / "staging", space={"trash_delay": "3600"}))
    async with stack.space_server(config) as url, ClientSession() as http:
        yield Caller(http, url, "alice")


async def trash(caller: Caller, query: str = "") -> list[dict[str, Any]]:
    answer = await caller.get(f"/trash{query}")
    assert answer.status == 200, answer.text
    entries: list[dict[str, Any]] = json.loads(answer.text)["entries"]
    return entries


async def restored(caller: Caller, entry: dict[str, Any], target: str = "") -> stack.Answer:
    more = f"&target={AUTHORITY}{target}" if target else ""
    return await caller.form(f"/trash/{entry['id']}", "restore" + more)


async def test_a_deleted_tree_comes_back_whole(alice: Caller) -> None:
    await alice.make("/home/alice/t")
    await alice.make("/home/alice/t/u")
    await alice.make("/home/alice/t/u/a%20file", "DataNode", properties(title="T"))
    assert (await alice.delete("/nodes/home/alice/t")).status == 204
    (entry,) = await trash(alice)
    assert entry["uri"] == f"{AUTHORITY}/home/alice/t"
    assert (entry["type"], entry["deletedBy"]) == ("ContainerNode", "alice")
    assert entry["kept"] > entry["deleted"]
    back = await restored(alice, entry)
    assert (back.status, json.loads(back.text)) == (200, {"uri": f"{AUTHORITY}/home/alice/t"})
    assert ">T<" in (await alice.get("/nodes/home/alice/t/u/a%20file")).text
    assert await trash(alice) == []
    assert (await restored(alice, entry)).fault == "NodeNotFound"


@pytest.mark.row("MET-07")
async def test_properties_of_what_was_deleted_are_not_in_use(alice: Caller) -> None:
    one = '<vos:properties><vos:property uri="urn:gone">1</vos:property></vos:properties>'
    await alice.make("/home/alice/t")
    await alice.make("/home/alice/t/u")
    await alice.make("/home/alice/t/u/f", "DataNode", one)
    assert '"urn:gone"' in (await alice.get("/properties")).text
    await alice.delete("/nodes/home/alice/t")
    assert '"urn:gone"' not in (await alice.get("/properties")).text
    await restored(alice, (await trash(alice))[0])
    assert '"urn:gone"' in (await alice.get("/properties")).text


async def test_it_is_listed_in_pages_the_last_deleted_first(alice: Caller) -> None:
    for number in range(7):
        await alice.make(f"/home/alice/n{number}", "DataNode")
        await alice.delete(f"/nodes/home/alice/n{number}")
    seen: list[str] = []
    after: str | None = ""
    while after is not None:
        answer = await alice.get(f"/trash?limit=3{after and '&after=' + after}")
        page = json.loads(answer.text)
        seen += [entry["uri"].rpartition("/")[2] for entry in page["entries"]]
        after = page["next"]
    assert seen == [f"n{number}" for number in range(6, -1, -1)]
    for query in ("limit=0", "limit=1001", "limit=x", "after=x", "after=1-x", "after=-1-1"):
        assert (await alice.get(f"/trash?{query}")).status == 400, query


async def test_it_is_of_who_deleted_it_and_of_administrators(alice: Caller) -> None:
    await alice.set("/home/alice", properties(groupread="stars", groupwrite="stars"))
    await alice.make("/home/alice/a", "DataNode", properties(groupwrite="stars"))
    bob, root = alice("bob"), alice("root")
    assert (await bob.delete("/nodes/home/alice/a")).status == 204
    assert await trash(alice) == []
    (entry,) = await trash(bob)
    assert await trash(root) == await trash(root, "?user=bob") == [entry]
    assert await trash(root, "?user=alice") == []
    assert (await restored(alice, entry)).status == 403
    assert (await alice.delete(f"/trash/{entry['id']}")).status == 403
    assert (await alice(None).get("/trash")).status == 403
    assert (await restored(alice(None), entry)).status == 403
    # What bob may do is looked at again.
    await alice.set("/home/alice", properties(groupwrite=""))
    assert (await restored(bob, entry)).fault == "PermissionDenied"
    assert (await restored(root, entry)).status == 200
    assert (await alice.get("/nodes/home/alice/a")).status == 200


async def test_a_taken_name_or_a_missing_container_asks_for_another_place(alice: Caller) -> None:
    await alice.make("/home/alice/c")
    await alice.make("/home/alice/c/f", "DataNode")
    await alice.delete("/nodes/home/alice/c/f")
    (entry,) = await trash(alice)
    await alice.make("/home/alice/c/f", "LinkNode", "<vos:target>http://a.org/</vos:target>")
    taken = await restored(alice, entry)
    assert (taken.status, taken.fault) == (409, "DuplicateNode")
    await alice.delete("/nodes/home/alice/c")
    gone = await restored(alice, entry)
    assert (gone.status, gone.fault) == (404, "ContainerNotFound")
    for target, fault in (
        ("/home/bob/f", "PermissionDenied"),
        ("/home/alice/no/f", "ContainerNotFound"),
        ("/home/alice/.auto", "InvalidURI"),
    ):
        assert (await restored(alice, entry, target)).fault == fault, target
    assert (await restored(alice, entry, "/home/alice/g")).status == 200
    # A container is brought back before what was deleted out of it before.
    assert (await alice.get("/nodes/home/alice/g")).status == 200
    container = next(each for each in await trash(alice) if each["uri"].endswith("/c"))
    assert (await restored(alice, container, "/home/alice")).status == 200
    assert (await alice.get("/nodes/home/alice/c/f")).status == 200


async def test_a_restored_file_goes_to_its_container_wherever_that_is(alice: Caller) -> None:
    await alice.make("/home/alice/c")
    await alice.make("/home/alice/c/f", "DataNode")
    await alice.delete("/nodes/home/alice/c/f")
    (entry,) = await trash(alice)
    await alice.sync(stack.relocation("/home/alice/c", "/home/alice/d", keep=False))
    auth = Caller(alice.http, alice.base + "/auth", "alice")
    back = await restored(auth, entry)
    assert json.loads(back.text)["uri"] == f"{AUTHORITY}/home/alice/d/f"
    assert (await alice.get("/nodes/home/alice/d/f")).status == 200


async def test_what_is_given_up_is_gone(alice: Caller, dsn: str) -> None:
    await alice.make("/home/alice/t")
    await alice.make("/home/alice/t/f", "DataNode")
    await alice.delete("/nodes/home/alice/t")
    (entry,) = await trash(alice)
    assert (await alice.form(f"/trash/{entry['id']}", "")).status == 400
    assert (await alice.delete(f"/trash/{entry['id']}")).status == 204
    assert await trash(alice) == []
    assert (await restored(alice, entry)).fault == "NodeNotFound"
    db = await connect(dsn)

    async def purged() -> bool:
        return bool(await db.fetchval("select count(*) from node where name in ('t', 'f')") == 0)

    await until_true(purged)
    await db.close()
    for wrong in ("none", "9" * 30, "-1"):
        assert (await alice.delete(f"/trash/{wrong}")).status == 404, wrong


async def test_of_two_that_restore_one_does(alice: Caller) -> None:
    await alice.make("/home/alice/f", "DataNode")
    await alice.delete("/nodes/home/alice/f")
    (entry,) = await trash(alice)
    answers = await asyncio.gather(*(restored(alice, entry, f"/home/alice/{n}") for n in "abcd"))
    assert sorted(answer.status for answer in answers) == [200, 404, 404, 404]


async def test_what_a_job_deleted_comes_back(alice: Caller, dsn: str) -> None:
    await alice.make("/home/alice/t")
    await alice.make("/home/alice/t/f", "DataNode")
    made = await alice.form("/async-delete", f"target={AUTHORITY}/home/alice/t&PHASE=RUN")
    await alice.get(f"{made.location}?WAIT=20&PHASE=QUEUED")
    await alice.get(f"{made.location}?WAIT=20&PHASE=EXECUTING")
    assert (await alice.get("/nodes/home/alice/t")).status == 404
    (entry,) = await trash(alice)
    assert (await restored(alice, entry)).status == 200
    assert (await alice.get("/nodes/home/alice/t/f")).status == 200


async def test_an_upload_to_a_file_that_was_deleted_and_restored_ends_well(
    dsn: str, tmp_path: Path
) -> None:
    await stack.add_user(dsn, "alice")
    kept = {"trash_delay": "3600"}
    async with stack.whole_stack(dsn, tmp_path, space=kept) as running, ClientSession() as http:
        alice = Caller(http, running.url, "alice")
        await alice.make("/home/alice/c")
        await alice.push("/home/alice/c/f", b"old")
        endpoint = await alice.endpoint("/home/alice/c/f", "pushToVoSpace", "httpput")
        assert (await alice.delete("/nodes/home/alice/c")).status == 204
        refused = await alice.request("PUT", endpoint, DATA)
        assert (refused.status, refused.fault) == (404, "NodeNotFound")
        (entry,) = await trash(alice)
        assert (await restored(alice, entry)).status == 200
        assert (await alice.pull("/home/alice/c/f")).body == b"old"
        assert (await alice.request("PUT", endpoint, DATA)).status == 201
        assert (await alice.pull("/home/alice/c/f")).body == DATA


@dataclass(frozen=True, slots=True)
class Command:
    ini: Path
    capture: "pytest.CaptureFixture[str]"

    async def __call__(self, *words: str) -> tuple[int, str]:
        """Run ngas_admin; return its exit code and what it said."""
        code = await asyncio.to_thread(admin.main, ["--cfg", str(self.ini), *words])
        said = self.capture.readouterr()
        return code, said.out + said.err


@pytest.fixture
def command(dsn: str, tmp_path: Path, capsys: "pytest.CaptureFixture[str]") -> Iterator[Command]:
    with ini(dsn, tmp_path) as path:
        yield Command(path, capsys)


@contextmanager
def ini(dsn: str, folder: Path) -> Iterator[Path]:
    yield stack.write_ini(folder / "site.ini", stack.settings(dsn, folder / "staging"))


async def test_administrators_restore_and_purge_by_command(
    alice: Caller, command: Command
) -> None:
    for name in ("a", "b b"):
        await alice.make(f"/home/alice/{name.replace(' ', '%20')}", "DataNode")
        await alice.delete(f"/nodes/home/alice/{name.replace(' ', '%20')}")
    code, said = await command("trash", "list")
    assert code == 0
    assert said.splitlines()[1].split()[3:] == ["alice", "DataNode", "/home/alice/b", "b"]
    b, a = json.loads((await command("trash", "list", "--user", "alice", "--json"))[1])
    assert await command("trash", "restore", str(b["id"])) == (0, "restored /home/alice/b b\n")
    code, said = await command("trash", "restore", str(a["id"]), "--to", "/home/bob/x y")
    assert (code, said) == (0, "restored /home/bob/x y\n")
    assert (await alice("bob").get("/nodes/home/bob/x%20y")).status == 403  # it is alice's still
    assert (await command("trash", "purge", str(a["id"])))[0] == 1
    await alice.delete("/nodes/home/alice/b%20b")
    assert (await command("trash", "purge", str(b["id"])))[0] == 0
    assert (await command("trash", "restore", str(b["id"]), "--to", "x"))[0] == 1
    assert await trash(alice) == []
