"""The PostgreSQL that ngas_up runs: its folder, its role and database, and what it refuses."""

import os
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import asyncpg
import pytest
from ports import free_port

from pyvospace_ngas.cli import binaries, postgres
from pyvospace_ngas.cli.binaries import PostgresError
from pyvospace_ngas.cli.folder import DataFolder
from pyvospace_ngas.cli.parts import postgres_part
from pyvospace_ngas.cli.postgres import Cluster, Target
from pyvospace_ngas.cli.supervisor import PartFailed, Supervisor


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A data folder; what root keeps of it elsewhere is removed as well."""
    data = tmp_path / "data"
    data.mkdir()
    yield data
    forget(data)


def forget(data: Path) -> None:
    """Remove the cluster that a data folder links to."""
    link = data / "postgres"
    if link.is_symlink():
        shutil.rmtree(link.resolve())


def target(**changes: str) -> Target:
    values = {"role": "vos_user", "password": "it's \\ $1 %", "database": "vo space"} | changes
    return Target("localhost", free_port(), **values)


def dsn_of(wanted: Target) -> str:
    return (
        f"postgres://{quote(wanted.role)}:{quote(wanted.password)}@{wanted.host}:{wanted.port}"
        f"/{quote(wanted.database)}"
    )


@asynccontextmanager
async def running(cluster: Cluster, wanted: Target) -> AsyncIterator[None]:
    """Run ``cluster`` as ngas_up does."""
    supervisor = Supervisor()
    lock = os.open(cluster.home.parent, os.O_RDONLY)
    try:
        part = postgres_part(cluster, wanted, DataFolder(cluster.home.parent, lock))
        await supervisor.start(part)
        yield
    finally:
        await supervisor.stop()
        os.close(lock)


async def fetch(dsn: str, query: str) -> object:
    db = await asyncpg.connect(dsn)
    try:
        return await db.fetchval(query)
    finally:
        await db.close()


def test_a_dsn_has_parts() -> None:
    assert postgres.parse_dsn("postgres://a%40b:c%2Fd@localhost:5435/e%20f") == Target(
        "localhost", 5435, "a@b", "c/d", "e f"
    )
    assert postgres.parse_dsn("postgresql://a@[::1]/b") == Target("::1", 5432, "a", "", "b")


@pytest.mark.parametrize(
    "dsn",
    [
        "postgres://localhost:5435/vospace",
        "postgres://a:b@localhost:5435",
        "postgres://a:b@localhost:port/vospace",
        "postgres:///vospace?host=/run",
    ],
)
def test_an_incomplete_dsn_is_refused_by_name(dsn: str) -> None:
    with pytest.raises(PostgresError, match=r"^\[Space\] dsn: "):
        postgres.parse_dsn(dsn)


async def test_a_new_cluster_has_the_role_and_the_database_of_the_dsn(folder: Path) -> None:
    wanted = target()
    cluster = postgres.prepare(folder)
    async with running(cluster, wanted):
        await postgres.furnish(cluster, wanted)
        dsn = dsn_of(wanted)
        assert await fetch(dsn, "SELECT current_user || ' ' || current_database()") == (
            "vos_user vo space"
        )
        assert await fetch(dsn, "SELECT rolsuper FROM pg_roles WHERE rolname = user") is False
        assert await fetch(dsn, "SHOW data_checksums") == "on"
        assert await fetch(dsn, "SHOW password_encryption") == "scram-sha-256"
        assert await fetch(dsn, "SHOW listen_addresses") == "127.0.0.1"
        assert await fetch(cluster.superuser_dsn(wanted), "SHOW unix_socket_directories") == ""
        assert await fetch(dsn, "SHOW fsync") == "on"
        assert await fetch(
            dsn,
            "SELECT datcollate || pg_encoding_to_char(encoding) FROM pg_database"
            " WHERE datname = current_database()",
        ) == "CUTF8"  # fmt: skip


async def test_nobody_enters_without_a_password(folder: Path) -> None:
    wanted = target()
    cluster = postgres.prepare(folder)
    async with running(cluster, wanted):
        await postgres.furnish(cluster, wanted)
        for role in (wanted.role, postgres.SUPERUSER):
            with pytest.raises(asyncpg.InvalidPasswordError):
                await fetch(
                    f"postgres://{role}:guess@127.0.0.1:{wanted.port}/postgres", "SELECT 1"
                )


async def test_a_changed_dsn_gets_its_password_role_and_database(folder: Path) -> None:
    first = target()
    cluster = postgres.prepare(folder)
    async with running(cluster, first):
        await postgres.furnish(cluster, first)
        await fetch(dsn_of(first), "CREATE TABLE kept (id int)")
    second = target(password="another")
    third = target(role='q"uote', database='d"b')
    cluster = postgres.prepare(folder)
    async with running(cluster, second):
        await postgres.furnish(cluster, second)
        assert await fetch(dsn_of(second), "SELECT count(*) FROM kept") == 0
    async with running(cluster, third):
        await postgres.furnish(cluster, third)
        assert await fetch(dsn_of(third), "SELECT current_user") == 'q"uote'


def test_the_cluster_is_closed_to_others_and_no_folder_above_was_opened(folder: Path) -> None:
    before = [stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.parents)]
    cluster = postgres.prepare(folder)
    assert before == [stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.parents)]
    assert stat.S_IMODE(cluster.data.stat().st_mode) == 0o700
    assert stat.S_IMODE((cluster.home / "superuser").stat().st_mode) == 0o600
    assert sorted(path.name for path in cluster.home.iterdir()) == ["data", "superuser"]
    assert cluster.data.stat().st_uid == (
        cluster.programs.account.uid if cluster.programs.account else os.geteuid()
    )
    assert (cluster.programs.account is None) == (os.geteuid() != 0)


def test_a_cluster_of_another_major_version_is_refused_with_the_way_to_upgrade(
    folder: Path,
) -> None:
    cluster = postgres.prepare(folder)
    (cluster.data / "PG_VERSION").write_text("17\n")
    with pytest.raises(PostgresError, match=r"written by PostgreSQL 17.* runs 16: dump it with"):
        postgres.prepare(folder)


def test_a_set_up_that_was_interrupted_is_done_again(folder: Path) -> None:
    home = postgres.home_of(folder)
    (home / "data.new").mkdir()
    (home / "data.new" / "PG_VERSION").write_text("16")
    (home / "superuser.told").write_text("left")
    forgotten = folder / "postgres"
    if forgotten.is_symlink():
        forgotten.unlink()  # stopped even before the link was made
    cluster = postgres.prepare(folder)
    assert (cluster.data / "global" / "pg_control").exists()
    assert sorted(path.name for path in cluster.home.iterdir()) == ["data", "superuser"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root keeps the cluster elsewhere")
def test_a_cluster_that_lost_its_data_folder_is_not_taken_for_a_new_one(folder: Path) -> None:
    home = postgres.prepare(folder).home
    (folder / "postgres").unlink()
    with pytest.raises(PostgresError, match=f"{home} holds the database of an earlier"):
        postgres.prepare(folder)
    (folder / "postgres").symlink_to(home)
    assert postgres.prepare(folder).home == home


@pytest.mark.skipif(os.geteuid() != 0, reason="only root keeps the cluster elsewhere")
def test_a_data_folder_that_lost_its_cluster_is_refused(folder: Path) -> None:
    shutil.rmtree(postgres.prepare(folder).home)
    with pytest.raises(PostgresError, match="which is gone: restore it"):
        postgres.prepare(folder)
    (folder / "postgres").unlink()


async def test_a_killed_server_starts_again_with_everything_committed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = target()
    cluster = postgres.prepare(folder)
    async with running(cluster, wanted):
        await postgres.furnish(cluster, wanted)
        await fetch(dsn_of(wanted), "CREATE TABLE kept AS SELECT generate_series(1, 1000) AS id")
        pid = int((cluster.data / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGKILL)
    assert (cluster.data / "postmaster.pid").exists()
    async with running(cluster, wanted):
        assert await fetch(dsn_of(wanted), "SELECT count(*) FROM kept") == 1000
    said = capsys.readouterr().out
    assert "was not properly shut down" in said
    assert "FATAL" not in said  # a recovery that is waited for is no reason to worry


async def test_a_stale_note_that_names_a_living_process_does_not_stop_the_start(
    folder: Path,
) -> None:
    wanted = target()
    cluster = postgres.prepare(folder)
    account = cluster.programs.account
    with subprocess.Popen(["sleep", "600"], user=account.uid if account else None) as other:
        try:
            note = cluster.data / "postmaster.pid"
            note.write_text(f"{other.pid}\n{cluster.data}\n1\n{wanted.port}\n\n\n0 0\nready   \n")
            async with running(cluster, wanted):
                await postgres.furnish(cluster, wanted)
        finally:
            other.kill()


async def test_a_server_that_runs_by_hand_is_left_alone(folder: Path) -> None:
    wanted = target()
    cluster = postgres.prepare(folder)
    async with running(cluster, wanted):
        with pytest.raises(PostgresError, match=r"process \d+ uses .*: stop it"):
            postgres.clear_stale_pid(cluster.data)
        assert (cluster.data / "postmaster.pid").exists()


async def test_a_server_that_cannot_start_says_why(folder: Path) -> None:
    wanted = target()
    cluster = postgres.prepare(folder)
    with (cluster.data / "postgresql.conf").open("a") as settings:
        settings.write("no_such_setting = 1\n")
    with pytest.raises(PartFailed, match=r"postgres ended with exit code 1: .*FATAL"):
        async with running(cluster, wanted):
            pass


def test_without_the_wheel_the_message_says_what_to_install(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(binaries, "WHEEL", "a_wheel_that_nobody_has")
    with pytest.raises(PostgresError, match=r"pip install 'pyvospace-ngas\[embedded\]'"):
        postgres.prepare(folder)
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the programs as somebody else")
def test_programs_that_the_server_s_user_cannot_reach_run_from_a_copy() -> None:
    wheel = binaries.wheel_folder()
    assert wheel is not None
    package = wheel.parent.parent
    libraries = package.with_name(f"{package.name}.libs")
    with tempfile.TemporaryDirectory(dir="/tmp") as open_to_us_only:
        closed = Path(open_to_us_only, "closed")
        closed.mkdir(mode=0o700)
        for source in (package, libraries):
            shutil.copytree(source, closed / source.name, copy_function=os.link)
        Path(open_to_us_only).chmod(0o755)
        folder = closed / package.name / "pginstall" / "bin"
        spare = Path(open_to_us_only, "spare")
        account = binaries.unprivileged()
        programs = binaries.reachable(folder, account, spare)
        assert spare in programs.bin.parents
        assert programs == binaries.reachable(folder, account, spare)  # made once
        for name in ("initdb", "psql", "pg_dump"):
            assert " 16." in programs.run(name, "--version", cwd=Path("/")).stdout
