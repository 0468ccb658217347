"""UWS jobs: their phases, and what a client can see of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from pyvospace_ngas.errors import IllegalTransition
from pyvospace_ngas.model.content import Step
from pyvospace_ngas.model.token import WHOLE, Scope
from pyvospace_ngas.model.transfer import Protocol


class Phase(StrEnum):
    """UWS 1.1, section 2.1.3."""

    PENDING = "PENDING"
    QUEUED = "QUEUED"
    EXECUTING = "EXECUTING"
    COMPLETED = "COMPLETED"
    ERROR = "ERROR"
    ABORTED = "ABORTED"
    UNKNOWN = "UNKNOWN"
    HELD = "HELD"
    SUSPENDED = "SUSPENDED"
    ARCHIVED = "ARCHIVED"


class Event(StrEnum):
    """What moves a job from one phase to the next."""

    RUN = "run"
    START = "start"
    FINISH = "finish"
    FAIL = "fail"
    ABORT = "abort"


TRANSITIONS: Final[dict[Phase, dict[Event, Phase]]] = {
    Phase.PENDING: {Event.RUN: Phase.QUEUED, Event.ABORT: Phase.ABORTED},
    Phase.QUEUED: {
        Event.START: Phase.EXECUTING,
        Event.FAIL: Phase.ERROR,
        Event.ABORT: Phase.ABORTED,
    },
    Phase.EXECUTING: {
        Event.FINISH: Phase.COMPLETED,
        Event.FAIL: Phase.ERROR,
        Event.ABORT: Phase.ABORTED,
    },
    Phase.HELD: {Event.RUN: Phase.QUEUED, Event.ABORT: Phase.ABORTED},
    Phase.SUSPENDED: {Event.ABORT: Phase.ABORTED},
    Phase.COMPLETED: {},
    Phase.ERROR: {},
    Phase.ABORTED: {},
    Phase.UNKNOWN: {},
    Phase.ARCHIVED: {},
}
ACTIVE: Final = frozenset({Phase.PENDING, Phase.QUEUED, Phase.EXECUTING})  # WAIT waits in these


def advance(phase: Phase, event: Event) -> Phase:
    """Return the phase that follows ``event``, or raise `IllegalTransition`."""
    try:
        return TRANSITIONS[phase][event]
    except KeyError:
        raise IllegalTransition(f"cannot {event} a job that is {phase}") from None


def is_over(phase: Phase) -> bool:
    """Tell whether nothing can happen to a job in this phase any more."""
    return not TRANSITIONS[phase]


class Kind(StrEnum):
    """What a job does. The words are stored."""

    PUSH = "push"
    PULL = "pull"
    MOVE = "move"
    COPY = "copy"
    DELETE = "delete"
    SET = "set"
    PULL_TO = "pullto"
    PUSH_FROM = "pushfrom"
    SEARCH = "search"


RECURSIVE: Final = (Kind.DELETE, Kind.SET)  # over a whole tree
TRANSFERS: Final = (
    Kind.PUSH, Kind.PULL, Kind.MOVE, Kind.COPY, Kind.PULL_TO, Kind.PUSH_FROM,
)  # fmt: skip
THIRD_PARTY: Final = (Kind.PULL_TO, Kind.PUSH_FROM)  # where the service calls other servers


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a job ended in ERROR: a fault's name and its detail."""

    name: str
    message: str  # the name as error summaries write it
    detail: str


@dataclass(frozen=True, slots=True)
class Tried:
    """An endpoint of somebody else's that a job has called; ``reason`` says why it was no good.

    Without a reason it is being called, or was when the server that did so died.
    """

    number: int  # of the protocol, from 0
    host: str
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is: bytes, out of so many where that is known."""

    done: int
    total: int | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """A job as it is stored. ``document`` is the transfer as the client sent it."""

    id: str
    kind: Kind
    owner: str | None
    phase: Phase
    document: str
    created: datetime
    run_id: str | None = None
    started: datetime | None = None
    ended: datetime | None = None
    duration: int = 0  # seconds, 0 for no limit
    destruction: datetime | None = None
    deadline: datetime | None = None  # until when endpoints are good
    node_id: int | None = None
    results: Sequence[tuple[str, str]] = ()  # id and href, less transferDetails
    protocols: Sequence[Protocol] = ()  # negotiated, with the storage servers as endpoints
    size: int | None = None  # bytes that the client announced
    view: str | None = None  # the form of the bytes, if it is one of our own views
    failure: Failure | None = None
    tried: Sequence[Tried] = ()
    progress: Progress | None = None
    if_match: str | None = None  # the headers that came with it
    if_none_match: str | None = None
    scope: Scope = WHOLE  # what it may do of what its owner may: that of the token it came by
    found: Sequence[int] = ()  # the nodes that a search has found
    failures: Sequence[tuple[str, str]] = ()  # paths below which nodes were left alone, and why
    moved: Step | None = None  # what a move has just made of its node: told then, and not kept


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs of an owner a list shows (UWS 1.1, section 2.2.2.1)."""

    phases: frozenset[Phase] = frozenset()
    after: datetime | None = None
    last: int | None = None
    kinds: frozenset[Kind] = frozenset()  # none: all
