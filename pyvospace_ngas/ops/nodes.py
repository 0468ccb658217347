"""Making, reading, changing and deleting nodes: rules, plus one statement that writes."""

import uuid
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Final

from pyvospace_ngas.db import branches, nodes, paths, servers, subtrees
from pyvospace_ngas.db.connect import Connection, Database, transaction
from pyvospace_ngas.errors import (
    ContainerNotFound,
    DuplicateNode,
    InvalidArgument,
    InvalidURI,
    NodeBusy,
    NodeLocked,
    NodeNotFound,
    PermissionDenied,
    PreconditionFailed,
    VOSpaceError,
)
from pyvospace_ngas.model import quota
from pyvospace_ngas.model.access import (
    Identity,
    group_list,
    may_read,
    may_set,
    may_share,
    may_write,
    parent_for_writing,
    parent_to_take_from,
    reach,
)
from pyvospace_ngas.model.condition import ALWAYS, Condition
from pyvospace_ngas.model.node import (
    SUPERTYPES,
    USUAL_DATA,
    Detail,
    Node,
    NodeTemplate,
    NodeType,
    Order,
    Sort,
)
from pyvospace_ngas.model.properties import Settings, inherited, merged
from pyvospace_ngas.model.standard import AVAILABLE_SPACE, QUOTA
from pyvospace_ngas.model.uri import AUTO, NULL, NodePath
from pyvospace_ngas.ops import quotas

PAGE: Final = 1000  # children fetched at once; a connection is held for one page only
# Sorted by anything but the name a page reads the whole container: indexes for it were measured to
# cost more than half of the creates (8 writers at once), so that pages are few and large instead.
SORTED_PAGE: Final = 10_000
LONGEST_TARGET: Final = 4096
_TRIES: Final = 5  # of a change that meets another change of the same node


async def get_node(db: Connection, who: Identity, path: NodePath) -> Node:
    """Return the node ``path`` that ``who`` may read; a LinkNode is returned as it is."""
    return await _readable(db, who, await paths.resolve(db, path), path)


async def get_node_and_servers(
    db: Connection, who: Identity, path: NodePath
) -> tuple[Node, list[str]]:
    """`get_node`, and the storage servers that are alive, in the same round trip."""
    chain, found = await paths.resolve_for_bytes(db, path)
    return await _readable(db, who, chain, path), found


async def _readable(db: Connection, who: Identity, chain: Sequence[Node], path: NodePath) -> Node:
    node = reach(chain, path, who)
    if not may_read(who, node):
        raise PermissionDenied(f"{who} may not read {path}")
    if node.type is NodeType.CONTAINER:
        return await quotas.shown(db, node, chain)
    return node


async def children(
    database: Database,
    container: Node,
    detail: Detail,
    order: Order,
    start: NodePath | None,
    limit: int | None,
) -> AsyncGenerator[list[Node], None]:
    """Give the children of ``container`` in ``order``, page by page, from the child ``start`` on.

    In name order ``start`` need not exist (any more); in others it does, or it is `InvalidURI`.
    """
    left = limit
    after = False
    last = None if start is None else await _first(database, container, order, start)
    most = PAGE if order.sort is Sort.NAME else SORTED_PAGE
    while left is None or left > 0:
        wanted = most if left is None else min(left, most)
        async with database.acquire() as db:
            page = await nodes.page(
                db,
                container.id,
                order,
                last,
                wanted,
                after=after,
                names_only=detail is Detail.MIN,
            )
        if page:
            yield page
        if len(page) < wanted:
            return
        last, after = page[-1], True
        left = None if left is None else left - len(page)


async def _first(database: Database, container: Node, order: Order, start: NodePath) -> Node:
    if order.sort is Sort.NAME:
        return Node(0, container.id, start.name, NodeType.NODE, "")
    async with database.acquire() as db:
        node = await nodes.child(db, container.id, start.name)
    if node is None:
        raise InvalidURI(f"{start} is not there any more; begin the listing again")
    return node


