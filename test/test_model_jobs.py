"""Jobs and negotiations: each phase against each event, each wish against what is offered."""

from itertools import product

import pytest

from pyvospace_ngas import errors
from pyvospace_ngas.errors import (
    IllegalTransition,
    InvalidArgument,
    ProtocolNotSupported,
    ViewNotSupported,
    VOSpaceError,
)
from pyvospace_ngas.model import standard
from pyvospace_ngas.model.job import ACTIVE, TRANSITIONS, Event, Phase, advance, is_over
from pyvospace_ngas.model.node import BY_NAME, SUPERTYPES, NodeType
from pyvospace_ngas.model.transfer import Direction, Protocol, Transfer, View, negotiate

ALLOWED = {
    (Phase.PENDING, Event.RUN): Phase.QUEUED,
    (Phase.PENDING, Event.ABORT): Phase.ABORTED,
    (Phase.QUEUED, Event.START): Phase.EXECUTING,
    (Phase.QUEUED, Event.FAIL): Phase.ERROR,
    (Phase.QUEUED, Event.ABORT): Phase.ABORTED,
    (Phase.EXECUTING, Event.FINISH): Phase.COMPLETED,
    (Phase.EXECUTING, Event.FAIL): Phase.ERROR,
    (Phase.EXECUTING, Event.ABORT): Phase.ABORTED,
    (Phase.HELD, Event.RUN): Phase.QUEUED,
    (Phase.HELD, Event.ABORT): Phase.ABORTED,
    (Phase.SUSPENDED, Event.ABORT): Phase.ABORTED,
}


@pytest.mark.parametrize(("phase", "event"), list(product(Phase, Event)))
def test_each_phase_knows_each_event(phase: Phase, event: Event) -> None:
    if (phase, event) in ALLOWED:
        assert advance(phase, event) is ALLOWED[phase, event]
        return
    with pytest.raises(IllegalTransition) as refusal:
        advance(phase, event)
    assert phase in str(refusal.value)


def test_every_phase_is_in_the_table() -> None:
    assert set(TRANSITIONS) == set(Phase)


@pytest.mark.parametrize("phase", list(Phase))
def test_what_is_over_is_not_waited_for(phase: Phase) -> None:
    assert not (is_over(phase) and phase in ACTIVE)
    assert is_over(phase) == (
        phase in {Phase.COMPLETED, Phase.ERROR, Phase.ABORTED, Phase.UNKNOWN, Phase.ARCHIVED}
    )


def asked(*protocols: Protocol, view: str | None = None, version: str | None = "2.1") -> Transfer:
    chosen = None if view is None else View(view)
    return Transfer("vos://a~b/c", "pushToVoSpace", chosen, protocols, version=version)


PUT, GET = standard.HTTP_PUT, standard.HTTP_GET


@pytest.mark.parametrize(
    ("transfer", "direction", "offered"),
    [
        (asked(), Direction.PUSH_TO, [Protocol(uri) for uri in standard.PUT_PROTOCOLS]),
        (
            asked(),
            Direction.PULL_FROM,
            [Protocol(standard.HTTP_GET), Protocol(standard.HTTPS_GET)],
        ),
        (
            asked(Protocol(standard.PUBLIC_SHARE)),
            Direction.PULL_FROM,
            [Protocol(standard.PUBLIC_SHARE)],
        ),
        (asked(Protocol(PUT)), Direction.PUSH_TO, [Protocol(PUT)]),
        (asked(Protocol("urn:x"), Protocol(GET)), Direction.PULL_FROM, [Protocol(GET)]),
        (
            asked(Protocol(standard.HTTPS_PUT), Protocol(PUT)),
            Direction.PUSH_TO,
            [Protocol(standard.HTTPS_PUT), Protocol(PUT)],
        ),
        (
            asked(Protocol(PUT, "http://evil/", params=(("urn:p", "x"),))),
            Direction.PUSH_TO,
            [Protocol(PUT)],
        ),
        (
            asked(Protocol(PUT, security=("urn:x", standard.BASIC)), Protocol(PUT)),
            Direction.PUSH_TO,
            [Protocol(PUT, security=(standard.BASIC,)), Protocol(PUT)],
        ),
        (
            asked(Protocol(PUT, security=("urn:x",)), Protocol(PUT)),
            Direction.PUSH_TO,
            [Protocol(PUT)],
        ),
        (
            asked(Protocol(PUT, security=(standard.COOKIE,)), version=None),
            Direction.PUSH_TO,
            [Protocol(PUT)],
        ),
        (
            asked(Protocol(PUT, security=(standard.COOKIE,)), version="2.0"),
            Direction.PUSH_TO,
            [Protocol(PUT)],
        ),
    ],
)
def test_the_protocols_that_both_know_are_kept(
    transfer: Transfer, direction: Direction, offered: list[Protocol]
) -> None:
    assert negotiate(transfer, direction) == offered


