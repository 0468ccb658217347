"""Transfers: what a client asks for, and which of its protocols the service can serve."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from pyvospace_ngas.errors import InvalidArgument, ProtocolNotSupported, ViewNotSupported
from pyvospace_ngas.model.standard import (
    CLIENT_PROTOCOLS,
    EXPORT_VIEWS,
    GET_PROTOCOLS,
    IMPORT_VIEWS,
    LENGTH,
    PUBLIC_SHARE,
    PUT_PROTOCOLS,
    SECURITY_METHODS,
)


class Direction(StrEnum):
    """The four that move bytes. Any other direction is the vos URI of a move or copy."""

    PUSH_TO = "pushToVoSpace"
    PULL_FROM = "pullFromVoSpace"
    PULL_TO = "pullToVoSpace"
    PUSH_FROM = "pushFromVoSpace"


_DIRECTIONS: Final = {each.value: each for each in Direction}
OFFERED: Final = {Direction.PUSH_TO: PUT_PROTOCOLS, Direction.PULL_FROM: GET_PROTOCOLS}
VIEWS: Final = {
    Direction.PUSH_TO: IMPORT_VIEWS,
    Direction.PULL_FROM: EXPORT_VIEWS,
    Direction.PULL_TO: IMPORT_VIEWS,
    Direction.PUSH_FROM: EXPORT_VIEWS,
}
MOST_ENDPOINTS: Final = 32  # that one job may have us call
THIRD_PARTY: Final = frozenset({Direction.PULL_TO, Direction.PUSH_FROM})


@dataclass(frozen=True, slots=True)
class Protocol:
    """A way to move bytes: its URI, where, and how a client proves itself there."""

    uri: str
    endpoint: str | None = None
    security: tuple[str, ...] = ()
    params: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class View:
    """A data format that is asked for."""

    uri: str
    original: bool = True
    params: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Transfer:
    """A transfer document. ``target`` and a move's ``direction`` are URIs, not yet checked."""

    target: str
    direction: str
    view: View | None = None
    protocols: Sequence[Protocol] = field(default_factory=tuple)
    keep_bytes: bool | None = None
    params: tuple[tuple[str, str], ...] = ()
    version: str | None = None

    @property
    def known_direction(self) -> Direction | None:
        """Return the direction of bytes, or ``None`` for a move or copy."""
        return _DIRECTIONS.get(self.direction)

    @property
    def size(self) -> int | None:
        """Return the length in bytes that the client announces, if it does."""
        for uri, value in self.params:
            if uri == LENGTH:
                if not value.strip().isascii() or not value.strip().isdigit():
                    raise InvalidArgument(f"{uri} is a number of bytes, not {value!r}")
                return int(value)
        return None


def negotiate(transfer: Transfer, direction: Direction) -> list[Protocol]:
    """Return the protocols out of ``transfer`` that we serve, in the client's order.

    Unknown ones are ignored, and so are security methods that we do not have; a protocol that
    named only such methods is dropped. A client that names none is offered all. Security methods
    are given back if and only if they were asked for, and never to a client of version 2.0, which
    does not know them (VOSpace 2.1, section 3.5). Raises `ViewNotSupported`,
    `ProtocolNotSupported`.
    """
    if transfer.view is not None and transfer.view.uri not in VIEWS[direction]:
        raise ViewNotSupported(transfer.view.uri)
    offered = OFFERED[direction]
    if not transfer.protocols:
        # A public share is nothing to be given unasked.
        return [Protocol(uri) for uri in offered if uri != PUBLIC_SHARE]
    kept = [
        replace(protocol, endpoint=None, security=security, params=())
        for protocol in transfer.protocols
        if protocol.uri in offered
        for security in [tuple(m for m in protocol.security if m in SECURITY_METHODS)]
        if protocol.uri != PUBLIC_SHARE or not protocol.security
        if security or not protocol.security
    ]
    if not kept:
        raise ProtocolNotSupported(" ".join(protocol.uri for protocol in transfer.protocols))
    if transfer.version is None or transfer.version == "2.0":
        return [replace(protocol, security=()) for protocol in kept]
    return kept


def callable_endpoints(transfer: Transfer, direction: Direction) -> list[Protocol]:
    """Return the protocols of a pullToVoSpace or pushFromVoSpace that we can be a client of.

    The words for GET and PUT both stand for what the direction needs (A27). The service shows no
    credentials to others: a protocol that asks for a security method cannot be used. Raises
    `ViewNotSupported`, `ProtocolNotSupported`, and `InvalidArgument` when no endpoint is given.
    """
    if transfer.view is not None and transfer.view.uri not in VIEWS[direction]:
        raise ViewNotSupported(transfer.view.uri)
    given = [protocol for protocol in transfer.protocols if protocol.endpoint]
    if not given:
        raise InvalidArgument(f"{direction} needs a protocol with an endpoint")
    usable = [
        replace(protocol, params=())
        for protocol in given
        if protocol.uri in CLIENT_PROTOCOLS and not protocol.security
    ]
    if not usable:
        raise ProtocolNotSupported(" ".join(protocol.uri for protocol in given))
    if len(usable) > MOST_ENDPOINTS:
        raise InvalidArgument(f"a transfer has at most {MOST_ENDPOINTS} endpoints")
    return usable
