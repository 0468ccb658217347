"""HTTP towards other people's servers: only where the rules allow it, and nothing of ours said.

The address is resolved once, checked, and no other is ever connected to, so that a name cannot
mean something else a moment later. Why an endpoint was no good is told in words that do not let a
user find out what listens in our network.
"""

import asyncio
import ipaddress
import logging
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final
from urllib.parse import urljoin

from aiohttp import (
    ClientError,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    TCPConnector,
)
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from pyvospace_ngas.errors import InvalidArgument
from pyvospace_ngas.http.safety import SERVER
from pyvospace_ngas.model.addresses import Address, Allowed, Refused, Target, check, read_url
from pyvospace_ngas.model.standard import HTTPS_GET, HTTPS_PUT
from pyvospace_ngas.model.transfer import Protocol
from pyvospace_ngas.storage.digests import Expected, expected

log = logging.getLogger(__name__)

REDIRECTS: Final = 3
READ: Final = 256 * 1024
SLOWEST: Final = 2**20  # bytes a second that a server may take to keep what it was sent
_MOVED: Final = frozenset({301, 302, 303, 307, 308})
_UNFIT: Final = "cannot be called, or is not an address that third-party transfers may use"
_NO_ANSWER: Final = "gave no usable answer"
_BROKE_OFF: Final = "broke off before the end"
_Sockaddr = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple]  # type: ignore[type-arg]  # aiohttp's own


class EndpointFailed(Exception):
    """An endpoint was no good; the text says why, in words that its user may read."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long others are waited for, in seconds, and how much they may send."""

    connect: float = 20.0
    idle: float = 60.0
    total: float = 86_400.0
    largest: int = 0  # bytes; 0 for no limit


@dataclass(frozen=True, slots=True)
class Fetched:
    """What another server has begun to send."""

    length: int | None
    expected: Expected
    pieces: AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class Remote:
    """The rules under which other servers are called."""

    allowed: Sequence[Allowed]
    limits: Limits

    @asynccontextmanager
    async def fetch(self, protocol: Protocol) -> AsyncIterator[Fetched]:
        """GET an endpoint, following a few redirects, each checked; raise `EndpointFailed`."""
        target = endpoint_target(protocol)
        async with AsyncExitStack() as opened:
            for _ in range(REDIRECTS + 1):
                session = await opened.enter_async_context(self._session(target))
                response = await self._answer(session, "GET", target)
                opened.callback(response.close)
                if response.status not in _MOVED:
                    break
                target = _redirected(target, response)
            else:
                raise EndpointFailed("redirects too often")
            yield self._fetched(response)

    async def send(
        self,
        protocol: Protocol,
        length: int,
        fields: Mapping[str, str],
        pieces: AsyncIterator[bytes],
    ) -> Expected:
        """PUT ``length`` bytes to an endpoint; return the digests that it answers with.

        Raises `EndpointFailed`, also for a redirect: the bytes may be read once only.
        """
        target = endpoint_target(protocol)
        upload = _Upload(pieces, length, self.limits.idle)
        async with self._session(target) as session:
            try:
                async with asyncio.timeout(self.limits.connect + self.limits.idle) as patience:
                    upload.patience = patience
                    async with session.put(
                        URL(target.url, encoded=True),
                        data=upload.body() if length else b"",
                        headers={**fields, "Content-Length": str(length)},
                        allow_redirects=False,
                    ) as response:
                        upload.patience = None
                        return _accepted(response, upload)
            except (ClientError, OSError, ValueError) as error:
                log.info("%s: %s", target.host, type(error).__name__)
                raise EndpointFailed(_NO_ANSWER) from error
            finally:
                upload.patience = None

    @asynccontextmanager
    async def _session(self, target: Target) -> AsyncIterator[ClientSession]:
        addresses = await self._resolve(target)
        async with ClientSession(
            connector=TCPConnector(
                resolver=_Pinned(addresses),
                use_dns_cache=False,
                force_close=True,
                socket_factory=lambda info: _socket(info, addresses),
            ),
            cookie_jar=DummyCookieJar(),
            timeout=ClientTimeout(total=None, sock_connect=self.limits.connect),
            headers={"User-Agent": SERVER, "Accept-Encoding": "identity"},
            auto_decompress=False,
            trust_env=False,  # no proxies, no passwords out of ~/.netrc
            read_bufsize=READ,
        ) as session:
            yield session

    async def _resolve(self, target: Target) -> list[Address]:
        """Return the addresses of a host, all of which may be called; raise `EndpointFailed`."""
        if (literal := target.literal) is not None:
            found: list[Address] = [literal]
        else:
            try:
                async with asyncio.timeout(self.limits.connect):
                    loop = asyncio.get_running_loop()
                    infos = await loop.getaddrinfo(
                        target.host, target.port, type=socket.SOCK_STREAM
                    )
                found = [ipaddress.ip_address(info[4][0]) for info in infos]
            except (
                OSError,
                ValueError,
            ):  # UnicodeError is one, and so is a time-out of the former
                raise EndpointFailed(_UNFIT) from None
        try:
            check(target, found, self.allowed)
        except Refused as error:
            log.warning("a third-party transfer may not call %s", target.host)
            raise EndpointFailed(str(error) if target.literal else _UNFIT) from None
        return list(dict.fromkeys(found))

    async def _answer(self, session: ClientSession, method: str, target: Target) -> ClientResponse:
        try:
            async with asyncio.timeout(self.limits.connect + self.limits.idle):
                return await session.request(
                    method, URL(target.url, encoded=True), allow_redirects=False
                )
        except (ClientError, OSError, ValueError) as error:
            log.info("%s: %s", target.host, type(error).__name__)
            raise EndpointFailed(_NO_ANSWER) from error

    def _fetched(self, response: ClientResponse) -> Fetched:
        if response.status != 200:
            raise EndpointFailed(f"answered {response.status}")
        if response.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
            raise EndpointFailed("sends the file in an encoding, which nobody asked for")
        length = response.content_length
        if self.limits.largest and (length or 0) > self.limits.largest:
            raise EndpointFailed(self._too_large())
        return Fetched(length, _digests(response), self._pieces(response))

    async def _pieces(self, response: ClientResponse) -> AsyncGenerator[bytes, None]:
        passed = 0
        while True:
            try:
                async with asyncio.timeout(self.limits.idle):
                    piece = await response.content.readany()
            except (ClientError, OSError) as error:  # and so a time-out
                raise EndpointFailed(_BROKE_OFF) from error
            if not piece:
                return
            passed += len(piece)
            if self.limits.largest and passed > self.limits.largest:
                raise EndpointFailed(self._too_large())
            yield piece

    def _too_large(self) -> str:
        return f"has more than the {self.limits.largest} bytes that may be fetched here"


