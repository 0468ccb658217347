"""Backup and restore, as the README describes them: what a dump knows is there afterwards."""

import asyncio
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import postgres_support
import pytest
from processes import Cluster, cluster, query
from test_crashes import archive_of, client_of, offered
from test_two_of_each import check_tree
from waiting_support import until_true

from pyvospace_ngas.cli import binaries
from pyvospace_ngas.errors import NodeNotFound
from pyvospace_ngas.ops import discards, sweep

README: Final = Path(__file__).resolve().parent.parent / "README.md"
KEPT: Final = "/home/alice/kept"
OVERWRITTEN: Final = "/home/alice/overwritten"
DELETED: Final = "/home/alice/deleted"
LATER: Final = "/home/alice/later"
BEFORE: Final = {KEPT: b"kept", OVERWRITTEN: b"as it was", DELETED: b"deleted later"}


def programs() -> binaries.Programs:
    folder = binaries.wheel_folder() or next(iter(binaries.system_folders()), None)
    assert folder is not None
    return binaries.Programs(folder, None)


async def run(name: str, *arguments: str) -> None:
    """Run one of PostgreSQL's programs to its end."""
    done = await asyncio.to_thread(programs().run, name, *arguments, cwd=Path("/"))
    assert done.returncode == 0, done.stderr


async def dump(dsn: str, file: Path) -> None:
    await run("pg_dump", "--format=custom", "--no-owner", f"--file={file}", dsn)


async def restore_in_place(dsn: str, file: Path) -> None:
    options = ("--clean", "--if-exists", "--no-owner", "--single-transaction")
    await run("pg_restore", *options, f"--dbname={dsn}", str(file))


async def restore_anew(postgres: str, dsn: str, file: Path) -> None:
    """Restore into a new database of the same name, as after the loss of the server."""
    name = dsn.rpartition("/")[2]
    await postgres_support.administer(
        postgres,
        f"DROP DATABASE {name} WITH (FORCE)",
        f"CREATE DATABASE {name} OWNER {postgres_support.ROLE}",
    )
    await run("pg_restore", "--no-owner", "--single-transaction", f"--dbname={dsn}", str(file))


async def admin(site: Cluster, *arguments: str) -> Any:
    """Run ngas_admin queue; return what it tells."""
    done = await asyncio.to_thread(
        subprocess.run,
        [
            *(sys.executable, "-m", "pyvospace_ngas.cli.admin", "--cfg", str(site.inis[0])),
            *("queue", "--json", *arguments),
        ],
        capture_output=True,
        check=True,
    )
    return json.loads(done.stdout)


async def fill(site: Cluster) -> None:
    async with client_of(site) as client:
        for path, data in BEFORE.items():
            await client.push(path, data)
    # What the janitor does first of all: it notes which database this is.
    async with archive_of(site) as (database, federation):
        assert await discards.work(database, federation) == 0


async def change(site: Cluster) -> str:
    """Do what a restore undoes; return the id of a file that only the later tree knows."""
    async with client_of(site) as client:
        await client.push(OVERWRITTEN, b"as it is now")
        await client.delete(DELETED)
        await client.push(LATER, b"unknown to the dump")
    file_id = await site.value(
        "select file_id from copy join node on node.blob_id = copy.blob_id where name = 'later'"
    )
    return str(file_id)


async def stop_servers(site: Cluster) -> None:
    for process in (*site.spaces, *site.storages):
        await process.end()


async def start_servers(site: Cluster) -> None:
    for process in (*site.spaces, *site.storages):
        await process.start()


async def all_work_of_the_janitor(site: Cluster) -> int:
    async with archive_of(site) as (database, federation):
        await sweep.work(database, federation, 0, grace=0)
        return await discards.work(database, federation, absent_apart=0)


async def check_files(site: Cluster, files: Mapping[str, bytes]) -> None:
    async with client_of(site) as client:
        for path, data in files.items():
            assert b"".join([piece async for piece in client.pull(path)]) == data, path


@pytest.mark.parametrize("where", ["in place", "in place while all runs", "anew"])
async def test_after_a_restore_every_file_that_the_dump_knows_is_readable(
    postgres: str, dsn: str, empty_dsn: str, tmp_path: Path, where: str
) -> None:
    """With the default ``discard_delay`` nothing of the archive needs to be restored."""
    async with cluster(dsn, empty_dsn, tmp_path) as site:
        await fill(site)
        await dump(dsn, tmp_path / "dump")
        later = await change(site)
        await all_work_of_the_janitor(site)
        if where == "in place while all runs":
            await restore_in_place(dsn, tmp_path / "dump")
            await check_files(site, BEFORE)
        await stop_servers(site)
        if where == "in place":
            await restore_in_place(dsn, tmp_path / "dump")
        elif where == "anew":
            await restore_anew(postgres, dsn, tmp_path / "dump")
        await start_servers(site)

        await check_files(site, BEFORE)
        async with client_of(site) as client:
            with pytest.raises(NodeNotFound):
                await client.get(LATER)
        # The queue of a dump may name files that were wanted again since: a person decides.
        assert (await admin(site))["halted"] is True
        assert await all_work_of_the_janitor(site) == 0
        async with client_of(site) as client:
            await client.push("/home/alice/new", b"the service goes on")
            await client.delete(DELETED)
        assert await all_work_of_the_janitor(site) == 0
        accepted = await admin(site, "--accept-restore")
        assert accepted["halted"] is False
        await all_work_of_the_janitor(site)
        await check_files(site, {KEPT: b"kept", OVERWRITTEN: b"as it was"})
        async with archive_of(site) as (_, federation):
            # Nobody knows it any more, and what is not known is not ours to discard.
            assert len(await federation.locate(later)) == 1
        await check_tree(dsn)


