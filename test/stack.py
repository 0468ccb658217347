"""The servers, run inside a test on free ports of loopback and spoken to over real sockets."""

import io
import ssl
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import ClientResponse, ClientSession, encode_basic_auth, web
from archive_support import Edit, RunningNode, running_node
from ports import free_port
from yarl import URL

from pyvospace_ngas import config
from pyvospace_ngas.cli.serving import tls
from pyvospace_ngas.config import Config
from pyvospace_ngas.db.connect import connect
from pyvospace_ngas.ops import accounts

SECRET: Final = "a secret of the tests, long enough to be one"
PASSWORD: Final = "correct horse"
AUTHORITY: Final = "vos://icrar.org~ngas"
NO_NODE: Final = '{"hostname": "127.0.0.1", "port": 9}'  # the port of "discard": nobody there
CORE: Final = "ivo://ivoa.net/vospace/core#"
NAMESPACES: Final = (
    'xmlns:vos="http://www.ivoa.net/xml/VOSpace/v2.0"'
    ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" version="2.1"'
)


def settings(
    dsn: str,
    staging: Path,
    nodes: Iterable[int] = (),
    space: Mapping[str, str] | None = None,
    storage: Mapping[str, str] | None = None,
) -> dict[str, dict[str, str]]:
    """Return the sections of an ini file for servers on free ports, before ``nodes``' ports."""
    servers = ", ".join(f'{{"hostname": "127.0.0.1", "port": {port}}}' for port in nodes)
    return {
        "Space": {
            "host": "127.0.0.1",
            "port": str(free_port()),
            "name": "ngas",
            "uri": "icrar.org",
            "dsn": dsn,
            "parameters": "{}",
            "secret_key": SECRET,
            "domain": "",
            "use_ssl": "0",
            "trash_delay": "0",
            **(space or {}),
        },
        "Storage": {
            "name": "ngas",
            "host": "127.0.0.1",
            "port": str(free_port()),
            "parameters": f'{{"staging_dir": "{staging}"}}',
            "use_ssl": "0",
            "ngas_servers": f"[{servers}]"
            if servers
            else '[{"hostname": "127.0.0.1", "port": 9}]',
            **(storage or {}),
        },
    }


def write_ini(path: Path, sections: Mapping[str, Mapping[str, str]]) -> Path:
    """Write ``sections`` as an ini file, for servers that are started as commands."""
    text = "".join(
        f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items()) + "\n"
        for name, keys in sections.items()
    )
    path.write_text(text, encoding="utf-8")
    return path


@asynccontextmanager
async def serving(
    app: web.Application, port: int, context: ssl.SSLContext | None = None
) -> AsyncIterator[None]:
    """Run ``app`` at ``port`` for as long as the context lasts, with TLS if there is a context."""
    runner = web.AppRunner(app, access_log=None, handler_cancellation=False)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port, ssl_context=context).start()
        yield
    finally:
        await runner.cleanup()


@asynccontextmanager
async def space_server(settings_: Config) -> AsyncIterator[str]:
    """Run a space server; give the URL of its VOSpace."""
    from pyvospace_ngas.space.app import create_app  # noqa: PLC0415

    listen = settings_.space.listen
    async with serving(create_app(settings_), listen.port, tls("Space", listen)):
        yield f"{settings_.space.listen.public_url}/vospace"


@asynccontextmanager
async def storage_server(settings_: Config) -> AsyncIterator[str]:
    """Run a storage server; give its URL."""
    from pyvospace_ngas.storage.app import create_app  # noqa: PLC0415

    listen = settings_.storage.listen
    async with serving(create_app(settings_), listen.port, tls("Storage", listen)):
        yield settings_.storage.listen.public_url


def parsed(sections: Mapping[str, Mapping[str, str]]) -> Config:
    """Return the configuration of ``sections``."""
    return config.parse(sections)


