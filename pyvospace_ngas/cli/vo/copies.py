"""Files between here and the space, one by one and as trees."""

import asyncio
import hashlib
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Final

from pyvospace_ngas import errors
from pyvospace_ngas.cli.vo.listing import walk
from pyvospace_ngas.cli.vo.session import Session, Work
from pyvospace_ngas.cli.vo.tree import exists, make_folder
from pyvospace_ngas.errors import VOSpaceError
from pyvospace_ngas.model.documents import NodeDocument
from pyvospace_ngas.model.node import Detail, NodeType
from pyvospace_ngas.model.uri import NodePath, check_name

_HOPS: Final = 10


def is_part(name: str) -> bool:
    """Tell whether a file is the beginning of another, which a later run completes."""
    return name.startswith(".ngas_vo-") and name.endswith(".part")


async def same(node: NodeDocument, file: Path) -> bool:
    """Tell whether a file here and a node are the same: sizes first, sums only where they are."""
    return await asyncio.to_thread(_same, node, file)


def _same(node: NodeDocument, file: Path) -> bool:
    if not node.type.holds_data or node.md5 is None or not file.is_file():
        return False
    if file.stat().st_size != node.length:
        return False
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, partial(hashlib.md5, usedforsecurity=False))
    return digest.hexdigest() == node.md5


async def put_file(
    session: Session, file: Path, place: NodePath, node: NodeDocument | None, *, dry: bool = False
) -> None:
    """Store a file at ``place`` unless ``node``, which is there already, is the same."""
    size = (await asyncio.to_thread(file.stat)).st_size
    progress = session.screen.progress
    if node is not None and await same(node, file):
        session.screen.did("same", place, local=str(file))
        return
    progress.all_bytes += size
    if dry:
        session.screen.did("put", place, local=str(file), dry_run=True)
        return
    stored = await session.client.push(place, file, report=progress.add)
    session.screen.did("put", place, local=str(file), bytes=stored.length, md5=stored.md5)


async def get_file(session: Session, node: NodeDocument, file: Path, *, dry: bool = False) -> None:
    """Fetch a node unless the file here is the same already."""
    if await same(node, file):
        session.screen.did("same", node.path, local=str(file))
        return
    progress = session.screen.progress
    progress.all_bytes += node.length or 0
    if dry:
        session.screen.did("get", node.path, local=str(file), dry_run=True)
        return
    if await asyncio.to_thread(file.is_dir):
        raise IsADirectoryError(21, "a folder is in the way of the file", str(file))
    md5 = await session.client.fetch(node.path, file, progress.add)
    session.screen.did("get", node.path, local=str(file), bytes=node.length, md5=md5)


async def put_tree(
    session: Session, folder: Path, place: NodePath, *, dry: bool = False
) -> AsyncGenerator[Work, None]:
    """Give the work of storing all that is below ``folder`` below ``place``."""
    if dry:
        new = await exists(session, place) is None
    else:
        new = await make_folder(session, place)
    entries = await asyncio.to_thread(_sorted_entries, folder)
    async with aclosing(_paired(session, entries, place, new)) as pairs:
        async for entry, node in pairs:
            async with aclosing(_put_entry(session, entry, place, node, dry)) as works:
                async for work in works:
                    yield work


def _sorted_entries(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted(entries, key=attrgetter("name"))


async def _paired(
    session: Session, entries: list[os.DirEntry[str]], place: NodePath, new: bool
) -> AsyncGenerator[tuple[os.DirEntry[str], NodeDocument | None], None]:
    """Give each of the sorted ``entries`` with the node that is called so in ``place``.

    Both come in the order of their characters, so that one listing answers for all of a folder.
    From a service with another order some are not found, and sent once more.
    """
    if new:
        for entry in entries:
            yield entry, None
        return
    async with aclosing(session.client.list(place)) as nodes:
        node = await anext(nodes, None)
        for entry in entries:
            while node is not None and node.path.name < entry.name:
                node = await anext(nodes, None)
            yield entry, node if node is not None and node.path.name == entry.name else None


async def _put_entry(
    session: Session,
    entry: os.DirEntry[str],
    place: NodePath,
    node: NodeDocument | None,
    dry: bool,
) -> AsyncGenerator[Work, None]:
    goal, path = place / entry.name, Path(entry.path)
    try:
        check_name(entry.name, entry.path)
    except errors.InvalidURI as error:
        session.screen.fail(entry.path, error)
        return
    if entry.is_dir(follow_symlinks=False):
        try:
            async with aclosing(put_tree(session, path, goal, dry=dry)) as works:
                async for work in works:
                    yield work
        except (VOSpaceError, OSError) as error:
            if isinstance(error, errors.NotAuthenticated):
                raise
            session.screen.fail(path, error)
    elif entry.is_file():
        if not is_part(entry.name):
            yield Work(entry.path, partial(put_file, session, path, goal, node, dry=dry))
    else:
        session.screen.say(f"{entry.path} is left out: it is neither a file nor a folder")


async def get_tree(
    session: Session, top: NodePath, folder: Path, *, dry: bool = False
) -> AsyncGenerator[Work, None]:
    """Give the work of fetching all that is below ``top`` into ``folder``."""
    if not dry:
        await asyncio.to_thread(folder.mkdir, exist_ok=True)
    lost: NodePath | None = None  # a folder that cannot be made here
    async with aclosing(walk(session, top)) as nodes:
        async for node in nodes:
            if lost is not None and node.path.is_below(lost):
                continue
            place = folder.joinpath(*node.path.parts[len(top.parts) :])
            if node.type is NodeType.LINK:
                session.screen.say(f"{node.path} is left out: it is a link to {node.target}")
            elif node.type is not NodeType.CONTAINER:
                yield Work(str(node.path), partial(get_file, session, node, place, dry=dry))
            elif not dry:
                try:
                    await asyncio.to_thread(place.mkdir, exist_ok=True)
                except OSError as error:
                    session.screen.fail(node.path, error)
                    lost = node.path


async def followed(session: Session, path: NodePath) -> NodeDocument:
    """Return the node at ``path``, or the one that the links there lead to."""
    for _ in range(_HOPS):
        node = await session.client.get(path, Detail.PROPERTIES)
        if node.type is not NodeType.LINK:
            return node
        if not (node.target or "").startswith("vos://"):
            raise errors.LinkFound(f"{node.path}, to {node.target},")
        path = session.space.parse(node.target or "")
    raise errors.LinkFound(path)


async def put_one(session: Session, file: Path, place: NodePath) -> None:
    """Store a file, after a look at what is there."""
    node: NodeDocument | None = None
    with suppress(errors.NodeNotFound, errors.ContainerNotFound):
        node = await session.client.get(place, Detail.PROPERTIES)
    await put_file(session, file, place, node)
