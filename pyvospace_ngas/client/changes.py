"""What others change, as it happens: the stream ``/changes``, taken up where it broke off."""

import json
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from yarl import URL

from pyvospace_ngas.client.connection import BROKEN, Connection
from pyvospace_ngas.client.discovery import Service
from pyvospace_ngas.client.faults import fault
from pyvospace_ngas.errors import (
    ChangesPruned,
    InvalidData,
    ServiceUnavailable,
    TooManyRequests,
)
from pyvospace_ngas.model.node import BY_NAME, NodeType
from pyvospace_ngas.model.uri import NodePath

SILENCE: Final = 10.0  # seconds without a word (a server says one each second): it is broken
_LONGEST: Final = 1 << 20  # bytes of one event
_MOST_DOUBLED: Final = 10  # failures after which one does not wait longer still
_AGAIN: Final = (ServiceUnavailable, TooManyRequests)


@dataclass(frozen=True, slots=True)
class Began:
    """From here on every change is told: what was read before may be outdated."""


@dataclass(frozen=True, slots=True)
class Changed:
    """A node was made or changed, or has gone (no ``type``).

    With a container all below it may have changed. ``etag`` is missing when the node may not be
    read, or when more than it may have changed.
    """

    path: NodePath
    type: NodeType | None = None
    etag: str | None = None
    length: int | None = None


@dataclass(frozen=True, slots=True)
class Current:
    """All that was committed until ``lag`` seconds ago has been told."""

    lag: float


Event: TypeAlias = Began | Changed | Current


@dataclass(slots=True)
class _Message:
    """One message of a stream as it came."""

    id: str | None = None
    name: str = "message"
    data: str = ""


async def follow(
    connection: Connection, service: Service, path: NodePath
) -> AsyncGenerator[Event, None]:
    """Give what changes at ``path`` and below, without an end.

    A stream that breaks is taken up where it ended; where it can be no more, `Began` comes again.
    Refusals are raised. Wrap in `contextlib.aclosing`.
    """
    since: str | None = None
    failures = 0
    while True:
        try:
            async with aclosing(_stream(connection, service, path, since)) as messages:
                async for message in messages:
                    failures = 0
                    since = message.id or since
                    if (event := _event(message, service)) is not None:
                        yield event
        except ChangesPruned:
            since = None
        except (*BROKEN, *_AGAIN):
            failures += 1
        await connection.pause(max(1, min(failures, _MOST_DOUBLED)))


async def _stream(
    connection: Connection, service: Service, path: NodePath, since: str | None
) -> AsyncGenerator[_Message, None]:
    """Give the messages of one answer; one that breaks off just ends, or raises."""
    url = URL(service.nodes.removesuffix("/nodes") + "/changes", encoded=True)
    query = {"path": service.space.uri(path)}
    fields = {"Accept": "text/event-stream"} | ({"Last-Event-ID": since} if since else {})
    async with connection.stream(url.with_query(query), fields, SILENCE) as answer:
        if answer.status != 200:
            raise fault(answer.status, await answer.read())
        async with aclosing(messages_of(answer.content.iter_any())) as messages:
            async for message in messages:
                yield message


async def messages_of(chunks: AsyncIterable[bytes]) -> AsyncGenerator[_Message, None]:
    """Give the messages of a stream of server-sent events; one that is cut does not count."""
    left = b""
    async for chunk in chunks:
        *whole, left = (left + chunk).split(b"\n\n")
        if len(left) > _LONGEST:
            raise InvalidData("the stream of changes has an event without an end")
        for block in whole:
            yield _message(block.decode("utf-8", "replace"))


def _message(block: str) -> _Message:
    found = _Message()
    for line in block.split("\n"):
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "id":
            found.id = value
        elif field == "event":
            found.name = value
        elif field == "data":
            found.data += value
    return found


def _event(message: _Message, service: Service) -> Event | None:
    """Return what a message means, ``None`` for one of which nothing is known, or nothing said."""
    if not message.data:
        return None
    try:
        words: dict[str, Any] = json.loads(message.data)
        match message.name:
            case "began":
                return Began()
            case "current":
                return Current(float(words["lag"]))
            case "message":
                return Changed(
                    service.space.parse(words["uri"]),
                    BY_NAME[words["type"]] if words["type"] else None,
                    words.get("etag"),
                    words.get("length"),
                )
            case _:
                return None
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidData("this is no stream of changes") from error
