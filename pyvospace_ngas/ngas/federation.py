"""A federation of NGAS nodes: writes to any of them, reads from whichever has the file."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final, Self

from pyvospace_ngas.ngas import client, upload
from pyvospace_ngas.ngas.body import Body
from pyvospace_ngas.ngas.checksum import Crc, UnknownVariant, Variant, named, same
from pyvospace_ngas.ngas.client import Discarded, Filed
from pyvospace_ngas.ngas.errors import (
    Busy,
    ChecksumMismatch,
    LostAnswer,
    Malformed,
    NgasError,
    NoNode,
    NotFound,
    Refused,
    RemovalRefused,
    Unreachable,
    WrongLength,
)
from pyvospace_ngas.ngas.placement import CAP, Entry, Standing, write_order
from pyvospace_ngas.ngas.registry import Registry, Retry
from pyvospace_ngas.ngas.replicas import Copy, Download
from pyvospace_ngas.ngas.wire import Patience, Pool

log = logging.getLogger(__name__)

BINARY: Final = "application/octet-stream"
LONGEST_PAUSE: Final = 5.0  # seconds between questions about a lost answer or a late node
REMINDER: Final = 10.0  # seconds between messages about a late node

OnAttempt = Callable[[Entry], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Stored:
    """A file as one node keeps it; ``variant`` names the kind of its ``checksum``."""

    entry: Entry
    host_id: str
    disk_id: str
    file_id: str
    version: int
    size: int
    checksum: str
    variant: str


class Federation:
    """Use as an async context; every method may be called by many tasks at once."""

    def __init__(
        self,
        entries: Iterable[Entry],
        *,
        cap: int = CAP,
        allow_no_checksum: bool = False,
        patience: Patience | None = None,
        probe_interval: float = 15.0,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        self._patience = patience or Patience()
        self._pool = Pool(self._patience)
        self._registry = Registry(
            entries, self._pool, cap=cap, probe_interval=probe_interval, clock=clock
        )
        self._allow_no_checksum = allow_no_checksum
        self._clock = clock
        self._random = rng or random.Random()  # noqa: S311 - spreads load, keeps no secret
        self._variants = {Variant.CRC32C}  # what the nodes are seen to answer with
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._open.callback(self._pool.close)
        await self._open.enter_async_context(self._registry.watched())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._open.aclose()

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The distinct entries."""
        return self._registry.entries

    def standings(self) -> dict[Entry, Standing]:
        """Return how the nodes stand, as far as is known at this moment."""
        return self._registry.standings()

    def holder(self, copy: Copy) -> Entry | None:
        """Return the entry that leads to the holder of a copy, None where that is not known."""
        if copy.host_id:
            return self._registry.holder(copy.host_id)
        return self._registry.named(copy.entry)

    async def archive(
        self,
        file_id: str,
        length: int,
        chunks: AsyncIterator[bytes],
        mime_type: str = BINARY,
        *,
        on_attempt: OnAttempt | None = None,
        crc: Callable[[], int] | None = None,
    ) -> Stored:
        """Store ``length`` bytes (at least one) as ``file_id`` on a node that is picked at random.

        ``on_attempt`` is awaited before a node is sent anything; ``crc`` gives the CRC-32C of all
        the bytes once they have passed, and spares computing it here. While no more than 4 MiB
        have passed a node that refuses or fails is replaced by another. Nothing is ever discarded.

        Raises `NoNode` (nothing was stored as far as the nodes said), `LostAnswer` (not known),
        `ChecksumMismatch` (something is stored that is not to be trusted), `WrongLength`, and
        what ``chunks`` raises.
        """
        if length <= 0:
            raise WrongLength("NGAS stores no empty file")
        body = Body(chunks, self._variants if crc is None else self._variants - {Variant.CRC32C})
        tried: dict[Entry, NgasError] = {}
        retry = Retry(self._patience.admission, self._clock)

        def order() -> list[Entry]:
            standings = self._registry.standings()
            return write_order(self.entries, standings, length, tried, self._random)

        while True:
            entry = await self._admit(order, tried, retry)
            try:
                if on_attempt is not None:
                    await on_attempt(entry)
                filed = await self._store(entry, file_id, length, body, mime_type)
                await self._verify(entry, filed, length, body, crc)
                return self._stored(entry, filed)
            except (Busy, Refused, Unreachable, Malformed) as error:
                tried[entry] = error
                self._note(entry, error)
                if isinstance(error, Refused):
                    self._registry.refused_write(entry)
                if not body.can_replay:
                    raise NoNode(f"{file_id} was cut off at its node: {error}") from error
                body.rewind()
            finally:
                self._registry.release(entry)

    @asynccontextmanager
    async def retrieve(
        self, copies: Sequence[Copy], file_id: str, start: int, end: int
    ) -> AsyncIterator[Download]:
        """Open the bytes [``start``, ``end``) of a file; a node has begun to answer on entry.

        The holders of ``copies`` are asked first, then the others at random. Raises `NotFound`
        when every node denied the file, `Unreachable` otherwise.
        """
        if any(self.holder(copy) is None for copy in copies):
            await self._registry.introduce()
        retry = Retry(self._patience.admission, self._clock)
        found = Download(self._registry, copies, file_id, start, end, self._random, retry)
        if start < end:
            await found.open()
        try:
            yield found
        finally:
            found.close()

    async def locate(self, file_id: str) -> list[Stored]:
        """Ask all nodes for a file (its latest version).

        An empty list is the word of every node, each ONLINE; without it `Unreachable` is raised.
        """
        answers = await asyncio.gather(*[self._where(entry, file_id) for entry in self.entries])
        known = [stored for answer in answers if answer is not None for stored in answer]
        found = {(one.host_id, one.disk_id, one.version): one for one in known}
        if not found and None in answers:
            raise Unreachable(f"not every node could tell whether it has {file_id}")
        return list(found.values())

    async def discard(self, copy: Copy, file_id: str) -> Discarded:
        """Remove one copy at the node that holds it.

        Where the holder is not known all are asked. ABSENT is the word of the known holder.
        Raises `RemovalRefused`, `Unreachable` (try again later) or another `NgasError`.
        """
        if self.holder(copy) is None:
            await self._registry.introduce()
        holder = self.holder(copy)
        if holder is not None:
            return await self._discard_at(holder, copy, file_id)
        return await self._discard_anywhere(copy, file_id)

    async def may_discard(self) -> Mapping[Entry, bool | None]:
        """Tell which nodes remove files: True, False (4017), or None for one that did not say.

        An answer counts for a minute.
        """
        return await self._registry.may_discard()

    async def wait_until_ready(self, notify: Callable[[str], None] = log.warning) -> None:
        """Return once a node serves; ``notify`` is told now and then what is waited for."""
        pause, told_at = 0.1, float("-inf")
        while not await self._registry.probe_all():
            if self._clock() - told_at >= REMINDER:
                told_at = self._clock()
                notify("waiting for NGAS at " + ", ".join(one.address for one in self.entries))
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _admit(
        self, order: Callable[[], list[Entry]], tried: dict[Entry, NgasError], retry: Retry
    ) -> Entry:
        """Wait for a node that was not tried; those that were busy are tried again for a while."""
        while True:
            try:
                entry = await self._registry.admit(order)
            except Busy as error:
                raise NoNode(str(error)) from error
            if entry is not None:
                return entry
            reasons = "; ".join(map(str, tried.values())) or "none has room for it"
            busy = [one for one, error in tried.items() if isinstance(error, Busy)]
            if not busy or not await retry.pause():
                raise NoNode(f"no node takes the file: {reasons}")
            for one in busy:
                del tried[one]

    async def _store(
        self, entry: Entry, file_id: str, length: int, body: Body, mime_type: str
    ) -> Filed:
        try:
            filed = await upload.archive(self._pool, entry, file_id, length, body, mime_type)
        except LostAnswer as lost:
            filed = await self._settle(entry, file_id, lost)
        self._registry.worked(entry)
        if filed.file.file_size != length:
            text = f"{entry.address} stored {filed.file.file_size} of {length} bytes"
            raise ChecksumMismatch(text)
        return filed

    async def _settle(self, entry: Entry, file_id: str, lost: LostAnswer) -> Filed:
        """Find out what became of an upload whose answer was lost.

        The node may still be at work on it, so that it is absent only when it is at the end.
        Raises `Unreachable` then, and ``lost`` when the node does not tell.
        """
        deadline = self._clock() + self._patience.settle
        pause, absent = min(0.25, self._patience.settle / 4), False
        while True:
            try:
                return (await client.file_status(self._pool, entry, file_id))[0]
            except NotFound as missing:
                absent = missing.online
            except NgasError:
                absent = False
            if self._clock() >= deadline:
                break
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        if absent:
            raise Unreachable(f"{entry.address} did not keep {file_id}") from lost
        self._registry.failed(entry)
        raise lost

    async def _verify(
        self,
        entry: Entry,
        filed: Filed,
        length: int,
        body: Body,
        crc: Callable[[], int] | None,
    ) -> None:
        """Compare the node's checksum with ours; raise `ChecksumMismatch`."""
        try:
            variant = named(filed.file.checksum_plugin)
        except UnknownVariant as error:
            raise ChecksumMismatch(f"{entry.address}: {error}") from error
        if variant is Variant.NONE:
            if self._allow_no_checksum:
                return
            raise ChecksumMismatch(f"{entry.address} is configured to compute no checksum")
        if crc is not None and variant is Variant.CRC32C:
            ours: int | None = crc()
        else:
            ours = body.value(variant)
        if ours is None:
            self._variants |= {variant}
            agree = await self._reads_back(filed, entry, length, body, crc)
        else:
            agree = same(variant, filed.file.checksum, ours)
        if not agree:
            raise ChecksumMismatch(f"{entry.address} stored other bytes than it was sent")

    async def _reads_back(
        self,
        filed: Filed,
        entry: Entry,
        length: int,
        body: Body,
        crc: Callable[[], int] | None,
    ) -> bool:
        """Sum the stored bytes up: the node's checksum is of a kind that was not computed."""
        stored = Crc(Variant.CRC32C)
        stated = Crc(filed.file.checksum_plugin)
        copy = Copy(entry.address, filed.disk.host_id, filed.disk.disk_id, filed.file.file_version)
        try:
            async with self.retrieve([copy], filed.file.file_id, 0, length) as back:
                async for piece in back.chunks():
                    stored.update(piece)
                    stated.update(piece)
        except NgasError as error:
            raise LostAnswer(f"{filed.file.file_id} cannot be read back: {error}") from error
        ours = body.value(Variant.CRC32C) if crc is None else crc()
        return stored.value == ours and same(stated.variant, filed.file.checksum, stated.value)

    async def _where(self, entry: Entry, file_id: str) -> list[Stored] | None:
        """Return where a node says a file is; None when its answer does not count."""
        try:
            filed = await client.file_status(self._pool, entry, file_id)
        except NotFound as missing:
            return [] if missing.online else None
        except NgasError as error:
            self._note(entry, error)
            return None
        return [self._stored(entry, one) for one in filed]

    async def _discard_at(self, entry: Entry, copy: Copy, file_id: str) -> Discarded:
        try:
            return await client.discard(
                self._pool, entry, file_id, copy.disk_id, copy.file_version
            )
        except NgasError as error:
            self._note(entry, error)
            raise

    async def _discard_anywhere(self, copy: Copy, file_id: str) -> Discarded:
        failures: list[NgasError] = []
        for entry in self.entries:
            try:
                if await self._discard_at(entry, copy, file_id) is Discarded.DISCARDED:
                    return Discarded.DISCARDED
            except NgasError as error:
                failures.append(error)
        for failure in failures:
            if isinstance(failure, RemovalRefused):
                raise failure
        reasons = "; ".join(map(str, failures)) or "every node denies it"
        raise Unreachable(f"the holder {copy.host_id} of {file_id} is not known: {reasons}")

    def _note(self, entry: Entry, error: NgasError) -> None:
        if isinstance(error, Unreachable | Malformed | Busy):
            self._registry.failed(entry)

    def _stored(self, asked: Entry, filed: Filed) -> Stored:
        host_id = filed.disk.host_id or filed.asked.host_id
        return Stored(
            entry=self._registry.holder(host_id) or asked,
            host_id=host_id,
            disk_id=filed.disk.disk_id,
            file_id=filed.file.file_id,
            version=filed.file.file_version,
            size=filed.file.file_size,
            checksum=filed.file.checksum,
            variant=filed.file.checksum_plugin,
        )
