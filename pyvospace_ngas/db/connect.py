"""Connections to PostgreSQL: a list of our own, as asyncpg's pool costs a round trip more a use.

A connection is held for milliseconds: never while bytes stream, never across another server's
answer.
"""

import asyncio
import json
import logging
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Final, Self, TypeAlias

import asyncpg

from pyvospace_ngas.errors import InternalFault, ServiceUnavailable

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

log = logging.getLogger(__name__)

SETTINGS: Final = {
    "application_name": "pyvospace-ngas",
    "timezone": "UTC",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "60s",
    "jit": "off",  # our queries are short; compiling them costs more than running them
    # A plan made while a table was empty reads all of it, and is kept while the table grows: a
    # look-up took 40 times as long, until the statistics came. Ours have their indexes.
    "enable_seqscan": "off",
}
_AWAY: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
)
# It answers, but its set-up may still be under way: the role first, then the database.
_NOT_MADE: Final = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
)
SET_UP_SECONDS: Final = 30.0
# Nothing was changed, and the same may succeed a moment later.
_CROWDED: Final = (asyncpg.DeadlockDetectedError, asyncpg.LockNotAvailableError)
_CONNECT_SECONDS: Final = 10
_DECODER: Final = json.JSONDecoder()
# Makes its transaction not wait for the disk, which the next one that does wait makes up for:
# for what may be lost when PostgreSQL crashes.
HASTY: Final = "select set_config('synchronous_commit', 'off', true)"

# How a transaction is begun, undone and ended, and a part of one.
_WHOLE: Final = "begin", "rollback", "commit"
_SAVEPOINT: Final = "savepoint nested", "rollback to nested; release nested", "release nested"


async def connect(dsn: str) -> Connection:
    """Return a new connection, set up as all of ours are."""
    connection: Connection = await asyncpg.connect(
        dsn, server_settings=SETTINGS, timeout=_CONNECT_SECONDS
    )
    for kind, decoder in (("json", json.loads), ("jsonb", _from_jsonb)):
        await connection.set_type_codec(
            kind, schema="pg_catalog", encoder=json.dumps, decoder=decoder
        )
    return connection


@asynccontextmanager
async def transaction(db: Connection, first: str = "") -> AsyncIterator[None]:
    """Begin a transaction (read committed), and end it; inside of one, a savepoint.

    ``first`` is a statement without parameters that is to be the first in it. It goes along with
    the beginning, which takes a round trip of its own otherwise. asyncpg's own transactions can be
    around one of these, not inside of it.
    """
    begin, undo, end = _SAVEPOINT if db.is_in_transaction() else _WHOLE
    try:
        await db.execute(f"{begin}; {first}")
        yield
    except BaseException:
        await _undone(db, undo)
        raise
    if await db.execute(end) == "ROLLBACK":  # which is no error to PostgreSQL
        raise InternalFault("an error in a transaction was overlooked: nothing of it was kept")


async def _undone(db: Connection, statement: str) -> None:
    if not db.is_in_transaction():
        return
    try:
        await db.execute(statement)
    except (*_AWAY, asyncpg.InterfaceError, asyncpg.InternalClientError):
        db.terminate()  # it is just being lost: so PostgreSQL undoes it


def _from_jsonb(text: str) -> object:
    """Return what PostgreSQL wrote: never with space around it, which ``json.loads`` looks for."""
    return _DECODER.raw_decode(text)[0]


class Database:
    """A bounded list of connections: the last returned is used first, callers wait in turn."""

    def __init__(self, dsn: str, size: int = 10) -> None:
        self._dsn = dsn
        self._size = size
        self._open = 0
        self._free: list[Connection] = []
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for connection in self._free:
            await _close(connection)
        self._free.clear()

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Connection]:
        """Lend a connection in autocommit; `ServiceUnavailable` while PostgreSQL is away."""
        try:
            connection = await self._take()
        except _AWAY as error:
            raise ServiceUnavailable("the database does not answer; try again later") from error
        try:
            yield connection
        except _AWAY as error:
            connection.terminate()
            if isinstance(error, TimeoutError):
                raise
            raise ServiceUnavailable("the database went away; try again later") from error
        except _CROWDED as error:
            log.warning("given up, as others hold what it needs: %s", type(error).__name__)
            raise ServiceUnavailable("others change the same just now; try again later") from error
        except asyncio.CancelledError:
            # A cancelled query leaves the protocol in the middle of it: such a connection is lost.
            connection.terminate()
            raise
        except (asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
            # Also what a transaction meets at its end on a connection that was lost inside of it,
            # and the second of them what comes between the server's last word and its hanging up.
            lost = connection.is_closed() or isinstance(error, asyncpg.InternalClientError)
            connection.terminate()
            if lost:
                raise ServiceUnavailable("the database went away; try again later") from error
            raise
        finally:
            self._give_back(connection)

    @asynccontextmanager
    async def transaction(self, first: str = "") -> AsyncIterator[Connection]:
        """Lend a connection inside one `transaction`."""
        async with self.acquire() as connection, transaction(connection, first):
            yield connection

    async def wait_until_ready(self, patience: float = SET_UP_SECONDS) -> None:
        """Return once PostgreSQL lets us in; say now and then what is waited for.

        A server that is away is waited for without end. One that does not know the dsn's role or
        database gets ``patience`` seconds, as they are made just now or misspelt; then its
        refusal is raised.
        """
        pause, refused = 0.2, 0.0
        while (why := await self._obstacle()) is not None:
            if isinstance(why, _NOT_MADE):
                if refused >= patience:
                    raise why
                refused += pause
            log.warning("waiting for the database: %s: %s", type(why).__name__, why)
            await asyncio.sleep(pause)
            pause = min(pause * 2, 5)

    async def _obstacle(self) -> BaseException | None:
        """Return why PostgreSQL cannot be used now, None if it can."""
        try:
            async with self.acquire() as connection:
                await connection.execute("select 1")
        except ServiceUnavailable as error:
            return error.__cause__ or error
        except _NOT_MADE as error:
            return error
        return None

    async def _take(self) -> Connection:
        while True:
            while self._free:
                connection = self._free.pop()
                if not connection.is_closed():
                    return connection
                self._open -= 1
            if self._open < self._size:
                self._open += 1
                try:
                    return await connect(self._dsn)
                except BaseException:
                    self._open -= 1
                    self._wake()
                    raise
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._wake()  # the turn was ours already: pass it on
                raise

    def _give_back(self, connection: Connection) -> None:
        if connection.is_closed():
            self._open -= 1
        else:
            self._free.append(connection)
        self._wake()

    def _wake(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return


async def _close(connection: Connection) -> None:
    try:
        await connection.close(timeout=5)
    except _AWAY:
        connection.terminate()
