"""Bearer tokens: shown once, narrowed and never widened, listed and revoked."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import stack
from aiohttp import ClientSession
from login_support import serve
from processes import query
from stack import Answer, Caller, node, properties, relocation, transfer
from waiting_support import until_true

from pyvospace_ngas.cli import admin

DATA = b"some bytes"


@dataclass(frozen=True, slots=True)
class Bearer(Caller):
    """A program that has a token only."""

    token: str = ""

    async def request(
        self, method: str, path: str, body: Any = None, headers: Any = None
    ) -> Answer:
        known = {"Authorization": f"Bearer {self.token}"}
        return await Caller.request(self, method, path, body, {**known, **(headers or {})})


@pytest.fixture
async def alice(dsn: str, tmp_path: Path) -> AsyncIterator[Caller]:
    """Alice, who has a folder and a file in it, before an archive node."""
    await stack.add_user(dsn, "alice")
    await stack.add_user(dsn, "bob")
    async with stack.whole_stack(dsn, tmp_path, 1) as running, ClientSession() as http:
        caller = Caller(http, running.url, "alice")
        await caller.make("/home/alice/p")
        await caller.push("/home/alice/p/f", DATA)
        await caller.push("/home/alice/g", DATA)
        yield caller


async def made(by: Caller, form: str = "") -> dict[str, Any]:
    """Make a token."""
    answer = await by.form("/tokens", form)
    assert answer.status == 201, answer
    assert answer.headers["Cache-Control"] == "no-store"
    found: dict[str, Any] = json.loads(answer.text)
    return found


async def bearer(by: Caller, form: str = "") -> Bearer:
    """Return a program with a new token."""
    return Bearer(by.http, by.base, None, (await made(by, form))["token"])


async def test_a_token_is_as_good_as_its_owner(alice: Caller) -> None:
    program = await bearer(alice)
    assert (await program.make("/home/alice/d")).status == 201
    assert (await program.push("/home/alice/d/f", DATA)).status == 201
    assert (await program.pull("/home/alice/d/f")).body == DATA
    shown = await program.get("/nodes/home/alice")
    assert shown.headers["X-VO-Authenticated"] == "alice"
    delegated = {"X-CADC-DelegationToken": program.token}
    anonymous = alice(None)
    assert (await anonymous.request("GET", "/nodes/home/alice", None, delegated)).status == 200
    assert (await program.request("GET", "/nodes/home/alice", None, delegated)).status == 200


async def test_it_is_shown_once_and_kept_as_a_hash(alice: Caller, dsn: str) -> None:
    first = await made(alice, "scope=read&path=/home/alice/p&expires=1d")
    assert first["token"].startswith("ngas_")
    assert (first["scope"], first["path"]) == ("read", "/home/alice/p")
    listed = await alice.get("/tokens")
    assert first["token"] not in listed.text
    (one,) = json.loads(listed.text)
    assert one == {key: value for key, value in first.items() if key != "token"}
    stored = await query(dsn, "select token::text from token")
    assert first["token"] not in str(stored)
    assert json.loads((await alice("bob").get("/tokens")).text) == []


@pytest.mark.parametrize(
    "form", ["scope=all", "path=home", "expires=soon", "path=/a/../b", "scope=read&scope=write"]
)
async def test_what_cannot_be_meant_is_refused(alice: Caller, form: str) -> None:
    assert (await alice.form("/tokens", form)).status == 400


async def test_strangers_have_no_tokens(alice: Caller) -> None:
    stranger = alice(None)
    for answer in (
        await stranger.form("/tokens", ""),
        await stranger.get("/tokens"),
        await stranger.delete("/tokens/x"),
        await Bearer(alice.http, alice.base, None, "ngas_nonsense").get("/nodes"),
        await Bearer(alice.http, alice.base, None, "").get("/nodes"),
    ):
        assert (answer.status, answer.fault) == (401, "NotAuthenticated")
        challenges = answer.headers.getall("WWW-Authenticate")  # type: ignore[attr-defined]
        assert [each.split()[0] for each in challenges] == ["Basic", "Bearer"]


async def test_one_for_reading_changes_nothing(alice: Caller) -> None:
    program = await bearer(alice, "scope=read")
    assert (await program.pull("/home/alice/p/f")).body == DATA
    found = await program.get("/files/home/alice/p/f")
    assert (await program.get(found.location)).body == DATA
    for answer in (
        await program.make("/home/alice/d"),
        await program.set("/home/alice/g", properties(title="T")),
        await program.set("/home/alice/g", properties(publicread="true")),
        await program.delete("/nodes/home/alice/g"),
    ):
        assert (answer.status, answer.fault) == (403, "PermissionDenied")
    for document in (
        transfer("/home/alice/g", "pushToVoSpace", "httpput"),
        transfer("/home/alice/new", "pushToVoSpace", "httpput"),
        relocation("/home/alice/g", "/home/alice/h", keep=False),
        relocation("/home/alice/g", "/home/alice/h", keep=True),
    ):
        _, job = await program.run(document)
        assert "<uws:phase>ERROR" in job.text
        assert "Permission Denied" in job.text
    assert (await alice.get("/nodes/home/alice/new")).status == 404


async def test_one_for_a_folder_is_good_for_nothing_around_it(alice: Caller) -> None:
    program = await bearer(alice, "path=/home/alice/p")
    assert (await program.push("/home/alice/p/new", DATA)).status == 201
    assert (await program.make("/home/alice/p/d")).status == 201
    for answer in (
        await program.get("/nodes/home/alice"),
        await program.get("/nodes/home/alice/g"),
        await program.get("/files/home/alice/g"),
        await program.make("/home/alice/d"),
        await program.set("/home/alice/g", properties(title="T")),
        await program.delete("/nodes/home/alice/g"),
        await program.delete("/nodes/home/alice/p"),  # which changes /home/alice
    ):
        assert (answer.status, answer.fault) == (403, "PermissionDenied"), answer
    for source, target in (
        ("/home/alice/p/f", "/home/alice/f"),
        ("/home/alice/g", "/home/alice/p/g"),
        ("/home/alice/p", "/home/alice/q"),
    ):
        for keep in (True, False):
            _, job = await program.run(relocation(source, target, keep=keep))
            assert "Permission Denied" in job.text, (source, target, keep)
    link = "<vos:target>vos://icrar.org~ngas/home/alice/g</vos:target>"
    await program.make("/home/alice/p/l", "LinkNode", link)
    assert (await program.get("/files/home/alice/p/l")).status == 403
    job_of_move = await program.run(relocation("/home/alice/p/f", "/home/alice/p/d", keep=False))
    assert "<uws:phase>COMPLETED" in job_of_move[1].text


async def test_a_job_is_as_narrow_as_the_token_it_came_by(alice: Caller) -> None:
    reading, folder = (
        await bearer(alice, "scope=read"),
        await bearer(alice, "path=/home/alice/p"),
    )
    for program, path in ((reading, "/home/alice/g"), (folder, "/home/alice/g")):
        made_ = await program.request(
            "POST", "/async-setprops", node(path, "Node", properties(title="T"))
        )
        # Its owner, who may all, starts it: it does no more for that.
        await alice.form(f"{made_.location}/phase", "PHASE=RUN")
        await alice.get(f"{made_.location}?WAIT=20&PHASE=QUEUED")
        ended = await alice.get(f"{made_.location}?WAIT=20&PHASE=EXECUTING")
        assert "<uws:phase>EXECUTING" not in ended.text
    assert ">T<" not in (await alice.get("/nodes/home/alice/g")).text


async def test_a_token_has_no_jobs_that_may_do_more(alice: Caller) -> None:
    document = relocation("/home/alice/g", "/home/alice/h", keep=False)
    job = (await alice.request("POST", "/transfers", document)).location
    program = await bearer(alice, "scope=read")
    for answer in (
        await program.get(job),
        await program.form(f"{job}/phase", "PHASE=RUN"),
        await program.delete(job),
    ):
        assert (answer.status, answer.fault) == (403, "PermissionDenied")
    own = (await program.request("POST", "/transfers", document)).location
    for suffix in ("", "?LAST=5"):
        listed = (await program.get(f"/transfers{suffix}")).text
        assert (own in listed, job in listed) == (True, False)
    assert (await program.get(own)).status == 200


async def test_an_upload_whose_node_left_the_folder_is_refused_at_its_end(alice: Caller) -> None:
    program = await bearer(alice, "path=/home/alice/p")
    endpoint = await program.endpoint("/home/alice/p/f", "pushToVoSpace", "httpput")
    await alice.run(relocation("/home/alice/p/f", "/home/alice/f", keep=False))
    refused = await program.request("PUT", endpoint, b"other")
    assert (refused.status, refused.fault) == (403, "PermissionDenied")
    assert (await alice.pull("/home/alice/f")).body == DATA


async def test_a_token_makes_no_wider_one_and_no_session(alice: Caller) -> None:
    narrow = await bearer(alice, "scope=read&path=/home/alice/p&expires=1h")
    for form in ("", "scope=write&path=/home/alice/p", "scope=read", "scope=read&path=/home"):
        assert (await narrow.form("/tokens", form)).status == 403
    child = await made(narrow, "scope=read&path=/home/alice/p/f&expires=30d")
    parent = json.loads((await alice.get("/tokens")).text)[0]
    assert (child["parent"], child["expires"]) == (parent["id"], parent["expires"])
    for program in (narrow, await bearer(alice)):
        refused = await program.form("/login", "user=alice&password=x")
        assert (refused.status, "Set-Cookie" in refused.headers) == (403, False)


async def test_a_token_sees_and_ends_itself_and_its_children_only(alice: Caller) -> None:
    await made(alice)
    one = await made(alice)
    program = Bearer(alice.http, alice.base, None, one["token"])
    child = await made(program)
    seen = {each["id"] for each in json.loads((await program.get("/tokens")).text)}
    assert seen == {one["id"], child["id"]}
    assert len(json.loads((await alice.get("/tokens")).text)) == 3
    other = next(
        each["id"]
        for each in json.loads((await alice.get("/tokens")).text)
        if each["id"] not in seen
    )
    assert (await program.delete(f"/tokens/{other}")).status == 404
    assert (await alice("bob").delete(f"/tokens/{other}")).status == 404
    assert (await program.delete(f"/tokens/{one['id']}")).status == 204
    assert [each["id"] for each in json.loads((await alice.get("/tokens")).text)] == [other]


async def test_what_is_revoked_expired_or_disabled_is_no_good(dsn: str) -> None:
    await stack.add_user(dsn, "alice")
    async with serve(dsn, staleness=0) as url, ClientSession() as http:
        alice = Caller(http, url, "alice")

        async def status(token: str) -> int:
            headers = {"Authorization": f"bearer {token}"}
            return (await alice(None).request("GET", "/who", None, headers)).status

        one, two = await made(alice), await made(alice)
        child = await made(Bearer(http, url, None, one["token"]))
        assert [await status(each["token"]) for each in (one, two, child)] == [200] * 3
        assert (await alice.delete(f"/tokens/{one['id']}")).status == 204
        assert [await status(each["token"]) for each in (one, two, child)] == [401, 200, 401]
        await query(dsn, "update account set disabled = true")
        assert await status(two["token"]) == 401
        await query(dsn, "update account set disabled = false")
        assert await status(two["token"]) == 200
        await query(dsn, "update token set expires = now()")
        assert await status(two["token"]) == 401
        assert json.loads((await alice.get("/tokens")).text) == []


async def test_a_token_is_looked_up_once_in_a_while_and_not_beyond_its_end(dsn: str) -> None:
    await stack.add_user(dsn, "alice")
    async with serve(dsn, staleness=3600) as url, ClientSession() as http:
        alice = Caller(http, url, "alice")
        program = Bearer(http, url, None, (await made(alice))["token"])
        assert (await program.get("/who")).status == 200
        await query(dsn, "delete from token")
        assert (await program.get("/who")).status == 200
        short = Bearer(http, url, None, (await made(alice, "expires=1s"))["token"])

        async def is_over() -> bool:
            return (await short.get("/who")).status == 401

        await until_true(is_over)


async def test_another_sites_page_makes_no_token(dsn: str) -> None:
    await stack.add_user(dsn, "alice")
    async with serve(dsn) as url, ClientSession() as http:
        alice = Caller(http, url, "alice")
        cookie = (await alice.form("/login", "")).headers["Set-Cookie"].partition(";")[0]
        session = replace(alice, user=None)
        kind = {"Cookie": cookie, "Content-Type": "application/x-www-form-urlencoded"}
        for headers, status in (
            (kind, 403),
            (kind | {"Origin": "https://evil.org"}, 403),
            (kind | {"Origin": url}, 201),
        ):
            assert (await session.request("POST", "/tokens", "", headers)).status == status


async def test_the_administrator_makes_lists_and_revokes_them(
    alice: Caller, dsn: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ini = stack.write_ini(tmp_path / "site.ini", stack.settings(dsn, tmp_path))

    async def run(*words: str) -> tuple[int, str, str]:
        code = await asyncio.to_thread(admin.main, ["--cfg", str(ini), "token", *words])
        return code, *capsys.readouterr()

    code, token, note = await run(
        "add", "alice", "--expires", "2h", "--scope", "read", "--path", "/home/alice/p"
    )
    assert (code, "of alice: read /home/alice/p" in note) == (0, True)
    program = Bearer(alice.http, alice.base, None, token.strip())
    assert (await program.get("/nodes/home/alice/p")).status == 200
    assert (await program.make("/home/alice/p/d")).status == 403
    code, listed, _ = await run("list", "alice")
    assert (code, "/home/alice/p" in listed, token.strip() in listed) == (0, True, False)
    (one,) = json.loads((await run("list", "alice", "--json"))[1])
    assert (await run("revoke", one["id"]))[0] == 0
    assert (await run("list", "alice", "--json"))[1] == "[]\n"
    for words in (("add", "nobody"), ("list", "nobody"), ("revoke", "x")):
        code, out, complaint = await run(*words)
        assert (code, out, complaint.startswith("ngas_admin: there is no ")) == (1, "", True)


async def test_the_capabilities_name_the_method(alice: Caller) -> None:
    assert 'standardID="ivo://ivoa.net/sso#token"' in (await alice.get("/capabilities")).text
