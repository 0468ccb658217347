"""moveNode and copyNode: a whole tree at another place, visible at once or not at all."""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final

from pyvospace_ngas.db import branches, moves, nodes, paths
from pyvospace_ngas.db.connect import Connection
from pyvospace_ngas.errors import (
    DuplicateNode,
    InvalidURI,
    LinkFound,
    NodeBusy,
    NodeNotFound,
    PermissionDenied,
    ServiceUnavailable,
)
from pyvospace_ngas.model.access import (
    Identity,
    check_scope,
    check_unlocked,
    may_read,
    may_write,
    parent_to_take_from,
    reach,
)
from pyvospace_ngas.model.condition import Condition, etag
from pyvospace_ngas.model.content import Step
from pyvospace_ngas.model.job import Job
from pyvospace_ngas.model.node import HIDDEN_ID, ROOT_ID, Node, NodeType
from pyvospace_ngas.model.properties import timestamp
from pyvospace_ngas.model.uri import AUTO, NULL, NodePath, Space
from pyvospace_ngas.ops import quotas
from pyvospace_ngas.ops.nodes import delete_node

_TRIES: Final = 5


@dataclass(frozen=True, slots=True)
class Aim:
    """What is asked for: a container to go into or a new name, and what that may replace.

    ``exact``, it is a new name: a container that is there is in the way, and not gone into.
    """

    path: NodePath
    overwrite: Condition | None = None
    exact: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tree is to hang: in which container, and under which name."""

    parent: Node
    path: NodePath
    above: Sequence[Node]  # the chain from the root down to the container
    replaced: Node | None = None  # what is there, and is to make room


@dataclass(frozen=True, slots=True)
class Moved:
    """What a move has done: where the tree hangs now, and its top as far as its tag goes."""

    path: NodePath
    node: Node | None = None  # none where nothing has changed, or it was deleted


async def move(
    db: Connection,
    who: Identity,
    source: NodePath,
    aim: Aim,
    limit: int,
    refusing: Collection[str] = (),
) -> Moved:
    """Move a tree inside the caller's transaction, the structure's alone; return where it is now.

    ``limit`` and ``refusing`` are those of `delete_node`, which is what a move to ``.null`` is.
    With ``overwrite`` a node without children may take the place of another one, if that is as
    the condition says.
    """
    if aim.path.name == NULL:
        await delete_node(db, who, source, limit, refusing)
        return Moved(aim.path)
    chain, place = await _way(db, who, source, aim)
    node = chain[-1]
    if place.replaced is not None and place.replaced.id == node.id:
        return Moved(place.path)
    await _make_room(db, who, place, aim.overwrite)
    version = await _attach(db, node.id, (node.parent_id, node.name), place)
    if version is None:
        raise NodeNotFound(source)
    await quotas.moved(db, node.id, chain[:-1], place.above)
    return Moved(place.path, node._replace(version=version))


async def move_at_once(
    db: Connection, who: Identity, source: NodePath, aim: Aim, job: Job, space: Space
) -> Job | None:
    """Move a tree to where nothing is, and store the ``job``, in two round trips for all.

    Not in a transaction. ``None``, and nothing is done, where that is not all there is to do, or
    others change the same at this moment: then it is for `move`.
    """
    if aim.path.name == NULL:
        return None
    chain, place = await _way(db, who, source, aim)
    if place.replaced is not None or quotas.differ(chain[:-1], place.above):
        return None
    if aim.overwrite is not None:
        aim.overwrite.check(None)
    told, name, seen = results(place.path, space), place.path.name, [*chain, *place.above]
    node = chain[-1]
    try:
        done = await moves.move(db, job, told, node, place.parent, name, seen)
    except DuplicateNode as error:
        raise DuplicateNode(place.path) from error
    if done is None:
        return None
    return stepped(done, Moved(place.path, node._replace(version=node.version + 1)))


def stepped(done: Job, moved: Moved) -> Job:
    """Return a job whose transaction has moved something, with what that made of its node."""
    node = moved.node
    if node is None or done.started is None:
        return done
    before = etag(node._replace(version=node.version - 1))
    return replace(done, moved=Step(before, etag(node), timestamp(done.started)))


def results(path: NodePath, space: Space) -> list[tuple[str, str]]:
    """Return the results of a job that has moved or copied something to ``path``."""
    return [("destination", space.uri(path))]


async def _way(
    db: Connection, who: Identity, source: NodePath, aim: Aim
) -> tuple[Sequence[Node], Place]:
    """Return what is to be moved, with the containers around it before it, and where to."""
    chain, there = await paths.resolve_both(db, source, aim.path)
    node = _source(chain, source, who)
    parent_to_take_from(chain, source, who)
    place = await _place(db, who, node, source, aim, there)
    if any(above.id == node.id for above in place.above):
        raise InvalidURI(f"{aim.path} lies in {source}, which is to be moved there")
    return chain, place


async def copy(
    db: Connection,
    who: Identity,
    source: NodePath,
    aim: Aim,
) -> NodePath:
    """Copy a tree inside the caller's transaction, sharing its bytes; return the copy's path."""
    destination = aim.path
    chain = await paths.resolve(db, source)
    node = _source(chain, source, who)
    if not all(may_read(who, right) for right in await branches.rights_below(db, node.id)):
        raise PermissionDenied(f"{who} may not read all of {source}")
    if destination.name == NULL:
        return destination
    there = await paths.resolve(db, destination)
    place = await _place(db, who, node, source, aim, there)
    if any(above.id == node.id for above in place.above):
        raise InvalidURI(f"{destination} lies in {source}, which is to be copied there")
    if place.replaced is not None and place.replaced.id == node.id:
        return place.path
    copied = await _copy_tree(db, node.id, who.user or "")
    line = await nodes.lineage(db, node.id)
    if not line or line[-1].id != ROOT_ID:
        # Deleted meanwhile: the purge may have taken a part of it before it was read.
        raise NodeNotFound(source)
    await branches.lock_structure(db)
    # Not at the path found above: what has appeared there meanwhile is no container to copy into.
    there = await paths.resolve(db, destination)
    place = await _place(db, who, node, source, aim, there)
    await _make_room(db, who, place, aim.overwrite)
    if await _attach(db, copied, (HIDDEN_ID, str(copied)), place) is None:
        raise NodeNotFound(source)
    await quotas.moved(db, copied, (), place.above)
    return place.path


async def _copy_tree(db: Connection, node_id: int, owner: str) -> int:
    for _ in range(_TRIES):
        copied = await branches.copy_tree(db, node_id, owner)
        if copied is not None:
            return copied
    raise ServiceUnavailable("the tree changes too fast to be copied; try again")


def _source(chain: Sequence[Node], path: NodePath, who: Identity) -> Node:
    node = reach(chain, path, who)
    if not path.parts:
        raise PermissionDenied("the root can be neither moved nor copied")
    if node.busy:
        raise NodeBusy(path)
    return node


async def _place(
    db: Connection,
    who: Identity,
    node: Node,
    source: NodePath,
    aim: Aim,
    chain: Sequence[Node],
) -> Place:
    """Return where the aim is: itself when ``chain`` does not lead to it, else inside of it."""
    destination = aim.path
    if len(chain) > len(destination.parts):
        existing = reach(chain, destination, who)
        if existing.type is not NodeType.CONTAINER:
            return _instead(who, node, chain, destination, aim.overwrite)
        if aim.exact:
            raise DuplicateNode(destination)
        path = destination / source.name
        if may_write(who, existing) and (inside := await nodes.child(db, existing.id, path.name)):
            return _instead(who, node, [*chain, inside], path, aim.overwrite)
    else:
        existing = reach(chain, destination.parent, who)
        if existing.type is NodeType.LINK:
            raise LinkFound(destination.parent, existing.target)
        if existing.type is not NodeType.CONTAINER:
            raise NodeNotFound(destination.parent)
        name = uuid.uuid4().hex if destination.name == AUTO else destination.name
        path = destination.parent / name
    if not may_write(who, existing):
        raise PermissionDenied(f"{who} may not write to {path.parent}")
    check_unlocked(existing, path.parent)
    return Place(existing, path, chain[: len(path.parts)])


def _instead(
    who: Identity,
    node: Node,
    chain: Sequence[Node],
    path: NodePath,
    overwrite: Condition | None,
) -> Place:
    """Return the place of the last of ``chain``, which ``node`` takes if it may."""
    parent, existing = chain[-2:]
    if overwrite is None or NodeType.CONTAINER in (node.type, existing.type):
        raise DuplicateNode(path)
    check_scope(who, path.parent)
    if not (may_write(who, parent) and may_write(who, existing)):
        raise PermissionDenied(f"{who} may not replace {path}")
    check_unlocked(parent, path.parent)
    check_unlocked(existing, path)
    if existing.busy:
        raise NodeBusy(path)
    return Place(parent, path, chain[:-1], existing)


async def _make_room(
    db: Connection, who: Identity, place: Place, overwrite: Condition | None
) -> None:
    """Detach what is to be replaced, if it is still as the caller's condition says."""
    if overwrite is None:
        return
    held = place.replaced and await nodes.by_id(db, place.replaced.id, for_update=True)
    overwrite.check(held)
    if held is None:
        return
    if not await branches.detach(db, held, place.path, who.user):
        raise NodeNotFound(place.path)
    await quotas.moved(db, held.id, place.above, ())


async def _attach(
    db: Connection, node_id: int, origin: tuple[int | None, str], place: Place
) -> int | None:
    try:
        return await branches.attach(db, node_id, origin, place.parent.id, place.path.name)
    except DuplicateNode as error:
        raise DuplicateNode(place.path) from error
