"""The bytes of an upload: summed once, the first of them kept to be sent again elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from typing import Final

from pyvospace_ngas.ngas.checksum import Crc, Variant

KEPT: Final = 4 * 2**20
LARGE: Final = 2**20  # from here a checksum takes longer than handing it to a thread


class Body:
    """Iterates over the bytes of a source; `rewind` starts again while `can_replay`."""

    def __init__(self, source: AsyncIterator[bytes], variants: Collection[Variant]) -> None:
        self.can_replay = True
        self._source = source
        self._sums = {variant: Crc(variant) for variant in variants}
        self._pieces: list[bytes] = []
        self._kept = 0
        self._next = 0

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._next < len(self._pieces):
            self._next += 1
            return self._pieces[self._next - 1]
        if self._kept > KEPT:
            # Asked for more, so what was kept has left: the node takes this file.
            self.can_replay = False
            self._pieces.clear()
            self._next = 0
        piece = await anext(self._source)
        await self._sum(piece)
        if self.can_replay:
            self._pieces.append(piece)
            self._kept += len(piece)
            self._next += 1
        return piece

    def rewind(self) -> None:
        """Start again from the first byte."""
        if not self.can_replay:
            raise RuntimeError("the first bytes are gone")
        self._next = 0

    def value(self, variant: Variant) -> int | None:
        """Return the checksum of what passed, None for a variant that was not asked for."""
        crc = self._sums.get(variant)
        return None if crc is None else crc.value

    async def _sum(self, piece: bytes) -> None:
        for crc in self._sums.values():
            if len(piece) < LARGE:
                crc.update(piece)
            else:
                await asyncio.to_thread(crc.update, piece)
