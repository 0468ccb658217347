"""PUT at a signed endpoint: checks, then bytes to NGAS, then one commit."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from pyvospace_ngas.errors import (
    ArchiveUnreachable,
    EndpointSpent,
    InvalidArgument,
    LengthMismatch,
    NodeBusy,
    ServiceUnavailable,
    VOSpaceError,
)
from pyvospace_ngas.model.content import PROPERTIES, Attempt, Committed
from pyvospace_ngas.model.endpoint import Endpoint
from pyvospace_ngas.model.properties import NOTHING, Settings, with_bytes
from pyvospace_ngas.model.quota import Room
from pyvospace_ngas.ngas.errors import NgasError, WrongLength
from pyvospace_ngas.ngas.federation import Stored
from pyvospace_ngas.ngas.placement import Entry
from pyvospace_ngas.ops import uploads
from pyvospace_ngas.storage.digests import Expected, Sums, digest_header, expected
from pyvospace_ngas.storage.service import Service
from pyvospace_ngas.storage.streaming import answer_continue, body, summed
from pyvospace_ngas.storage.views.unpacking import unpack

log = logging.getLogger(__name__)

MOST_DROPPED: Final = 2**40  # bytes to .null in one request


async def receive(request: web.Request, service: Service, endpoint: Endpoint) -> web.Response:
    """Take the body of ``request`` in, and answer once it is in place."""
    if "Content-Range" in request.headers:
        raise InvalidArgument("a part of a file cannot be put")
    wanted, given = expected(request.headers), _properties(request.headers, endpoint)
    if _opens_transaction(request):
        return web.Response(status=200)
    async with service.database.acquire() as db:
        committed = await uploads.state(db, endpoint)
    if committed is not None:
        await _check_repeated(request, service, committed, wanted)
        return _created(committed)
    if request.content_length is not None:
        _check_length(endpoint, request.content_length)
    if uploads.is_null(endpoint):
        return _created(await _drop(request, service, endpoint, wanted))
    if endpoint.view is not None:
        return _created(await unpack(request, service, endpoint, wanted))
    return _created(await _attempt(request, service, endpoint, wanted, given))


def created_headers(committed: Committed) -> dict[str, str]:
    """Return the fields that tell which bytes an endpoint has put in place."""
    fields = {"Digest": digest_header(committed.md5), "ETag": f'"{committed.md5}"'}
    return fields if committed.step is None else fields | committed.step.fields()


def _created(committed: Committed) -> web.Response:
    return web.Response(status=201, headers=created_headers(committed))


def _properties(headers: Mapping[str, str], endpoint: Endpoint) -> Settings:
    """Return the properties that come with the bytes of a file."""
    said = headers.get(PROPERTIES)
    if said is None:
        return NOTHING
    try:
        given = json.loads(said)
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict) or not all(isinstance(text, str) for text in given.values()):
        raise InvalidArgument(f"{PROPERTIES} is no JSON object of texts")
    if uploads.is_null(endpoint) or endpoint.view is not None:
        raise InvalidArgument(f"{PROPERTIES} is for the bytes of one file")
    return with_bytes(given)


def _opens_transaction(request: web.Request) -> bool:
    """Tell whether `vos` only asks if a file of several GiB can come in pieces (it cannot).

    Its body is empty but stands for a file that is not; the whole file follows at once.
    """
    return (
        request.content_length == 0
        and request.headers.get("x-put-txn-op", "").lower() == "start"
        and "x-total-length" in request.headers
    )


def _check_length(endpoint: Endpoint, length: int) -> None:
    if endpoint.size not in (None, length):
        raise LengthMismatch(
            f"the body has {length} bytes, but {endpoint.size} were announced for this endpoint"
        )


async def _check_repeated(
    request: web.Request, service: Service, committed: Committed, wanted: Expected
) -> None:
    """Accept what was committed already once more, as when the first answer was lost."""
    spent = EndpointSpent("other bytes came through this endpoint already; ask for a new one")
    if request.content_length not in (None, committed.length):
        raise spent
    if wanted.md5 is not None and wanted.md5.hex() != committed.md5:
        raise spent
    await answer_continue(request)
    sums = Sums(service.hashers, wanted)
    async for piece in body(request):
        await sums.add(piece)
        if sums.length > committed.length:
            raise spent
    await sums.settle()
    if (sums.length, sums.content().md5) != (committed.length, committed.md5):
        raise spent


async def _drop(
    request: web.Request, service: Service, endpoint: Endpoint, wanted: Expected
) -> Committed:
    """Read what is meant for ``.null``, and keep nothing of it."""
    await answer_continue(request)
    sums = Sums(service.hashers, wanted)
    async for piece in body(request):
        await sums.add(piece)
        if sums.length > MOST_DROPPED:
            raise LengthMismatch("this is more than anybody throws away")
    await sums.settle()
    sums.check()
    _check_length(endpoint, sums.length)
    async with service.database.acquire() as db:
        await uploads.drop(db, endpoint)
    content = sums.content()
    return Committed(content.length, content.md5)


async def _attempt(
    request: web.Request,
    service: Service,
    endpoint: Endpoint,
    wanted: Expected,
    given: Settings,
) -> Committed:
    async with claimed(service, endpoint, request.headers.get("If-Match")) as claim:
        claim.check_room(request.content_length)
        await answer_continue(request)
        return await keep(service, claim, body(request), request.content_length, wanted, given)


@dataclass(frozen=True, slots=True)
class Claim:
    """A node that is busy with one attempt; ``superseded`` is set when a newer one took over.

    ``room`` is what quotas leave it, as far as is known at the start, ``match`` the entity tags
    of the bytes that may be replaced.
    """

    endpoint: Endpoint
    attempt: Attempt
    superseded: asyncio.Event
    room: Room | None = None
    match: str | None = None

    def check_room(self, length: int | None) -> None:
        """Raise `QuotaExceeded` for a body of more bytes than there is room for."""
        if self.room is not None and length is not None:
            self.room.check(length)


@asynccontextmanager
async def claimed(
    service: Service, endpoint: Endpoint, match: str | None = None
) -> AsyncIterator[Claim]:
    """Make the node of ``endpoint`` busy for one attempt; what is raised inside ends it."""
    async with service.database.acquire() as db:
        attempt = await uploads.claim(db, endpoint, service.executor, uploads.LEASE, match)
    try:
        async with _beating(service, attempt) as superseded:
            async with service.database.acquire() as db:
                room = await uploads.room(db, endpoint)
            yield Claim(endpoint, attempt, superseded, room, match)
    except BaseException:
        await _give_up(service, attempt)
        raise


async def keep(
    service: Service,
    claim: Claim,
    pieces: AsyncIterator[bytes],
    length: int | None,
    wanted: Expected,
    given: Settings = NOTHING,
) -> Committed:
    """Send ``pieces``, of known length or not, to an archive node and put them in place.

    ``given`` are the properties that come with them.
    """
    claim.check_room(length)
    sums = Sums(service.hashers, wanted)
    current = _while_current(_while_room(pieces, claim.room), claim.superseded)
    if length is None:
        stored = await _staged(service, claim.endpoint, claim.attempt, sums, current)
    else:
        stored = await _streamed(service, claim.attempt, sums, current, length)
    return await uploads.commit(
        service.database,
        claim.attempt,
        sums.content(),
        stored,
        service.authorities,
        service.discard_delay,
        claim.match,
        given,
    )


async def _streamed(
    service: Service,
    attempt: Attempt,
    sums: Sums,
    pieces: AsyncIterator[bytes],
    length: int,
) -> Stored | None:
    """Send a body of known length on while it arrives, flat in memory."""
    async with aclosing(summed(pieces, sums)) as whole:
        if length == 0:
            async for _ in whole:
                pass
            return None
        return await _archive(service, attempt, length, whole, sums)


async def _staged(
    service: Service,
    endpoint: Endpoint,
    attempt: Attempt,
    sums: Sums,
    pieces: AsyncIterator[bytes],
) -> Stored | None:
    """Put a body on disk to learn its length, then send it."""
    async with service.staging.file() as staged:
        await staged.write(summed(pieces, sums))
        _check_length(endpoint, staged.length)
        if staged.length == 0:
            return None
        async with aclosing(staged.read()) as whole:
            return await _archive(service, attempt, staged.length, whole, sums)


async def _archive(
    service: Service, attempt: Attempt, length: int, whole: AsyncIterator[bytes], sums: Sums
) -> Stored:
    async def note(entry: Entry) -> None:
        async with service.database.acquire() as db:
            await uploads.sent_to(db, attempt, entry.address)

    try:
        return await service.federation.archive(
            attempt.file_id, length, whole, on_attempt=note, crc=sums.crc32c
        )
    except WrongLength as error:
        raise LengthMismatch(f"the body had not the {length} bytes that were said") from error
    except NgasError as error:
        log.warning("%s was not archived: %s", attempt.file_id, error)
        raise ArchiveUnreachable(
            "the archive did not take the file now; nothing was changed, try again later"
        ) from error


async def _while_room(pieces: AsyncIterator[bytes], room: Room | None) -> AsyncIterator[bytes]:
    length = 0
    async for piece in pieces:
        length += len(piece)
        if room is not None:
            room.check(length)
        yield piece


async def _while_current(
    pieces: AsyncIterator[bytes], superseded: asyncio.Event
) -> AsyncIterator[bytes]:
    async for piece in pieces:
        if superseded.is_set():
            raise NodeBusy("a newer upload at this endpoint has taken over")
        yield piece


@asynccontextmanager
async def _beating(service: Service, attempt: Attempt) -> AsyncIterator[asyncio.Event]:
    """Renew the lease of ``attempt``; the event is set when it has ended."""
    superseded = asyncio.Event()
    task = asyncio.create_task(_beat(service, attempt, superseded), name="heartbeat")
    try:
        yield superseded
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _beat(service: Service, attempt: Attempt, superseded: asyncio.Event) -> None:
    while True:
        await asyncio.sleep(uploads.HEARTBEAT)
        try:
            async with service.database.acquire() as db:
                if not await uploads.renew(db, attempt, uploads.LEASE):
                    superseded.set()
                    return
        except ServiceUnavailable:
            log.warning("the lease of attempt %d was not renewed", attempt.id)


async def _give_up(service: Service, attempt: Attempt) -> None:
    """Free the node; when that fails its lease will run out."""
    try:
        async with service.database.acquire() as db:
            await uploads.give_up(db, attempt)
    except VOSpaceError as error:
        log.warning("attempt %d could not be ended: %s", attempt.id, error)
