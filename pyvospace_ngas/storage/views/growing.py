"""The members of an archive become nodes of a hidden tree as they arrive, their bytes in NGAS."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Final

from pyvospace_ngas.errors import ArchiveUnreachable, InvalidData
from pyvospace_ngas.model.content import Content
from pyvospace_ngas.model.node import USUAL_DATA, NodeType
from pyvospace_ngas.model.quota import Room
from pyvospace_ngas.model.tree import Entry, Growth, Leaf, Reserved
from pyvospace_ngas.model.uri import NodePath, Space
from pyvospace_ngas.ngas.errors import NgasError, WrongLength
from pyvospace_ngas.ngas.federation import Stored
from pyvospace_ngas.ngas.replicas import Copy
from pyvospace_ngas.ops import trees, uploads
from pyvospace_ngas.storage.digests import Expected, Sums
from pyvospace_ngas.storage.headers import EMPTY_MD5
from pyvospace_ngas.storage.service import Service
from pyvospace_ngas.storage.streaming import summed
from pyvospace_ngas.storage.views.members import LONGEST_LINK, Incoming, Kind, read_link, split

log = logging.getLogger(__name__)

SMALL: Final = 256 * 1024  # files up to here are held in memory while the next ones arrive
AT_ONCE: Final = 4  # of them
RESERVED: Final = 32  # file ids that are claimed together
KEPT: Final = 64  # members that become nodes together
FOLDERS: Final = 10_000  # whose ids are remembered
MOST_MEMBERS: Final = 1_000_000

Grown = tuple[Leaf, Content | None, Stored | None, Reserved | None]


class Growing:
    """One hidden tree while it grows. ``unused`` are file ids that nothing was sent under.

    ``room`` is what quotas leave it, as far as is known at the start.
    """

    def __init__(
        self, service: Service, growth: Growth, path: NodePath, space: Space, room: Room | None
    ) -> None:
        self.unused: list[Reserved] = []
        self._service = service
        self._growth = growth
        self._path = path
        self._space = space
        self._room = room
        self._count = 0
        self._size = 0
        self._folders: dict[tuple[str, ...], int] = {}
        self._tasks: set[asyncio.Task[Grown]] = set()
        self._grown: list[Grown] = []

    async def take(self, members: AsyncGenerator[Incoming, None]) -> None:
        """Take in all ``members``; raise `InvalidData` for one that cannot be a node."""
        try:
            async with aclosing(members):
                async for member in members:
                    await self._member(member)
            await self._settle()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _member(self, member: Incoming) -> None:
        self._count += 1
        if self._count > MOST_MEMBERS:
            raise InvalidData(f"the archive has more than {MOST_MEMBERS} members")
        parts = split(member.name, self._path)
        if parts:
            await self._grow(parts, member)
        elif member.kind is not Kind.FOLDER:  # as which an archive may name its own root
            raise InvalidData("a member of the archive has no name")

    async def _grow(self, parts: Sequence[str], member: Incoming) -> None:
        match member.kind:
            case Kind.FOLDER:
                await self._folder(parts, member)
            case Kind.FILE:
                await self._file(parts, member)
            case Kind.LINK:
                target = read_link(parts, member.target, self._path, self._space)
                parent = await self._folder(parts[:-1], member)
                leaf = Leaf(parent, parts[-1], NodeType.LINK, member.mtime, target=target)
                await self._keep((leaf, None, None, None))
            case Kind.SAME:
                await self._same(parts, member)
            case Kind.RELINK:
                await self._relink(parts)

    async def _folder(self, parts: Sequence[str], member: Incoming) -> int:
        """Return the id of a folder, which is made where the archive did not name it before."""
        key = tuple(parts)
        if not key:
            return self._growth.root_id
        if key not in self._folders:
            parent = await self._folder(key[:-1], member)
            leaf = Leaf(parent, key[-1], NodeType.CONTAINER, member.mtime)
            if len(self._folders) >= FOLDERS:
                self._folders.clear()
            self._folders[key] = await trees.folder(self._service.database, self._growth, leaf)
        return self._folders[key]

    async def _file(self, parts: Sequence[str], member: Incoming) -> None:
        parent = await self._folder(parts[:-1], member)
        leaf = Leaf(parent, parts[-1], USUAL_DATA, member.mtime, md5=EMPTY_MD5)
        body = member.body
        if body is None:
            raise InvalidData("a file of the archive has no content")
        if self._room is not None and (member.length or 0) > LONGEST_LINK:
            self._room.check(self._size + (member.length or 0))
        body = self._within_room(body)
        if member.length is not None and member.length > SMALL:
            reserved = await self._reserved()
            sums = Sums(self._service.hashers, Expected())
            await self._keep(await self._stored(leaf, reserved, member.length, body, sums))
            return
        data, is_whole = await _head(body)
        if not is_whole:
            await self._staged(leaf, data, body)
        elif data:
            await self._hold(leaf, await self._reserved(), data)
        else:
            await self._keep((leaf, None, None, None))

    async def _within_room(self, body: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        """Pass ``body`` on while there is room; what may turn out to be a link counts later."""
        length = 0
        async for piece in body:
            length += len(piece)
            if self._room is not None and length > LONGEST_LINK:
                self._room.check(self._size + length)
            yield piece
        if length > LONGEST_LINK:
            self._size += length

    async def _staged(self, leaf: Leaf, head: bytes, body: AsyncIterator[bytes]) -> None:
        """Put a large file whose length comes behind it on disk, as NGAS wants to be told it."""
        reserved = await self._reserved()
        sums = Sums(self._service.hashers, Expected())
        async with self._service.staging.file() as staged:
            await staged.write(_chained(head, body))
            async with aclosing(staged.read()) as whole:
                grown = await self._stored(leaf, reserved, staged.length, whole, sums)
        await self._keep(grown)

    async def _hold(self, leaf: Leaf, reserved: Reserved, data: bytes) -> None:
        """Store a small file while the archive is read on."""
        while len(self._tasks) >= AT_ONCE:
            await self._collect(asyncio.FIRST_COMPLETED)
        sums = Sums(self._service.hashers, Expected())
        store = self._stored(leaf, reserved, len(data), _single(data), sums)
        self._tasks.add(asyncio.create_task(store, name="store-member"))

    async def _stored(
        self, leaf: Leaf, reserved: Reserved, length: int, body: AsyncIterator[bytes], sums: Sums
    ) -> Grown:
        try:
            async with aclosing(summed(body, sums)) as whole:
                stored = await self._service.federation.archive(
                    reserved.file_id, length, whole, crc=sums.crc32c
                )
        except WrongLength as error:
            raise InvalidData("a member is not as long as the archive says") from error
        except NgasError as error:
            log.warning("%s was not archived: %s", reserved.file_id, error)
            raise ArchiveUnreachable(
                "the archive did not take a file now; nothing was changed, try again later"
            ) from error
        return leaf, sums.content(), stored, reserved

    async def _same(self, parts: Sequence[str], member: Incoming) -> None:
        """Make a file that shares the bytes of an earlier one."""
        await self._settle()
        first = await self._known(split(member.target, self._path))
        parent = await self._folder(parts[:-1], member)
        node = first.node
        leaf = Leaf(parent, parts[-1], node.type, node.mtime, node.length, node.md5, node.blob_id)
        await self._keep((leaf, None, None, None))

    async def _relink(self, parts: Sequence[str]) -> None:
        """Make a link out of a file that holds its target."""
        await self._settle()
        entry = await self._known(parts)
        if entry.node.length > LONGEST_LINK:
            raise InvalidData(f"the link {'/'.join(parts)[:80]!r} has no usable target")
        try:
            target = (await self._content(entry)).decode("utf-8")
        except UnicodeDecodeError:
            raise InvalidData(f"the link {'/'.join(parts)[:80]!r} has no usable target") from None
        uri = read_link(parts, target, self._path, self._space)
        service = self._service
        await trees.relink(
            service.database, self._growth, entry.node.id, uri, service.discard_delay
        )

    async def _known(self, parts: Sequence[str]) -> Entry:
        entry = await trees.member(self._service.database, self._growth, parts)
        if not entry.node.type.holds_data:
            raise InvalidData(f"{'/'.join(parts)[:80]!r} is no file of the archive")
        return entry

    async def _content(self, entry: Entry) -> bytes:
        if not entry.copies:
            return b""
        copy = entry.copies[0]
        where = [Copy(copy.entry, copy.host_id, copy.disk_id, copy.version)]
        length = entry.node.length
        try:
            async with self._service.federation.retrieve(where, copy.file_id, 0, length) as source:
                return b"".join([piece async for piece in source.chunks()])
        except NgasError as error:
            raise ArchiveUnreachable("a link could not be read back; try again later") from error

    async def _reserved(self) -> Reserved:
        if not self.unused:
            self.unused = await trees.reserve(
                self._service.database,
                self._growth,
                RESERVED,
                self._service.executor,
                uploads.LEASE,
            )
        return self.unused.pop()

    async def _keep(self, grown: Grown) -> None:
        self._grown.append(grown)
        if len(self._grown) >= KEPT:
            await self._flush()

    async def _flush(self) -> None:
        if self._grown:
            grown, self._grown = self._grown, []
            await trees.keep(self._service.database, self._growth, grown)

    async def _collect(self, when: str) -> None:
        done, self._tasks = await asyncio.wait(self._tasks, return_when=when)
        for task in done:
            await self._keep(task.result())

    async def _settle(self) -> None:
        """Return once all members so far are nodes."""
        if self._tasks:
            await self._collect(asyncio.ALL_COMPLETED)
        await self._flush()


async def _head(body: AsyncIterator[bytes]) -> tuple[bytes, bool]:
    """Read the begin of a file; tell whether that is all of it."""
    parts, size = [], 0
    async for piece in body:
        parts.append(piece)
        size += len(piece)
        if size > SMALL:
            return b"".join(parts), False
    return b"".join(parts), True


async def _chained(head: bytes, body: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    yield head
    async for piece in body:
        yield piece


async def _single(data: bytes) -> AsyncGenerator[bytes, None]:
    yield data
