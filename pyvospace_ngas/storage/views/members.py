"""What archives consist of, and names and links on their way between nodes and archives; pure."""

import posixpath
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Final

from pyvospace_ngas.errors import InvalidData, InvalidURI
from pyvospace_ngas.model.node import Node, NodeType
from pyvospace_ngas.model.uri import DEEPEST, LONGEST_PATH, RESERVED, NodePath, Space, check_name

LONGEST_LINK: Final = 4096
_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


class Kind(Enum):
    """What a member of an archive is."""

    FOLDER = auto()
    FILE = auto()
    LINK = auto()
    SAME = auto()  # the bytes of an earlier member once more (a hard link in a tar)
    RELINK = auto()  # an earlier file turns out to be a link (a zip tells at its end)


@dataclass(frozen=True, slots=True)
class Member:
    """A member that is written: its name has no slash at the end, whatever it is."""

    name: str
    kind: Kind
    mtime: datetime
    length: int = 0
    target: str = ""


@dataclass(frozen=True, slots=True)
class Incoming:
    """A member that is read. ``length`` is ``None`` where only its end will tell."""

    name: str
    kind: Kind
    mtime: datetime
    length: int | None = 0
    target: str = ""
    body: AsyncIterator[bytes] | None = None


def member(parts: Sequence[str], node: Node, root: NodePath, space: Space) -> Member:
    """Return what ``node`` is in an archive of ``root``, below which its path is ``parts``."""
    name = "/".join(parts)
    if node.type is NodeType.CONTAINER:
        return Member(name, Kind.FOLDER, node.mtime)
    if node.type is NodeType.LINK:
        target = written_link(parts, node.target or "", root, space)
        return Member(name, Kind.LINK, node.mtime, target=target)
    return Member(name, Kind.FILE, node.mtime, node.length)


def written_link(parts: Sequence[str], target: str, root: NodePath, space: Space) -> str:
    """Return a link's target as an archive has it: relative inside of it, else the URI itself."""
    try:
        path = space.parse(target)
    except InvalidURI:
        return target
    if not path.is_below(root):
        return target
    inside = "/".join(path.parts[len(root.parts) :])
    return posixpath.relpath("/" + inside, "/" + "/".join(parts[:-1]))


def split(name: str, container: NodePath) -> tuple[str, ...]:
    """Return the parts of a member's name; `InvalidData` unless all are fit for nodes.

    Empty and ``.`` parts do not count; the member may be the archive's own root, without parts.
    """
    if name.startswith("/"):
        raise InvalidData(f"the archive has the absolute name {_shown(name)}")
    return _checked([part for part in name.split("/") if part not in ("", ".")], name, container)


def read_link(parts: Sequence[str], target: str, container: NodePath, space: Space) -> str:
    """Return the target of a LinkNode for a link inside an archive that ``container`` takes.

    A URI stays as it is. Anything else is a path that must stay inside of the archive.
    """
    if not target or len(target) > LONGEST_LINK:
        raise InvalidData(f"the link {_shown('/'.join(parts))} has no usable target")
    if _URI.match(target):
        if any(c.isspace() or not c.isprintable() for c in target):
            raise InvalidData(f"the target {_shown(target)} is no URI")
        return target
    path = _resolved(parts[:-1], target)
    if path is None:
        raise InvalidData(f"the link {_shown('/'.join(parts))} leads out of the archive")
    return space.uri(NodePath((*container.parts, *_checked(path, target, container))))


def _resolved(folder: Sequence[str], target: str) -> list[str] | None:
    """Return where ``target`` leads from ``folder``, ``None`` if out of the archive."""
    if target.startswith("/"):
        return None
    path = list(folder)
    for part in target.split("/"):
        if part == "..":
            if not path:
                return None
            path.pop()
        elif part not in ("", "."):
            path.append(part)
    return path


def moment(seconds: float) -> datetime:
    """Return the time of a member: now at the latest, 1970 for what cannot be."""
    now = datetime.now(UTC)
    try:
        return min(max(datetime.fromtimestamp(seconds, UTC), _EPOCH), now)
    except (ValueError, OverflowError, OSError):
        return _EPOCH


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def _checked(parts: Sequence[str], name: str, container: NodePath) -> tuple[str, ...]:
    for part in parts:
        try:
            check_name(part, _shown(name))
        except InvalidURI as error:
            raise InvalidData(f"a name in the archive: {error}") from None
        if part in RESERVED:
            raise InvalidData(f"the archive has the reserved name {part}")
    whole = (*container.parts, *parts)
    if len(whole) > DEEPEST or sum(len(part.encode()) + 1 for part in whole) > LONGEST_PATH:
        raise InvalidData(f"{_shown(name)} is too long or too deep")
    return tuple(parts)


def _shown(name: str) -> str:
    return repr(name[:80])
