"""Archive nodes for tests: in this process on a free port, or as a process that can be killed."""

from __future__ import annotations

import asyncio
import signal
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from aiohttp import ClientSession, web
from lxml import etree

from pyvospace_ngas.archive import configuration, volume
from pyvospace_ngas.archive.app import LONGEST_LINE, NODE, READ_BUFFER, create_app
from pyvospace_ngas.archive.configuration import NodeConfig
from pyvospace_ngas.archive.node import Node
from pyvospace_ngas.ngas.status import Answer, parse

Edit = Callable[[etree._Element], None]
READY_SECONDS = 30


@dataclass(frozen=True, slots=True)
class RunningNode:
    """A node in this process."""

    url: str
    port: int
    node: Node

    @property
    def host_id(self) -> str:
        return self.node.host_id


def prepare(root: Path, volumes: int = 1) -> list[Path]:
    """Make volumes in ``root/volumes``, unless they are there."""
    paths = [root / "volumes" / f"volume{number}" for number in range(1, volumes + 1)]
    for path in paths:
        if not (path / volume.INFO).exists():
            volume.prepare(path)
    return paths


def write_config(
    root: Path, database: str = "", *, port: int = 0, edit: Edit | None = None
) -> Path:
    """Write ``root/node.xml``; ``edit`` may change the document."""
    text = configuration.default_xml(root, port, database or str(root / "ngas.sqlite"))
    document = etree.fromstring(text.encode())
    if edit is not None:
        edit(document)
    path = root / "node.xml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(etree.tostring(document))
    return path


def set_attributes(element: str, **values: str) -> Edit:
    """Return an edit that sets attributes of one element, made where it is missing."""

    def edit(document: etree._Element) -> None:
        found = document.find(element)
        if found is None:
            found = etree.SubElement(document, element)
        found.attrib.update(values)

    return edit


def edits(*several: Edit) -> Edit:
    """Return an edit that is several, one after the other."""

    def edit(document: etree._Element) -> None:
        for each in several:
            each(document)

    return edit


def elements(text: str) -> Edit:
    """Return an edit that appends elements."""

    def edit(document: etree._Element) -> None:
        document.extend(etree.fromstring(f"<x>{text}</x>"))

    return edit


@asynccontextmanager
async def running_node(
    root: Path,
    database: str = "",
    *,
    volumes: int = 1,
    edit: Edit | None = None,
    online: bool = True,
    port: int = 0,
    change: Callable[[NodeConfig], NodeConfig] = lambda config: config,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[RunningNode]:
    """Run a node in this process on a free port, with its volumes below ``root``.

    ``edit`` changes the file, ``change`` what was read from it, as options do.
    """
    prepare(root, volumes)
    path = write_config(root, database, edit=edit)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        port = listener.getsockname()[1]
        config = change(configuration.on_port(configuration.load(path), port))
        app = create_app(config, online=online)
        runner = web.AppRunner(
            app,
            access_log=None,
            shutdown_timeout=5,
            read_bufsize=READ_BUFFER,
            max_line_size=LONGEST_LINE,
        )
        await runner.setup()
        try:
            await web.SockSite(runner, listener, ssl_context=tls).start()
            yield RunningNode(f"http{'s' * bool(tls)}://127.0.0.1:{port}", port, app[NODE])
        finally:
            await runner.cleanup()


class NodeProcess:
    """``ngas_node`` as a process of its own, to be killed and started again."""

    def __init__(self, root: Path, database: str = "", *, edit: Edit | None = None) -> None:
        self._config = write_config(root, database, edit=edit)
        self._process: asyncio.subprocess.Process | None = None
        self.url = ""
        self.spawned = asyncio.Event()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self, *options: str) -> None:
        """Start it and wait until it says that it is ready."""
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "pyvospace_ngas.cli.node", "-cfg", str(self._config)),
            *("-autoonline", *options),
            stdout=asyncio.subprocess.PIPE,
        )
        assert self._process.stdout is not None
        self.spawned.set()
        async with asyncio.timeout(READY_SECONDS):
            line = (await self._process.stdout.readline()).decode()
        if " at http" not in line:
            await self.kill()
            raise AssertionError(f"the node did not start: {line!r}")
        self.url = line.rsplit(" ", 1)[1].strip()

    async def kill(self) -> None:
        """End it at once, as a power cut would."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> int:
        """End it as an administrator would; return its exit code."""
        return await self._end(signal.SIGTERM)

    async def ended(self) -> int:
        """Wait until it ends by itself; return its exit code."""
        process, self._process = self._process, None
        assert process is not None
        async with asyncio.timeout(READY_SECONDS):
            await process.communicate()
        return process.returncode or 0

    async def _end(self, number: signal.Signals) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        if process.returncode is None:
            process.send_signal(number)
        await process.communicate()
        return process.returncode or 0


async def command(session: ClientSession, url: str, /, **parameters: str) -> tuple[int, Answer]:
    """Send a GET and return the HTTP status and the parsed answer."""
    async with session.get(url, params=parameters, allow_redirects=False) as response:
        return response.status, parse(await response.read())


async def archive(
    session: ClientSession,
    url: str,
    name: str,
    data: object,
    headers: dict[str, str] | None = None,
    **parameters: str,
) -> tuple[int, Answer]:
    """QARCHIVE ``data`` and return the HTTP status and the parsed answer."""
    return await push(session, url, {"filename": name} | parameters, data, headers)


async def push(
    session: ClientSession,
    url: str,
    parameters: dict[str, str],
    data: object,
    headers: dict[str, str] | None = None,
) -> tuple[int, Answer]:
    """QARCHIVE with any parameters."""
    query = {"mime_type": "application/octet-stream"} | parameters
    body = BytesIO(data) if isinstance(data, bytes) else data
    async with session.post(
        f"{url}/QARCHIVE", params=query, data=body, headers=headers
    ) as response:
        return response.status, parse(await response.read())


async def until(claim: Callable[[], bool]) -> None:
    """Wait until something holds that only looking can tell."""
    async with asyncio.timeout(READY_SECONDS):
        while not claim():  # noqa: ASYNC110 - the node has no event for its tests
            await asyncio.sleep(0.005)


async def retrieve(session: ClientSession, url: str, file_id: str, **parameters: str) -> bytes:
    """Return the bytes of a file."""
    query = {"file_id": file_id} | parameters
    async with session.get(f"{url}/RETRIEVE", params=query) as response:
        response.raise_for_status()
        return await response.read()