async def create_node(
    db: Connection, who: Identity, wanted: NodeTemplate
) -> tuple[NodePath, Node]:
    """Add a node to an existing container that ``who`` may write; return it and where it is."""
    path = wanted.path
    if path.name == NULL:
        raise InvalidURI(f"{path}: .null takes what is thrown away and cannot be made")
    if not path.parts:
        raise DuplicateNode(path)
    if path.name == AUTO:
        path = path.parent / uuid.uuid4().hex
    try:
        node = await _insert_as_remembered(db, who, path, wanted)
        if node is None:
            parent = parent_for_writing(await paths.resolve(db, path.parent), path.parent, who)
            kind, settings, target = _described(wanted, parent)
            node = await nodes.insert(
                db, parent.id, path.name, kind, who.user or "", settings, target=target
            )
    except DuplicateNode as error:
        raise DuplicateNode(path) from error
    return path, node


async def _insert_as_remembered(
    db: Connection, who: Identity, path: NodePath, wanted: NodeTemplate
) -> Node | None:
    """Insert in one round trip if all on the way is as it was the last time; else ``None``."""
    way = paths.remembered(db, path.parent)
    if not way:
        return None
    try:
        parent = parent_for_writing(way, path.parent, who)
    except VOSpaceError:  # so it was; the caller is to be told how it is
        return None
    kind, settings, target = _described(wanted, parent)
    return await nodes.insert_below(db, way, path, kind, who.user or "", settings, target=target)


def _described(wanted: NodeTemplate, parent: Node) -> tuple[NodeType, Settings, str | None]:
    """Return what a new node below ``parent`` is to be."""
    kind = USUAL_DATA if wanted.type is None else wanted.type
    given = {uri: value for uri, value in wanted.properties.items() if value is not None}
    return kind, inherited(parent, merged(None, given)), _target(kind, wanted.target)


async def set_node(
    db: Connection, who: Identity, wanted: NodeTemplate, condition: Condition = ALWAYS
) -> Node:
    """Change the properties that ``wanted`` names, and a link's target: all of it or nothing."""
    if who.admin and QUOTA in wanted.properties:
        return await _set_with_quota(db, who, wanted, condition)
    return await _set(db, who, wanted, condition)


async def _set(db: Connection, who: Identity, wanted: NodeTemplate, condition: Condition) -> Node:
    path = wanted.path
    for _ in range(_TRIES):
        chain = await paths.resolve(db, path)
        node = reach(chain, path, who, ContainerNotFound)
        if not may_write(who, node):
            raise PermissionDenied(f"{who} may not change {path}")
        condition.check(node)
        if wanted.type is not None and wanted.type not in SUPERTYPES[node.type]:
            raise InvalidArgument(
                f"{path} is a {node.type.qname} and cannot become a {wanted.type.qname}"
            )
        settings = merged(node, _given_back(wanted, chain))
        target = node.target
        if node.type is NodeType.LINK and wanted.target is not None:
            target = _target(node.type, wanted.target)
        if _unchanged(node, settings, target):
            return node
        _check_change(who, node, settings, path)
        changed = await nodes.change(db, node, settings, target)
        if changed is not None:
            return changed
    raise NodeBusy(path)


def _check_change(who: Identity, node: Node, settings: Settings, path: NodePath) -> None:
    if shares_anew(node, settings) and not may_share(who, node):
        raise PermissionDenied(f"only the owner of {path} says who may read and write it")
    if not may_set(who, node, settings.props):
        raise NodeLocked(path)


async def _set_with_quota(
    db: Connection, who: Identity, wanted: NodeTemplate, condition: Condition
) -> Node:
    """Change a container's quota and all else that is asked for, in one transaction."""
    others = {uri: value for uri, value in wanted.properties.items() if uri != QUOTA}
    text = wanted.properties[QUOTA]
    async with transaction(db, branches.ALONE):
        node = await _set(db, who, replace(wanted, properties=others), condition)
        if text == node.props.get(QUOTA):
            return node
        return await quotas.limit(db, wanted.path, None if text is None else quota.read(text))


def _given_back(wanted: NodeTemplate, chain: Sequence[Node]) -> Mapping[str, str | None]:
    """Return the properties without one that clients send back: it changes all the time."""
    if AVAILABLE_SPACE not in wanted.properties or not quota.limited(chain):
        return wanted.properties
    return {uri: value for uri, value in wanted.properties.items() if uri != AVAILABLE_SPACE}


