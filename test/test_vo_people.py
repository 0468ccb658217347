"""``ngas_vo``: who one is, what one shares, and what the server keeps and does."""

import asyncio
import json
import stat
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import stack
from stack import PASSWORD
from vo_support import Person, person

from pyvospace_ngas.cli import admin


@pytest.fixture
async def running(dsn: str, tmp_path: Path) -> AsyncIterator[stack.Stack]:
    await stack.add_user(dsn, "alice", "stars")
    await stack.add_user(dsn, "bob", "stars")
    async with stack.whole_stack(
        dsn, tmp_path / "stack", nodes=1, space={"trash_delay": "3600"}
    ) as whole:
        yield whole


@pytest.fixture
def alice(running: stack.Stack, tmp_path: Path) -> Person:
    return person(tmp_path / "alice", running.url, "alice")


@pytest.fixture
def bob(running: stack.Stack, tmp_path: Path) -> Person:
    return person(tmp_path / "bob", running.url, "bob")


async def test_a_login_keeps_a_token_and_a_logout_ends_it(
    running: stack.Stack, alice: Person, tmp_path: Path
) -> None:
    stranger = replace(person(tmp_path / "new", running.url), env={})
    nowhere = await stranger.run("ls")
    assert (nowhere.code, "ngas_vo login" in nowhere.err) == (2, True)
    words = (
        "login",
        "--url",
        running.url.removesuffix("/vospace") + "/",
        "--user",
        "alice",
        "--password-stdin",
    )
    wrong = await stranger.run(*words, stdin=b"wrong\n")
    assert (wrong.code, len(wrong.err.splitlines())) == (3, 1)
    await stranger.did(*words, stdin=PASSWORD.encode() + b"\n")
    kept = stranger.home / ".config" / "ngas_vo" / "credentials"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert PASSWORD not in kept.read_text()
    secret = json.loads(kept.read_text())["logins"][running.url]["token"]
    await stranger.did("mkdir", "d")
    assert (await stranger.did("ls")).lines == ["d"]
    (token,) = (await stranger.did("token", "list", "--json")).records
    assert token["scope"] == "write"
    kept.chmod(0o644)
    exposed = await stranger.run("ls")
    assert (exposed.code, "chmod 600" in exposed.err) == (2, True)
    kept.chmod(0o600)
    await stranger.did("logout")
    assert (await alice.did("token", "list", "--json")).lines == []
    # The server may take a token that has ended for some seconds yet.
    ended = replace(stranger, env={"NGAS_VO_URL": running.url, "NGAS_VO_TOKEN": "ngas_of_old"})
    refused = await ended.run("ls")
    assert refused.code == 3
    assert "ngas_vo login" in refused.err
    (told,) = (await ended.run("--json", "ls")).records
    assert (told["action"], told["error"]) == ("stopped", "NotAuthenticated")
    assert "ngas_vo login" in told["text"]
    assert secret not in kept.read_text()
    assert "ngas_of_old" not in refused.err


async def test_credentials_are_taken_in_the_order_that_is_said(alice: Person, bob: Person) -> None:
    token = (await bob.did("token", "add", "--scope", "read", "-q")).out.strip()
    await bob.did("mkdir", "of-bob")
    by_environment = replace(alice, env={**alice.env, "NGAS_VO_TOKEN": token})
    assert (await by_environment.did("ls")).lines == ["of-bob"]
    file = alice.home / "token"
    file.write_text(token)
    file.chmod(0o644)
    assert (await alice.run("--token-file", file, "ls")).code == 2
    file.chmod(0o600)
    assert (await alice.did("ls", "--token-file", file)).lines == ["of-bob"]
    assert (await alice.did("ls")).lines == []  # .netrc
    refused = await by_environment.run("mkdir", "d")
    assert refused.code == 5
    assert "bob, by a token for reading only, may not write" in refused.err


async def test_a_token_for_a_part_of_the_tree_is_enough_for_it(alice: Person) -> None:
    await alice.did("mkdir", "-p", "p/q")
    made = (await alice.did("token", "add", "--path", "p", "--json")).records[0]
    program = replace(alice, env={**alice.env, "NGAS_VO_TOKEN": made["token"]})
    await program.did("put", "-", "p/q/f", stdin=b"x")
    assert (await program.did("ls", "-R", "p")).lines == ["/home/alice/p/q", "/home/alice/p/q/f"]
    assert (await program.run("ls")).code == 5
    assert (await alice.did("token", "--json")).records[0]["id"] == made["id"]
    await alice.did("token", "revoke", made["id"])
    assert (await alice.did("token", "list", "--json")).lines == []


