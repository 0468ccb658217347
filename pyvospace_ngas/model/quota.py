"""Quotas: what a container and all below it may hold, in bytes."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from pyvospace_ngas.errors import InvalidArgument, QuotaExceeded
from pyvospace_ngas.model.node import Node
from pyvospace_ngas.model.standard import QUOTA

LARGEST: Final = 2**62


@dataclass(frozen=True, slots=True)
class Quota:
    """A container's ledger. ``reserved``: announced by transfers that have not ended."""

    id: int
    bytes: int
    used: int
    reserved: int = 0

    @property
    def left(self) -> int:
        """Return how many bytes more there may be; negative where a quota was lowered."""
        return self.bytes - self.used - self.reserved

    @property
    def available(self) -> int:
        """Return how many bytes more there may be."""
        return max(self.left, 0)


@dataclass(frozen=True, slots=True)
class Room:
    """How long the bytes of a node may become, and the sentence for those that are longer."""

    most: int
    sentence: str

    def check(self, length: int) -> None:
        """Raise `QuotaExceeded` for more bytes than there is room for."""
        if length > self.most:
            raise QuotaExceeded(self.sentence)


def limited(line: Iterable[Node]) -> list[int]:
    """Return the containers of ``line`` that have a quota, by id."""
    return sorted(node.id for node in line if QUOTA in node.props)


def sentence(path: object, quota: Quota) -> str:
    """Return what a user is told whose bytes do not fit."""
    promised = f" and {quota.reserved} promised to other transfers" if quota.reserved else ""
    return (
        f"{path} has a quota of {quota.bytes} bytes, of which {quota.used} are used{promised}:"
        f" there is room for {quota.available} more"
    )


def read(text: str) -> int:
    """Return a quota as a person or a document writes it."""
    number = text.strip()
    if not number.isascii() or not number.isdigit() or int(number) > LARGEST:
        raise InvalidArgument(f"a quota is a number of bytes, not {text[:40]!r}")
    return int(number)
