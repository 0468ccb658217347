"""When a node does what: every command of NGAS, with the states that it needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final


class State(StrEnum):
    """Whether the node serves files."""

    ONLINE = "ONLINE"
    OFFLINE = "OFFLINE"


class SubState(StrEnum):
    """Whether it is at work."""

    IDLE = "IDLE"
    BUSY = "BUSY"


@dataclass(frozen=True, slots=True)
class Needs:
    """What a command needs of the node."""

    states: tuple[State, ...] = (State.ONLINE, State.OFFLINE)
    sub_states: tuple[SubState, ...] = (SubState.IDLE, SubState.BUSY)
    changes: bool = False  # archives or removes something: not for a data mover

    def met(self, state: State, sub_state: SubState, *, force: bool = False) -> bool:
        """Whether a node may do it now; ``force`` takes no notice of work that is going on."""
        return state in self.states and (force or sub_state in self.sub_states)


ALWAYS: Final = Needs()
SERVING: Final = Needs(states=(State.ONLINE,))
ARCHIVING: Final = replace(SERVING, changes=True)
CHANGING: Final = replace(ALWAYS, changes=True)
IDLE: Final = (SubState.IDLE,)

COMMANDS: Final[Mapping[str, Needs]] = {
    "ARCHIVE": ARCHIVING,
    "BBCPARC": ARCHIVING,
    "CACHEDEL": CHANGING,
    "CAPPEND": CHANGING,
    "CARCHIVE": ARCHIVING,
    "CCREATE": CHANGING,
    "CDESTROY": CHANGING,
    "CHECKFILE": SERVING,
    "CLIST": ALWAYS,
    "CLONE": ARCHIVING,
    "CONFIG": ALWAYS,
    "CREMOVE": CHANGING,
    "CRETRIEVE": SERVING,
    "DISCARD": CHANGING,
    "EXIT": Needs((State.OFFLINE,), IDLE),
    "HELP": ALWAYS,
    "INIT": Needs(sub_states=IDLE),
    "LABEL": CHANGING,
    "LARCHIVE": ARCHIVING,
    "OFFLINE": Needs((State.ONLINE,), IDLE),
    "ONLINE": Needs((State.OFFLINE,), IDLE),
    "QARCHIVE": ARCHIVING,
    "QUERY": ALWAYS,
    "REARCHIVE": ARCHIVING,
    "REGISTER": ARCHIVING,
    "REMDISK": ARCHIVING,
    "REMFILE": ARCHIVING,
    "RETRIEVE": SERVING,
    "STATUS": ALWAYS,
    "SUBSCRIBE": SERVING,
    "UNSUBSCRIBE": SERVING,
}


def needs(command: str) -> Needs:
    """Return what a command needs; a site's own one looks for itself."""
    return COMMANDS.get(command, ALWAYS)
