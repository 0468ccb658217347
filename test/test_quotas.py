"""Quotas over HTTP: what they refuse, what they show, and that they stay exact."""

import asyncio
import random
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, Final

import pytest
import stack
from aiohttp import ClientError, ClientSession
from stack import AUTHORITY, CORE, Caller, properties
from validation import valid
from views_support import BINARY, info, several, view
from waiting_support import until_true

from pyvospace_ngas.cli import admin
from pyvospace_ngas.db.connect import connect
from pyvospace_ngas.errors import InvalidArgument
from pyvospace_ngas.model import quota

LENGTH: Final = f'<vos:param uri="{CORE}length">{{}}</vos:param>'
OVERWRITE: Final = '<vos:param uri="ivo://icrar.org#overwrite">true</vos:param>'
RECOUNT: Final = """
select node_id, used, (
    with recursive tree as (
        select id, length from node where id = q.node_id
         union all
        select n.id, n.length from tree join node n on n.parent_id = tree.id
    ) select sum(length) from tree)::bigint as counted
  from quota q
"""


@pytest.fixture
async def alice(dsn: str, tmp_path: Path) -> AsyncIterator[Caller]:
    """Alice, before an archive node, with a quota of 10,000 bytes; root administrates."""
    await stack.add_user(dsn, "root", admin=True)
    await stack.add_user(dsn, "alice")
    kept = {"trash_delay": "3600"}
    async with (
        stack.whole_stack(dsn, tmp_path, nodes=1, space=kept) as running,
        ClientSession() as http,
    ):
        caller = Caller(http, running.url, "alice")
        answer = await caller("root").set("/home/alice", properties(quota="10000"))
        assert answer.status == 200, answer.text
        yield caller


async def shown(caller: Caller, path: str = "/home/alice") -> tuple[int | None, int | None]:
    """Return the quota and what is available, as a getNode shows them."""
    text = (await caller.get(f"/nodes{path}?limit=0")).text
    found = [
        re.search(f'uri="{CORE}{name}" readOnly="true">([0-9]+)<', text)
        for name in ("quota", "availableSpace")
    ]
    numbers = [int(each[1]) if each else None for each in found]
    return numbers[0], numbers[1]


async def ledgers(dsn: str) -> list[tuple[Any, ...]]:
    """Return each ledger: the container, what it says, and what there is."""
    db = await connect(dsn)
    try:
        return [tuple(row) for row in await db.fetch(RECOUNT)]
    finally:
        await db.close()


def announced(path: str, length: int) -> str:
    """Return a push that says how long it is."""
    document = stack.transfer(path, "pushToVoSpace", "httpput")
    return document.replace("</vos:transfer>", LENGTH.format(length) + "</vos:transfer>")


async def test_a_container_shows_its_quota_and_what_is_left(alice: Caller) -> None:
    assert await shown(alice) == (10_000, 10_000)
    await alice.make("/home/alice/c")
    assert (await alice.push("/home/alice/c/f", bytes(3000))).status == 201
    assert await shown(alice) == (10_000, 7_000)
    assert await shown(alice, "/home/alice/c") == (None, 7_000)
    assert await shown(alice, "/home") == (None, None)
    assert await shown(alice, "/home/alice/c/f") == (None, None)
    for path in ("/home/alice", "/home"):
        valid((await alice.get(f"/nodes{path}")).body)
    listed = (await alice("root").get("/nodes/home")).text
    assert f'{CORE}quota" readOnly="true">10000<' in listed


