"""The command ngas_admin, as its user sees it."""

import asyncio
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import asyncpg
import pytest
from login_support import SPACE_SECTION, STORAGE_SECTION
from ports import free_port

from pyvospace_ngas.cli import admin

PASSWORD = "correct horse"


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Run ``ngas_admin`` on a database, with a text on standard input."""
    monkeypatch.setattr(admin, "SETTLE", 0)

    def run(dsn: str, *words: str, stdin: str = "") -> Outcome:
        cfg = tmp_path / "space.ini"
        sections = {"Space": SPACE_SECTION | {"dsn": dsn}, "Storage": STORAGE_SECTION}
        cfg.write_text(
            "".join(
                f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items())
                for name, keys in sections.items()
            )
        )
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        code = admin.main(["--cfg", str(cfg), *words])
        return Outcome(code, *capsys.readouterr())

    return run


@pytest.fixture
def here(dsn: str, run: Run) -> Run:
    """The same, on this test's database, off the test's event loop."""
    return lambda *words, **options: run(dsn, *words, **options)


async def call(run: Run, *words: str, stdin: str = "") -> Outcome:
    return await asyncio.to_thread(run, *words, stdin=stdin)


async def add(run: Run, name: str, *words: str) -> Outcome:
    return await call(run, "user", "add", name, "--password-stdin", *words, stdin=PASSWORD + "\n")


async def test_users_are_added_and_listed(here: Run) -> None:
    assert await add(here, "ann", "--admin", "--group", "a", "--group", "b") == (
        0,
        "added ann, who has /home/ann\n",
        "",
    )
    assert await add(here, "bob", "--no-home") == (0, "added bob\n", "")
    code, out, _ = await call(here, "user", "list")
    assert code == 0
    lines = [line.split() for line in out.splitlines()]
    assert lines[0] == ["NAME", "ROLE", "CREATED", "GROUPS"]
    assert lines[1][:2] + lines[1][-1:] == ["ann", "admin", "a,b"]
    assert lines[2][:2] == ["bob", "user"]
    listed = json.loads((await call(here, "user", "list", "--json")).out)
    assert [(user["name"], user["admin"], user["groups"]) for user in listed] == [
        ("ann", True, ["a", "b"]),
        ("bob", False, []),
    ]
    assert "argon2" not in str(listed)


async def test_groups_are_shown_and_changed(here: Run) -> None:
    await add(here, "ann", "--group", "a")
    assert (await call(here, "user", "groups", "ann")).out == "ann: a\n"
    out = (await call(here, "user", "groups", "ann", "--add", "b", "--remove", "a")).out
    assert out == "ann: b\n"
    assert (await call(here, "user", "groups", "ann", "--set", "x,y")).out == "ann: x y\n"
    assert (await call(here, "user", "groups", "ann", "--set", "")).out == "ann: no groups\n"
    assert (await call(here, "user", "groups", "ann", "--set", "x", "--add", "y")).code == 1


async def test_a_user_is_removed_and_the_nodes_given_away(here: Run, dsn: str) -> None:
    await add(here, "ann")
    await add(here, "bob")
    db = await asyncpg.connect(dsn)
    await db.execute(
        "insert into node (parent_id, name, type, owner)"
        " select id, 'f', 1, 'ann' from node where name = 'ann'"
    )
    await db.close()
    code, out, err = await call(here, "user", "remove", "ann")
    assert (code, out) == (1, "")
    assert (
        err
        == "ngas_admin: ann owns 2 nodes (the trash counts): say with --give-to who gets them\n"
    )
    removed = await call(here, "user", "remove", "ann", "--give-to", "bob")
    assert removed == (0, "removed ann; 2 nodes went to bob\n", "")


async def test_a_password_is_changed(here: Run) -> None:
    await add(here, "ann")
    words = ("user", "passwd", "ann", "--password-stdin")
    assert (await call(here, *words, stdin="another horse\n")).code == 0
    assert (await call(here, *words, stdin="short\n")).code == 1


@pytest.mark.parametrize(
    ("words", "stdin", "said"),
    [
        (("user", "add", "ann"), "", "there is no terminal to ask for the password"),
        (("user", "add", "-", "--password-stdin"), "long enough", "cannot be the name of a user"),
        (("user", "add", "ann", "--password-stdin"), "", "a password has 8 to 1024 characters"),
        (("user", "remove", "ann"), "", "there is no user ann"),
        (("user", "groups", "ann"), "", "there is no user ann"),
        (("user", "passwd", "ann", "--password-stdin"), "long enough", "there is no user ann"),
    ],
)
async def test_what_is_wrong_is_said_in_one_line(
    here: Run, words: tuple[str, ...], stdin: str, said: str
) -> None:
    code, out, err = await call(here, *words, stdin=stdin)
    assert (code, out) == (1, "")
    assert err.startswith("ngas_admin: ")
    assert said in err
    assert err.count("\n") == 1


async def test_without_tables_it_says_what_to_start(run: Run, empty_dsn: str) -> None:
    code, _, err = await asyncio.to_thread(run, empty_dsn, "user", "list")
    assert (code, err) == (
        1,
        "ngas_admin: the database has no tables yet: start ngas_space once, it makes them\n",
    )


def test_without_a_database_it_says_so(run: Run) -> None:
    dsn = f"postgres://nobody:secret-word@127.0.0.1:{free_port()}/nothing"
    code, _, err = run(dsn, "user", "list")
    assert code == 1
    assert err.startswith("ngas_admin: the database does not answer")
    assert "secret-word" not in err


async def test_a_wrong_password_of_the_database_is_said_without_it(run: Run, dsn: str) -> None:
    wrong = dsn.replace(dsn.split(":")[2].partition("@")[0], "secret-word")
    code, _, err = await asyncio.to_thread(run, wrong, "user", "list")
    assert code == 1
    assert err.startswith("ngas_admin: the database refuses: ")
    assert "secret-word" not in err


def test_a_configuration_that_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert admin.main(["--cfg", "/nowhere/at/all.ini", "user", "list"]) == 1
    assert capsys.readouterr().err.startswith("ngas_admin: cannot read the configuration")


async def test_the_queue_is_shown(here: Run, dsn: str) -> None:
    db = await asyncpg.connect(dsn)
    await db.execute(
        """
        insert into discard (file_id, entry, host_id, disk_id, version, reason, not_before,
                             tries, last_error)
             values ('f1', 'localhost:7777', 'node1', 'd1', 1, 'deleted', now() + '1 day', 2,
                     'no answer')
        """
    )
    code, out, _ = await call(here, "queue")
    assert code == 0
    assert out.startswith("1 waiting, 0 due, 1 failed before\nFILE ")
    assert out.splitlines()[2].split()[:2] == ["f1", "node1"]
    assert out.rstrip().endswith("no answer")
    shown = json.loads((await call(here, "queue", "--json")).out)
    assert (shown["halted"], shown["counts"]["waiting"]) == (False, 1)
    assert shown["files"][0]["copy"]["file_id"] == "f1"

    # A dump restored elsewhere: discarding stops until somebody accepts.
    await db.execute("update setting set value = 'elsewhere' where name = 'database_mark'")
    await db.close()
    assert "Nothing is discarded" in (await call(here, "queue")).out
    assert "Nothing is discarded" not in (await call(here, "queue", "--accept-restore")).out
    assert "Nothing is discarded" not in (await call(here, "queue")).out
