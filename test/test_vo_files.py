"""``ngas_vo`` against running servers: what is there, bytes both ways, the tree."""

import hashlib
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import stack
from vo_support import Person, person

from pyvospace_ngas.client.connection import Connection
from pyvospace_ngas.client.partial import part_of

BIG = random.Random(3).randbytes(3_000_001)
ODD = "a b%20c#?&+é '\"<>;=@!~$,()*中\U0001f600\\`{}"


@pytest.fixture
async def url(dsn: str, tmp_path: Path) -> AsyncIterator[str]:
    await stack.add_user(dsn, "alice", "stars")
    await stack.add_user(dsn, "bob", "stars")
    async with stack.whole_stack(
        dsn, tmp_path / "stack", nodes=1, space={"trash_delay": "3600"}
    ) as running:
        yield running.url


@pytest.fixture
def alice(url: str, tmp_path: Path) -> Person:
    return person(tmp_path / "alice", url, "alice")


@pytest.fixture
def bob(url: str, tmp_path: Path) -> Person:
    return person(tmp_path / "bob", url, "bob")


def plant(folder: Path, count: int = 3) -> dict[str, bytes]:
    """Make a tree of files with odd names; return them by their path in it."""
    files = {
        **{f"f{number}": random.Random(number).randbytes(2000) for number in range(count)},
        f"sub/{ODD}": b"odd",
        "sub/deep/empty": b"",
    }
    for name, data in files.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    return files


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


async def test_a_file_goes_there_and_comes_back(alice: Person) -> None:
    (alice.home / "big").write_bytes(BIG)
    put = await alice.did("put", "big")
    assert put.lines == ["put     /home/alice/big"]
    assert (await alice.did("put", "big")).lines == ["same    /home/alice/big"]
    await alice.did("get", "big", "back")
    assert (alice.home / "back").read_bytes() == BIG
    assert (await alice.did("get", "big", "back")).lines == ["same    /home/alice/big"]
    assert (await alice.did("cat", "vos:/home/alice/big")).raw == BIG
    (shown,) = (await alice.did("--json", "stat", "big")).records
    assert (shown["length"], shown["md5"]) == (len(BIG), hashlib.md5(BIG).hexdigest())
    assert not list(alice.home.glob(".ngas_vo*"))


async def test_trees_go_there_and_come_back_with_any_names(alice: Person) -> None:
    files = plant(alice.home / "t")
    first = await alice.did("put", "-r", "--json", "t", "there")
    assert sorted(record["action"] for record in first.records) == ["put"] * 5
    again = await alice.did("put", "-r", "--json", "t", "/home/alice")  # into a folder that is
    assert {record["path"].split("/")[3] for record in again.records} == {"t"}
    same = await alice.did("put", "-r", "-j", "1", "--json", "t", "/home/alice")
    assert {record["action"] for record in same.records} == {"same"}
    await alice.did("get", "-r", "there", "back")
    assert contents(alice.home / "back") == files
    listed = await alice.did("ls", "-R", "there")
    assert f"/home/alice/there/sub/{ODD}" in listed.lines


async def test_listings_are_sorted_long_and_for_programs(alice: Person) -> None:
    for name, size in (("a", 30), ("b", 10), ("c", 20)):
        await alice.did("put", "-q", "-", name, stdin=b"x" * size)
    await alice.did("mkdir", "d")
    assert (await alice.did("ls")).lines == ["a", "b", "c", "d"]
    by_size = await alice.did("ls", "--sort", "size", "--order", "desc")
    assert by_size.lines[:3] == ["a", "c", "b"]
    long = (await alice.did("ls", "-l")).lines
    assert long[0].split()[:4] == ["-", "private", "alice", "30"]
    assert long[3].startswith("d ")
    records = (await alice.did("ls", "--json")).records
    assert [(each["path"], each["length"]) for each in records][1] == ("/home/alice/b", 10)
    assert (await alice.did("ls", "a")).lines == ["/home/alice/a"]


