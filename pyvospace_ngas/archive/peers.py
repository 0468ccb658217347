"""Requests to the other nodes of the cluster, with the credential that they know each other by."""

from __future__ import annotations

import asyncio
import base64
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout, TCPConnector
from yarl import URL

from pyvospace_ngas.archive import index
from pyvospace_ngas.archive.configuration import NodeConfig
from pyvospace_ngas.archive.refusals import Refused
from pyvospace_ngas.archive.settings.serving import INTERNAL_USER
from pyvospace_ngas.archive.steps import Database
from pyvospace_ngas.ngas.status import Answer, MalformedAnswer, parse

log = logging.getLogger(__name__)

MARK: Final = "X-NGAS-Proxied"  # two nodes that each take the other for the holder must not loop
CONNECT_SECONDS: Final = 10.0
LONGEST_DOCUMENT: Final = 16 * 1024 * 1024


class UnknownNode(Refused):
    """The index knows no such node."""


class PeerAway(Refused):
    """The other node does not answer, not in time, or not to this one."""


class Peers:
    """Asks other nodes, found by their host id in the index.

    Only they are told the password of ``ngas-int``: never the host of a URL that came from
    somewhere else.
    """

    def __init__(
        self,
        database: Database,
        config: Callable[[], NodeConfig],
        need: Callable[[str], Awaitable[None]],
    ) -> None:
        """``need`` is called with the id of each node before it is asked: it may sleep."""
        self._database = database
        self._config = config
        self._need = need
        self._session: ClientSession | None = None

    async def address(self, host_id: str) -> str:
        """Return where a node is found, or raise `UnknownNode`."""
        url = await index.address(self._database, host_id)
        if url is None:
            raise UnknownNode(f"No NGAS host with host_id: {host_id}")
        await self._need(host_id)
        return url

    async def is_there(self, host_id: str) -> bool:
        """Whether a node answers at all, without waking it."""
        url = await index.address(self._database, host_id)
        if url is None:
            return False
        try:
            session = await self._opened()
            timeout = ClientTimeout(total=CONNECT_SECONDS)
            async with session.get(
                f"{url}/STATUS",
                headers=self._marks(proxied=False),
                allow_redirects=False,
                timeout=timeout,
            ):
                return True
        except (ClientError, TimeoutError, OSError):
            return False

    @asynccontextmanager
    async def ask(
        self,
        host_id: str,
        command: str,
        parameters: Mapping[str, str] | None = None,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        data: object = None,
        proxied: bool = False,
    ) -> AsyncIterator[ClientResponse]:
        """Send a command to another node; its answer is to be read within the context.

        ``proxied`` marks a request that is passed on for a client: whoever gets it does it or
        refuses it. What does not come within the node's time-out, or is refused for want of a
        credential, is a `PeerAway`; every other answer is the caller's to judge.
        """
        target = URL(f"{await self.address(host_id)}/{command}").with_query(parameters or {})
        try:
            session = await self._opened()
            source = await session.request(
                method,
                target,
                headers=dict(headers or {}) | self._marks(proxied=proxied),
                data=data,
                allow_redirects=False,
                timeout=self._timeout(),
            )
        except (ClientError, TimeoutError, OSError) as error:
            log.warning("the node %s does not answer: %r", host_id, error)
            raise PeerAway(f"the node {host_id} does not answer", 502) from error
        async with source:
            if source.status == 401:
                raise PeerAway(
                    f"the node {host_id} does not let this one in; "
                    f"both need the same user {INTERNAL_USER} in their Authorization",
                    502,
                )
            yield source

    async def answer(
        self,
        host_id: str,
        command: str,
        parameters: Mapping[str, str] | None = None,
        *,
        proxied: bool = False,
    ) -> tuple[int, Answer]:
        """Send a command that answers with a document; return the HTTP status and the document."""
        async with self.ask(host_id, command, parameters, proxied=proxied) as source:
            try:
                return source.status, await read_answer(source)
            except (ClientError, TimeoutError, MalformedAnswer) as error:
                log.warning("the node %s gave no answer: %r", host_id, error)
                raise PeerAway(
                    f"the node {host_id} does not answer as a node does", 502
                ) from error

    async def close(self) -> None:
        """Let go of the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _opened(self) -> ClientSession:
        if self._session is None:
            trusted = await asyncio.to_thread(_trusted, self._config().server.certificate)
            if self._session is None:  # others came here meanwhile
                # How many there are at once is bounded by the requests that this node serves.
                connector = TCPConnector(limit=0, ssl=trusted)
                self._session = ClientSession(connector=connector, auto_decompress=False)
        return self._session

    def _timeout(self) -> ClientTimeout:
        idle = self._config().server.timeout
        return ClientTimeout(total=None, connect=CONNECT_SECONDS, sock_read=idle)

    def _marks(self, *, proxied: bool) -> dict[str, str]:
        marks = {MARK: "1"} if proxied else {}
        user = self._config().authorization.users.get(INTERNAL_USER)
        if user is not None:
            marks["Authorization"] = basic(user.name, user.password)
        return marks


async def read_answer(source: ClientResponse) -> Answer:
    """Read a status document to its end, but not for ever, or raise `MalformedAnswer`."""
    body = await source.content.read(LONGEST_DOCUMENT)
    while len(body) < LONGEST_DOCUMENT and (more := await source.content.readany()):
        body += more
    return parse(body)


def basic(name: str, password: str) -> str:
    """Return the value of an Authorization header (RFC 7617)."""
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode("ascii")


def _trusted(certificate: Path | None) -> ssl.SSLContext:
    """Trust, beside the usual authorities, the certificate that the cluster's nodes share."""
    context = ssl.create_default_context()
    if certificate is not None:
        context.load_verify_locations(certificate)
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # it may be nobody's authority
    return context
