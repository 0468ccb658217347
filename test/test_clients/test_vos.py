"""vos 3.7, the CADC's command line client, unmodified and configured only."""

import hashlib
import os
from itertools import count
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

import pytest
import pytest_asyncio
from processes import query
from stack import AUTHORITY, PASSWORD, properties

from test_clients.conftest import Secure, Service
from test_clients.environments import VOS, environment
from test_clients.person import Person, make_home

NUMBERS: Final = count(1)
SMALL: Final = b"The quick brown fox\n" * 100
OTHER: Final = SMALL.upper()
LARGE: Final = os.urandom(6 << 20)  # above 5 MiB vos sends no digest, and begins a transaction


@pytest.fixture(scope="module")
def programs() -> Path:
    """The folder of the commands."""
    return environment("vos", *VOS)


@pytest.fixture
def alice(service: Service, programs: Path, tmp_path: Path) -> Person:
    """Alice, who has a password in .netrc."""
    return person("alice", service, programs, tmp_path)


@pytest_asyncio.fixture(loop_scope="module")
async def home(service: Service) -> str:
    """A container of the test's own."""
    path = f"/home/alice/t{next(NUMBERS)}"
    made = await service.alice.make(path, inner=properties(publicread="false"))
    assert made.status == 201
    return AUTHORITY + path


def person(name: str | None, service: Service, programs: Path, folder: Path) -> Person:
    home = folder / f"home-{name}"
    home.mkdir()
    make_home(home, service.url, name)
    return Person(home, programs)


def text(said: str) -> bytes:
    """Return what vcat was given: it puts a line break behind each part of it."""
    return said.rstrip("\n").encode() + b"\n"


async def uploads(dsn: str) -> int:
    """Return how often bytes were sent."""
    found: int = (await query(dsn, "select count(*) from attempt"))[0][0]
    return found


@pytest.mark.row("VOS-08")
async def test_files_of_all_sizes_go_up_and_come_back(
    alice: Person, home: str, service: Service
) -> None:
    for name, data in (("empty", b""), ("small.txt", SMALL), ("large.bin", LARGE)):
        (alice.home / name).write_bytes(data)
        await alice("vcp", name, f"{home}/{name}")
        await alice("vcp", f"{home}/{name}", f"back-{name}")
        assert (alice.home / f"back-{name}").read_bytes() == data
    sent = await uploads(service.dsn)
    await alice("vcp", "small.txt", f"{home}/small.txt")
    await alice("vcp", "large.bin", f"{home}/large.bin")
    assert await uploads(service.dsn) == sent  # the same files again are not sent
    (alice.home / "small.txt").write_bytes(OTHER)
    await alice("vcp", "small.txt", f"{home}/small.txt")
    assert text(await alice("vcat", f"{home}/small.txt")) == OTHER
    (alice.home / "small.txt").write_bytes(b"")
    await alice("vcp", "small.txt", f"{home}/small.txt")
    assert (await alice("vcat", f"{home}/small.txt")).strip() == ""
    names = (await alice("vls", home)).split()
    assert names == ["empty", "large.bin", "small.txt"]


async def test_a_broken_download_goes_on_where_it_stopped(alice: Person, home: str) -> None:
    (alice.home / "large.bin").write_bytes(LARGE)
    await alice("vcp", "large.bin", f"{home}/large.bin")
    md5 = hashlib.md5(LARGE).hexdigest()
    part = alice.home / f"again.bin-{md5}.part"
    part.write_bytes(LARGE[: 2 << 20])
    await alice("vcp", "-v", f"{home}/large.bin", "again.bin")
    assert (alice.home / "again.bin").read_bytes() == LARGE
    assert not part.exists()


@pytest.mark.row("VOS-08")
async def test_listings(alice: Person, home: str) -> None:
    for name, size in (("b", 30), ("a", 2000), ("c", 1)):
        (alice.home / name).write_bytes(b"x" * size)
        await alice("vcp", name, f"{home}/{name}")
    await alice("vmkdir", "-p", f"{home}/d/e/f")
    assert (await alice("vls", f"{home}/d")).split() == ["e"]
    assert (await alice("vls", home)).split() == ["a", "b", "c", "d"]
    assert (await alice("vls", home.replace("vos://icrar.org~ngas", "ngas:"))).split() == [
        "a",
        "b",
        "c",
        "d",
    ]
    long = (await alice("vls", "-l", home)).splitlines()
    assert [line.split()[-1] for line in long] == ["a", "b", "c", "d"]
    assert long[0].startswith("-rw-")
    assert long[3].startswith("drw-")
    assert "alice" in long[0]
    assert " 2000 " in long[0]
    human = (await alice("vls", "-l", "-h", home)).splitlines()
    assert " 2K " in human[0]
    by_size = (await alice("vls", "-l", "-S", home)).splitlines()
    assert [line.split()[-1] for line in by_size][:3] == ["a", "b", "c"]
    backwards = (await alice("vls", "-l", "-S", "-r", home)).splitlines()
    assert [line.split()[-1] for line in backwards][-3:] == ["c", "b", "a"]
    by_time = (await alice("vls", "-l", "-t", home)).splitlines()
    assert [line.split()[-1] for line in by_time] == ["d", "c", "a", "b"]
    pattern = await alice("vls", f"{home}/[ab]")
    assert pattern.split() == ["a", "b"]
    assert "DuplicateNode" in await alice.fails("vmkdir", f"{home}/d")
    assert "NodeNotFound" in await alice.fails("vls", f"{home}/none")