async def test_only_administrators_set_a_quota_and_only_on_containers(alice: Caller) -> None:
    root = alice("root")
    await alice.make("/home/alice/c")
    await alice.make("/home/alice/f", "DataNode")
    for value in ("5", "20000", None):
        refused = await alice.set("/home/alice", properties(quota=value, title="T"))
        assert (refused.status, refused.fault) == (403, "PermissionDenied"), value
    assert (await alice.make("/home/alice/d", inner=properties(quota="5"))).status == 403
    # What was read can be given back with the rest of the document.
    given_back = properties(quota="10000", availableSpace="9999", title="T")
    assert (await alice.set("/home/alice", given_back)).status == 200
    assert (await alice.set("/home", properties(availableSpace="1"))).status == 403
    for value in ("", "x", "-1", "1.5", str(2**63)):
        wrong = await root.set("/home/alice/c", properties(quota=value, title="never"))
        assert wrong.fault == "InvalidArgument", value
    assert "never" not in (await alice.get("/nodes/home/alice/c")).text
    assert (await root.set("/home/alice/f", properties(quota="5"))).fault == "InvalidArgument"
    assert (await root.set("/home/alice/n", properties(quota="5"))).fault == "NodeNotFound"
    assert (await root.set("/home/alice/c", properties(quota="5", title="T"))).status == 200
    assert await shown(alice, "/home/alice/c") == (5, 5)
    assert (await root.set("/home/alice/c", properties(quota=None))).status == 200
    assert await shown(alice, "/home/alice/c") == (None, 10_000)
    # Anybody's other changes leave a quota as it is.
    assert (await alice.set("/home/alice", properties(title=None))).status == 200
    assert await shown(alice) == (10_000, 10_000)


@pytest.mark.row("PSH-24")
async def test_an_announced_length_is_reserved_until_the_job_ends(alice: Caller, dsn: str) -> None:
    large = await alice.sync(announced("/home/alice/a", 6000))
    job = large.location.partition("/results")[0]
    assert await shown(alice) == (10_000, 4_000)
    refused, answer = await alice.run(announced("/home/alice/b", 5000))
    valid(answer.body)
    assert "<uws:message>Quota Exceeded" in answer.text
    error = await alice.get(f"{refused}/error")
    assert error.fault == "QuotaExceeded"
    assert "/home/alice has a quota of 10000 bytes" in error.text
    assert "6000 promised" in error.text
    assert (await alice.get("/nodes/home/alice/b")).status == 404
    # Others' reservations bind a push that announced nothing, too.
    put = await alice.push("/home/alice/c", bytes(4001))
    assert (put.status, put.fault) == (413, "QuotaExceeded")
    assert (await alice.push("/home/alice/c", bytes(4000))).status == 201
    assert await shown(alice) == (10_000, 0)
    assert (await alice.form(f"{job}/phase", "PHASE=ABORT")).status == 303
    assert await shown(alice) == (10_000, 6_000)
    again = await alice.sync(announced("/home/alice/a", 6000))
    details = (await alice.get(again.location)).text
    endpoint = details.partition("<vos:endpoint>")[2].partition("<")[0]
    assert (await alice.request("PUT", endpoint, bytes(6000))).status == 201
    assert await shown(alice) == (10_000, 0)
    assert [(used, counted) for _, used, counted in await ledgers(dsn)] == [(10_000, 10_000)]


async def test_a_reservation_ends_with_its_endpoint(alice: Caller, dsn: str) -> None:
    await alice.sync(announced("/home/alice/a", 6000))
    db = await connect(dsn)
    await db.execute("update job set deadline = now() - interval '1 s' where kind = 'push'")

    async def free() -> bool:
        return await shown(alice) == (10_000, 10_000)

    await until_true(free)

    async def forgotten() -> bool:
        return bool(await db.fetchval("select count(*) from reservation") == 0)

    await until_true(forgotten)
    await db.close()


@pytest.mark.row("PSH-24")
async def test_a_body_that_does_not_fit_is_refused_before_it_comes(alice: Caller) -> None:
    endpoint = await alice.endpoint("/home/alice/f", "pushToVoSpace", "httpput")
    refused = await alice.request("PUT", endpoint, bytes(10_001))
    assert (refused.status, refused.fault) == (413, "QuotaExceeded")
    assert "/home/alice has a quota of 10000 bytes, of which 0 are used" in refused.text
    assert (await alice.request("PUT", endpoint, bytes(10_000))).status == 201
    # Something of the same length may take its place, and something shorter.
    assert (await alice.push("/home/alice/f", bytes(10_000))).status == 201
    assert (await alice.push("/home/alice/f", bytes(1))).status == 201
    assert (await alice.push("/home/alice/empty", b"")).status == 201
    assert await shown(alice) == (10_000, 9_999)


