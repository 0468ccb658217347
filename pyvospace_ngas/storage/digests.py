"""Checksums of bytes on their way, and those that a client says they have."""

import asyncio
import base64
import binascii
import hashlib
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Final

from pyvospace_ngas.errors import ChecksumMismatch, InvalidArgument
from pyvospace_ngas.model.content import Content
from pyvospace_ngas.ngas.checksum import Crc, Variant

SMALL: Final = 32 * 1024  # below this a thread costs more than the sums
_SIZES: Final = {"md5": 16, "sha-256": 32}


@dataclass(frozen=True, slots=True)
class Expected:
    """The digests that a client gave along with its bytes."""

    md5: bytes | None = None
    sha256: bytes | None = None


def expected(headers: Mapping[str, str]) -> Expected:
    """Read ``Content-MD5`` and ``Digest``; algorithms other than md5 and sha-256 do not count."""
    found: dict[str, bytes] = {}
    given = [part.partition("=") for part in headers.get("Digest", "").split(",")]
    named = [(name.strip().lower(), value.strip()) for name, _, value in given]
    if (content_md5 := headers.get("Content-MD5")) is not None:
        named.append(("md5", content_md5.strip()))
    for name, value in named:
        if name in _SIZES:
            digest = _decoded(name, value)
            if found.setdefault(name, digest) != digest:
                raise InvalidArgument(f"the request gives two {name} digests that differ")
    return Expected(found.get("md5"), found.get("sha-256"))


def _decoded(name: str, value: str) -> bytes:
    size = _SIZES[name]
    try:
        if len(value) == 2 * size:
            return bytes.fromhex(value)
        digest = base64.b64decode(value, validate=True)
    except (ValueError, binascii.Error):
        digest = b""
    if len(digest) != size:
        raise InvalidArgument(f"{value[:80]!r} is no {name} digest in base64")
    return digest


def digest_header(md5: str) -> str:
    """Return the value of ``Digest`` for a hexadecimal MD5."""
    return "md5=" + base64.b64encode(bytes.fromhex(md5)).decode()


class Sums:
    """Length, MD5, CRC-32C, and SHA-256 where it is expected, of pieces in their order.

    A large piece is summed in a thread while the next steps of its journey go on; one at a time,
    so that the order stays.
    """

    def __init__(self, hashers: Executor, wanted: Expected) -> None:
        self.length = 0
        self._wanted = wanted
        self._hashers = hashers
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._crc = Crc(Variant.CRC32C)
        self._sha256 = hashlib.sha256() if wanted.sha256 is not None else None
        self._running: asyncio.Future[None] | None = None

    async def add(self, piece: bytes) -> None:
        """Take ``piece`` in, once the one before it is summed."""
        await self.settle()
        self.length += len(piece)
        if len(piece) < SMALL:
            self._sum(piece)
        else:
            loop = asyncio.get_running_loop()
            self._running = loop.run_in_executor(self._hashers, self._sum, piece)

    async def settle(self) -> None:
        """Return once all that was taken in is summed."""
        if self._running is not None:
            await self._running
            self._running = None

    def crc32c(self) -> int:
        """Return the CRC-32C of what is summed."""
        return self._crc.value

    def content(self) -> Content:
        """Return what is summed."""
        return Content(self.length, self._md5.hexdigest(), self._crc.value)

    def check(self) -> None:
        """Raise `ChecksumMismatch` if the bytes are not those that the client meant."""
        ours = (self._md5.digest(), self._sha256.digest() if self._sha256 else None)
        for name, wanted, digest in zip(
            _SIZES, (self._wanted.md5, self._wanted.sha256), ours, strict=True
        ):
            if wanted is not None and wanted != digest:
                raise ChecksumMismatch(f"the bytes that came have another {name} digest")

    def _sum(self, piece: bytes) -> None:
        self._md5.update(piece)
        self._crc.update(piece)
        if self._sha256 is not None:
            self._sha256.update(piece)
