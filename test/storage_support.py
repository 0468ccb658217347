"""A storage server with its nodes and jobs, which are made by SQL: no space server is needed."""

import io
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg
import stack
from aiohttp import ClientSession

from pyvospace_ngas.config import Config
from pyvospace_ngas.db.connect import connect
from pyvospace_ngas.model.endpoint import Endpoint, endpoint_keys, sign
from pyvospace_ngas.ngas.wire import Patience
from pyvospace_ngas.storage.app import create_app

OWNER = "alice"
SHORT = Patience(connect=5, idle=20, answer=20, settle=0.5, admission=20)


@dataclass
class Answer:
    """What came back: all of it."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def fault(self) -> str:
        return self.body.decode().split(maxsplit=1)[0] if self.body else ""


@dataclass
class Site:
    """A running storage server, and the database behind it."""

    dsn: str
    url: str
    config: Config
    http: ClientSession
    jobs: dict[str, str] = field(default_factory=dict)  # endpoint to job

    async def query(self, sql: str, *values: object) -> list[asyncpg.Record]:
        db = await connect(self.dsn)
        try:
            return list(await db.fetch(sql, *values))
        finally:
            await db.close()

    async def value(self, sql: str, *values: object) -> Any:
        rows = await self.query(sql, *values)
        return rows[0][0] if rows else None

    async def node(self, name: str = "", owner: str = OWNER, parent: int = 0) -> int:
        """Make a data node that has no bytes yet."""
        made: int = await self.value(
            "insert into node (parent_id, name, type, owner, provisional)"
            " values ($1, $2, 2, $3, true) returning id",
            parent,
            name or uuid.uuid4().hex,
            owner,
        )
        return made

    async def endpoint(  # what a negotiation would have promised
        self,
        method: str,
        node_id: int,
        *,
        size: int | None = None,
        phase: str = "EXECUTING",
        owner: str | None = OWNER,
        expires: timedelta = timedelta(hours=1),
        server: str = "",
    ) -> str:
        job_id = uuid.uuid4().hex
        await self.query(
            "insert into job (id, kind, owner, phase, document, node_id, size)"
            " values ($1, $2, $3, $4, '', $5, $6)",
            job_id,
            "push" if method == "PUT" else "pull",
            owner,
            phase,
            node_id,
            size,
        )
        endpoint = Endpoint(job_id, method, node_id, datetime.now(UTC) + expires, size)
        token = sign(endpoint, endpoint_keys([self.config.space.secret_key])[0])
        name = await self.value("select name from node where id = $1", node_id)
        url = f"{server or self.url}/files/{token}/{quote(name or 'file')}"
        self.jobs[url] = job_id
        return url

    async def phase(self, endpoint: str) -> str:
        phase: str = await self.value("select phase from job where id = $1", self.jobs[endpoint])
        return phase

    async def push(self, node_id: int, data: Any, **more: Any) -> Answer:
        """Put ``data`` at a new endpoint."""
        return await self.send("PUT", await self.endpoint("PUT", node_id), data=data, **more)

    async def pull(self, node_id: int, **more: Any) -> Answer:
        """Get the bytes of a node at a new endpoint."""
        return await self.send("GET", await self.endpoint("GET", node_id), **more)

    async def send(self, method: str, url: str, **more: Any) -> Answer:
        if isinstance(more.get("data"), bytes):
            more["data"] = io.BytesIO(more["data"])
        async with self.http.request(method, url, **more) as response:
            return Answer(response.status, response.headers, await response.read())

    async def busy(self, node_id: int) -> bool:
        busy: bool = await self.value(
            "select exists (select 1 from attempt where node_id = $1 and ended is null"
            " and lease > now())",
            node_id,
        )
        return busy

    async def forget_leases(self) -> None:
        """Let the leases of all attempts be over, as after half a minute of silence."""
        await self.query("update attempt set lease = now() - interval '1 s' where ended is null")


@asynccontextmanager
async def site(
    dsn: str,
    folder: Path,
    ports: Iterable[int],
    storage: Mapping[str, str] | None = None,
    *,
    user: bool = True,
    patience: Patience = SHORT,
) -> AsyncIterator[Site]:
    """Run a storage server before the NGAS nodes at ``ports``."""
    if user:
        await stack.add_user(dsn, OWNER)
    config = stack.parsed(stack.settings(dsn, folder / "staging", ports, storage=storage))
    listen = config.storage.listen
    async with (
        stack.serving(create_app(config, patience), listen.port),
        ClientSession(auto_decompress=False) as http,
    ):
        yield Site(dsn, listen.public_url, config, http)
