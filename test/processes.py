"""The real commands as processes on free ports: started until ready, watched, killed with -9."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import archive_support
import stack
from aiohttp import ClientSession
from ports import free_port
from waiting_support import PATIENCE, until

from pyvospace_ngas.db.connect import connect

MEMORY_LIMIT: Final = 150 << 20  # bytes that a server may ever have resident


@dataclass(slots=True)
class Process:
    """One command: started, killed, started again at the same port."""

    module: str
    arguments: Sequence[str]
    url: str
    lines: list[str] = field(default_factory=list)
    _process: asyncio.subprocess.Process | None = None
    _reading: "asyncio.Task[None] | None" = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def said(self) -> str:
        return "\n".join(self.lines)

    async def start(self) -> None:
        """Start it, and wait until it says that it is ready."""
        begun = len(self.lines)
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", f"pyvospace_ngas.cli.{self.module}", *self.arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=2**20,
        )
        self._reading = asyncio.create_task(self._read(self._process))
        await until(lambda: self._is_ready(begun) or self._reading_is_over())
        assert self._is_ready(begun), self.said

    async def kill(self) -> None:
        """End it at once, as a power cut would."""
        await self.end(signal.SIGKILL)

    async def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send it a signal and wait for its end."""
        process, reading = self._process, self._reading
        self._process = self._reading = None
        if process is None or reading is None:
            return
        if process.returncode is None:
            process.send_signal(number)
        async with asyncio.timeout(PATIENCE):
            await process.wait()
        await reading

    def pause(self) -> None:
        """Stop it in its tracks, as a machine that hangs does."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def peak_memory(self) -> int:
        """Return the most bytes that it ever had resident."""
        text = Path(f"/proc/{self.pid}/status").read_text(encoding="utf-8")
        line = next(line for line in text.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024

    def _is_ready(self, begun: int) -> bool:
        return any(" at http://" in line for line in self.lines[begun:])

    def _reading_is_over(self) -> bool:
        return self._reading is None or self._reading.done()

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            self.lines.append(line.decode("utf-8", "replace").rstrip("\n"))


@dataclass(slots=True)
class Cluster:
    """Servers of each kind as processes, on one database; and the nodes' common one."""

    dsn: str
    http: ClientSession
    nodes: list[Process]
    spaces: list[Process]
    storages: list[Process]
    inis: list[Path]

    def caller(self, user: str | None, space: int = 0) -> stack.Caller:
        """Return a client of one of the space servers."""
        return stack.Caller(self.http, self.spaces[space].url, user)

    async def query(self, sql: str, *values: object) -> list[Any]:
        """Ask the space's database."""
        return await query(self.dsn, sql, *values)

    async def value(self, sql: str, *values: object) -> Any:
        """Return the first value of the answer."""
        rows = await self.query(sql, *values)
        return rows[0][0] if rows else None

    async def forget_leases(self) -> None:
        """Let half a minute of silence be over: what a dead server held is free."""
        await self.query("update attempt set lease = now() - interval '1 s' where ended is null")
        await self.query(
            "update job set lease = now() - interval '1 s'"
            " where phase = 'EXECUTING' and lease is not null"
        )


async def query(dsn: str, sql: str, *values: object) -> list[Any]:
    """Run one statement on a connection of its own."""
    db = await connect(dsn)
    try:
        return list(await db.fetch(sql, *values))
    finally:
        await db.close()


def node_process(root: Path, database: str, port: int) -> Process:
    """Return an archive node with one volume, not yet started."""
    archive_support.prepare(root)
    config = archive_support.write_config(root, database, port=port)
    return Process("node", ("-cfg", str(config), "-autoonline"), f"http://127.0.0.1:{port}")


def server_processes(
    sections: Mapping[str, Mapping[str, str]], ini: Path
) -> tuple[Process, Process]:
    """Return a space and a storage server of one ini file, not yet started."""
    stack.write_ini(ini, sections)
    space = f"http://127.0.0.1:{sections['Space']['port']}/vospace"
    storage = f"http://127.0.0.1:{sections['Storage']['port']}"
    arguments = ("--cfg", str(ini))
    return Process("space", arguments, space), Process("storage", arguments, storage)


@asynccontextmanager
async def cluster(
    dsn: str,
    archive_dsn: str,
    folder: Path,
    *,
    nodes: int = 2,
    servers: int = 1,
    storage: Mapping[str, str] | None = None,
    users: Iterable[str] = ("alice",),
) -> AsyncIterator[Cluster]:
    """Run so many archive nodes on one database, and space and storage servers on another.

    What is deleted is purged at once, so that purges take part in every race.
    """
    for user in users:
        await stack.add_user(dsn, user)
    ports = [free_port() for _ in range(nodes)]
    archives = [
        node_process(folder / f"node{number}", archive_dsn, port)
        for number, port in enumerate(ports)
    ]
    inis = [folder / f"site{number}.ini" for number in range(servers)]
    pairs = [
        server_processes(
            stack.settings(
                dsn,
                folder / f"staging{number}",
                ports,
                space={"trash_delay": "0"},
                storage=storage,
            ),
            ini,
        )
        for number, ini in enumerate(inis)
    ]
    spaces, storages = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    everything = [*archives, *spaces, *storages]
    async with AsyncExitStack() as exits:
        for process in everything:
            exits.push_async_callback(process.kill)
        await asyncio.gather(*[process.start() for process in everything])
        http = await exits.enter_async_context(ClientSession(auto_decompress=False))
        yield Cluster(dsn, http, archives, spaces, storages, inis)
