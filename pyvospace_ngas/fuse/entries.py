"""Nodes as a directory shows them: kinds, sizes, times, modes and link targets; pure."""

import stat
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from types import MappingProxyType
from typing import Final, NamedTuple

from pyvospace_ngas.client.uploads import Stored
from pyvospace_ngas.errors import InvalidURI
from pyvospace_ngas.model import standard
from pyvospace_ngas.model.content import EMPTY_MD5, Step
from pyvospace_ngas.model.documents import NodeDocument, moment
from pyvospace_ngas.model.node import NodeType
from pyvospace_ngas.model.uri import NodePath, Space

SHARING: Final = frozenset({
    standard.GROUP_READ, standard.GROUP_WRITE, standard.PUBLIC_READ, standard.IS_PUBLIC,
})  # fmt: skip
BLOCK: Final = 512
_SECOND: Final = 10**9


class Kind(Enum):
    """What a name in a directory stands for."""

    FILE = stat.S_IFREG
    DIRECTORY = stat.S_IFDIR
    LINK = stat.S_IFLNK


@dataclass(frozen=True, slots=True)
class Words:
    """The properties in which a mount keeps what a VOSpace has no word for."""

    mtime: str
    atime: str
    mode: str
    link: str
    xattr: str

    @property
    def all(self) -> frozenset[str]:
        """Return those that are no extended attributes."""
        return frozenset({self.mtime, self.atime, self.mode, self.link})

    def has(self, uri: str) -> bool:
        """Tell whether a property is one of these, or an extended attribute."""
        return uri in self.all or uri.startswith(self.xattr)


def words(space: Space) -> Words:
    """Return the URIs of a mount's own properties in ``space``."""
    name = space.identifier
    return Words(
        f"{name}#posix-mtime",
        f"{name}#posix-atime",
        f"{name}#posix-mode",
        f"{name}#posix-link",
        f"{name}/xattr#",
    )


class Entry(NamedTuple):
    """One name. ``md5`` tells versions of a file apart; times are nanoseconds.

    A tuple, as it is the quickest to make, and a listing makes 10,000.
    """

    kind: Kind
    size: int = 0
    md5: str = EMPTY_MD5
    mtime: int = 0
    atime: int | None = None  # as it was set; otherwise it is the time of the last change
    ctime: int = 0
    mode: int = 0o600
    target: str | None = None
    properties: Mapping[str, str] = MappingProxyType({})
    read_only: frozenset[str] = frozenset()
    etag: str | None = None
    asked: float = 0.0  # when the server was asked what it is
    place: str | None = None  # where its bytes are, as far as the server was asked

    @property
    def own(self) -> dict[str, str]:
        """Return the properties that an upload takes away and that are to be given back."""
        kept = self.read_only | SHARING
        return {uri: value for uri, value in self.properties.items() if uri not in kept}


def entry(
    document: NodeDocument, own: Words, etag: str | None = None, asked: float = 0.0
) -> Entry:
    """Return the entry of a node as a server shows it."""
    kind, props, target = _KINDS[document.type], document.properties, document.target
    changed = _nanoseconds(document.changed)
    is_file = kind is Kind.FILE
    return Entry(
        kind,
        (document.length or 0) if is_file else len(target or ""),
        (document.md5 or EMPTY_MD5) if is_file else EMPTY_MD5,
        read_time(props.get(own.mtime), changed),
        read_time(props[own.atime], changed) if own.atime in props else None,
        _nanoseconds(props.get(standard.CTIME)) or changed,
        mode(kind, props, own),
        target,
        props,
        document.read_only,
        etag,
        asked,
    )


_KINDS: Final = dict.fromkeys(NodeType, Kind.FILE) | {
    NodeType.CONTAINER: Kind.DIRECTORY,
    NodeType.LINK: Kind.LINK,
}


def attributes(found: Entry, uid: int, gid: int) -> dict[str, int]:
    """Return what stat shows."""
    return {
        "st_mode": found.kind.value | found.mode,
        "st_nlink": 2 if found.kind is Kind.DIRECTORY else 1,
        "st_size": 4096 if found.kind is Kind.DIRECTORY else found.size,
        "st_blocks": (found.size + BLOCK - 1) // BLOCK,
        "st_blksize": 1 << 17,
        "st_uid": uid,
        "st_gid": gid,
        "st_atime": found.mtime if found.atime is None else found.atime,
        "st_mtime": found.mtime,
        "st_ctime": found.ctime,
    }


def mode(kind: Kind, props: Mapping[str, str], own: Words) -> int:
    """Return the permission bits: what sharing means, and the rest as it was once set.

    Reading by others is ``publicread``; the group's bits are those of groups, where there are any.
    """
    if kind is Kind.LINK:
        return 0o777
    kept = read_mode(props.get(own.mode))
    bits = kept if kept is not None else (0o700 if kind is Kind.DIRECTORY else 0o600)
    enter = kind is Kind.DIRECTORY
    public = props.get(standard.PUBLIC_READ) == "true"
    bits = (bits & ~0o004) | (0o004 if public else 0)
    if public and enter and kept is None:
        bits |= 0o001
    if is_shared(props):
        writes = bool(props.get(standard.GROUP_WRITE))
        bits = (bits & ~0o060) | 0o040 | (0o020 if writes else 0)
        if enter and kept is None:
            bits |= 0o010
    return bits


def is_shared(props: Mapping[str, str]) -> bool:
    """Tell whether the node is shared with a group."""
    return bool(props.get(standard.GROUP_READ) or props.get(standard.GROUP_WRITE))


