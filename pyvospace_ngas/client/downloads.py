"""Fetching bytes: whole files that resume where a connection broke, and ranges."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import aiohttp

from pyvospace_ngas import errors
from pyvospace_ngas.client import digests
from pyvospace_ngas.client.connection import ATTEMPTS, BROKEN, Connection
from pyvospace_ngas.client.faults import fault
from pyvospace_ngas.client.wire import Span, first_byte, total
from pyvospace_ngas.errors import VOSpaceError

T = TypeVar("T")
Offer = Callable[[], Awaitable[Sequence[str]]]

_CHUNK: Final = 256 << 10
_PROGRESS: Final = 1 << 20  # bytes after which a new failure counts as the first one
_RETRIED: Final = (
    errors.ServiceUnavailable,
    errors.ArchiveUnreachable,
    errors.InternalFault,
    errors.EndpointNotFound,
)


class Endpoints:
    """The endpoints of one file, asked for anew when they are used up."""

    def __init__(self, offer: Offer, *known: str) -> None:
        self._offer = offer
        self._left = list(known)

    async def current(self) -> str:
        """Return the endpoint to use now."""
        if not self._left:
            self._left = list(await self._offer())
        if not self._left:
            raise errors.TransferFailed("the service offered no endpoint")
        return self._left[0]

    def drop(self) -> None:
        """Use the current endpoint no more."""
        self._left = self._left[1:]


class Reader:
    """Reads ranges of one file, over endpoints that it keeps between reads."""

    def __init__(self, connection: Connection, offer: Offer, first: str | None = None) -> None:
        self._connection = connection
        self._endpoints = Endpoints(offer) if first is None else Endpoints(offer, first)

    async def read(self, start: int, length: int, match: str | None = None) -> bytes:
        """Return ``length`` bytes from ``start`` on; fewer, or none, at the end of the file.

        ``match`` is the entity tag that the file must have: `PreconditionFailed` for another.
        """
        if start < 0 or length < 0:
            raise errors.InvalidArgument("a range has no negative numbers")
        if length == 0:
            return b""

        async def once(endpoint: str) -> bytes:
            return await self._span(endpoint, start, length, match)

        try:
            return await self._tried(once)
        except errors.RangeNotSatisfiable:
            return b""

    async def fill(self, span: Span, match: str) -> None:
        """Fill what is left of ``span``; `TransferFailed` where the file is shorter.

        ``match`` is the entity tag that the file must have: `PreconditionFailed` for another.
        """

        async def once(endpoint: str) -> None:
            try:
                await self._connection.fetch(endpoint, {"If-Match": match}, span)
            except BROKEN as error:
                raise self._connection.unreachable(endpoint, error) from error

        await self._tried(once)

    async def _tried(self, once: Callable[[str], Awaitable[T]]) -> T:
        """Do something with the current endpoint, or with the next one where that breaks."""
        attempt = 1
        while True:
            endpoint = await self._endpoints.current()
            try:
                return await once(endpoint)
            except _RETRIED as error:
                self._endpoints.drop()
                if attempt == ATTEMPTS:
                    raise error from error.__cause__
            await self._connection.pause(attempt)
            attempt += 1

    async def _span(self, endpoint: str, start: int, length: int, match: str | None) -> bytes:
        headers = {"Range": f"bytes={start}-{start + length - 1}"}
        if match is not None:
            headers["If-Match"] = match
        try:
            async with self._connection.endpoint("GET", endpoint, headers) as response:
                skip = await _first_byte(response, start)
                data = bytearray()
                async for chunk in response.content.iter_chunked(_CHUNK):
                    data += chunk[skip:]
                    skip = max(0, skip - len(chunk))
                    if len(data) >= length:
                        break
                return bytes(data[:length])
        except BROKEN as error:
            raise self._connection.unreachable(endpoint, error) from error


async def pull(
    connection: Connection, offer: Offer, had: digests.Meter | None = None
) -> AsyncGenerator[bytes, None]:
    """Give a file's bytes, after those that were ``had``; go on where a connection broke.

    The end is reached only with the length, and the MD5 sum where the server told it, that the
    first answer announced. Raises `TransferFailed` when the file changed meanwhile.
    """
    endpoints = Endpoints(offer)
    state = _Progress(had)
    failures, mark = 0, state.meter.length
    while True:
        endpoint = await endpoints.current()
        try:
            async with connection.endpoint("GET", endpoint, state.headers()) as response:
                skip = await state.begin(response)
                async for chunk in response.content.iter_chunked(_CHUNK):
                    if rest := chunk[skip:]:
                        await state.meter.add(rest)
                        yield rest
                    skip = max(0, skip - len(chunk))
            await state.check()
            return
        except (*BROKEN, *_RETRIED) as error:
            failure = error
        endpoints.drop()
        failures = 1 if state.meter.length - mark >= _PROGRESS else failures + 1
        mark = state.meter.length
        if failures == ATTEMPTS:
            raise _final(connection, endpoint, failure)
        await connection.pause(failures)


def _final(connection: Connection, endpoint: str, failure: Exception) -> VOSpaceError:
    if isinstance(failure, VOSpaceError):
        return failure
    said = connection.unreachable(endpoint, failure)
    said.__cause__ = failure
    return said


@dataclass(frozen=True, slots=True)
class _File:
    """What an answer says of the whole file."""

    total: int | None = None
    md5: bytes | None = None
    tag: str | None = None

    def differs(self, other: "_File") -> bool:
        """Tell whether the two cannot be of one file, by what both of them say."""
        pairs = ((self.total, other.total), (self.md5, other.md5), (self.tag, other.tag))
        return any(a is not None and b is not None and a != b for a, b in pairs)


class _Progress:
    """How far a download came, and what the first answer said of the file."""

    def __init__(self, had: digests.Meter | None) -> None:
        self.meter = digests.Meter() if had is None else had
        self._unproven = self.meter.length > 0  # until the sum of the whole is right
        self._file: _File | None = None

    def headers(self) -> dict[str, str]:
        """Return what to ask for: everything, or the rest of the same file."""
        if not self.meter.length:
            return {"Want-Digest": "md5"}
        rest = {"Want-Digest": "md5", "Range": f"bytes={self.meter.length}-"}
        tag = None if self._file is None else self._file.tag
        return rest if tag is None or tag.startswith("W/") else rest | {"If-Range": tag}

    async def begin(self, response: aiohttp.ClientResponse) -> int:
        """Take in the answer's head; return how many bytes of its body were had already."""
        skip = await _first_byte(response, self.meter.length)
        tag = response.headers.get("ETag")
        length = total(response.headers.get("Content-Range"), response.content_length)
        seen = _File(length, digests.announced(response.headers), tag)
        if self._file is None or not self.meter.length:
            self._file = seen
        elif seen.differs(self._file):
            raise errors.TransferFailed("the file changed while it was read")
        return skip

    async def check(self) -> None:
        """Raise unless all has come, and come right."""
        file = self._file or _File()
        total, md5 = file.total, file.md5
        if md5 is None and self._unproven:
            raise errors.TransferFailed("nothing tells whether the rest is of the same file")
        if total is not None and self.meter.length != total:
            raise errors.ServiceUnavailable(f"{self.meter.length} of {total} bytes came")
        if md5 is not None and await self.meter.md5() != md5:
            raise errors.ChecksumMismatch("other bytes came than the service announced")


async def _first_byte(response: aiohttp.ClientResponse, wanted: int) -> int:
    """Return how many bytes lie before ``wanted`` in the body of this answer; refuse a refusal."""
    if response.status not in (200, 206):
        raise fault(response.status, await response.read())
    return first_byte(response.status, response.headers.get("Content-Range"), wanted)
