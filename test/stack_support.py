"""The whole product as a user runs it: ngas_up as a process, its log, and nothing left behind."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ports import free_port
from waiting_support import PATIENCE, until

PASSWORD: Final = "a password of the tests"
INI: Final = """
[Space]
host = localhost
port = {space}
name = ngas
uri = icrar.org
dsn = postgres://vos_user:vos_user@localhost:{database}/vospace
parameters = {{}}
secret_key = ZlmNyXdQgRhhrC2Wwy-gLZj7Wv6ZtoKH
domain =
use_ssl = 0

[Storage]
name = ngas
host = localhost
port = {storage}
parameters = {{"staging_dir": "{staging}"}}
use_ssl = 0
ngas_servers=[{{"hostname" : "localhost", "port" : {nodes[0]}}},
    {{"hostname" : "localhost", "port" : {nodes[1]}}}]
"""


@dataclass(frozen=True, slots=True)
class Site:
    """A configuration on free ports with two archive nodes, and its data folder."""

    home: Path
    space: int
    storage: int
    database: int
    nodes: tuple[int, int]

    @property
    def ini(self) -> Path:
        return self.home / "site.ini"

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def dsn(self) -> str:
        return f"postgres://vos_user:vos_user@localhost:{self.database}/vospace"

    @property
    def vospace(self) -> str:
        return f"http://localhost:{self.space}/vospace"

    @property
    def ports(self) -> tuple[int, ...]:
        return (self.space, self.storage, self.database, *self.nodes)


def make_site(home: Path) -> Site:
    """Write a configuration below ``home``."""
    ports: list[int] = []
    while len(ports) < 5:
        if (port := free_port()) not in ports:
            ports.append(port)
    site = Site(home, ports[0], ports[1], ports[2], (ports[3], ports[4]))
    text = INI.format(
        space=site.space,
        storage=site.storage,
        database=site.database,
        nodes=site.nodes,
        staging=home / "staging",
    )
    site.ini.write_text(text, encoding="utf-8")
    return site


def forget(data: Path) -> None:
    """Remove what a data folder keeps elsewhere: PostgreSQL's part, when root ran it."""
    link = data / "postgres"
    if link.is_symlink():
        shutil.rmtree(link.readlink(), ignore_errors=True)


def left_over(data: Path) -> set[int]:
    """Return the processes that belong to a data folder: all parts hold its lock open."""
    try:
        lock = (data / "parts.lock").stat()
    except OSError:  # it never came to a lock
        return set()
    found = set()
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            status = link.stat()
        except OSError:
            continue
        if (status.st_dev, status.st_ino) == (lock.st_dev, lock.st_ino):
            found.add(int(link.parts[2]))
    return found


@dataclass(slots=True)
class Up:
    """A running ngas_up."""

    process: asyncio.subprocess.Process
    lines: list[str] = field(default_factory=list)

    @property
    def said(self) -> str:
        return "\n".join(self.lines)

    async def until_said(self, text: str, times: int = 1) -> None:
        """Wait until it said ``text``; fail with all that it said when it ended before."""
        await until(lambda: self.said.count(text) >= times or self.process.returncode is not None)
        assert self.said.count(text) >= times, self.said

    async def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send it a signal and wait for its end."""
        if self.process.returncode is None:
            self.process.send_signal(number)
        async with asyncio.timeout(PATIENCE):
            return await self.process.wait()

    async def read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.lines.append(line.decode().rstrip("\n"))


@asynccontextmanager
async def up(
    site: Site, *arguments: str, ready: bool = True, password: str | None = PASSWORD
) -> AsyncIterator[Up]:
    """Run ngas_up on a site; at the end it is stopped, and nothing of it may be left."""
    environment = dict(os.environ)
    environment.pop("NGAS_ADMIN_PASSWORD", None)
    if password is not None:
        environment["NGAS_ADMIN_PASSWORD"] = password
    process = await asyncio.create_subprocess_exec(
        *command(site, *arguments),
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        limit=2**20,
    )
    running = Up(process)
    reading = asyncio.create_task(running.read())
    try:
        if ready:
            await running.until_said("ngas_up    | ready")
        yield running
    finally:
        try:
            await running.end()
            await until(lambda: not left_over(site.data))
            await reading
        finally:
            for pid in left_over(site.data):
                os.kill(pid, signal.SIGKILL)
            reading.cancel()


def command(site: Site, *arguments: str) -> Sequence[str]:
    """Return the command line of ngas_up for a site."""
    options = ("--cfg", str(site.ini), "--data", str(site.data), *arguments)
    return [sys.executable, "-m", "pyvospace_ngas.cli.up", *options]