async def test_what_was_discarded_after_the_dump_is_lost_and_nothing_else_is(
    dsn: str, empty_dsn: str, tmp_path: Path
) -> None:
    """Why ``discard_delay`` must be longer than the age of the oldest dump one would restore."""
    async with cluster(dsn, empty_dsn, tmp_path, storage={"discard_delay": "0"}) as site:
        await fill(site)
        await dump(dsn, tmp_path / "dump")
        await change(site)
        await until_true(lambda: is_purged(site))
        await until_true(lambda: is_worked_off(site))
        await stop_servers(site)
        await restore_in_place(dsn, tmp_path / "dump")
        await start_servers(site)

        assert (await admin(site))["halted"] is True
        await check_files(site, {KEPT: b"kept"})
        caller = site.caller("alice")
        for path in (OVERWRITTEN, DELETED):
            [url] = await offered(caller, path, "pullFromVoSpace")
            assert (await caller.get(url)).status == 503
        # And they can be put again.
        async with client_of(site) as client:
            await client.push(OVERWRITTEN, b"found elsewhere")
        await check_files(site, {OVERWRITTEN: b"found elsewhere"})


async def is_worked_off(site: Cluster) -> bool:
    """Work, beside the server's own janitor; tell whether nothing is left to discard."""
    await all_work_of_the_janitor(site)
    return not await site.query("select 1 from discard")


async def is_purged(site: Cluster) -> bool:
    """Tell whether the space server has purged what was deleted."""
    return not await site.query("select 1 from trash")


async def dump_index(index: str, file: Path) -> None:
    """Copy the nodes' index while they run: by the README's own line, where it is SQLite."""
    if index.startswith("postgres"):
        await dump(index, file)
        return
    line = re.search(r"python3 -c '(import sqlite3.*)'", README.read_text(encoding="utf-8"))
    assert line is not None
    command = (sys.executable, "-c", line[1], index, str(file))
    await asyncio.to_thread(subprocess.run, command, check=True)


async def restore_index(postgres: str, index: str, file: Path) -> None:
    if index.startswith("postgres"):
        await restore_anew(postgres, index, file)
        return
    for suffix in ("", "-wal", "-shm"):
        Path(index + suffix).unlink(missing_ok=True)
    await asyncio.to_thread(shutil.copy, file, index)


@pytest.mark.parametrize("kind", ["postgres", "sqlite"])
async def test_tree_and_archive_come_back_after_the_loss_of_everything(
    postgres: str, dsn: str, empty_dsn: str, tmp_path: Path, kind: str
) -> None:
    """The order of the backup: the tree, then the index of the nodes, then their volumes."""
    index = empty_dsn if kind == "postgres" else str(tmp_path / "archive.sqlite")
    async with cluster(dsn, index, tmp_path) as site:
        await fill(site)
        backup = tmp_path / "backup"
        backup.mkdir()
        async with client_of(site) as client:  # a backup does not stop the service
            await dump(dsn, backup / "tree")
            await client.push("/home/alice/meanwhile1", b"1")
            await dump_index(index, backup / "index")
            await client.push("/home/alice/meanwhile2", b"2")
            for number in range(2):
                await asyncio.to_thread(copy_volumes, tmp_path, backup, number)
        await change(site)
        for process in (*site.spaces, *site.storages, *site.nodes):
            await process.kill()

        for number in range(2):
            await asyncio.to_thread(shutil.rmtree, tmp_path / f"node{number}/volumes")
            await asyncio.to_thread(
                shutil.copytree, backup / f"volumes{number}", tmp_path / f"node{number}/volumes"
            )
        await restore_anew(postgres, dsn, backup / "tree")
        await restore_index(postgres, index, backup / "index")
        for process in site.nodes:
            await process.start()
        await start_servers(site)

        await check_files(site, BEFORE)
        assert (await admin(site))["halted"] is True
        assert (await admin(site, "--accept-restore"))["halted"] is False
        await all_work_of_the_janitor(site)
        await check_files(site, BEFORE)
        async with client_of(site) as client:
            await client.push("/home/alice/new", b"the service goes on")
        await check_files(site, {"/home/alice/new": b"the service goes on"})
        await check_tree(dsn)
        assert await query(dsn, "select 1 from attempt where outcome = 'failed'") == []


def copy_volumes(root: Path, backup: Path, number: int) -> None:
    """Copy what is stored, but not what is on its way in."""
    shutil.copytree(
        root / f"node{number}/volumes",
        backup / f"volumes{number}",
        ignore=shutil.ignore_patterns("staging", ".ngas_volume_lock"),
    )