async def test_a_body_of_unknown_length_is_stopped(alice: Caller, dsn: str) -> None:
    endpoint = await alice.endpoint("/home/alice/f", "pushToVoSpace", "httpput")
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 2**30:
            sent += 2**16
            yield bytes(2**16)

    async with alice.http.put(endpoint, data=endless()) as answer:
        assert answer.status == 413
        assert (await answer.text()).startswith("QuotaExceeded /home/alice has a quota")
    assert sent < 2**30
    assert (await alice.request("PUT", endpoint, b"short")).status == 201
    assert [(used, counted) for _, used, counted in await ledgers(dsn)] == [(5, 5)]


async def test_a_quota_may_be_less_than_what_is_there(alice: Caller) -> None:
    await alice.push("/home/alice/f", bytes(5000))
    await alice("root").set("/home/alice", properties(quota="1000"))
    assert await shown(alice) == (1000, 0)
    assert (await alice.push("/home/alice/g", b"x")).status == 413
    assert (await alice.push("/home/alice/f", bytes(4000))).status == 201
    assert (await alice.delete("/nodes/home/alice/f")).status == 204
    assert await shown(alice) == (1000, 1000)


async def test_moves_copies_and_restores_are_held_to_the_quota(alice: Caller, dsn: str) -> None:
    root = alice("root")
    await root.make("/free", inner=properties(groupwrite="", publicread="true"))
    await root.make("/free/t")
    await root.make("/free/t/u")
    await root.push("/free/t/u/f", bytes(6000))
    assert (await root.sync(stack.relocation("/free/t", "/home/alice/t", keep=True))).status == 303
    assert await shown(root) == (10_000, 4_000)
    for keep in (True, False):
        url, job = await root.run(stack.relocation("/free/t", "/home/alice/v", keep=keep))
        assert "<uws:message>Quota Exceeded" in job.text
        assert (await root.get(f"{url}/error")).fault == "QuotaExceeded"
    assert (await root.get("/nodes/home/alice/v")).status == 404
    assert (await root.get("/nodes/free/t/u/f")).status == 200
    assert (await root.delete("/nodes/home/alice/t")).status == 204
    assert await shown(alice) == (10_000, 10_000)
    _, job = await root.run(stack.relocation("/free/t", "/home/alice/v", keep=False))
    assert "COMPLETED" in job.text
    assert await shown(alice) == (10_000, 4_000)
    (entry,) = re.findall(r'"id": ([0-9]+)', (await root.get("/trash")).text)
    back = await root.form(f"/trash/{entry}", "restore")
    assert (back.status, back.fault) == (413, "QuotaExceeded")
    _, job = await root.run(stack.relocation("/home/alice/v", "/free/w", keep=False))
    assert "COMPLETED" in job.text
    assert (await root.form(f"/trash/{entry}", "restore")).status == 200
    assert [(used, counted) for _, used, counted in await ledgers(dsn)] == [(6000, 6000)]
    # A copy of a container with a quota has none.
    await root.sync(stack.relocation("/home/alice", "/free/alice", keep=True))
    assert await shown(root, "/free/alice") == (None, None)


async def test_a_tree_deleted_by_a_job_gives_its_room_back(alice: Caller, dsn: str) -> None:
    await alice.make("/home/alice/t")
    await alice.push("/home/alice/t/f", bytes(600))
    await alice.make("/home/alice/t/k")
    root = alice("root")
    await root.make("/home/alice/t/r", inner=properties(groupwrite=""))
    made = await alice.form("/async-delete", f"target={AUTHORITY}/home/alice/t&PHASE=RUN")
    for phase in ("QUEUED", "EXECUTING"):
        await alice.get(f"{made.location}?WAIT=20&PHASE={phase}")
    assert (await alice.get("/nodes/home/alice/t/f")).status == 404
    assert (await alice.get("/nodes/home/alice/t/r")).status in (200, 403)
    assert await shown(alice) == (10_000, 10_000)
    assert [(used, counted) for _, used, counted in await ledgers(dsn)] == [(0, 0)]