@pytest.mark.row("VOS-08")
async def test_trees_go_up_and_come_back(alice: Person, home: str) -> None:
    files = {"tree/a.txt": b"a", "tree/sub/b.txt": SMALL, "tree/sub/empty": b""}
    for name, data in files.items():
        (alice.home / name).parent.mkdir(parents=True, exist_ok=True)
        (alice.home / name).write_bytes(data)
    await alice("vcp", "tree", f"{home}/tree")  # it must not exist yet: a bug of vcp
    await alice("vcp", f"{home}/tree", "down")
    for name, data in files.items():
        assert (alice.home / name.replace("tree", "down", 1)).read_bytes() == data


@pytest.mark.row("VOS-08")
async def test_moves_and_links(alice: Person, home: str) -> None:
    (alice.home / "f").write_bytes(SMALL)
    await alice("vcp", "f", f"{home}/f")
    await alice("vmkdir", f"{home}/d")
    await alice("vmv", f"{home}/f", f"{home}/d/g")
    await alice("vln", f"{home}/d/g", f"{home}/link")
    assert text(await alice("vcat", f"{home}/link")) == SMALL
    await alice("vcp", "-L", f"{home}/link", "through")
    assert (alice.home / "through").read_bytes() == SMALL
    listed = await alice("vls", "-l", home)
    assert f"link -> {home}/d/g" in listed
    await alice("vrm", f"{home}/link")
    assert (await alice("vls", f"{home}/d")).split() == ["g"]
    refused = await alice.fails("vmv", f"{home}/none", f"{home}/x")
    assert "NodeNotFound" in refused


async def test_tags(alice: Person, home: str) -> None:
    await alice("vmkdir", f"{home}/d")
    await alice("vmkdir", f"{home}/d/e")
    await alice("vtag", f"{home}/d", "quality=good", "note=two words")
    assert (await alice("vtag", f"{home}/d", "quality")).strip() == "'good'"
    assert "two words" in await alice("vtag", f"{home}/d")
    await alice("vtag", f"{home}/d", "quality=")
    await alice("vtag", f"{home}/d", "note", "--remove")
    left = await alice("vtag", f"{home}/d")
    assert "quality" not in left
    assert "note" not in left
    await alice("vtag", "-R", f"{home}/d", "season=winter")
    for path in ("d", "d/e"):
        assert (await alice("vtag", f"{home}/{path}", "season")).strip() == "'winter'"


async def test_permissions(
    alice: Person, home: str, service: Service, programs: Path, tmp_path: Path
) -> None:
    bob = person("bob", service, programs, tmp_path)
    (alice.home / "f").write_bytes(SMALL)
    await alice("vcp", "f", f"{home}/f")
    assert "PermissionDenied" in await bob.fails("vcat", f"{home}/f")
    await alice("vchmod", "g+r", home, "team")
    await alice("vchmod", "g+rw", f"{home}/f", "team", "team")
    assert text(await bob("vcat", f"{home}/f")) == SMALL
    assert "team" in await alice("vls", "-l", "-g", home)
    (bob.home / "f").write_bytes(b"bob's")
    await bob("vcp", "f", f"{home}/f")
    await alice("vchmod", "g-rw", f"{home}/f")
    await bob.fails("vcat", f"{home}/f")
    await alice("vchmod", "o+r", f"{home}/f")
    await alice("vchmod", "o+r", home)
    stranger = person(None, service, programs, tmp_path)
    assert (await stranger("vcat", f"{home}/f")).strip() == "bob's"
    assert (await alice("vls", "-l", home)).startswith("-rw----r--")
    await alice("vchmod", "-R", "o-r", home)
    await stranger.fails("vcat", f"{home}/f")


async def test_locks(alice: Person, home: str) -> None:
    (alice.home / "f").write_bytes(SMALL)
    await alice("vcp", "f", f"{home}/f")
    await alice("vlock", "--lock", f"{home}/f")
    assert "LOCKED" in await alice("vls", "-l", home)
    assert "NodeLocked" in await alice.fails("vrm", f"{home}/f")
    await alice("vlock", "--unlock", f"{home}/f")
    await alice("vrm", f"{home}/f")


async def synchronize(person: Person, target: str) -> None:
    """Run vsync, whose exit code says nothing about single files."""
    ran = await person.run("vsync", "--recursive", "tree", target)
    assert (ran.code, ran.out, ran.err) == (0, "", "")


