"""Properties: which the service keeps, which a client may set, and what they look like outside."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from pyvospace_ngas.errors import InvalidArgument, PermissionDenied
from pyvospace_ngas.model.node import Node
from pyvospace_ngas.model.standard import (
    AVAILABLE_SPACE,
    BTIME,
    CREATOR,
    CTIME,
    DATE,
    GROUP_READ,
    GROUP_WRITE,
    IS_LOCKED,
    IS_PUBLIC,
    LENGTH,
    MD5,
    MTIME,
    PUBLIC_READ,
    QUOTA,
    READ_ONLY,
)
from pyvospace_ngas.model.uri import is_uri

MOST_PROPERTIES: Final = 1000
LONGEST_VALUE: Final = 65_536
_READ_ONLY: Final = frozenset(READ_ONLY)
SHARING: Final = frozenset({GROUP_READ, GROUP_WRITE, PUBLIC_READ})
_ILLEGAL: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True, slots=True)
class Settings:
    """What a client may say of a node: its own properties and the three that share it."""

    props: Mapping[str, str]
    group_read: str | None = None
    group_write: str | None = None
    public_read: bool | None = None


NOTHING: Final = Settings({})


def timestamp(moment: datetime, precision: str = "milliseconds") -> str:
    """Return ``moment`` as UTC in the form of the standard, to the ``precision``."""
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return moment.isoformat("T", precision)[:-6] + "Z"


def shown(node: Node) -> list[tuple[str, str, bool]]:
    """Return every property of ``node`` as URI, value, and whether only the service sets it."""
    found = [(uri, value, uri == QUOTA) for uri, value in node.props.items()]
    if node.available is not None:
        found.append((AVAILABLE_SPACE, str(node.available), True))
    if node.group_read is not None:
        found.append((GROUP_READ, node.group_read, False))
    if node.group_write is not None:
        found.append((GROUP_WRITE, node.group_write, False))
    if node.public_read is not None:
        public = "true" if node.public_read else "false"
        found += ((PUBLIC_READ, public, False), (IS_PUBLIC, public, False))
    found.append((LENGTH, str(node.length), True))
    if node.md5 is not None:
        found.append((MD5, node.md5, True))
    mtime, ctime, btime = node.mtime, node.ctime, node.btime
    changed = timestamp(mtime)  # mostly the only time there is, and dear to write
    found += (
        (DATE, changed, True),
        (MTIME, changed, True),
        (CTIME, changed if ctime == mtime else timestamp(ctime), True),
        (BTIME, changed if btime == mtime else timestamp(btime), True),
        (CREATOR, node.owner, True),
    )
    return found


def merged(before: Node | None, changes: Mapping[str, str | None]) -> Settings:
    """Return what ``changes`` make of a node's settings: a union, where ``None`` takes away.

    All or nothing: raises `PermissionDenied` for a property that only the service sets, unless it
    is given back unchanged (SET-08), and `InvalidArgument` for what cannot be stored.
    """
    props = dict(before.props) if before is not None else {}
    kept = {uri: value for uri, value, fixed in shown(before) if fixed} if before else {}
    sharing: dict[str, str | None] = {
        GROUP_READ: before.group_read if before else None,
        GROUP_WRITE: before.group_write if before else None,
        PUBLIC_READ: _flag(before.public_read if before else None),
    }
    for uri, value in _one_public(before, changes).items():
        _check(uri, value)
        if uri in _READ_ONLY:
            if before is None or value is None or kept.get(uri) != value:
                raise PermissionDenied(f"{uri} is set by the service only")
        elif uri in sharing:
            sharing[uri] = value
        elif value is None or (uri == IS_LOCKED and not _boolean(uri, value)):
            props.pop(uri, None)
        else:
            props[uri] = value
    if len(props) > MOST_PROPERTIES:
        raise InvalidArgument(f"a node has at most {MOST_PROPERTIES} properties")
    return Settings(
        props,
        sharing[GROUP_READ],
        sharing[GROUP_WRITE],
        _boolean(PUBLIC_READ, sharing[PUBLIC_READ]),
    )


def with_bytes(given: Mapping[str, str]) -> Settings:
    """Return what a client says of a node by properties that come together with its bytes.

    All or nothing: raises `PermissionDenied` for what only the service sets, and for what says
    who may do what, but that all may read them; `InvalidArgument` for what cannot be stored.
    """
    for uri in given:
        if uri in (GROUP_READ, GROUP_WRITE, IS_PUBLIC, IS_LOCKED):
            raise PermissionDenied(f"{uri} does not come with bytes: set it at /nodes")
    return merged(None, given)


def inherited(parent: Node, own: Settings) -> Settings:
    """Return ``own`` with the parent's sharing where it says nothing itself (decision 8)."""
    return Settings(
        own.props,
        parent.group_read if own.group_read is None else own.group_read,
        parent.group_write if own.group_write is None else own.group_write,
        parent.public_read if own.public_read is None else own.public_read,
    )


def _one_public(
    before: Node | None, changes: Mapping[str, str | None]
) -> Mapping[str, str | None]:
    """Return ``changes`` with ``publicread`` alone, which ``ispublic`` is another name for.

    A client that sends both back has changed one of them, if any.
    """
    if IS_PUBLIC not in changes:
        return changes
    rest = {uri: value for uri, value in changes.items() if uri != IS_PUBLIC}
    now = _flag(before.public_read if before else None)
    if rest.get(PUBLIC_READ, now) == now:
        rest[PUBLIC_READ] = changes[IS_PUBLIC]
    return rest


def _flag(value: bool | None) -> str | None:
    return None if value is None else str(value).lower()


def _boolean(uri: str, value: str | None) -> bool | None:
    match (value or "").strip().lower():
        case "":
            return None
        case "true":
            return True
        case "false":
            return False
        case _:
            raise InvalidArgument(f"{uri} is true or false, not {value!r}")


def _check(uri: str, value: str | None) -> None:
    if not is_uri(uri):
        raise InvalidArgument(f"{uri[:80]!r} cannot name a property")
    if value is None:
        return
    if _ILLEGAL.search(value):
        raise InvalidArgument(f"the value of {uri} has a character that XML cannot hold")
    if len(value) > LONGEST_VALUE:
        raise InvalidArgument(f"the value of {uri} is longer than {LONGEST_VALUE} characters")