async def test_any_sequence_of_changes_leaves_the_ledgers_exact(dsn: str, tmp_path: Path) -> None:
    """Some hundred changes at random, four at a time, at two space and two storage servers."""
    await stack.add_user(dsn, "root", admin=True)
    async with AsyncExitStack() as opened:
        kept = {"trash_delay": "3600"}
        first = await opened.enter_async_context(
            stack.whole_stack(dsn, tmp_path, nodes=1, space=kept)
        )
        sections = stack.settings(dsn, tmp_path / "other", [first.nodes[0].port], kept)
        other = stack.parsed(sections)
        await opened.enter_async_context(stack.storage_server(other))
        second = await opened.enter_async_context(stack.space_server(other))
        http = await opened.enter_async_context(ClientSession())
        callers = [Caller(http, url, "root") for url in (first.url, second)]
        chance = random.Random(7)
        folders = ["/q", "/q/a", "/q/a/b", "/q/c", "/free", "/free/d"]
        for folder in folders:
            await callers[0].make(folder)
        for folder, limit in (("/q", "40000"), ("/q/a", "20000"), ("/q/c", "15000")):
            await callers[0].set(folder, properties(quota=limit))
        seen: dict[str, int] = {}
        for _ in range(30):
            seeds = [chance.random() for _ in range(4)]
            done = await asyncio.gather(
                *(change(callers[n % 2], folders, random.Random(s)) for n, s in enumerate(seeds))
            )
            for what in done:
                seen[what] = seen.get(what, 0) + 1
            wrong = [row for row in await ledgers(dsn) if row[1] != row[2]]
            assert not wrong, (done, wrong)
        assert len(seen) >= 12, seen
        db = await connect(dsn)
        over = "select count(*) from quota where used > bytes"
        assert await db.fetchval(over) == 0
        assert await db.fetchval("select count(*) from quota where used > 0") > 0
        await db.close()


async def pushed(caller: Caller, path: str, length: int) -> int | None:
    """Push so many bytes; return the answer's status, ``None`` when there was no endpoint."""
    answer = await caller.sync(stack.transfer(path, "pushToVoSpace", "httpput"))
    details = (await caller.get(answer.location)).text
    endpoint = details.partition("<vos:endpoint>")[2].partition("<")[0]
    return (await caller.request("PUT", endpoint, bytes(length))).status if endpoint else None


async def cut_off(caller: Caller, path: str) -> bool:
    """Break off an upload in the middle; tell if there was an endpoint."""
    answer = await caller.sync(stack.transfer(path, "pushToVoSpace", "httpput"))
    details = (await caller.get(answer.location)).text
    endpoint = details.partition("<vos:endpoint>")[2].partition("<")[0]

    async def half() -> AsyncIterator[bytes]:
        yield bytes(3000)
        raise OSError("the client breaks off")

    if endpoint:
        with suppress(ClientError, OSError):
            await caller.http.put(endpoint, data=half(), headers={"Content-Length": "6000"})
    return bool(endpoint)


async def unpacked(caller: Caller, path: str, archive: bytes) -> int | None:
    """Push a tar into a container; return the answer's status, ``None`` without an endpoint."""
    document = stack.transfer(path, "pushToVoSpace", "httpput", more=view("tar"))
    details = (await caller.get((await caller.sync(document)).location)).text
    endpoint = details.partition("<vos:endpoint>")[2].partition("<")[0]
    return (await caller.request("PUT", endpoint, archive, BINARY)).status if endpoint else None


async def change(caller: Caller, folders: list[str], chance: random.Random) -> str:
    """Make one change, which may fail as changes do; return what was tried, and if it was done."""
    folder, other = chance.choice(folders), chance.choice(folders)
    name, length = f"f{chance.randrange(4)}", chance.choice((0, 100, 3000, 9000))
    if chance.random() < 0.4:
        name = f"t{chance.randrange(3)}"
    if chance.random() < 0.55:
        return await filled(caller, folder, name, length, chance)
    match chance.randrange(5):
        case 0:
            return f"delete {(await caller.delete(f'/nodes{folder}/{name}')).status}"
        case 1:
            return f"restore {await restored(caller, chance)}"
        case 2 | 3:
            place = f"{other}/f{chance.randrange(4)}"
            return await relocated(caller, f"{folder}/{name}", place, chance)
        case _:
            return f"delete-job {await deleted(caller, f'{folder}/t{chance.randrange(3)}')}"


