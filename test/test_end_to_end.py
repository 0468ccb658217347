"""Real files through the whole product and back, bit for bit: commands, sockets, two nodes."""

import asyncio
import hashlib
import importlib.util
from collections.abc import AsyncIterator, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final

import pytest
import stack
from processes import MEMORY_LIMIT, Cluster, cluster

from pyvospace_ngas.client.vospace import VOSpace
from pyvospace_ngas.model.node import Detail

REPOSITORY: Final = Path(__file__).resolve().parent.parent
MOST_OF_GIT: Final = 150
MOST_OF_TREE: Final = 150
LARGEST: Final = 8 << 20  # bytes of one of the many files
AT_ONCE: Final = 8
BLOCK: Final = 1 << 20
AWKWARD: Final = (
    "a name with spaces", " space at both ends ", "Müller Straße.fits", "Mu\u0308ller decomposed",
    "Ωμέγα Κενταύρου", "天文台", "🔭 telescope", "#1 hash", "100%", "%41 is no A", "%2F", "a+b c",
    'double "quotes"', "single 'quotes'", "semi;colon & ampersand", "question?mark=1",
    "back\\slash", "..hidden",
    "<tag>", "~tilde!", "a:b", "-rf", "trailing.", "x" * 255, "é" * 127, "comma,equals=[brackets]",
    "$HOME `id` $(id)", "*", "nothing\u00a0breaks", "\u202egnp.exe", "CON",
)  # fmt: skip


def astropy_files() -> list[Path]:
    """Return the files that astropy carries for its own tests."""
    spec = importlib.util.find_spec("astropy")
    if spec is None or spec.origin is None:
        pytest.skip("astropy is not installed; the extra dev brings it")
    root = Path(spec.origin).parent
    found = [path for path in root.rglob("*") if "data" in path.parts[:-1] and usable(path)]
    assert len(found) > 200
    return found


def usable(path: Path) -> bool:
    return (
        path.is_file()
        and not path.is_symlink()
        and "__pycache__" not in path.parts
        and path.stat().st_size <= LARGEST
    )


def repository_files() -> Iterator[Path]:
    """Give files of this very repository, and of its git folder if it has one."""
    yield from islice(filter(usable, sorted((REPOSITORY / ".git").rglob("*"))), MOST_OF_GIT)
    for name in ("pyvospace_ngas", "test", "docker"):
        yield from islice(filter(usable, sorted((REPOSITORY / name).rglob("*"))), MOST_OF_TREE)


def contents(root: Path, paths: Iterable[Path], below: str) -> dict[str, bytes]:
    """Return the bytes of files by the path that they get in the space."""
    found = {}
    for path in paths:
        try:
            found[f"{below}/{path.relative_to(root)}"] = path.read_bytes()
        except FileNotFoundError:  # git tidies up while we look
            continue
    return found


def awkward_files(below: str) -> dict[str, bytes]:
    """Return small files with names that somebody will forget to escape, and an empty one."""
    files = {f"{below}/{name}": name.encode() * 3 for name in AWKWARD}
    # And as containers, with a file of that name inside.
    files |= {f"{below}/in {name[:80]}/{name}": name.encode() for name in AWKWARD}
    return files | {f"{below}/empty": b""}


def containers(paths: Iterable[str], below: str) -> list[str]:
    """Return all containers above ``paths``, the outer ones first, but for ``below`` itself."""
    found = set()
    for path in paths:
        while (path := path.rpartition("/")[0]) != below:
            found.add(path)
    return sorted(found, key=lambda path: path.count("/"))


async def each(work: Iterable[AsyncIterator[None]]) -> None:
    """Run generators to their ends, some at once."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(steps: AsyncIterator[None]) -> None:
        async with gate:
            async for _ in steps:
                pass

    async with asyncio.TaskGroup() as group:
        for steps in work:
            group.create_task(one(steps))


async def tree(client: VOSpace, container: str) -> dict[str, str | None]:
    """Return the MD5 sum of every file below ``container``, as listings tell it."""
    found: dict[str, str | None] = {}
    async for child in client.list(container, Detail.PROPERTIES, page=50):
        path = f"{container}/{child.path.name}"
        if child.type.name == "CONTAINER":
            found |= await tree(client, path)
        else:
            found[path] = child.md5
    return found


async def gave_everything_back(site: Cluster, client: VOSpace, files: dict[str, bytes]) -> None:
    """Put files, then compare listings and bytes."""
    for path in containers(files, "/home/alice"):
        await client.create(path)

    async def put(path: str, data: bytes) -> AsyncIterator[None]:
        stored = await client.push(path, data)
        assert stored.length == len(data)
        yield

    async def get(path: str, data: bytes) -> AsyncIterator[None]:
        came = b"".join([piece async for piece in client.pull(path)])
        assert came == data, path
        yield

    await each(put(path, data) for path, data in files.items())
    listed = await tree(client, "/home/alice")
    assert listed == {path: md5(data) for path, data in files.items()}
    await each(get(path, data) for path, data in files.items())
    holders = await site.query("select host_id, count(*) as files from copy group by host_id")
    assert len(holders) == 2
    assert min(row["files"] for row in holders) > len(files) / 10
    assert await site.value("select count(*) from attempt where outcome <> 'committed'") == 0


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def check_memory(site: Cluster) -> None:
    for process in (*site.spaces, *site.storages):
        assert process.peak_memory() < MEMORY_LIMIT, process.module
        assert "Traceback" not in process.said, process.said


async def test_hundreds_of_real_files_come_back_bit_for_bit(
    dsn: str, empty_dsn: str, tmp_path: Path
) -> None:
    astropy = astropy_files()
    root = astropy[0].parents[[p.name for p in astropy[0].parents].index("astropy")]
    files = contents(root, astropy, "/home/alice/astropy")
    files |= contents(REPOSITORY, repository_files(), "/home/alice/this repository")
    files |= awkward_files("/home/alice/awkward")
    assert len(files) > 400
    async with (
        cluster(dsn, empty_dsn, tmp_path) as site,
        VOSpace(site.spaces[0].url, "alice", stack.PASSWORD) as client,
    ):
        await gave_everything_back(site, client, files)
        check_memory(site)


def block(number: int) -> bytes:
    """Return a part of the large file, unlike any other part."""
    head = number.to_bytes(8, "big")
    return head + hashlib.shake_128(head).digest(4088) * (BLOCK // 4088 + 1)


async def blocks(count: int) -> AsyncIterator[bytes]:
    for number in range(count):
        yield (await asyncio.to_thread(block, number))[:BLOCK]


@pytest.mark.parametrize("size", [256 << 20, pytest.param(4 << 30, marks=pytest.mark.scale)])
async def test_a_large_file_comes_back_through_little_memory(
    dsn: str, empty_dsn: str, tmp_path: Path, size: int
) -> None:
    count = size // BLOCK
    async with (
        cluster(dsn, empty_dsn, tmp_path) as site,
        VOSpace(site.spaces[0].url, "alice", stack.PASSWORD) as client,
    ):
        stored = await client.push("/home/alice/large", blocks(count), size)
        wanted, came, length = blocks(count), bytearray(), 0
        async for piece in client.pull("/home/alice/large"):
            came += piece
            length += len(piece)
            while len(came) >= BLOCK:
                assert came[:BLOCK] == await anext(wanted)
                del came[:BLOCK]

        assert (stored.length, length, len(came)) == (size, size, 0)
        check_memory(site)