async def delete_node(
    db: Connection,
    who: Identity,
    path: NodePath,
    limit: int,
    refusing: Collection[str] = (),
    condition: Condition = ALWAYS,
) -> None:
    """Detach ``path``, with all below it, into the trash; the rows and bytes go later.

    ``limit`` bounds how many containers one delete takes along, ``refusing`` names NGAS nodes
    (host:port) that do not delete: while they hold bytes of the tree nothing is changed.
    """
    if not path.parts:
        raise PermissionDenied("the root cannot be deleted")
    node = reach(await paths.resolve(db, path), path, who, ContainerNotFound)
    lock = branches.ALONE if node.type is NodeType.CONTAINER else branches.SHARED
    async with transaction(db, lock):
        await _delete_checked(db, who, path, limit, refusing, condition)


async def _delete_checked(
    db: Connection,
    who: Identity,
    path: NodePath,
    limit: int,
    refusing: Collection[str],
    condition: Condition,
) -> None:
    chain = await paths.resolve(db, path)
    node = reach(chain, path, who, ContainerNotFound)
    parent_to_take_from(chain, path, who)
    if not may_write(who, node):
        raise PermissionDenied(f"{who} may not delete {path}")
    if node.type is NodeType.CONTAINER:
        await _check_below(db, who, node, path, limit)
    if refusing and await branches.holds_files_of(db, node.id, list(refusing)):
        raise PermissionDenied(
            f"the archive node {', '.join(sorted(refusing))} does not delete files (its setting"
            " AllowRemoveReq, on older nodes caching): nothing was changed"
        )
    if condition is not ALWAYS:
        condition.check(await nodes.by_id(db, node.id, for_update=True))
        # Whoever makes a child holds the container until the commit: now nobody does.
        if condition.childless and not await subtrees.is_empty(db, node.id):
            raise PreconditionFailed(f"{path} is not empty")
    if not await branches.detach(db, node, path, who.user):
        raise NodeNotFound(path)
    await quotas.moved(db, node.id, chain[:-1], ())


async def _check_below(
    db: Connection, who: Identity, node: Node, path: NodePath, limit: int
) -> None:
    if await branches.holds_locked(db, node.id):
        raise NodeLocked(f"something below {path} is locked: nothing was changed")
    count, rights = await branches.containers_below(db, node.id, limit)
    if count > limit:
        raise PermissionDenied(
            f"{path} has more than {limit} containers below it, too many for one delete:"
            " POST target=URI to /async-delete, the recursive-delete job"
        )
    if lacks_right_below(who, rights):
        raise PermissionDenied(
            f"{who} may not write to a container below {path}; the recursive-delete job at"
            " /async-delete deletes what it may"
        )


def lacks_right_below(who: Identity, rights: Sequence[tuple[str, str | None]]) -> bool:
    """Tell whether ``who`` may not write a container of one of these owners and ``groupwrite``."""
    return not who.admin and any(
        who.user != owner and who.groups.isdisjoint(group_list(group_write))
        for owner, group_write in rights
    )


def _target(kind: NodeType, target: str | None) -> str | None:
    """Return what a link of this ``kind`` points to: any URI, as it was given."""
    if kind is not NodeType.LINK:
        return None
    if not target:
        raise InvalidArgument("a LinkNode needs a target")
    if len(target) > LONGEST_TARGET or any(c.isspace() or not c.isprintable() for c in target):
        raise InvalidArgument(f"target {target[:80]!r} is no URI")
    return target


def shares_anew(node: Node, settings: Settings) -> bool:
    """Tell whether ``settings`` would let others in, or keep others out, than now."""
    return (settings.group_read, settings.group_write, settings.public_read) != (
        node.group_read,
        node.group_write,
        node.public_read,
    )


def _unchanged(node: Node, settings: Settings, target: str | None) -> bool:
    return (
        not shares_anew(node, settings)
        and dict(settings.props) == dict(node.props)
        and target == node.target
    )


async def storage_servers(db: Connection) -> list[str]:
    """Return the public URLs of the storage servers that are alive."""
    return await servers.live(db)


async def properties_in_use(db: Connection, who: Identity, limit: int) -> list[str]:
    """Return the URIs of properties on nodes of ``who`` and on public ones."""
    return await nodes.property_uris(db, who.user, limit)
