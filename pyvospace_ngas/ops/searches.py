"""findNodes: a job that goes through what its owner may read, and remembers what it found."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from pyvospace_ngas.db import jobs, nodes, paths, searches
from pyvospace_ngas.db.connect import Connection, Database
from pyvospace_ngas.errors import InvalidURI, PermissionDenied
from pyvospace_ngas.model.access import Identity, may_read, reach
from pyvospace_ngas.model.job import Job
from pyvospace_ngas.model.node import ROOT_ID, Node, NodeType
from pyvospace_ngas.model.search import Search
from pyvospace_ngas.model.uri import NodePath, Space
from pyvospace_ngas.model.walk import Frame

BATCH: Final = 1000  # rows of one page
_TOGETHER: Final = 50  # containers that are read at once


async def execute(
    database: Database, job: Job, who: Identity, search: Search, space: Space
) -> None:
    """Go through the tree and complete the job with the nodes that ``search`` looks for.

    They come in one order for the same tree, so that a later search can go on from one of them.
    """
    async with database.acquire() as db:
        await searches.check(db, [term.pattern for term in search.matches.terms])
        stack = await _targets(db, who, search, space)
        start = await _start(db, who, search, space)
    terms = [
        (None if term.uri in space.own("name") else term.uri, term.pattern)
        for term in search.matches.terms
    ]
    found: list[int] = []
    while stack and len(found) < search.limit:
        stack, page = await _next(database, who, stack, terms)
        fit = [node.id for node, hits in page if search.matches.hold(hits)]
        if start is not None:
            if start not in fit:
                continue
            fit, start = fit[fit.index(start) :], None
        found += fit
    if start is not None and search.limit:
        raise InvalidURI(f"{search.start} is not among what is found (any more): begin again")
    async with database.transaction() as db:
        await jobs.set_found(db, job.id, found[: search.limit])
        await jobs.finish(db, job.id)


async def found(db: Connection, who: Identity, job: Job) -> list[tuple[NodePath, Node]]:
    """Return what ``job`` has found, as it is now, less what ``who`` may not read (any more)."""
    lines = await nodes.lineages(db, job.found)
    shown = []
    for node_id in job.found:
        line = lines.get(node_id, [])
        path = NodePath(tuple(node.name for node in reversed(line[:-1])))
        if _may_see(who, line, path):
            shown.append((path, line[0]))
    return shown


def _may_see(who: Identity, line: Sequence[Node], path: NodePath) -> bool:
    return (
        bool(line)
        and line[-1].id == ROOT_ID
        and path.is_below(who.scope.path)
        and all(may_read(who, node) for node in line)
    )


async def _targets(db: Connection, who: Identity, search: Search, space: Space) -> list[Frame]:
    """Return the containers to be searched, the last one first."""
    frames = []
    for uri in search.targets or (space.uri(who.scope.path),):
        path = space.parse(uri)
        node = reach(await paths.resolve(db, path), path, who)
        if not may_read(who, node):
            raise PermissionDenied(f"{who} may not read {path}")
        frames.append(Frame(node.id))
    return frames[::-1]


async def _start(db: Connection, who: Identity, search: Search, space: Space) -> int | None:
    if search.start is None:
        return None
    path = space.parse(search.start)
    return reach(await paths.resolve(db, path), path, who).id


async def _next(
    database: Database,
    who: Identity,
    stack: list[Frame],
    terms: Sequence[tuple[str | None, str]],
) -> tuple[list[Frame], list[tuple[Node, list[bool]]]]:
    """Read a page; return what is to be gone through then, and what is readable of the page."""
    frames = stack[: -_TOGETHER - 1 : -1]
    limit = BATCH // len(frames)
    async with database.transaction() as db:
        page = await searches.page(db, frames, terms, limit)
    seen = [(node, hits) for node, hits in page if may_read(who, node)]
    left = []
    for frame in frames:
        names = [node.name for node, _ in page if node.parent_id == frame.container]
        if len(names) == limit:
            left.append(replace(frame, after=names[-1]))
    below = [Frame(node.id) for node, _ in seen if node.type is NodeType.CONTAINER]
    return [*stack[: -len(frames)], *left[::-1], *below[::-1]], seen