async def test_the_tree_is_made_moved_copied_linked_and_deleted(alice: Person) -> None:
    assert (await alice.run("mkdir", "x/y")).code == 4
    await alice.did("mkdir", "-p", "x/y", "x/y")
    await alice.did("put", "-", "x/y/f", stdin=b"one")
    await alice.did("put", "-", "x/g", stdin=b"two")
    refused = await alice.run("mv", "x/g", "x/y/f")
    assert refused.code == 5
    assert refused.err == "ngas_vo: x/g: /home/alice/x/y/f exists already\n"
    await alice.did("mv", "-f", "x/g", "x/y/f")
    assert (await alice.did("cat", "x/y/f")).out == "two"
    await alice.did("cp", "x/y", "z")
    await alice.did("ln", "z/f", "link")
    assert (await alice.did("cat", "link")).out == "two"
    folder = await alice.run("rm", "z")
    assert folder.code == 1
    assert "rm -r" in folder.err
    (gone,) = (await alice.did("rm", "-r", "--json", "z")).records
    assert (gone["action"], gone["nodes"]) == ("deleted", 2)
    assert (await alice.run("ls", "z")).code == 4


async def test_patterns_name_what_no_shell_sees(alice: Person) -> None:
    for name in ("p1.fits", "p2.fits", "p3.txt", ".p4.fits", "a*", "ab", "a%2A"):
        await alice.did("put", "-q", "-", name, stdin=name.encode())
    await alice.did("mkdir", "d", "e")
    listed = await alice.did("ls", "p*.fits", "vos:/home/alice/p[3-9]*")
    assert listed.lines == [f"/home/alice/p{end}" for end in ("1.fits", "2.fits", "3.txt")]
    await alice.did("get", "p?.*", "vos://icrar.org~ngas/home/alice/.p*", ".")
    assert set(contents(alice.home)) == {"p1.fits", "p2.fits", "p3.txt", ".p4.fits", ".netrc"}
    assert (await alice.did("cat", "p[12].fits")).out == "p1.fitsp2.fits"
    await alice.did("mv", "p*.fits", "d")
    refused = await alice.run("cp", "d/*", "none")
    assert (refused.code, "no folder" in refused.err) == (2, True)
    await alice.did("cp", "d/*", "e")
    assert (await alice.did("ls", "e")).lines == ["p1.fits", "p2.fits"]
    await alice.did("rm", "a*")  # which is there by that very name
    assert (await alice.did("stat", "--json", "a*")).records[0]["path"] == "/home/alice/a%2A"
    nothing = await alice.run("rm", "*.none", "/none/*")
    assert nothing.code == 4
    assert "/home/alice/*.none does not exist" in nothing.err
    await alice.did("rm", "-r", "*")
    assert (await alice.did("ls")).lines == [".p4.fits"]


async def test_what_fails_is_listed_and_the_rest_is_done(alice: Person, bob: Person) -> None:
    plant(alice.home / "t")
    await alice.did("put", "-r", "t", "t")
    ran = await alice.run("get", "t/f0", "none", "t/f1", ".")
    assert ran.code == 1
    assert ran.err.splitlines() == [
        "ngas_vo: /home/alice/none does not exist",
        "ngas_vo: 1 failed, 2 done",
    ]
    assert {"f0", "f1"} <= set(contents(alice.home))
    refused = await bob.run("ls", "/home/alice")
    assert refused.code == 5
    assert len(refused.err.splitlines()) == 1


async def test_a_broken_get_goes_on_where_it_was(
    alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranges: list[str] = []
    endpoint = Connection.endpoint

    def noted(
        self: Connection, method: str, url: str, headers: Any, *more: Any, **named: Any
    ) -> Any:
        ranges.extend(value for name, value in headers.items() if name == "Range")
        return endpoint(self, method, url, headers, *more, **named)

    monkeypatch.setattr(Connection, "endpoint", noted)
    (alice.home / "big").write_bytes(BIG)
    await alice.did("put", "-q", "big")
    part = part_of(alice.home / "back")
    part.write_bytes(BIG[:1_000_000])
    inode = part.stat().st_ino
    ranges.clear()
    await alice.did("get", "big", "back")
    assert (alice.home / "back").read_bytes() == BIG
    assert (alice.home / "back").stat().st_ino == inode
    assert ranges == ["bytes=1000000-"]
    (alice.home / "back").unlink()
    part.write_bytes(bytes(1_000_000))  # of another file: the sum tells
    await alice.did("get", "big", "back")
    assert (alice.home / "back").read_bytes() == BIG
    assert not part.exists()