async def filled(
    caller: Caller, folder: str, name: str, length: int, chance: random.Random
) -> str:
    """Bring bytes in one way or another, or only begin to."""
    path = f"{folder}/{name}"
    match chance.randrange(6):
        case 0 | 1:
            return f"push {await pushed(caller, path, length)}"
        case 2:
            tree = f"{folder}/t{chance.randrange(3)}"
            await caller.make(tree)
            return f"tree {await pushed(caller, f'{tree}/{name}', length)}"
        case 3:
            answer = await caller.sync(announced(path, length))
            await caller.form(f"{answer.location.partition('/results')[0]}/phase", "PHASE=ABORT")
            return "abort"
        case 4:
            return f"cut {await cut_off(caller, path)}"
        case _:
            archive = several(*((info(f"u{n}/{name}", size=length), bytes(length)) for n in "ab"))
            return f"unpack {await unpacked(caller, folder, archive)}"


async def restored(caller: Caller, chance: random.Random) -> int | None:
    """Restore something; return the answer's status, ``None`` where the trash is empty."""
    entries = re.findall(r'"id": ([0-9]+)', (await caller.get("/trash?limit=50")).text)
    if not entries:
        return None
    return (await caller.form(f"/trash/{chance.choice(entries)}", "restore")).status


async def relocated(caller: Caller, path: str, place: str, chance: random.Random) -> str:
    """Move or copy, perhaps in the place of what is there; return what, and if it was done."""
    keep, over = chance.random() < 0.5, chance.random() < 0.5
    document = stack.relocation(path, place, keep=keep)
    if over:
        document = document.replace("</vos:transfer>", OVERWRITE + "</vos:transfer>")
    _, job = await caller.run(document)
    return f"{'over' * over}{'copy' if keep else 'move'} {'COMPLETED' in job.text}"


async def deleted(caller: Caller, path: str) -> bool:
    """Delete a tree by a job; tell if it came to its end."""
    made = await caller.form("/async-delete", f"target={AUTHORITY}{path}&PHASE=RUN")
    await caller.get(f"{made.location}?WAIT=20&PHASE=QUEUED")
    return "COMPLETED" in (await caller.get(f"{made.location}?WAIT=20&PHASE=EXECUTING")).text


async def test_quotas_are_kept_by_command(
    alice: Caller, dsn: str, tmp_path: Path, capsys: "pytest.CaptureFixture[str]"
) -> None:
    ini = stack.write_ini(tmp_path / "x.ini", stack.settings(dsn, tmp_path / "s"))

    async def command(*words: str) -> tuple[int, str]:
        code = await asyncio.to_thread(admin.main, ["--cfg", str(ini), "quota", *words])
        said = capsys.readouterr()
        return code, said.out + said.err

    await alice.push("/home/alice/f", bytes(2500))
    assert await command("set", "/home", "100000") == (0, "/home has a quota of 100000 bytes\n")
    said = (await command("list"))[1]
    rows = [line.split() for line in said.splitlines()]
    assert ["/home/alice", "10000", "2500", "0", "7500", "25"] in rows
    assert ["/home", "100000", "2500", "0", "97500", "2"] in rows
    assert '"available": 97500' in (await command("list", "--json"))[1]
    assert await command("check") == (0, "2 quotas, 0 wrong\n")
    db = await connect(dsn)
    await db.execute("update quota set used = used + 1 where bytes = 10000")
    await db.close()
    wrong = "/home/alice: 2501 noted, 2500 counted\n2 quotas, 1 wrong\n"
    assert await command("check") == (0, wrong)
    assert await command("check", "--repair") == (0, wrong + "repaired /home/alice\n")
    assert await command("check") == (0, "2 quotas, 0 wrong\n")
    assert await command("set", "/home/alice", "none") == (0, "/home/alice has no quota\n")
    assert await shown(alice) == (None, 97_500)
    for words in (("/home/none", "1"), ("/home", "-1"), ("home", "1"), ("/home/alice/f", "1")):
        assert (await command("set", *words))[0] == 1, words


def test_a_quota_is_a_number_of_bytes() -> None:
    assert quota.read(" 12 ") == 12
    for text in ("", "-1", "1.5", "1e3", "٣", str(2**63), "none"):
        with pytest.raises(InvalidArgument):
            quota.read(text)
