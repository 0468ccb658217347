"""Jobs over a whole tree: deleting it, and setting properties on all of it, a page at a time.

Each page is one transaction that also stores where to go on, so that another server can when this
one dies. What may not be done to one node is counted and said, and the rest is done. A tree that
is moved away meanwhile is left alone from then on.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final

from pyvospace_ngas.db import branches, jobs, nodes, paths, subtrees
from pyvospace_ngas.db.connect import Connection, Database
from pyvospace_ngas.db.subtrees import Tree
from pyvospace_ngas.errors import (
    ContainerNotFound,
    NodeLocked,
    NodeNotFound,
    PermissionDenied,
    VOSpaceError,
)
from pyvospace_ngas.model.access import (
    Identity,
    check_scope_of_line,
    is_locked,
    may_read,
    may_set,
    may_share,
    may_write,
    parent_to_take_from,
    reach,
)
from pyvospace_ngas.model.job import Job, Kind
from pyvospace_ngas.model.node import ROOT_ID, Node, NodeTemplate, NodeType
from pyvospace_ngas.model.properties import Settings, merged
from pyvospace_ngas.model.standard import READ_ONLY
from pyvospace_ngas.model.uri import NodePath
from pyvospace_ngas.model.walk import Frame, Walk
from pyvospace_ngas.ops import quotas
from pyvospace_ngas.ops.nodes import lacks_right_below, shares_anew

BATCH: Final = 1000  # rows a transaction
_DELETED_TOGETHER: Final = 200  # containers with all in them
_TOGETHER: Final = 200  # containers whose children are read at once
_KEPT: Final = "something in it could not be deleted"


class Superseded(Exception):
    """The job was ended meanwhile, or another server has taken it over."""


@dataclass(frozen=True, slots=True)
class Task:
    """A job of this kind, as one server executes it."""

    database: Database
    job: Job
    executor: str
    who: Identity
    wanted: NodeTemplate
    delete_limit: int  # containers that go in one piece
    refusing: Collection[str]  # NGAS nodes (host:port) that do not delete now


async def execute(task: Task) -> None:
    """Go through the tree from where the job stands, and complete the job."""
    step = _delete if task.job.kind is Kind.DELETE else _set
    async with task.database.acquire() as db:
        walk = await subtrees.load(db, task.job.id)
    while not walk.is_over:
        walk = await step(task, walk)
    results = [("successcount", f"final:{walk.done}")]
    if walk.failed:  # clients take the mere presence of it for a failure
        results.append(("errorcount", f"final:{walk.failed}"))
    async with task.database.transaction() as db:
        if not await jobs.finish(db, task.job.id, results):
            raise Superseded


async def _saved(db: Connection, task: Task, walk: Walk) -> Walk:
    if not await subtrees.save(db, task.job.id, task.executor, walk):
        raise Superseded
    return walk


async def _set(task: Task, walk: Walk) -> Walk:
    # Against moves, which hold two containers: so that none waits for us and we for it.
    async with task.database.transaction(branches.SHARED) as db:
        if walk.root is None:
            walk, ids = await _set_root(db, task)
        else:
            walk, ids = await _next_page(db, task, walk, walk.root)
        walk = await _set_page(db, task, walk, ids)
        return await _saved(db, task, walk)


async def _set_root(db: Connection, task: Task) -> tuple[Walk, Sequence[int]]:
    node = reach(
        await paths.resolve(db, task.wanted.path), task.wanted.path, task.who, ContainerNotFound
    )
    return Walk(root=node.id), [node.id]


async def _next_page(
    db: Connection, task: Task, walk: Walk, root: int
) -> tuple[Walk, Sequence[int]]:
    """Return the nodes to be done now, and the walk as it is after them."""
    _check_reach(await nodes.lineage(db, root), task)
    frames = walk.stack[-_TOGETHER:]
    here = await subtrees.still_below(db, [frame.container for frame in frames], root)
    limit = max(BATCH // len(frames), 1)
    found = await subtrees.page(db, [f for f in frames if f.container in here], limit)
    left: list[Frame] = []
    for frame in frames:
        names = [name for container, name, _ in found if container == frame.container]
        if len(names) == limit:
            left.append(replace(frame, after=names[-1]))
    stack = (*walk.stack[: -len(frames)], *left)
    return replace(walk, stack=stack), [node_id for _, _, node_id in found]


def _check_reach(line: Sequence[Node], task: Task) -> None:
    """Raise unless the tree still is where the caller gets to."""
    if not line or line[-1].id != ROOT_ID:
        raise NodeNotFound(task.wanted.path)
    check_scope_of_line(task.who, line)
    if not all(may_read(task.who, above) for above in line[1:]):
        raise PermissionDenied(f"{task.who} may not read all containers around the tree")


async def _set_page(db: Connection, task: Task, walk: Walk, ids: Sequence[int]) -> Walk:
    changes: list[tuple[int, Settings]] = []
    below: list[Frame] = []
    for node in await subtrees.hold(db, ids):
        try:
            settings = _settings(task, node)
        except VOSpaceError as error:
            path = _path(await nodes.lineage(db, node.id))
            walk = walk.refused(path, f"{error.fault()} {error}")
        else:
            walk = walk.succeeded()
            if settings is not None:
                changes.append((node.id, settings))
        if node.type is NodeType.CONTAINER and may_read(task.who, node):
            below.append(Frame(node.id))
    await subtrees.change(db, changes)
    return replace(walk, stack=(*walk.stack, *below))


def _settings(task: Task, node: Node) -> Settings | None:
    """Return what becomes of ``node``, ``None`` for no change; raise if it may not be."""
    if not may_write(task.who, node):
        raise PermissionDenied(f"{task.who} may not change this node")
    changes = {uri: value for uri, value in task.wanted.properties.items() if uri not in READ_ONLY}
    settings = merged(node, changes)
    if not may_set(task.who, node, settings.props):
        raise NodeLocked("it is locked")
    if shares_anew(node, settings):
        if not may_share(task.who, node):
            raise PermissionDenied("only its owner says who may read and write it")
        return settings
    return None if dict(settings.props) == dict(node.props) else settings


async def _delete(task: Task, walk: Walk) -> Walk:
    if walk.root is None:
        return await _delete_root(task)
    work = _take_leaves if walk.stack[-1].leaves else _take_containers
    async with task.database.transaction(branches.ALONE) as db:
        line = await nodes.lineage(db, walk.stack[-1].container)
        here = (
            bool(line)
            and line[-1].id == ROOT_ID
            and any(above.id == walk.root for above in line)
            and all(may_read(task.who, above) for above in line)
        )
        return await _saved(db, task, await work(db, task, walk, line) if here else walk.at())


async def _delete_root(task: Task) -> Walk:
    """Delete the whole tree in one piece, or begin to go through it."""
    path, who = task.wanted.path, task.who
    if not path.parts:
        raise PermissionDenied("the root cannot be deleted")
    async with task.database.transaction(branches.ALONE) as db:
        chain = await paths.resolve(db, path)
        node, line = reach(chain, path, who, ContainerNotFound), chain[::-1]
        parent_to_take_from(chain, path, who)
        if not may_write(who, node):
            raise PermissionDenied(f"{who} may not delete {path}")
        found = await subtrees.forest(db, [node.id], task.delete_limit)
        tree = None if found is None else found[node.id]
        why = await _obstacle(db, task, chain[-2], node, tree)
        if why is None and tree is not None:
            await _detach(db, task, line[1:], node)
            return await _saved(db, task, Walk(root=node.id, done=tree.nodes))
        if node.type is not NodeType.CONTAINER:
            raise PermissionDenied(why or _KEPT)
        return await _saved(db, task, Walk(root=node.id, stack=(Frame(node.id),)))


async def _take_leaves(db: Connection, task: Task, walk: Walk, line: Sequence[Node]) -> Walk:
    """Delete a page of children that are no containers."""
    frame, container, path = walk.stack[-1], line[0], _path(line)
    if is_locked(container) or not may_write(task.who, container):
        if count := await subtrees.count_leaves(db, container.id):
            why = f"{_reason(task, container, 'write to')}: {count} nodes in it stay"
            walk = walk.refused(path, why, count)
        return walk.at(replace(frame, leaves=False))
    page = await subtrees.leaves(db, container.id, frame.after, BATCH)
    stay = await subtrees.held_at(db, [leaf.id for leaf in page], task.refusing)
    gone: list[Node] = []
    for leaf in page:
        if is_locked(leaf) or not may_write(task.who, leaf):
            walk = walk.refused(path / leaf.name, _reason(task, leaf, "delete"))
        elif leaf.id in stay:
            walk = walk.refused(path / leaf.name, f"PermissionDenied {_refuses(task)}")
        else:
            gone.append(leaf)
    count = await subtrees.detach_children(db, container.id, str(path), gone, task.who.user)
    await quotas.charge(db, line, -sum(leaf.length for leaf in gone))
    last = len(page) < BATCH
    after = replace(frame, after="", leaves=False) if last else replace(frame, after=page[-1].name)
    return walk.succeeded(count).at(after)


async def _take_containers(db: Connection, task: Task, walk: Walk, line: Sequence[Node]) -> Walk:
    """Delete containers with all in them, up to the first that cannot go: that one is entered."""
    frame, container, path = walk.stack[-1], line[0], _path(line)
    children = await subtrees.containers(db, container.id, frame.after, _DELETED_TOGETHER)
    if not children:
        return await _close(db, task, walk, line)
    found = await subtrees.forest(db, [child.id for child in children], task.delete_limit)
    if found is None:  # too many together
        children = children[:1]
        found = await subtrees.forest(db, [children[0].id], task.delete_limit) or {}
    gone: list[Node] = []
    stays: Node | None = None
    for child in children:
        if await _obstacle(db, task, container, child, found.get(child.id)) is not None:
            stays = child
            break
        gone.append(child)
    await subtrees.detach_children(db, container.id, str(path), gone, task.who.user)
    for child in gone:
        await quotas.moved(db, child.id, line, ())
    walk = walk.succeeded(sum(found[child.id].nodes for child in gone))
    if stays is None:
        return walk.at(replace(frame, after=children[-1].name))
    frame = replace(frame, after=stays.name)
    if not may_read(task.who, stays):
        why = f"PermissionDenied {task.who} may not read it"
        return walk.refused(path / stays.name, why).at(frame)
    return walk.at(frame, Frame(stays.id))


async def _close(db: Connection, task: Task, walk: Walk, line: Sequence[Node]) -> Walk:
    """Delete a container that has been gone through, if nothing is left in it."""
    container = line[0]
    unfit = [each for each in line[:2] if is_locked(each) or not may_write(task.who, each)]
    if unfit:
        why = _reason(task, unfit[0], "delete")
    elif not await subtrees.is_empty(db, container.id):
        why = f"PermissionDenied {_KEPT}"
    else:
        await _detach(db, task, line[1:], container)
        return walk.succeeded().at()
    return walk.refused(_path(line), why).at()


async def _obstacle(
    db: Connection, task: Task, parent: Node, node: Node, tree: Tree | None
) -> str | None:
    """Return why ``node`` cannot go in one piece with all below it, ``tree`` (too large: none)."""
    if not may_write(task.who, parent) or not may_write(task.who, node):
        return f"{task.who} may not delete it"
    if is_locked(parent) or is_locked(node):
        return "it is locked"
    if tree is None or tree.locked or lacks_right_below(task.who, tree.rights):
        return _KEPT
    if task.refusing and await branches.holds_files_of(db, node.id, list(task.refusing)):
        return _refuses(task)
    return None


def _reason(task: Task, node: Node, verb: str) -> str:
    """Return why ``node`` is left alone."""
    if is_locked(node):
        return "NodeLocked it is locked"
    return f"PermissionDenied {task.who} may not {verb} it"


def _refuses(task: Task) -> str:
    return f"the archive node {', '.join(sorted(task.refusing))} does not delete files"


async def _detach(db: Connection, task: Task, above: Sequence[Node], node: Node) -> None:
    """Move ``node`` to the trash out of the first of ``above``, the containers around it."""
    await branches.detach(db, node, _path(above) / node.name, task.who.user)
    await quotas.moved(db, node.id, above, ())


def _path(line: Sequence[Node]) -> NodePath:
    """Return the path of the first of ``line``, which leads outwards to the root."""
    return NodePath(tuple(node.name for node in reversed(line[:-1])))
