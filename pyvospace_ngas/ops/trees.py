"""Whole trees: walked page by page to be packed, built out of sight and attached at once."""

import logging
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from pyvospace_ngas.db import attempts, blobs, branches, jobs, nodes, trees
from pyvospace_ngas.db.connect import Connection, Database, transaction
from pyvospace_ngas.errors import (
    DuplicateNode,
    EndpointNotFound,
    InvalidData,
    NodeBusy,
    NodeNotFound,
    PermissionDenied,
    ServiceUnavailable,
)
from pyvospace_ngas.model.access import (
    Identity,
    check_scope_of_line,
    check_unlocked,
    may_read,
    may_write,
)
from pyvospace_ngas.model.condition import condition
from pyvospace_ngas.model.content import Attempt, Committed, Content
from pyvospace_ngas.model.endpoint import Endpoint
from pyvospace_ngas.model.job import Job
from pyvospace_ngas.model.node import ROOT_ID, Node, NodeType
from pyvospace_ngas.model.tree import Entry, Growth, Leaf, Reserved
from pyvospace_ngas.model.uri import NodePath
from pyvospace_ngas.ngas.federation import Stored
from pyvospace_ngas.ops import purge, quotas, uploads
from pyvospace_ngas.ops.accounts import identity_of
from pyvospace_ngas.ops.downloads import GOOD

log = logging.getLogger(__name__)

PAGE: Final = 1000  # rows at the top; deeper down fewer, so that all levels together stay small
SMALLEST_PAGE: Final = 50
PURGED_AT_ONCE: Final = 10

Walked = tuple[tuple[str, ...], Entry]


@dataclass(frozen=True, slots=True)
class Tree:
    """A container that is packed for the owner of a job."""

    job_id: str
    who: Identity
    node: Node
    path: NodePath


@dataclass(slots=True)
class _Level:
    """A container that is being walked: what is read of it and not given yet."""

    node_id: int
    parts: tuple[str, ...]
    entry: Entry | None
    rows: deque[Entry] = field(default_factory=deque)
    after: str = ""
    is_read: bool = False


async def find(db: Connection, endpoint: Endpoint, authorities: Sequence[str]) -> Tree:
    """Return the tree that ``endpoint`` packs; all of it must be readable, now."""
    job, line = await _job_and_line(db, endpoint)
    node = line[0]
    who = await identity_of(db, job.owner, authorities, job.scope)
    if not all(may_read(who, right) for right in await branches.rights_below(db, node.id)):
        raise PermissionDenied(f"{who} may not read all of {_path(line)}")
    return Tree(job.id, who, node, _path(line))


