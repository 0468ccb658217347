"""The stack for measuring: the commands as processes, in a temporary folder, on free ports."""

import asyncio
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import asyncpg
from lxml import etree

sys.path.append(str(Path(__file__).resolve().parent.parent))  # what the tests start servers with

import far
import gauges
import load
import postgres_support
import stack
from aiohttp import encode_basic_auth
from gauges import Program
from ports import free_port

from pyvospace_ngas.cli import parts, probes
from pyvospace_ngas.cli.orphans import guarded
from pyvospace_ngas.config import Config

USER: Final = "bench"
AUTHORIZATION: Final = {"Authorization": encode_basic_auth(USER, stack.PASSWORD)}
READY_SECONDS: Final = 60.0
STOP_SECONDS: Final = 20.0
POSTGRES: Final = {  # what the speed is measured with must be what keeps the data
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": "256MB",
}


@dataclass(slots=True)
class Rig:
    """What runs, and where."""

    home: Path
    programs: list[Program] = field(default_factory=list)
    superuser: str = ""
    dsn: str = ""
    space: int = 0
    storage: int = 0
    door: int = 0  # where its users find the space
    node_ports: list[int] = field(default_factory=list)

    def pick(self, *names: str) -> list[Program]:
        """Return the programs of these names."""
        return [program for program in self.programs if program.name in names]

    def stored(self) -> list[Path]:
        """Return the files that the archive nodes keep."""
        found = (self.home / "nodes").glob("*/volumes/*/arch/**/*")
        return [path for path in found if path.is_file()]

    def ask(self, method: str, path: str, body: str = "") -> load.Answer:
        """Send one request to the space as the user of the measurements."""
        fields = {"Content-Type": "text/xml", **AUTHORIZATION}
        data = body.encode() if body else None
        return load.ask(self.space, method, f"/vospace{path}", data, fields)

    def administer(self, *statements: str) -> None:
        """Run SQL as the superuser, beside the space's own database."""
        postgres_support.run(self.superuser, *statements)

    def make(self, path: str, kind: str = "ContainerNode", inner: str = "") -> None:
        """Make a node."""
        self.ask("PUT", f"/nodes{path}", stack.node(path, kind, inner))

    def relocate(self, source: str, destination: str, *, keep: bool) -> None:
        """Move or copy a tree, and wait until it is done."""
        document = stack.relocation(source, destination, keep=keep)
        job = self.ask("POST", "/transfers?PHASE=RUN", document).headers["Location"]
        path = job.partition("/vospace")[2]
        while b">EXECUTING<" in (found := self.ask("GET", f"{path}?WAIT=60").body):
            continue
        if b">COMPLETED<" not in found:
            raise load.Failed(f"a job did not complete: {found!r}")


@contextmanager
def running(folder: Path | None, *, nodes: int = 0, delay: float = 0) -> Iterator[Rig]:
    """Run PostgreSQL, ``nodes`` archive nodes with a storage server, and a space server.

    Users are ``delay`` milliseconds away from both servers.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # clean up then, too
    with ExitStack() as ending:
        home = Path(tempfile.mkdtemp(prefix="ngas-bench-", dir=folder))
        ending.callback(shutil.rmtree, home, ignore_errors=True)
        rig = Rig(home)
        _start_database(rig, ending)
        for number in range(1, nodes + 1):
            rig.node_ports.append(start_node(rig, ending, f"node {number}", home / "nodes"))
        doors = [_door(ending, delay) for _ in range(2)]
        rig.door = int(doors[0]["public_url"].rpartition(":")[2])
        sections = stack.settings(rig.dsn, home / "staging", rig.node_ports, *doors)
        cfg = stack.write_ini(home / "site.ini", sections)
        settings = stack.parsed(sections)
        if nodes:
            _start_storage(rig, ending, settings, cfg)
        _start_space(rig, ending, settings, cfg)
        asyncio.run(stack.add_user(rig.dsn, USER, admin=True))
        yield rig


def _door(ending: ExitStack, delay: float) -> dict[str, str]:
    """Return the settings of a server that its users find ``delay`` milliseconds away."""
    port = free_port()
    door = ending.enter_context(far.way(delay, port))
    return {"port": str(port), "public_url": f"http://127.0.0.1:{door}"}


def _start_database(rig: Rig, ending: ExitStack) -> None:
    rig.superuser = ending.enter_context(postgres_support.server(**POSTGRES))
    role = postgres_support.ROLE
    asyncio.run(postgres_support.make_role(rig.superuser))
    postgres_support.run(rig.superuser, f"CREATE DATABASE space OWNER {role}")
    rig.dsn = postgres_support.database_of(rig.superuser, "space", role)
    server = asyncio.run(_postmaster(rig.superuser))
    rig.programs.append(Program("postgres", server, family=True))


async def _postmaster(dsn: str) -> int:
    db = await asyncpg.connect(dsn)
    try:
        return gauges.parent_of(await db.fetchval("select pg_backend_pid()"))
    finally:
        await db.close()


def start_node(
    rig: Rig, ending: ExitStack, name: str, folder: Path, *, durable: bool = True
) -> int:
    """Start an archive node as ngas_up would; return its port."""
    port = free_port()
    folder.mkdir(exist_ok=True)
    cfg = parts.furnish_node(folder, port)
    document = etree.parse(cfg)
    if not durable and (db := document.find("Db")) is not None:
        db.set("Durable", "0")
        document.write(cfg)
    is_ready = partial(probes.node_is_online, load.HOST, port)
    start(rig, ending, name, [*_module("node"), "-cfg", str(cfg), "-autoonline"], is_ready)
    return port


def _start_storage(rig: Rig, ending: ExitStack, settings: Config, cfg: Path) -> None:
    listen = settings.storage.listen
    command = [*_module("storage"), "--cfg", str(cfg)]
    start(rig, ending, "storage", command, partial(probes.storage_is_ready, listen))
    rig.storage = listen.port


def _start_space(rig: Rig, ending: ExitStack, settings: Config, cfg: Path) -> None:
    listen = settings.space.listen
    command = [*_module("space"), "--cfg", str(cfg)]
    start(rig, ending, "space", command, partial(probes.space_is_ready, listen))
    rig.space = listen.port


def start(
    rig: Rig,
    ending: ExitStack,
    name: str,
    command: Sequence[str],
    is_ready: Callable[[], Awaitable[bool]],
) -> None:
    """Start a program that ends with this one; return once it is ready."""
    log = rig.home / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            guarded(command, signal.SIGKILL),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    ending.callback(_stop, process)
    rig.programs.append(Program(name, process.pid))
    until = time.monotonic() + READY_SECONDS
    while not asyncio.run(_holds(is_ready)):
        if process.poll() is not None or time.monotonic() > until:
            raise load.Failed(f"{name} did not start:\n{log.read_text(errors='replace')}")
        time.sleep(0.05)


async def _holds(is_ready: Callable[[], Awaitable[bool]]) -> bool:
    return await is_ready()


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _module(name: str) -> list[str]:
    return [sys.executable, "-m", f"pyvospace_ngas.cli.{name}"]
