"""The place for bodies without a length: ours alone, bounded, and empty after any end."""

import fcntl
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pyvospace_ngas.config import ConfigError
from pyvospace_ngas.errors import QuotaExceeded
from pyvospace_ngas.storage.staging import PREFIX, NotOurs, Staging


async def pieces(*sizes: int) -> AsyncIterator[bytes]:
    for number, size in enumerate(sizes):
        yield bytes([number]) * size


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "staging"


def test_the_folder_is_made_for_its_owner_only(folder: Path) -> None:
    Staging(folder, 1).prepare()
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o755)
    Staging(folder, 1).prepare()
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_symbolic_link_is_refused(folder: Path, tmp_path: Path) -> None:
    folder.parent.mkdir()
    folder.symlink_to(tmp_path)
    with pytest.raises(ConfigError, match="symbolic link"):
        Staging(folder, 1).prepare()


def test_a_file_in_its_place_is_refused(folder: Path) -> None:
    folder.parent.mkdir()
    folder.touch()
    with pytest.raises(ConfigError, match="staging_dir"):
        Staging(folder, 1).prepare()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_somebody_else_is_refused(folder: Path) -> None:
    folder.mkdir(parents=True)
    os.chown(folder, 12_345, 12_345)
    with pytest.raises(NotOurs, match="belongs to another user; name another one"):
        Staging(folder, 1).prepare()


def test_only_what_nobody_holds_is_removed(folder: Path) -> None:
    folder.mkdir(parents=True)
    abandoned, held, foreign = (folder / name for name in (f"{PREFIX}a", f"{PREFIX}b", "c"))
    for path in (abandoned, held, foreign):
        path.touch()
    (folder / f"{PREFIX}link").symlink_to(foreign)
    with held.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        Staging(folder, 1).prepare()
        assert not abandoned.exists()
        assert held.exists()
    assert foreign.exists()


async def test_what_is_written_is_read_and_then_gone(folder: Path) -> None:
    staging = Staging(folder, 1_000_000)
    staging.prepare()
    async with staging.file() as staged:
        (path,) = folder.iterdir()
        assert path.stat().st_mode & 0o777 == 0o600
        await staged.write(pieces(300_000, 1, 5))
        assert staged.length == 300_006
        read = b"".join([piece async for piece in staged.read()])
    assert read == bytes(300_000) + b"\1" + b"\2" * 5
    assert not any(folder.iterdir())


async def test_the_limit_counts_everybody(folder: Path) -> None:
    one, other = Staging(folder, 1000), Staging(folder, 1000)
    one.prepare()
    async with one.file() as first:
        await first.write(pieces(600))
        async with other.file() as second:
            with pytest.raises(QuotaExceeded):
                await second.write(pieces(300, 200))
        async with one.file() as third:
            with pytest.raises(QuotaExceeded):
                await third.write(pieces(401))
    async with one.file() as again:
        await again.write(pieces(1000))
    assert not any(folder.iterdir())
