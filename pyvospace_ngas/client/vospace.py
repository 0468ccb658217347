"""A VOSpace from outside: its nodes, its jobs and its bytes."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Mapping, Sequence
from contextlib import aclosing
from enum import StrEnum
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote

import aiohttp
from yarl import URL

from pyvospace_ngas import errors
from pyvospace_ngas.client import account, changes, direct, downloads, transfers, trees, uploads
from pyvospace_ngas.client import partial as partial_files
from pyvospace_ngas.client.connection import ATTEMPTS, Connection
from pyvospace_ngas.client.discovery import Service, discover, node_path
from pyvospace_ngas.client.uploads import Stored
from pyvospace_ngas.model.documents import NodeDocument
from pyvospace_ngas.model.job import Phase
from pyvospace_ngas.model.node import Detail, NodeTemplate, NodeType, Order, Sort
from pyvospace_ngas.model.transfer import Direction
from pyvospace_ngas.model.uri import NodePath
from pyvospace_ngas.xml.answers import JobDocument, read_job, read_jobs
from pyvospace_ngas.xml.nodes import write_template

PAGE: Final = 1000
BY_NAME: Final = Order()
_SORTS: Final = {Sort.NAME: "name", Sort.LENGTH: "length", Sort.DATE: "date"}
Where = str | NodePath
_Jobs = list[URL]


class JobList(StrEnum):
    """A service keeps three lists of jobs."""

    TRANSFERS = "transfer"
    DELETIONS = "delete"
    CHANGES = "set"


class VOSpace:
    """A client of the service at ``url``, such as ``http://localhost:8082/vospace``.

    Use it with ``async with``. Paths are names between slashes as they are (``/home/me/a b``),
    vos URIs, or `NodePath`. Refusals are raised as the classes of `pyvospace_ngas.errors`; what
    cannot be reached is `ServiceUnavailable`. What may be done twice is tried three times.
    """

    def __init__(
        self,
        url: str,
        user: str | None = None,
        password: str | None = None,
        *,
        token: str | None = None,
        session: aiohttp.ClientSession | None = None,
        authority: str | None = None,
        timeout: float = 60.0,
        pause: float = 0.2,
    ) -> None:
        self._connection = Connection(url, user, password, timeout=timeout, pause=pause)
        if token is not None:
            self._connection.use_token(token)
        self._shared = session
        self._authority = authority
        self._known: Service | None = None
        self._discovery = asyncio.Lock()

    async def __aenter__(self) -> Self:
        self._connection.open(self._shared)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._connection.close()

    async def service(self) -> Service:
        """Return the service's addresses and authority, which are asked for once."""
        async with self._discovery:
            if self._known is None:
                self._known = await discover(self._connection, self._authority)
            return self._known

    @property
    def user(self) -> str | None:
        """Return who the service last said that the caller is."""
        return self._connection.known_as

    async def login(self, user: str, password: str) -> None:
        """Exchange a password for a session; from now on only the session's cookie is sent."""
        self._connection.use_basic(user, password)
        url = self._connection.base / "login"
        answer = await self._connection.ask("POST", url, again=False)
        cookie = answer.headers.get("Set-Cookie", "").partition(";")[0].strip()
        if "=" not in cookie:
            raise errors.NotAuthenticated("the service gave no session")
        self._connection.use_cookie(cookie)

    async def logout(self) -> None:
        """End the session, on the server too, and forget the credentials."""
        await self._connection.ask("POST", self._connection.base / "logout", again=False)
        self._connection.forget()

    async def create(
        self,
        path: Where,
        type: NodeType = NodeType.CONTAINER,
        properties: Mapping[str, str] | None = None,
        target: str | None = None,
    ) -> NodeDocument:
        """Make a node, a container unless said otherwise, and return it as the service sees it."""
        service = await self.service()
        where = node_path(path, service.space)
        made = (self._connection, service, where, type, properties or {}, target)
        return (await direct.create(*made)).node

    async def set_properties(
        self, path: Where, properties: Mapping[str, str | None], target: str | None = None
    ) -> NodeDocument:
        """Change these properties of a node, take away those that are ``None``."""
        service = await self.service()
        where = node_path(path, service.space)
        return (await direct.change(self._connection, service, where, properties, target)).node

    async def get(
        self, path: Where, detail: Detail = Detail.MAX, limit: int | None = 0
    ) -> NodeDocument:
        """Return a node with at most ``limit`` of its children, all of them for ``None``."""
        service = await self.service()
        return await self._node(service, node_path(path, service.space), detail, limit)

    async def list(
        self,
        path: Where,
        detail: Detail = Detail.PROPERTIES,
        page: int = PAGE,
        order: Order = BY_NAME,
    ) -> AsyncGenerator[NodeDocument, None]:
        """Give the children of a container, in ``order``, a ``page`` at a time."""
        service = await self.service()
        container = node_path(path, service.space)
        page = max(page, 2)  # the first entry of a page is the last one of the page before
        last: NodeDocument | None = None
        while True:
            start = None if last is None else last.uri
            children = (await self._node(service, container, detail, page, start, order)).children
            for child in children:
                if last is None or child.path != last.path:
                    yield child
            if len(children) < page:
                return
            last = children[-1]

    async def delete(self, path: Where) -> None:
        """Delete a node and all below it."""
        service = await self.service()
        url = service.node(node_path(path, service.space))
        await self._connection.ask("DELETE", url, again=False)

    async def delete_tree(self, path: Where) -> trees.Outcome:
        """Delete a node and all below it by a job, which may take its time, and wait for it."""
        service = await self.service()
        target = service.space.uri(node_path(path, service.space))
        return await trees.delete(self._connection, service.deletions, target)

    async def set_tree(self, path: Where, properties: Mapping[str, str | None]) -> trees.Outcome:
        """Change these properties of a node and of all below it by a job, and wait for it."""
        service = await self.service()
        template = NodeTemplate(node_path(path, service.space), None, properties)
        document = write_template(template, service.space)
        return await trees.change(self._connection, service.changes, document)

    async def push(
        self,
        path: Where,
        source: bytes | Path | AsyncIterable[bytes],
        length: int | None = None,
        report: Callable[[int], None] | None = None,
    ) -> Stored:
        """Store bytes under ``path``, making the data node or replacing its bytes.

        Bytes and files are sent again where a failure may pass; a stream only once. ``length``
        is a stream's, if it is known; ``report`` is told how many bytes went.
        """
        async with uploads.opened(source, length) as body:
            begun: list[URL] = []
            offer = await self._offer(path, Direction.PUSH_TO, body.length, begun)
            try:
                return await uploads.push(self._connection, offer, body, report=report)
            except (Exception, asyncio.CancelledError):
                # The service made an empty node for the bytes, and takes it away with the job.
                await transfers.abandon(self._connection, *begun)
                raise

    async def pull(self, path: Where) -> AsyncGenerator[bytes, None]:
        """Give the bytes of a node; wrap in `contextlib.aclosing` what may stop in the middle."""
        offer = await self._offer(path, Direction.PULL_FROM)
        async with aclosing(downloads.pull(self._connection, offer)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def pull_to_file(self, path: Where, destination: Path) -> int:
        """Write the bytes of a node to a file, which appears when they are all there and right.

        A file that changed meanwhile, or came with another sum, is fetched again from the start.
        """
        part = destination.with_name(f".{destination.name[:200]}.part")
        try:
            length = await self._fetch(path, part)
            await asyncio.to_thread(part.replace, destination)
        finally:
            await asyncio.to_thread(part.unlink, missing_ok=True)
        return length

    async def fetch(
        self, path: Where, destination: Path, report: Callable[[int], None] | None = None
    ) -> str:
        """Write the bytes of a node to a file, from where an earlier `fetch` broke off.

        The file appears when its bytes are all there and right; returns their MD5 sum.
        """
        offer = await self._offer(path, Direction.PULL_FROM)
        return await partial_files.fetch(self._connection, offer, destination, report)

    async def reader(self, path: Where) -> downloads.Reader:
        """Return a reader of ranges, which keeps the endpoints that it is given."""
        return downloads.Reader(self._connection, await self._offer(path, Direction.PULL_FROM))

    async def read_range(self, path: Where, start: int, length: int) -> bytes:
        """Return ``length`` bytes from ``start`` on; fewer, or none, at the end of the file."""
        return await (await self.reader(path)).read(start, length)

    async def move(
        self, source: Where, destination: Where, *, overwrite: bool = False
    ) -> JobDocument:
        """Move a node, and wait until that is done; a file may ``overwrite`` another."""
        return await self._relocate(source, destination, keep=False, overwrite=overwrite)

    async def copy(
        self, source: Where, destination: Where, *, overwrite: bool = False
    ) -> JobDocument:
        """Copy a node and all below it, and wait until that is done."""
        return await self._relocate(source, destination, keep=True, overwrite=overwrite)

    async def job(
        self, job_id: str, wait: int = 0, kind: JobList = JobList.TRANSFERS
    ) -> JobDocument:
        """Return a job, after at most ``wait`` seconds in which its phase does not change."""
        url = await self._list(kind) / job_id
        return await transfers.job_at(self._connection, url, wait)

    async def jobs(
        self, *phases: Phase, kind: JobList = JobList.TRANSFERS
    ) -> Sequence[JobDocument]:
        """Return the caller's jobs, those in one of ``phases`` if any are named."""
        url = await self._list(kind)
        asked = url.with_query([("PHASE", str(phase)) for phase in phases])
        return read_jobs((await self._connection.ask("GET", asked)).body)

    async def abort(self, job_id: str, kind: JobList = JobList.TRANSFERS) -> JobDocument:
        """Stop a job."""
        url = await self._list(kind) / job_id
        await transfers.change_phase(self._connection, url, "ABORT")
        return read_job((await self._connection.ask("GET", url)).body)

    async def job_error(self, job_id: str, kind: JobList = JobList.TRANSFERS) -> str:
        """Return why a job ended in ERROR."""
        answer = await self._connection.ask("GET", await self._list(kind) / job_id / "error")
        return answer.body.decode("utf-8", "replace").strip()

    async def add_token(
        self, scope: str | None = None, path: str | None = None, expires: str | None = None
    ) -> account.Record:
        """Make a bearer token, narrowed as said; its ``token`` is shown this once."""
        return await account.add_token(self._connection, scope=scope, path=path, expires=expires)

    async def tokens(self) -> Sequence[account.Record]:
        """Return the caller's tokens, without what they are."""
        return await account.tokens(self._connection)

    async def revoke_token(self, token_id: str) -> None:
        """End a token, and those that were made by it."""
        await account.revoke_token(self._connection, token_id)

    def trash(self, user: str | None = None) -> AsyncGenerator[account.Record, None]:
        """Give what was deleted and can be had back, the last first."""
        return account.trash(self._connection, user)

    async def restore(self, entry: str, destination: Where | None = None) -> str:
        """Bring back what the trash names ``entry``; return the URI that it has now."""
        space = (await self.service()).space
        target = None if destination is None else space.uri(node_path(destination, space))
        return await account.restore(self._connection, entry, target)

    async def changes(self, path: Where) -> AsyncGenerator[changes.Event, None]:
        """Give what changes at a node and below it from now on, without an end.

        See `changes.follow`; wrap in `contextlib.aclosing` what is to stop.
        """
        service = await self.service()
        events = changes.follow(self._connection, service, node_path(path, service.space))
        async with aclosing(events):
            async for event in events:
                yield event

    async def _list(self, kind: JobList) -> URL:
        service = await self.service()
        match kind:
            case JobList.TRANSFERS:
                return service.transfers
            case JobList.DELETIONS:
                return service.deletions
            case JobList.CHANGES:
                return service.changes

    async def _fetch(self, path: Where, part: Path) -> int:
        attempt = 1
        while True:
            length = 0
            try:
                with await asyncio.to_thread(part.open, "wb") as file:
                    async with aclosing(self.pull(path)) as chunks:
                        async for chunk in chunks:
                            length += await asyncio.to_thread(file.write, chunk)
                return length
            except (errors.ChecksumMismatch, errors.TransferFailed):
                if attempt == ATTEMPTS:
                    raise
            await self._connection.pause(attempt)
            attempt += 1

    async def _node(
        self,
        service: Service,
        path: NodePath,
        detail: Detail,
        limit: int | None,
        start: str | None = None,
        order: Order = BY_NAME,
    ) -> NodeDocument:
        query = f"detail={detail}"
        query += "" if limit is None else f"&limit={limit}"
        if order != BY_NAME:
            query += f"&sort={_SORTS[order.sort]}&order={'desc' if order.descending else 'asc'}"
        query += "" if start is None else f"&uri={quote(start, safe='')}"
        answer = await self._connection.ask("GET", service.node(path, f"{query}&{direct.AS_JSON}"))
        return direct.document(answer)

    async def _offer(
        self,
        path: Where,
        direction: Direction,
        size: int | None = None,
        begun: _Jobs | None = None,
    ) -> uploads.Offer:
        service = await self.service()
        uri = service.space.uri(node_path(path, service.space))
        return partial(transfers.negotiate, self._connection, service, uri, direction, size, begun)

    async def _relocate(
        self, source: Where, destination: Where, *, keep: bool, overwrite: bool
    ) -> JobDocument:
        service = await self.service()
        target, goal = (
            service.space.uri(node_path(path, service.space)) for path in (source, destination)
        )
        return await transfers.relocate(
            self._connection, service, target, goal, keep=keep, overwrite=overwrite
        )