async def add_user(dsn: str, name: str, *groups: str, admin: bool = False) -> None:
    """Make an account with `PASSWORD`."""
    db = await connect(dsn)
    try:
        await accounts.add(db, name, PASSWORD, admin=admin, groups=groups)
    finally:
        await db.close()


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: all of it."""

    status: int
    text: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def fault(self) -> str:
        """Return the first word of the body."""
        return self.text.split(maxsplit=1)[0] if self.text else ""

    @property
    def location(self) -> str:
        """Return where a redirect leads."""
        return self.headers["Location"]


def _raw(body: bytes | str) -> bytes:
    return body.encode() if isinstance(body, str) else body


@dataclass(frozen=True, slots=True)
class Caller:
    """A person with a client: plain requests, nothing followed, nothing hidden."""

    http: ClientSession
    base: str
    user: str | None = None

    def __call__(self, user: str | None) -> "Caller":
        return Caller(self.http, self.base, user)

    async def request(
        self,
        method: str,
        path: str,
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one request; ``path`` is a URL, or continues the base."""
        url = path if path.startswith("http") else self.base + path
        known = {"Authorization": encode_basic_auth(self.user, PASSWORD)} if self.user else {}
        ours = url.startswith(self.base.rpartition("/")[0])
        sent: ClientResponse
        async with self.http.request(
            method,
            URL(url, encoded=True),
            data=None if body is None else io.BytesIO(_raw(body)),
            headers={
                "Content-Type": "text/xml",
                **(known if ours else {}),
                **(headers or {}),
            },
            allow_redirects=False,
        ) as sent:
            raw = await sent.read()
            return Answer(sent.status, raw.decode("utf-8", "replace"), sent.headers, raw)

    async def get(self, path: str, **headers: str) -> Answer:
        return await self.request("GET", path, headers=headers)

    async def delete(self, path: str) -> Answer:
        return await self.request("DELETE", path)

    async def form(self, path: str, body: str) -> Answer:
        """POST a form."""
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        return await self.request("POST", path, body, kind)

    async def make(self, path: str, kind: str = "ContainerNode", inner: str = "") -> Answer:
        """createNode."""
        return await self.request("PUT", f"/nodes{path}", node(path, kind, inner))

    async def set(self, path: str, inner: str, kind: str = "Node") -> Answer:
        """setNode."""
        return await self.request("POST", f"/nodes{path}", node(path, kind, inner))

    async def sync(self, document: str) -> Answer:
        """POST a transfer to /synctrans."""
        return await self.request("POST", "/synctrans", document)

    async def run(self, document: str, wait: int = 20) -> tuple[str, Answer]:
        """POST a transfer to /transfers, run it, wait; return the job's URL and the job."""
        made = await self.request("POST", "/transfers", document)
        assert made.status == 303, made
        job = made.location
        started = await self.form(f"{job}/phase", "PHASE=RUN")
        assert started.status == 303, started
        ended = await self.get(f"{job}?WAIT={wait}")
        if "direction>vos:" in document or "<uws:phase>QUEUED" in ended.text:
            # A wait ends with any change of the phase, so with the beginning of the work, too.
            ended = await self.get(f"{job}?WAIT={wait}&PHASE=EXECUTING")
        return job, ended

    async def endpoint(self, path: str, direction: str, protocol: str) -> str:
        """Negotiate synchronously; return the first endpoint."""
        answer = await self.sync(transfer(path, direction, protocol))
        assert answer.status == 303, answer
        details = await self.get(answer.location)
        assert "<vos:endpoint>" in details.text, details.text
        return details.text.partition("<vos:endpoint>")[2].partition("<")[0].replace("&amp;", "&")

    async def push(self, path: str, data: bytes, **headers: str) -> Answer:
        """Negotiate a push, and PUT the bytes."""
        endpoint = await self.endpoint(path, "pushToVoSpace", "httpput")
        kind = {"Content-Type": "application/octet-stream", **headers}
        return await self.request("PUT", endpoint, data, kind)

    async def pull(self, path: str, **headers: str) -> Answer:
        """Negotiate a pull, and GET the bytes."""
        endpoint = await self.endpoint(path, "pullFromVoSpace", "httpget")
        return await self.get(endpoint, **headers)


def node(path: str, kind: str = "ContainerNode", inner: str = "") -> str:
    """Return a node document; ``path`` is escaped already."""
    return (
        f'<vos:node {NAMESPACES} xsi:type="vos:{kind}" uri="{AUTHORITY}{path}">{inner}</vos:node>'
    )


def properties(**values: str | None) -> str:
    """Return a list of the standard's properties; ``None`` is a nil."""
    items = "".join(
        f'<vos:property uri="{CORE}{name}" xsi:nil="true"/>'
        if value is None
        else f'<vos:property uri="{CORE}{name}">{value}</vos:property>'
        for name, value in values.items()
    )
    return f"<vos:properties>{items}</vos:properties>"


def transfer(path: str, direction: str, *protocols: str, more: str = "") -> str:
    """Return a transfer document; ``more`` goes in before the protocols."""
    named = "".join(
        f'<vos:protocol uri="{uri if ":" in uri else CORE + uri}"/>' for uri in protocols
    )
    return (
        '<vos:transfer xmlns:vos="http://www.ivoa.net/xml/VOSpace/v2.0" version="2.1">'
        f"<vos:target>{AUTHORITY}{path}</vos:target><vos:direction>{direction}</vos:direction>"
        f"{more}{named}</vos:transfer>"
    )


def relocation(source: str, destination: str, *, keep: bool) -> str:
    """Return the document of a move or copy; a path becomes a URI of the space."""
    target = destination if ":" in destination else AUTHORITY + destination
    keep_bytes = f"<vos:keepBytes>{str(keep).lower()}</vos:keepBytes>"
    return transfer(source, target).replace("</vos:transfer>", keep_bytes + "</vos:transfer>")


@dataclass(frozen=True, slots=True)
class Stack:
    """Both servers before archive nodes that share one database."""

    url: str  # of the VOSpace
    storage: str
    config: Config
    nodes: tuple[RunningNode, ...]


@asynccontextmanager
async def whole_stack(
    dsn: str,
    folder: Path,
    nodes: int = 2,
    *,
    edit: Edit | None = None,
    space: Mapping[str, str] | None = None,
    storage: Mapping[str, str] | None = None,
) -> AsyncIterator[Stack]:
    """Run archive nodes, a storage server and a space server in this process."""
    async with AsyncExitStack() as opened:
        running = [
            await opened.enter_async_context(
                running_node(folder / f"node{number}", str(folder / "ngas.sqlite"), edit=edit)
            )
            for number in range(nodes)
        ]
        sections = settings(
            dsn, folder / "staging", [node_.port for node_ in running], space, storage
        )
        config_ = parsed(sections)
        storage_url = await opened.enter_async_context(storage_server(config_))
        url = await opened.enter_async_context(space_server(config_))
        yield Stack(url, storage_url, config_, tuple(running))
