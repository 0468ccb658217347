"""Nodes as a space server shows them, in whichever form."""

from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final, NamedTuple

from pyvospace_ngas.model import standard
from pyvospace_ngas.model.node import NodeType
from pyvospace_ngas.model.uri import NodePath, split

LARGEST: Final = 256 << 20  # bytes of an answer; a page of children, each with long properties


class NodeDocument(NamedTuple):
    """A node as a server shows it. ``read_only`` names the properties that only it can set.

    A tuple, as a frozen dataclass takes six times as long to make, and a listing makes 10,000.
    """

    uri: str
    path: NodePath
    type: NodeType
    properties: Mapping[str, str] = MappingProxyType({})
    read_only: frozenset[str] = frozenset()
    target: str | None = None
    busy: bool = False
    children: tuple["NodeDocument", ...] = ()

    @property
    def authority(self) -> str:
        """Return the authority part of the node's URI."""
        return split(self.uri)[0]

    @property
    def length(self) -> int | None:
        """Return the number of bytes, if the server says so."""
        value = self.properties.get(standard.LENGTH, "").strip()
        return int(value) if value.isascii() and value.isdigit() else None

    @property
    def md5(self) -> str | None:
        """Return the MD5 sum of the bytes in hexadecimal digits, if the server says so."""
        return self.properties.get(standard.MD5)

    @property
    def changed(self) -> str | None:
        """Return when the bytes last changed, as the server writes it."""
        return self.properties.get(standard.MTIME) or self.properties.get(standard.DATE)

    @property
    def modified(self) -> datetime | None:
        """Return when the bytes last changed, if the server says so."""
        return None if self.changed is None else moment(self.changed)


def moment(said: str) -> datetime | None:
    """Return a time that a server wrote; without a zone it is UTC, as the standard has it."""
    try:
        found = datetime.fromisoformat(said.strip())
    except ValueError:
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
