"""The checksum variants of NGAS, by all the names that requests, tables and answers use."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from enum import StrEnum
from typing import Final

from crc32c import crc32c

Buffer = bytes | bytearray | memoryview


class UnknownVariant(ValueError):
    """A checksum is named that NGAS does not have."""


class Variant(StrEnum):
    """A kind of checksum; the value is the name that new answers carry in ChecksumPlugIn."""

    CRC32 = "crc32"
    CRC32C = "crc32c"
    CRC32Z = "crc32z"
    NONE = "none"


NAMES: Final[dict[str, Variant]] = {
    "0": Variant.CRC32,
    "crc32": Variant.CRC32,
    "ngamsGenCrc32": Variant.CRC32,  # written by ARCHIVE
    "StreamCrc32": Variant.CRC32,  # written by CARCHIVE
    "1": Variant.CRC32C,  # written by REGISTER
    "crc32c": Variant.CRC32C,
    "2": Variant.CRC32Z,
    "crc32z": Variant.CRC32Z,
    "-1": Variant.NONE,
    "none": Variant.NONE,
    "None": Variant.NONE,
    "": Variant.NONE,
}

# What is sent as crc_variant: every release of the server that has variants reads the numbers.
NUMBERS: Final[dict[Variant, int]] = {
    Variant.CRC32: 0,
    Variant.CRC32C: 1,
    Variant.CRC32Z: 2,
    Variant.NONE: -1,
}

FUNCTIONS: Final[dict[Variant, Callable[[Buffer, int], int]]] = {
    Variant.CRC32: zlib.crc32,
    Variant.CRC32C: crc32c,
    Variant.CRC32Z: zlib.crc32,
    Variant.NONE: lambda _buffer, value: value,
}


def named(name: str) -> Variant:
    """Return the variant that goes by ``name``, or raise `UnknownVariant`."""
    try:
        return NAMES[name.strip()]
    except KeyError:
        raise UnknownVariant(f"there is no checksum named {name!r}") from None


class Crc:
    """A checksum that grows with what passes; large buffers are summed without the GIL."""

    __slots__ = ("_add", "value", "variant")

    def __init__(self, variant: Variant | str = Variant.CRC32C) -> None:
        self.variant = named(variant)
        self.value = 0
        self._add = FUNCTIONS[self.variant]

    def update(self, buffer: Buffer) -> None:
        """Take ``buffer`` in."""
        self.value = self._add(buffer, self.value)

    @property
    def text(self) -> str:
        """The checksum as NGAS writes it: decimal, or nothing where there is none."""
        return "" if self.variant is Variant.NONE else str(self.value)


def same(variant: Variant | str, a: str | int, b: str | int) -> bool:
    """Whether two checksums of one variant agree; two of `Variant.NONE` prove nothing and do not.

    Old servers wrote crc32 as a signed number, so it is compared modulo 2**32.
    """
    kind = named(variant)
    try:
        left, right = int(a), int(b)
    except ValueError:
        return False
    match kind:
        case Variant.NONE:
            return False
        case Variant.CRC32:
            return (left - right) % 2**32 == 0
        case _:
            return left == right