async def walk(database: Database, tree: Tree) -> AsyncGenerator[Walked, None]:
    """Give all that hangs below ``tree``, each container before its content, in name order.

    Each page of a container is as it was at one moment; what is made, moved or deleted on the
    way may be given or not. But nothing is left out silently: a container that is taken away
    while its content is given, or a node that the reader may not read any more, is an error.
    """
    levels = [_Level(tree.node.id, (), None)]
    while levels:
        level = levels[-1]
        if not level.rows and not level.is_read:
            fresh = not level.after
            if not await _read(database, tree, level, max(PAGE // len(levels), SMALLEST_PAGE)):
                levels.pop()
                continue
            if fresh and level.entry is not None:
                yield level.parts, level.entry
        if not level.rows:
            levels.pop()
            continue
        entry = level.rows.popleft()
        parts = (*level.parts, entry.node.name)
        if not may_read(tree.who, entry.node):
            raise PermissionDenied(f"{tree.who} may not read {_joined(tree.path, parts)} any more")
        if entry.node.type is NodeType.CONTAINER:
            levels.append(_Level(entry.node.id, parts, entry))
        else:
            yield parts, entry


async def again(database: Database, entry: Entry) -> Entry | None:
    """Return ``entry`` as it is now, ``None`` when it is not in its container any more."""
    async with database.acquire() as db:
        now = await trees.entry(db, entry.node.id)
    if now is None or now.node.parent_id != entry.node.parent_id:
        return None
    return now


async def _read(database: Database, tree: Tree, level: _Level, limit: int) -> bool:
    """Read on in a container; ``False`` when it was taken away before anything was given of it."""
    async with database.acquire() as db:
        page = await trees.page(db, level.node_id, tree.node.id, tree.job_id, level.after, limit)
    if page.job_phase not in GOOD:
        raise EndpointNotFound("the transfer of this endpoint was ended")
    if not page.is_rooted:
        raise NodeNotFound(tree.path)
    if not page.is_below:
        if level.entry is not None and not level.after:
            return False
        raise NodeNotFound(_joined(tree.path, level.parts))
    level.rows.extend(page.entries)
    level.is_read = len(page.entries) < limit
    if page.entries:
        level.after = page.entries[-1].node.name
    return True


async def begin(
    db: Connection, endpoint: Endpoint, executor: str, lease: float
) -> tuple[Attempt, Growth, NodePath]:
    """Begin to unpack at ``endpoint``: claim the container, make the hidden tree."""
    async with transaction(db):
        job, line = await _job_and_line(db, endpoint)
        attempt = await uploads.claim(db, endpoint, executor, lease)
        root = await trees.start(db, attempt.id, job.owner or "", line[0])
    return attempt, Growth(job.id, attempt.id, root, job.owner or "", line[0]), _path(line)


async def reserve(
    database: Database, growth: Growth, count: int, executor: str, lease: float
) -> list[Reserved]:
    """Claim file ids for members."""
    async with database.transaction() as db:
        await _hold(db, growth)
        return await trees.reserve(db, growth, count, executor, lease)


async def folder(database: Database, growth: Growth, leaf: Leaf) -> int:
    """Return the id of a folder of the hidden tree, made unless it is there."""
    async with database.transaction() as db:
        await _hold(db, growth)
        await _check_free(db, growth, [leaf])
        await trees.grow(db, growth, [leaf])
        found = await trees.child(db, leaf.parent_id, leaf.name)
    if found is None or found[1] is not NodeType.CONTAINER:
        raise InvalidData(f"the archive has {leaf.name!r} as a folder and as something else")
    return found[0]


async def keep(
    database: Database,
    growth: Growth,
    leaves: Sequence[tuple[Leaf, Content | None, Stored | None, Reserved | None]],
) -> None:
    """Put leaves into the hidden tree, with the bytes that were stored for them."""
    async with database.transaction() as db:
        await _hold(db, growth)
        await _check_free(db, growth, [leaf for leaf, *_ in leaves])
        rows = []
        for leaf, content, stored, _ in leaves:
            if content is None or stored is None:
                rows.append(leaf)
                continue
            blob_id = await uploads.store_blob(db, content, stored)
            rows.append(replace(leaf, length=content.length, md5=content.md5, blob_id=blob_id))
        made = await trees.grow(db, growth, rows)
        if len(made) != len(rows):
            names = [row.name for row in rows if (row.parent_id, row.name) not in set(made)]
            name = names[0] if names else rows[0].name
            raise InvalidData(f"the archive has {name!r} twice in one folder")
        await trees.kept(db, [reserved.attempt_id for *_, reserved in leaves if reserved])


async def member(database: Database, growth: Growth, parts: Sequence[str]) -> Entry:
    """Return what the hidden tree has at ``parts``; `InvalidData` for nothing."""
    node_id = growth.root_id
    async with database.acquire() as db:
        for part in parts:
            found = await trees.child(db, node_id, part)
            if found is None:
                raise InvalidData(f"the archive names {'/'.join(parts)!r}, which it has not")
            node_id = found[0]
        entry = await trees.entry(db, node_id)
    if entry is None:
        raise NodeBusy("a newer upload at this endpoint has taken over")
    return entry


async def relink(
    database: Database, growth: Growth, node_id: int, target: str, discard_delay: int
) -> None:
    """Make a LinkNode out of a file of the hidden tree."""
    async with database.transaction() as db:
        await _hold(db, growth)
        blob = await trees.become_link(db, node_id, target)
        if blob is not None:
            await blobs.release(db, [blob], "unpacked", discard_delay, None)


async def renew(db: Connection, attempt: Attempt, lease: float) -> bool:
    """Say that an archive still arrives; ``False`` when its attempt has ended."""
    return await trees.renew(db, attempt.id, lease)


async def commit(
    database: Database,
    attempt: Attempt,
    growth: Growth,
    path: NodePath,
    content: Content,
    authorities: Sequence[str],
    unused: Sequence[Reserved],
) -> Committed:
    """Attach what was unpacked, if attempt, job, container and permission still stand.

    ``content`` is the archive itself, ``path`` the container as it was when links were made.
    """
    try:
        async with database.transaction(branches.ALONE) as db:
            await _attach(db, attempt, growth, path, authorities)
            await trees.unused(db, [one.attempt_id for one in unused])
            await attempts.commit(db, attempt.id, None, content.length, content.md5)
    except ServiceUnavailable as error:
        if not await uploads.was_committed(database, attempt, error):
            raise
    return Committed(content.length, content.md5)


async def _attach(
    db: Connection, attempt: Attempt, growth: Growth, path: NodePath, authorities: Sequence[str]
) -> None:
    job = await jobs.get(db, attempt.job_id, for_update=True)  # before the node, as elsewhere
    container = await nodes.by_id(db, attempt.node_id, for_update=True)
    if not await attempts.hold(db, attempt.id):
        raise NodeBusy("a newer upload at this endpoint has taken over")
    if job is None or not await jobs.finish(db, job.id):
        raise EndpointNotFound("the transfer was ended during the upload")
    line = await nodes.lineage(db, attempt.node_id)
    if container is None or line[-1].id != ROOT_ID or _path(line) != path:
        raise NodeNotFound("the container was moved or deleted while the archive was unpacked")
    who = await identity_of(db, job.owner, authorities, job.scope)
    check_scope_of_line(who, line)
    if not may_write(who, container):
        raise PermissionDenied(f"{who} may not write this container any more")
    check_unlocked(container, path)
    condition(job.if_match, job.if_none_match).check(container)
    await quotas.moved(db, growth.root_id, (), line)
    await trees.attach(db, growth.root_id, container.id)


async def abandon(db: Connection, attempt: Attempt, unused: Sequence[Reserved]) -> None:
    """End an attempt that came to nothing; what it made is purged later (`purge_abandoned`)."""
    await attempts.hold(db, attempt.id)  # before its members, as elsewhere
    await trees.unused(db, [one.attempt_id for one in unused])
    await trees.abandon(db, attempt.id)


async def purge_abandoned(database: Database, discard_delay: int) -> int:
    """Purge what is left of archives that were not unpacked to their end; return how many."""
    async with database.acquire() as db:
        roots = await trees.abandoned(db, PURGED_AT_ONCE)
    for root in roots:
        await purge.purge_tree(database, root, discard_delay)
        async with database.acquire() as db:
            await trees.forget(db, root)
    return len(roots)


async def _job_and_line(db: Connection, endpoint: Endpoint) -> tuple[Job, list[Node]]:
    """Return the job of an endpoint that still stands, and its container with all around it."""
    job = await jobs.get(db, endpoint.job_id)
    if job is None or job.phase not in GOOD:
        raise EndpointNotFound("the transfer of this endpoint was ended")
    line = await nodes.lineage(db, endpoint.node_id)
    if not line or line[-1].id != ROOT_ID:
        raise NodeNotFound("the node was deleted")
    return job, line


async def _hold(db: Connection, growth: Growth) -> None:
    if not await attempts.hold(db, growth.attempt_id):
        raise NodeBusy("a newer upload at this endpoint has taken over, or the job was ended")


async def _check_free(db: Connection, growth: Growth, leaves: Sequence[Leaf]) -> None:
    """Refuse early what could not be attached at the end."""
    names = [leaf.name for leaf in leaves if leaf.parent_id == growth.root_id]
    if names and (name := await trees.taken(db, growth.like.id, names)) is not None:
        raise DuplicateNode(f"{name!r} is in the container already; nothing was unpacked")


def _path(line: Sequence[Node]) -> NodePath:
    return NodePath(tuple(node.name for node in reversed(line[:-1])))


def _joined(path: NodePath, parts: Sequence[str]) -> NodePath:
    return NodePath((*path.parts, *parts))