def endpoint_target(protocol: Protocol) -> Target:
    """Take the endpoint of a protocol apart; raise `EndpointFailed` for one that is not called."""
    try:
        target = read_url(protocol.endpoint or "")
    except Refused as error:
        raise EndpointFailed(str(error)) from None
    if protocol.uri in (HTTPS_GET, HTTPS_PUT) and target.scheme != "https":
        raise EndpointFailed("is no https URL, as its protocol says")
    # What is checked must be what is called, whichever library takes the URL apart.
    other = URL(target.url, encoded=True)
    if ((other.host or "").rstrip(".").lower(), other.port) != (target.host, target.port):
        raise EndpointFailed("this is no URL")
    return target


class _Pinned(AbstractResolver):
    """Gives the addresses that were checked, whatever the name means by now."""

    def __init__(self, addresses: Sequence[Address]) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=str(address),
                port=port,
                family=socket.AF_INET if address.version == 4 else socket.AF_INET6,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self._addresses
            if family in (socket.AF_UNSPEC, _family(address))
        ]

    async def close(self) -> None:
        """Nothing is open."""


def _family(address: Address) -> socket.AddressFamily:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6


def _socket(info: _Sockaddr, checked: Sequence[Address]) -> socket.socket:
    """Return a socket for what is about to be connected to: the last word on which that is."""
    family, kind, number, _, sockaddr = info
    if ipaddress.ip_address(sockaddr[0]) not in checked:
        raise OSError("an address that was not checked")
    return socket.socket(family, kind, number)


class _Upload:
    """The body of a PUT: its patience begins anew with each piece that leaves."""

    def __init__(self, pieces: AsyncIterator[bytes], length: int, idle: float) -> None:
        self.patience: asyncio.Timeout | None = None
        self.left = length
        self._pieces = pieces
        self._idle = idle
        self._after = idle + length / SLOWEST

    async def body(self) -> AsyncGenerator[bytes, None]:
        self._wait_for(None)  # the archive has a patience of its own
        async for piece in self._pieces:
            self.left -= len(piece)
            self._wait_for(self._idle)
            yield piece
            self._wait_for(None)
        self._wait_for(self._after)

    def _wait_for(self, seconds: float | None) -> None:
        if self.patience is not None and not self.patience.expired():
            now = asyncio.get_running_loop().time()
            self.patience.reschedule(None if seconds is None else now + seconds)


def _accepted(response: ClientResponse, upload: _Upload) -> Expected:
    if response.status in _MOVED:
        raise EndpointFailed("redirects, which is not followed with a file")
    if not 200 <= response.status < 300:
        raise EndpointFailed(f"answered {response.status}")
    if upload.left:
        raise EndpointFailed("answered before it had the whole file")
    # With a body of its own, an answer's digests are that body's.
    bare = response.status == 204 or response.content_length == 0
    return _digests(response) if bare else Expected()


def _digests(response: ClientResponse) -> Expected:
    try:
        return expected(response.headers)
    except InvalidArgument:
        raise EndpointFailed("gave digests that cannot be read") from None


def _redirected(target: Target, response: ClientResponse) -> Target:
    try:
        following = read_url(urljoin(target.url, response.headers.get("Location", "")))
    except (Refused, ValueError):
        raise EndpointFailed("redirects to what may not be called") from None
    if target.scheme == "https" and following.scheme != "https":
        raise EndpointFailed("redirects from https to http")
    return endpoint_target(Protocol("", following.url))
