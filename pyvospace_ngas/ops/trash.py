"""What was deleted: listed, brought back, or purged at once."""

from collections.abc import Sequence

from pyvospace_ngas.db import branches, nodes, paths, trash
from pyvospace_ngas.db.connect import Connection
from pyvospace_ngas.errors import (
    ContainerNotFound,
    DuplicateNode,
    InvalidURI,
    NodeNotFound,
    PermissionDenied,
)
from pyvospace_ngas.model.access import Identity, check_scope, may_write, parent_for_writing, reach
from pyvospace_ngas.model.node import ROOT_ID, TRASH_ID, Node, NodeType
from pyvospace_ngas.model.trash import Position, Trashed
from pyvospace_ngas.model.uri import RESERVED, ROOT, NodePath
from pyvospace_ngas.ops import quotas


async def listed(
    db: Connection,
    who: Identity,
    after: Position | None,
    limit: int,
    deleted_by: str | None = None,
) -> list[Trashed]:
    """Return what ``who`` deleted, the last first; to an administrator, what anybody did."""
    check_scope(who, ROOT)
    if who.admin:
        return await trash.listed(db, deleted_by, after, limit)
    if who.user is None:
        raise PermissionDenied("log in to see what you have deleted")
    return await trash.listed(db, who.user, after, limit)


async def restore(
    db: Connection, who: Identity, node_id: int, destination: NodePath | None = None
) -> NodePath:
    """Bring a tree back inside the caller's transaction; return where it is now.

    Without ``destination`` it goes to the container it was in, under its old name, wherever that
    container is now.
    """
    await branches.lock_structure(db)
    found = await _own(db, who, node_id)
    if destination is None:
        chain, path = await _old_place(db, found)
    else:
        chain, path = await _other_place(db, who, found, destination)
    parent = parent_for_writing(chain, path.parent, who)
    node = await nodes.by_id(db, node_id)
    if node is None or not may_write(who, node):
        raise PermissionDenied(f"{who} may not write {found.path}")
    await trash.forget(db, node_id)
    try:
        origin = (TRASH_ID, str(node_id))
        if await branches.attach(db, node_id, origin, parent.id, path.name) is None:
            raise _nothing(node_id)
        await quotas.moved(db, node_id, (), chain)
    except DuplicateNode as error:
        raise DuplicateNode(path) from error
    return path


async def purge(db: Connection, who: Identity, node_id: int) -> None:
    """Give a tree up for good, inside the caller's transaction; a server deletes it soon."""
    await _own(db, who, node_id)
    await trash.condemn(db, node_id)


async def _own(db: Connection, who: Identity, node_id: int) -> Trashed:
    found = await trash.hold(db, node_id)
    if found is None:
        raise _nothing(node_id)
    if not who.admin and (who.user is None or who.user != found.deleted_by):
        raise PermissionDenied("only who deleted it, and administrators, may have it back")
    check_scope(who, ROOT)
    if who.scope.read_only:
        raise PermissionDenied("this token is good for reading only")
    return found


def _nothing(node_id: int) -> NodeNotFound:
    return NodeNotFound(f"there is no {node_id} in the trash (any more)")


async def _old_place(db: Connection, found: Trashed) -> tuple[Sequence[Node], NodePath]:
    line = await nodes.lineage(db, found.parent_id)
    if not line or line[-1].id != ROOT_ID:
        raise ContainerNotFound(
            f"the container that {found.path} was in is gone: bring that back first, or say"
            " with target where else this is to go"
        )
    chain = line[::-1]
    return chain, NodePath((*(node.name for node in chain[1:]), found.name))


async def _other_place(
    db: Connection, who: Identity, found: Trashed, destination: NodePath
) -> tuple[Sequence[Node], NodePath]:
    """Return where ``destination`` is: inside of it when it is a container, as for a move."""
    if destination.name in RESERVED:
        raise InvalidURI(f"{destination} is no place for it")
    chain = await paths.resolve(db, destination)
    if len(chain) <= len(destination.parts):
        return chain, destination
    if reach(chain, destination, who).type is not NodeType.CONTAINER:
        raise DuplicateNode(destination)
    return chain, destination / found.name