def changed_mode(found: Entry, wanted: int, own: Words) -> dict[str, str | None]:
    """Return the properties that ``chmod`` to ``wanted`` sets; `PermissionError` for no meaning.

    Nobody can be let in to write by a bit, special bits mean nothing, and which groups may what
    is said by properties. Without a group its bits let nobody in: they are only kept.
    """
    bits = stat.S_IMODE(wanted)
    if bits & 0o7002 or (is_shared(found.properties) and (bits ^ found.mode) & 0o060):
        raise PermissionError(1, "a VOSpace has no such permission")
    changes: dict[str, str | None] = {own.mode: f"{bits:04o}"}
    public = bool(bits & 0o004)
    if public != (found.properties.get(standard.PUBLIC_READ) == "true"):
        changes[standard.PUBLIC_READ] = "true" if public else "false"
    return changes


def read_mode(text: str | None) -> int | None:
    """Return a mode that was kept, ``None`` for what is none."""
    if text is None:
        return None
    try:
        found = int(text, 8)
    except ValueError:
        return None
    return found if 0 <= found <= 0o777 else None


def read_time(text: str | None, otherwise: int) -> int:
    """Return a time that was kept as ``seconds.nanoseconds``."""
    if text is None:
        return otherwise
    seconds, _, fraction = text.partition(".")
    try:
        return int(seconds) * _SECOND + int(fraction.ljust(9, "0")[:9] or 0)
    except ValueError:
        return otherwise


def write_time(moment: int) -> str:
    """Return a time as it is kept."""
    seconds, fraction = divmod(moment, _SECOND)
    return f"{seconds}.{fraction:09d}"


@lru_cache(maxsize=4096)  # the times of a node are mostly the same
def _nanoseconds(said: str | None) -> int:
    """Return a time of the server's in nanoseconds; 0 for none."""
    found = None if said is None else moment(said)
    if found is None:
        return 0
    return int(found.timestamp()) * _SECOND + found.microsecond * 1000


def link_uri(text: str, link: NodePath, root: NodePath, mountpoint: str, space: Space) -> str:
    """Return the URI that a symlink's ``text`` means: a node, or a file outside of the mount.

    ``link`` is the link's own path in the space, ``root`` the container that is mounted.
    """
    inside = _inside(text, link, root, mountpoint)
    if inside is not None:
        return space.uri(inside)
    return "file:" + _quoted(text)


def _inside(text: str, link: NodePath, root: NodePath, mountpoint: str) -> NodePath | None:
    if text.startswith("/"):
        if text != mountpoint and not text.startswith(mountpoint + "/"):
            return None
        parts, rest = list(root.parts), text[len(mountpoint) :]
    else:
        parts, rest = list(link.parent.parts), text
    for name in rest.split("/"):
        if name == "..":
            if len(parts) <= len(root.parts):
                return None
            parts.pop()
        elif name not in ("", "."):
            parts.append(name)
    return NodePath(tuple(parts))


def _quoted(text: str) -> str:
    raw = text.encode("utf-8", "surrogateescape")
    return "".join(chr(b) if 33 <= b < 127 and b not in b'%<>"' else f"%{b:02X}" for b in raw)


def link_text(found: Entry, link: NodePath, root: NodePath, space: Space, own: Words) -> str:
    """Return what readlink shows: what was written, or else the way from the link to its node."""
    target = found.target or ""
    uri, _, text = found.properties.get(own.link, "").partition(" ")
    if text and uri == target:
        return text
    try:
        path = space.parse(target)
    except InvalidURI:
        return target
    if not path.is_below(root):
        return target
    here = link.parent.parts
    common = 0
    while common < min(len(here), len(path.parts)) and here[common] == path.parts[common]:
        common += 1
    steps = [".."] * (len(here) - common) + list(path.parts[common:])
    return "/".join(steps) or "."


def moved(found: Entry, step: Step | None, asked: float) -> Entry:
    """Return ``found`` as it is at another place; with a tag where nothing is guessed.

    That is where the server tells what became of the very node that ``found`` is, as it was
    ``asked`` to move it.
    """
    if step is None or step.before != found.etag:
        return found._replace(etag=None)
    props = {**found.properties, standard.CTIME: step.changed}
    ctime = _nanoseconds(step.changed)
    return found._replace(properties=props, ctime=ctime, etag=step.after, asked=asked)


def written(
    found: Entry,
    stored: Stored,
    properties: Mapping[str, str],
    own: Words,
    mtime: int,
    asked: float,
) -> Entry:
    """Return ``found`` as it is after bytes were stored; with a tag where nothing is guessed.

    That is where the server tells what became of the very node that ``found`` is, as it was
    ``asked`` to store them with these ``properties``. What it does not tell is put in with the
    time ``mtime`` of ours.
    """
    gone = found.own
    props = {uri: value for uri, value in found.properties.items() if uri not in gone}
    read_only, step, etag = found.read_only, stored.step, None
    if step is not None:
        props |= properties
        if standard.PUBLIC_READ in properties:
            props[standard.IS_PUBLIC] = properties[standard.PUBLIC_READ]
    if step is not None and step.before == found.etag:
        etag = step.after
        mtime = _nanoseconds(step.changed)
        props |= {standard.LENGTH: str(stored.length), standard.MD5: stored.md5}
        props |= dict.fromkeys((standard.DATE, standard.MTIME, standard.CTIME), step.changed)
        read_only |= {standard.MD5}  # which a node without bytes does not show
    return found._replace(
        size=stored.length,
        md5=stored.md5,
        mtime=read_time(props.get(own.mtime), mtime),
        atime=read_time(props[own.atime], mtime) if own.atime in props else None,
        ctime=mtime,
        mode=mode(found.kind, props, own),
        properties=props,
        read_only=read_only,
        etag=etag,
        asked=asked,
    )
