"""PUT of an archive at a container: unpacked as it arrives, in place all at once or not at all."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Final

from aiohttp import web

from pyvospace_ngas.errors import (
    InvalidData,
    LengthMismatch,
    NodeBusy,
    ServiceUnavailable,
    VOSpaceError,
)
from pyvospace_ngas.http.keys import SPACE
from pyvospace_ngas.model.content import Attempt, Committed
from pyvospace_ngas.model.endpoint import Endpoint
from pyvospace_ngas.model.views import Form
from pyvospace_ngas.ops import trees, uploads
from pyvospace_ngas.storage.digests import Expected, Sums
from pyvospace_ngas.storage.service import Service
from pyvospace_ngas.storage.streaming import answer_continue, body
from pyvospace_ngas.storage.views import tar, unzip
from pyvospace_ngas.storage.views.growing import Growing
from pyvospace_ngas.storage.views.members import Incoming
from pyvospace_ngas.storage.views.pieces import PIECE, Source, gunzipped

log = logging.getLogger(__name__)

MOST_BYTES: Final = 2**44  # of all members together
RATIO: Final = 200  # unpacked bytes for each that arrives
FREE: Final = 64 * 2**20  # unpacked bytes before the ratio counts


class Bomb:
    """The allowance of one archive: `InvalidData` when it swells beyond what files do."""

    def __init__(self, sums: Sums) -> None:
        self._sums = sums
        self._size = 0

    def take(self, size: int) -> None:
        """Count ``size`` bytes that were unpacked."""
        self._size += size
        if self._size > MOST_BYTES or (
            self._size > FREE and self._size > RATIO * self._sums.length
        ):
            raise InvalidData("the archive unpacks to far more than a reasonable archive does")


async def unpack(
    request: web.Request, service: Service, endpoint: Endpoint, wanted: Expected
) -> Committed:
    """Take the archive in the body of ``request`` in; what is committed is the archive itself."""
    form = Form(endpoint.view or "")
    async with service.database.acquire() as db:
        attempt, growth, path = await trees.begin(db, endpoint, service.executor, uploads.LEASE)
        room = await uploads.room(db, endpoint)
    growing = Growing(service, growth, path, request.app[SPACE], room)
    try:
        async with _beating(service, attempt) as is_over:
            await answer_continue(request)
            sums = Sums(service.hashers, wanted)
            async with aclosing(_arriving(request, sums, is_over)) as pieces:
                await growing.take(_members(form, pieces, service, Bomb(sums)))
                async for _ in pieces:
                    pass  # padding
            await sums.settle()
            sums.check()
            _check_length(endpoint, sums.length)
            return await trees.commit(
                service.database,
                attempt,
                growth,
                path,
                sums.content(),
                service.authorities,
                growing.unused,
            )
    except BaseException:
        await _abandon(service, attempt, growing)
        raise


def _check_length(endpoint: Endpoint, length: int) -> None:
    if endpoint.size not in (None, length):
        raise LengthMismatch(
            f"the body had {length} bytes, but {endpoint.size} were announced for this endpoint"
        )


async def _members(
    form: Form, pieces: AsyncIterator[bytes], service: Service, bomb: Bomb
) -> AsyncGenerator[Incoming, None]:
    """Give the members of an archive in any of the forms, and read it to its end."""
    source = Source(pieces)
    if form is Form.ZIP:
        async with aclosing(unzip.unpack(source, service.hashers, bomb)) as members:
            async for member in members:
                yield member
        return
    if form is Form.TAR_GZ:
        source = Source(gunzipped(source, service.hashers, bomb))
    async with aclosing(tar.unpack(source)) as members:
        async for member in members:
            yield member
    while await source.some(PIECE):
        pass  # what tar pads its last record with


async def _arriving(
    request: web.Request, sums: Sums, is_over: asyncio.Event
) -> AsyncGenerator[bytes, None]:
    async for piece in body(request):
        if is_over.is_set():
            raise NodeBusy("a newer upload at this endpoint has taken over, or the job was ended")
        await sums.add(piece)
        yield piece


@asynccontextmanager
async def _beating(service: Service, attempt: Attempt) -> AsyncIterator[asyncio.Event]:
    """Renew the leases of the attempt and its members; the event is set when it has ended."""
    is_over = asyncio.Event()
    task = asyncio.create_task(_beat(service, attempt, is_over), name="heartbeat")
    try:
        yield is_over
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _beat(service: Service, attempt: Attempt, is_over: asyncio.Event) -> None:
    while True:
        await asyncio.sleep(uploads.HEARTBEAT)
        try:
            async with service.database.acquire() as db:
                if not await trees.renew(db, attempt, uploads.LEASE):
                    is_over.set()
                    return
        except ServiceUnavailable:
            log.warning("the lease of attempt %d was not renewed", attempt.id)


async def _abandon(service: Service, attempt: Attempt, growing: Growing) -> None:
    """Let go of what came to nothing; when that fails the lease will run out."""
    try:
        async with service.database.transaction() as db:
            await trees.abandon(db, attempt, growing.unused)
    except VOSpaceError as error:
        log.warning("attempt %d could not be ended: %s", attempt.id, error)
