"""A PostgreSQL server of the tests' own: fresh, on a free port, gone at the end."""

import asyncio
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import asyncpg
from ports import free_port

from pyvospace_ngas.cli import binaries
from pyvospace_ngas.cli.orphans import guarded

PASSWORD: Final = secrets.token_urlsafe(12)
ROLE: Final = "vos_user"  # an ordinary role, as the servers log in with
SETTINGS: Final = {
    "max_connections": "300",
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "shared_buffers": "64MB",
    "max_wal_size": "1GB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "logging_collector": "off",
}
FAST: Final = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


@contextmanager
def server(**settings: str) -> Iterator[str]:
    """Run a server, with ``settings`` over the fast ones; give a superuser's DSN."""
    folder = binaries.wheel_folder() or next(iter(binaries.system_folders()), None)
    assert folder is not None, "install the extra embedded, or the system's PostgreSQL"
    account = binaries.unprivileged()
    # As root, pytest's tmp_path is closed to the server's user: its place is below /tmp.
    home = Path(tempfile.mkdtemp(prefix="ngas-test-pg-", dir="/tmp" if account else None))
    try:
        if account is not None:
            os.chown(home, account.uid, account.gid)
        programs = binaries.reachable(folder, account, home / "programs")
        _initdb(programs, home)
        process, port = _start(programs, home, SETTINGS | FAST | settings)
        try:
            yield f"postgres://postgres:{PASSWORD}@127.0.0.1:{port}/postgres"
        finally:
            _stop(process)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _initdb(programs: binaries.Programs, home: Path) -> None:
    secret = home / "secret"
    secret.write_text(PASSWORD)
    if programs.account is not None:
        os.chown(secret, programs.account.uid, programs.account.gid)
    done = programs.run(
        "initdb",
        *("-D", str(home / "data"), "-U", "postgres", "--pwfile", str(secret), "--no-sync"),
        *("-A", "scram-sha-256", "--locale", "C", "-E", "UTF8"),
        cwd=home,
    )
    assert done.returncode == 0, done.stderr


def _start(
    programs: binaries.Programs, home: Path, settings: dict[str, str]
) -> tuple["subprocess.Popen[bytes]", int]:
    user = programs.account.ids if programs.account else None
    options = [f"--{name}={value}" for name, value in settings.items()]
    for _ in range(5):  # another program may take the port between our look and the start
        port = free_port()
        with (home / "log").open("wb") as log:
            process = subprocess.Popen(
                guarded(
                    programs.command(
                        "postgres", "-D", str(home / "data"), f"--port={port}", *options
                    ),
                    signal.SIGQUIT,
                    user,
                ),
                cwd=home,
                env=programs.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if _became_ready(process, home / "data" / "postmaster.pid"):
            return process, port
    raise AssertionError((home / "log").read_text())


def _became_ready(process: "subprocess.Popen[bytes]", note: Path) -> bool:
    while process.poll() is None:
        if note.exists() and note.read_text().splitlines()[7:8] == ["ready   "]:
            return True
        time.sleep(0.02)
    return False


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def database_of(dsn: str, name: str, role: str | None = None) -> str:
    """Return ``dsn`` with another database, and another role with the tests' password."""
    start = dsn.rpartition("/")[0]
    if role is not None:
        start = f"postgres://{role}:{PASSWORD}@{start.rpartition('@')[2]}"
    return f"{start}/{name}"


async def administer(dsn: str, *statements: str) -> None:
    """Run each statement by itself, outside any transaction."""
    db = await asyncpg.connect(dsn)
    try:
        for statement in statements:
            await db.execute(statement)
    finally:
        await db.close()


async def make_role(dsn: str) -> None:
    """Make the ordinary role; few SCRAM rounds, as each test logs in anew."""
    db = await asyncpg.connect(dsn)
    try:
        if db.get_server_version().major >= 16:
            await db.execute("SET scram_iterations = 1")
        await db.execute(f"ALTER ROLE postgres PASSWORD '{PASSWORD}'")
        await db.execute(f"CREATE ROLE {ROLE} LOGIN CREATEDB PASSWORD '{PASSWORD}'")
    finally:
        await db.close()


def run(dsn: str, *statements: str) -> None:
    """`administer` for fixtures that are no coroutines."""
    asyncio.run(administer(dsn, *statements))
