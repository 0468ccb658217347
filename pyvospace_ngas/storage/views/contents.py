"""The members of a tree that is packed, with their bytes out of NGAS."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Final

from pyvospace_ngas.model.node import NodeType
from pyvospace_ngas.model.tree import Entry
from pyvospace_ngas.model.uri import Space
from pyvospace_ngas.ngas.errors import NgasError, Unreachable
from pyvospace_ngas.ngas.replicas import Copy
from pyvospace_ngas.ops import trees
from pyvospace_ngas.ops.trees import Tree, Walked
from pyvospace_ngas.storage.service import Service
from pyvospace_ngas.storage.views.members import Member, member

SMALL: Final = 256 * 1024  # files up to here are fetched ahead
AHEAD: Final = 8  # members at most that are walked to ahead

Content = AsyncIterator[bytes]


async def members(
    service: Service, tree: Tree, space: Space, walked: AsyncGenerator[Walked, None]
) -> AsyncGenerator[tuple[Member, Content | None], None]:
    """Give each member of an archive with its content, which is ``None`` for an empty one."""
    async with aclosing(_ahead(service, walked)) as waiting:
        async for one in waiting:
            if not one.entry.node.length:
                yield member(one.parts, one.entry.node, tree.path, space), None
            elif one.task is not None:
                fetched = await one.task
                if fetched is not None:
                    entry, data = fetched
                    yield member(one.parts, entry.node, tree.path, space), _single(data)
            else:
                async with _opened(service, one.entry) as opened:
                    if opened is not None:
                        entry, pieces = opened
                        yield member(one.parts, entry.node, tree.path, space), pieces


@dataclass(slots=True)
class _Waiting:
    """A member that was walked to. A small file is being fetched by its task."""

    parts: tuple[str, ...]
    entry: Entry
    task: asyncio.Task[tuple[Entry, bytes] | None] | None


async def _ahead(
    service: Service, walked: AsyncGenerator[Walked, None]
) -> AsyncGenerator[_Waiting, None]:
    """Walk ahead by a few members, so that small files need not be waited for one by one."""
    ahead: deque[_Waiting] = deque()
    try:
        async for parts, entry in walked:
            ahead.append(_waiting(service, parts, entry))
            if len(ahead) >= AHEAD:
                yield ahead.popleft()
        while ahead:
            yield ahead.popleft()
    finally:
        tasks = [one.task for one in ahead if one.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _waiting(service: Service, parts: tuple[str, ...], entry: Entry) -> _Waiting:
    task = None
    if 0 < entry.node.length <= SMALL:
        task = asyncio.create_task(_fetched(service, entry), name="fetch-ahead")
    return _Waiting(parts, entry, task)


async def _fetched(service: Service, entry: Entry) -> tuple[Entry, bytes] | None:
    async with _opened(service, entry) as opened:
        if opened is None:
            return None
        now, pieces = opened
        return now, b"".join([piece async for piece in pieces])


@asynccontextmanager
async def _opened(service: Service, entry: Entry) -> AsyncIterator[tuple[Entry, Content] | None]:
    """Open the bytes of a file: as they are now, if those of the walk are gone.

    ``None`` when the file was deleted or moved away meanwhile, or is empty or no file now.
    """
    try:
        async with _retrieved(service, entry) as pieces:
            yield entry, pieces
        return
    except _Gone as gone:
        now = await trees.again(service.database, entry)
        if now is not None and now.node.blob_id == entry.node.blob_id:
            raise Unreachable(str(gone)) from gone
    if now is None or not now.copies or now.node.type is NodeType.CONTAINER:
        yield None
        return
    async with _retrieved(service, now) as pieces:
        yield now, pieces


class _Gone(Exception):
    """A file could not be opened; none of its bytes were given."""


@asynccontextmanager
async def _retrieved(service: Service, entry: Entry) -> AsyncIterator[Content]:
    if not entry.copies:
        raise Unreachable(f"nobody knows where the bytes of node {entry.node.id} are")
    file_id = entry.copies[0].file_id
    copies = [
        Copy(copy.entry, copy.host_id, copy.disk_id, copy.version)
        for copy in entry.copies
        if copy.file_id == file_id
    ]
    length = entry.node.length
    opening = service.federation.retrieve(copies, file_id, 0, length)
    try:
        source = await opening.__aenter__()
    except NgasError as error:
        raise _Gone(str(error)) from error
    try:
        yield _checked(source.chunks(), length, file_id)
    finally:
        await opening.__aexit__(None, None, None)


async def _checked(pieces: Content, length: int, file_id: str) -> AsyncGenerator[bytes, None]:
    """Pass ``pieces`` on; what was announced in a header has to come."""
    size = 0
    async for piece in pieces:
        size += len(piece)
        yield piece
    if size != length:
        raise Unreachable(f"{file_id} has {size} bytes in place of {length}")


async def _single(data: bytes) -> AsyncGenerator[bytes, None]:
    yield data
