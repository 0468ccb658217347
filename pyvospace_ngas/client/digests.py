"""MD5 sums of what passes by, and the ``Digest`` header that carries them (RFC 3230)."""

import asyncio
import base64
import binascii
import hashlib
from collections.abc import Callable, Mapping
from typing import Final

_WORTH_A_THREAD: Final = 64 << 10  # bytes; below, the hop costs more than the sum


class Meter:
    """Counts and sums bytes in their order, large pieces off the event loop.

    Such a piece is summed while it goes on its way, and before the next one.
    """

    def __init__(self, report: Callable[[int], None] | None = None) -> None:
        self.length = 0
        self._report = report  # told of each piece, and of all that is taken back
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._running: asyncio.Future[None] | None = None

    async def add(self, chunk: bytes) -> None:
        """Count ``chunk`` in."""
        await self._settle()
        if len(chunk) < _WORTH_A_THREAD:
            self._md5.update(chunk)
        else:
            loop = asyncio.get_running_loop()
            self._running = loop.run_in_executor(None, self._md5.update, chunk)
        self.count(len(chunk))

    def count(self, length: int) -> None:
        """Count bytes in of which the sum is known to whoever asks."""
        self.length += length
        if self._report is not None:
            self._report(length)

    def take_back(self) -> None:
        """Report that what was counted came to nothing."""
        if self._report is not None:
            self._report(-self.length)

    async def md5(self) -> bytes:
        """Return the sum of all that was counted in so far."""
        await self._settle()
        return self._md5.digest()

    async def _settle(self) -> None:
        if self._running is not None:
            await asyncio.shield(self._running)  # who is cut off here may go on with the rest
            self._running = None


def announced(headers: Mapping[str, str]) -> bytes | None:
    """Return the MD5 sum that ``headers`` announce, if they do."""
    for part in headers.get("Digest", "").split(","):
        name, _, value = part.strip().partition("=")
        if name.strip().lower() == "md5":
            try:
                return base64.b64decode(value.strip(), validate=True)
            except binascii.Error:
                return None
    return None


def header(md5: bytes) -> str:
    """Return the value of a ``Digest`` header for ``md5``."""
    return f"md5={base64.b64encode(md5).decode()}"
