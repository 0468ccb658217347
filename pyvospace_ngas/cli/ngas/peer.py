"""The node that is spoken to: one connection a request, redirects followed, errors of one kind."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, TypeVar
from urllib.parse import parse_qsl, urlsplit

from pyvospace_ngas.cli.ngas.credentials import Credentials
from pyvospace_ngas.cli.ngas.sentences import NotAuthenticated, NotPermitted, Usage
from pyvospace_ngas.ngas import client, upload
from pyvospace_ngas.ngas.checksum import Buffer
from pyvospace_ngas.ngas.errors import Busy, Malformed, Refused, Unreachable, Untrusted
from pyvospace_ngas.ngas.placement import Entry
from pyvospace_ngas.ngas.status import Answer
from pyvospace_ngas.ngas.wire import Connection, Head, Pool

T = TypeVar("T")

PORT: Final = 7777
SCHEMES: Final = {"http": 80, "https": 443}  # and the ports that a redirect means without one
MOST_REDIRECTS: Final = 3
CHANCES: Final = 2
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
# How long to wait for a node that serves as many as it can, before asking again.
PAUSES: Final = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0)


@dataclass(frozen=True, slots=True)
class Target:
    """A request as it is made, or as a redirect says."""

    entry: Entry
    command: str
    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Peer:
    """A node, and who asks it."""

    pool: Pool
    entry: Entry
    credentials: Credentials | None = None

    async def ask(
        self, command: str, parameters: Mapping[str, str], *, repeatable: bool = True
    ) -> Answer:
        """Return a status document that says SUCCESS; anything else is an error.

        What is not ``repeatable`` is not asked again when nobody knows whether it was done.
        """
        chances = CHANCES if repeatable else 0
        return await patiently(lambda: self._ask(command, parameters), chances)

    async def push(
        self,
        command: str,
        parameters: Mapping[str, str],
        fields: Mapping[str, str],
        length: int,
        body: AsyncIterator[Buffer],
    ) -> Answer:
        """Send ``length`` bytes; see `upload.push` for the errors."""
        sent = {**fields, **self._identity(self.entry)}
        try:
            return await upload.push(
                self.pool, self.entry, command, parameters, sent, length, body
            )
        except Refused as refusal:
            raise _who(refusal) from refusal

    @asynccontextmanager
    async def opened(
        self, command: str, parameters: Mapping[str, str], fields: Mapping[str, str] | None = None
    ) -> AsyncIterator[tuple[Connection, Head]]:
        """Send a request and give its answer to be read, whatever it says but "go elsewhere"."""
        connection, head = await self._begun(
            Target(self.entry, command, parameters), dict(fields or {})
        )
        try:
            yield connection, head
        finally:
            connection.close()

    async def _ask(self, command: str, parameters: Mapping[str, str]) -> Answer:
        async with self.opened(command, parameters) as (connection, head):
            return understood(connection.entry, head, await connection.document(head))

    async def _begun(self, target: Target, fields: dict[str, str]) -> tuple[Connection, Head]:
        for _ in range(MOST_REDIRECTS + 1):
            connection, head = await client.begin(
                self.pool,
                target.entry,
                target.command,
                target.parameters,
                fields | self._identity(target.entry),
                wait=self.pool.patience.ask,
                repeatable=False,
            )
            if head.status not in REDIRECTS:
                return connection, head
            connection.close()
            target = self._elsewhere(target, head)
        raise Malformed(f"{self.entry.address} redirects again and again")

    def _elsewhere(self, target: Target, head: Head) -> Target:
        """Return where a redirect leads: never from https to http, nor the other way round."""
        location = head.fields.get("location", "")
        refusal = Refused(f"{target.entry.address} sends you to {location or 'nowhere'}")
        scheme = "http" if self.pool.tls is None else "https"
        try:
            parts = urlsplit(location)
            entry = Entry(parts.hostname or "", parts.port or SCHEMES[scheme])
        except ValueError:
            raise refusal from None
        if not entry.host or parts.scheme != scheme:
            raise refusal
        return Target(entry, parts.path.strip("/"), dict(parse_qsl(parts.query)))

    def _identity(self, entry: Entry) -> dict[str, str]:
        """A password goes to the host it was given for, not where a redirect leads."""
        if self.credentials is None or entry.host != self.entry.host:
            return {}
        return {"Authorization": self.credentials.header}


async def patiently(act: Callable[[], Awaitable[T]], chances: int = CHANCES) -> T:
    """Do something, and again while the node is busy.

    A real node resets the connection behind its 503, which can hide it, so that a node which broke
    off is given more ``chances``.
    """
    for count, pause in enumerate(PAUSES):
        try:
            return await act()
        except Busy:
            await asyncio.sleep(pause)
        except Untrusted:
            raise
        except Unreachable:
            if count >= chances:
                raise
            await asyncio.sleep(pause)
    return await act()


def understood(entry: Entry, head: Head, body: bytes) -> Answer:
    """Return a document that says SUCCESS; anything else is raised."""
    try:
        return client.interpret(entry, head, body)
    except Refused as refusal:
        raise _who(refusal) from refusal


def address(url: str) -> tuple[str, Entry]:
    """Return the scheme and the node that ``http://HOST:PORT`` or ``https://`` means."""
    if "@" in url:
        raise Usage("credentials do not belong into the address: others see the command line")
    refusal = Usage(f"{url} is no address of a node; one is such as http://HOST:{PORT}")
    try:
        parts = urlsplit(url if "//" in url else f"//{url}", "http")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise refusal from None
    if not host or parts.scheme not in SCHEMES:
        raise refusal
    return parts.scheme, Entry(host, port or PORT)


def _who(refusal: Refused) -> Exception:
    """Tell a refusal for who asks from other refusals."""
    said = f" ({refusal.message})" if refusal.message else ""
    if refusal.http == 401:
        return NotAuthenticated(f"the node does not know you{said}")
    if refusal.http == 403:
        return NotPermitted(f"the node does not permit it{said}")
    return refusal