async def test_a_folder_is_kept_in_step(alice: Person, home: str, service: Service) -> None:
    tree = alice.home / "tree"
    (tree / "sub").mkdir(parents=True)
    for number in range(4):
        (tree / f"f{number}").write_bytes(b"%d" % number * 100)
        (tree / "sub" / f"g{number}").write_bytes(SMALL)
    await alice("vmkdir", f"{home}/copy")
    # Each of vsync's five threads makes the same folder of its home before its first upload unless
    # it is there, and skips its file where another one was faster. After any upload it is there.
    await alice("vcp", "tree/f0", f"{home}/first")
    sent = await uploads(service.dsn)
    await synchronize(alice, f"{home}/copy")
    assert await uploads(service.dsn) == sent + 8
    assert (await alice("vls", f"{home}/copy/tree")).split() == ["f0", "f1", "f2", "f3", "sub"]
    assert (await alice("vls", f"{home}/copy/tree/sub")).split() == ["g0", "g1", "g2", "g3"]
    await synchronize(alice, f"{home}/copy")
    assert await uploads(service.dsn) == sent + 8
    (tree / "f0").write_bytes(b"changed")
    await synchronize(alice, f"{home}/copy")
    assert await uploads(service.dsn) == sent + 9
    assert (await alice("vcat", f"{home}/copy/tree/f0")).strip() == "changed"
    assert "NodeNotFound" in await alice.fails("vsync", "tree", f"{home}/none")


@pytest.mark.row("VOS-08")
async def test_deletes(alice: Person, home: str) -> None:
    await alice("vmkdir", "-p", f"{home}/d/e")
    (alice.home / "f").write_bytes(SMALL)
    for path in ("d/f", "d/e/f", "g"):
        await alice("vcp", "f", f"{home}/{path}")
    await alice("vrm", f"{home}/g")
    await alice("vrm", "-R", f"{home}/d/e")
    assert (await alice("vls", f"{home}/d")).split() == ["f"]
    await alice("vrmdir", f"{home}/d")
    assert (await alice("vls", home)).split() == []


async def test_a_token_does_as_well(
    home: str, service: Service, programs: Path, tmp_path: Path
) -> None:
    token = (await service.alice.form("/tokens", "path=/home/alice")).text.split('"')[3]
    nobody = person(None, service, programs, tmp_path)
    (nobody.home / "f").write_bytes(SMALL)
    alice = Person(nobody.home, programs, ("--token", token))
    await alice("vmkdir", f"{home}/d")
    await alice("vcp", "f", f"{home}/d/f")
    await alice("vcp", f"{home}/d/f", "back")
    assert (nobody.home / "back").read_bytes() == SMALL
    await alice("vtag", f"{home}/d/f", "quality=good")
    await alice("vln", f"{home}/d/f", f"{home}/d/link")
    await alice("vchmod", "g+r", f"{home}/d/f", "team")
    await alice("vlock", "--lock", f"{home}/d/f")
    assert "NodeLocked" in await alice.fails("vmv", f"{home}/d/f", f"{home}/d/g")
    await alice("vlock", "--unlock", f"{home}/d/f")
    await alice("vrm", f"{home}/d/link")
    await alice("vmv", f"{home}/d/f", f"{home}/d/g")
    await alice("vsync", "f", f"{home}/d")
    await alice("vrm", f"{home}/d/g")
    assert (await alice("vls", f"{home}/d")).split() == ["f"]
    assert "PermissionDenied" in await alice.fails("vmkdir", "vos://icrar.org~ngas/home/x")
    wrong = Person(nobody.home, programs, ("--token", "ngas_wrong"))
    assert "NotAuthenticated" in await wrong.fails("vls", home)


@pytest.mark.parametrize("name", ["a+b=c,d(1)~e@f.txt", "étoile.txt"])
async def test_names_are_what_they_are(alice: Person, home: str, name: str) -> None:
    (alice.home / "f").write_bytes(SMALL)
    await alice("vcp", "f", f"{home}/{name}")
    assert (await alice("vls", home)).split() == [quote(name, "+=,()~@")]
    await alice("vcp", f"{home}/{name}", "back")
    assert (alice.home / "back").read_bytes() == SMALL


async def test_a_refused_upload_leaves_nothing(alice: Person, home: str) -> None:
    (alice.home / "f").write_bytes(SMALL)
    await alice("vmkdir", f"{home}/d")
    refused = await alice.fails("vcp", "f", f"{home}/none/f")
    assert "ContainerNotFound" in refused or "NodeNotFound" in refused
    assert (await alice("vls", f"{home}/d")).split() == []


async def test_over_tls_the_registry_is_asked_as_well(
    secure: Secure, programs: Path, tmp_path: Path
) -> None:
    host = urlsplit(secure.alice.base).netloc
    netrc = tmp_path / ".netrc"
    netrc.write_text(f'machine {host} login alice password "{PASSWORD}"\n', encoding="utf-8")
    netrc.chmod(0o600)
    (tmp_path / "f").write_bytes(SMALL)
    # It trusts the machine's authorities only, or with -k anybody.
    alice = Person(tmp_path, programs, ("-k",), {"VOSPACE_WEBSERVICE": host})
    await alice("vcp", "f", f"{AUTHORITY}/home/alice/f")
    assert (await alice("vls", f"{AUTHORITY}/home/alice")).split() == ["f"]
    await alice("vcp", f"{AUTHORITY}/home/alice/f", "back")
    assert (tmp_path / "back").read_bytes() == SMALL
