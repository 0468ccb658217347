"""The bytes of nodes: what they are, where they lie, and the attempts to bring them in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Self

from pyvospace_ngas.errors import PreconditionFailed

# Header fields of the answer to who put bytes in place, or moved a node, for those who keep a
# picture of the tree:
_BEFORE: Final = "X-VO-Node-Before"  # the node's entity tag until then,
_AFTER: Final = "X-VO-Node-After"  # the one that it has now,
_CHANGED: Final = "X-VO-Node-Changed"  # and when that was, as the node says it
# One with which bytes come: properties for their node, as a JSON object in ASCII.
PROPERTIES: Final = "X-VO-Properties"
EMPTY_MD5: Final = "d41d8cd98f00b204e9800998ecf8427e"


@dataclass(frozen=True, slots=True)
class Content:
    """The bytes of an upload as they were summed up on their way."""

    length: int
    md5: str
    crc32c: int


@dataclass(frozen=True, slots=True)
class Copy:
    """A file in NGAS: its id and version, on which disk of which host, reached by which entry."""

    file_id: str
    entry: str
    host_id: str
    disk_id: str
    version: int


@dataclass(frozen=True, slots=True)
class Archived:
    """A file as a node keeps it, with the node's own words on its checksum."""

    copy: Copy
    checksum: str
    variant: str


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes that never change, and where they are."""

    id: int
    length: int
    md5: str
    copies: Sequence[Copy]
    verified: bool = False  # some copy was read back since it was stored


@dataclass(frozen=True, slots=True)
class Served:
    """What a download needs to know of a node and of its job, as they were at one moment."""

    name: str
    holds_data: bool
    is_rooted: bool  # it hangs below the root: neither deleted nor hidden
    is_awaited: bool  # it was made for an upload that has not brought its bytes yet
    job_phase: str | None
    content_type: str | None
    length: int
    md5: str | None
    modified: datetime
    blob_id: int | None
    copies: Sequence[Copy]


@dataclass(frozen=True, slots=True)
class Attempt:
    """A claim on a node: the bytes go to NGAS as ``file_id``, which nothing else is called."""

    id: int
    job_id: str
    node_id: int
    node_version: int
    number: int
    file_id: str
    replaces: int | None = None  # the blob that the node had


@dataclass(frozen=True, slots=True)
class Step:
    """What a change made of a node: its entity tags before and after, and the time in it."""

    before: str
    after: str
    changed: str

    def fields(self) -> dict[str, str]:
        """Return the header fields that tell it."""
        return {_BEFORE: self.before, _AFTER: self.after, _CHANGED: self.changed}

    @classmethod
    def told(cls, fields: Mapping[str, str]) -> Self | None:
        """Return what header fields tell, if they do."""
        before, after, changed = (fields.get(name) for name in (_BEFORE, _AFTER, _CHANGED))
        if before is None or after is None or changed is None:
            return None
        return cls(before, after, changed)


@dataclass(frozen=True, slots=True)
class Committed:
    """What an attempt put in place; ``step`` is known to who has just done that."""

    length: int
    md5: str
    step: Step | None = None


def tag(md5: str | None) -> str:
    """Return the entity tag of bytes: the same for the same bytes, wherever they come from."""
    return f'"{md5 or EMPTY_MD5}"'


def check_replaced(match: str | None, md5: str | None) -> None:
    """Raise `PreconditionFailed` unless bytes with this sum are what If-Match lets be replaced."""
    wanted = {each.strip() for each in (match or "*").split(",")}
    if wanted.isdisjoint({"*", tag(md5)}):
        raise PreconditionFailed("the file has other bytes now than If-Match says")