@pytest.mark.parametrize(
    ("transfer", "direction", "refusal"),
    [
        (asked(Protocol("urn:x")), Direction.PUSH_TO, ProtocolNotSupported),
        (asked(Protocol(GET)), Direction.PUSH_TO, ProtocolNotSupported),
        (asked(Protocol(PUT)), Direction.PULL_FROM, ProtocolNotSupported),
        (asked(Protocol(PUT, security=("urn:x",))), Direction.PUSH_TO, ProtocolNotSupported),
        (asked(view="urn:v"), Direction.PUSH_TO, ViewNotSupported),
        (asked(view=standard.DEFAULT_VIEW), Direction.PUSH_TO, ViewNotSupported),
        (asked(view=standard.ANY_VIEW), Direction.PULL_FROM, ViewNotSupported),
    ],
)
def test_where_nothing_is_left_the_refusal_says_what(
    transfer: Transfer, direction: Direction, refusal: type[VOSpaceError]
) -> None:
    with pytest.raises(refusal):
        negotiate(transfer, direction)


@pytest.mark.parametrize(
    ("view", "direction"),
    [
        (standard.ANY_VIEW, Direction.PUSH_TO),
        (standard.BINARY_VIEW, Direction.PUSH_TO),
        (standard.DEFAULT_VIEW, Direction.PULL_FROM),
        (standard.BINARY_VIEW, Direction.PULL_FROM),
    ],
)
def test_the_standard_views_serve(view: str, direction: Direction) -> None:
    assert negotiate(asked(view=view), direction)


def test_a_direction_is_of_bytes_or_a_destination() -> None:
    assert Transfer("t", "pullFromVoSpace").known_direction is Direction.PULL_FROM
    assert Transfer("t", "pullfromvospace").known_direction is None
    assert Transfer("t", "vos://a~b/c").known_direction is None


def test_the_announced_size_is_a_number() -> None:
    assert Transfer("t", "d").size is None
    assert Transfer("t", "d", params=((standard.LENGTH, " 12 "),)).size == 12
    for bad in ("-1", "1e3", "x", "", "٣"):
        with pytest.raises(InvalidArgument):
            assert Transfer("t", "d", params=((standard.LENGTH, bad),)).size


def test_the_six_types_are_named_and_related() -> None:
    assert set(BY_NAME.values()) == set(NodeType) == set(SUPERTYPES)
    for type_ in NodeType:
        assert BY_NAME[type_.qname] is type_
        assert {type_, NodeType.NODE} <= SUPERTYPES[type_]


@pytest.mark.parametrize("fault", VOSpaceError.__subclasses__())
def test_every_fault_has_its_two_names(fault: type[VOSpaceError]) -> None:
    assert fault.fault() == fault.__name__
    assert fault.message().replace(" ", "") == fault.__name__


def test_messages_are_spaced_as_in_the_standard() -> None:
    assert errors.NodeNotFound.message() == "Node Not Found"
    assert errors.InvalidURI.message() == "Invalid URI"