async def test_what_is_shared_is_read_and_closed_doors_are_named(
    alice: Person, bob: Person, running: stack.Stack, tmp_path: Path
) -> None:
    await alice.did("mkdir", "-p", "s/t")
    await alice.did("put", "-", "s/t/f", stdin=b"shared")
    told = await alice.did("share", "-R", "--read", "stars", "s")
    assert "/home/alice is not open" in told.err
    assert (await bob.run("cat", "/home/alice/s/t/f")).code == 5
    await alice.did("share", "--read", "stars", ".")
    assert (await bob.did("cat", "/home/alice/s/t/f")).out == "shared"
    await alice.did("share", "-R", "--no-read", "--write", "stars", "s")
    await bob.did("mkdir", "/home/alice/s/of-bob")
    await alice.did("share", "--no-write", "s/t")
    assert (await bob.run("cat", "/home/alice/s/t/f")).code == 5
    await alice.did("share", "--public", ".", "s", "s/t", "s/t/f")
    nobody = person(tmp_path / "nobody", running.url)
    assert (await nobody.did("cat", "/home/alice/s/t/f")).out == "shared"
    await alice.did("share", "--private", "s")
    closed = await nobody.run("cat", "/home/alice/s/t/f")
    assert (closed.code, "not logged in" in closed.err) == (5, True)


async def test_properties_are_set_blanked_and_deleted(alice: Person) -> None:
    await alice.did("mkdir", "-p", "d/e")
    await alice.did("set", "-R", "d", "title=A=B", "urn:x=1")
    await alice.did("set", "d", "title=", "--delete", "urn:x")
    shown = (await alice.did("stat", "--json", "d", "d/e")).records
    title = "ivo://ivoa.net/vospace/core#title"
    assert [each["properties"].get(title) for each in shown] == ["", "A=B"]
    assert ["urn:x" in each["properties"] for each in shown] == [False, True]
    assert (await alice.run("set", "d", "nothing")).code == 2
    assert (await alice.run("set", "d", "length=5")).code in (1, 5)


async def test_what_is_locked_stays_and_one_is_told_how_to_unlock_it(alice: Person) -> None:
    await alice.did("put", "-q", "-", "f", stdin=b"x")
    await alice.did("set", "f", "islocked=true")
    refused = await alice.run("rm", "f")
    assert (refused.code, "f is locked" in refused.err) == (5, True)
    assert "`ngas_vo set PATH --delete islocked`" in refused.err
    await alice.did("set", "f", "--delete", "islocked")
    await alice.did("rm", "f")


async def test_what_was_deleted_comes_back(alice: Person) -> None:
    await alice.did("put", "-", "f", stdin=b"precious")
    await alice.did("rm", "f")
    (entry,) = (await alice.did("trash", "list", "--json")).records
    assert str(entry["id"]) in (await alice.did("trash", "list")).out
    assert (await alice.did("trash")).out == (await alice.did("trash", "list")).out
    await alice.did("trash", "restore", entry["id"], "--to", "g")
    assert (await alice.did("cat", "g")).out == "precious"


async def test_jobs_are_listed_shown_and_stopped(alice: Person) -> None:
    await alice.did("mkdir", "a")
    await alice.did("mv", "a", "b")
    await alice.did("rm", "-r", "b")
    jobs = (await alice.did("jobs", "list", "--json")).records
    assert [job["kind"] for job in jobs] == ["delete", "transfer"]
    (shown,) = (await alice.did("jobs", "show", "--json", jobs[1]["id"])).records
    assert (shown["phase"], shown["target"]) == ("COMPLETED", "vos://icrar.org~ngas/home/alice/a")
    assert (await alice.run("jobs", "show", "none")).code == 4
    assert (await alice.run("jobs", "abort", jobs[0]["id"])).code != 0
    assert "PHASE" in (await alice.did("jobs", "list")).lines[0]
    assert (await alice.did("jobs", "--json")).records == jobs


async def test_a_full_quota_is_told_in_a_sentence_and_a_short_one_warned_of(
    alice: Person, running: stack.Stack, dsn: str, tmp_path: Path
) -> None:
    sections = stack.settings(dsn, tmp_path / "staging")
    ini = stack.write_ini(tmp_path / "ngas.ini", sections)
    words = ["--cfg", str(ini), "quota", "set", "/home/alice", "1000"]
    assert await asyncio.to_thread(admin.main, words) == 0
    near = await alice.did("put", "-", "most", stdin=b"x" * 950)
    assert "50 B left of" in near.err
    (alice.home / "big").write_bytes(bytes(51))
    full = await alice.run("put", "big")
    assert full.code == 6
    assert "ngas_vo rm" in full.err
    assert (await alice.did("ls")).lines == ["most"]
    (said,) = (await alice.did("quota", "--json")).records
    assert (said["quota"], said["available"], said["used"]) == (1000, 50, 950)
    assert "95% used" in (await alice.did("quota")).out
