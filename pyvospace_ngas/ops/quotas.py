"""Quotas: kept exactly, by whoever changes what hangs below a container that has one.

The structure lock is what makes them exact: shared by those who change one file (its line of
containers stays as it is), alone for those who move trees and for who sets a quota. Nothing here
asks the database anything where no container on the way has a quota.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pyvospace_ngas.db import branches, nodes, paths, quotas
from pyvospace_ngas.db.connect import Connection
from pyvospace_ngas.errors import InvalidArgument, NodeBusy, NodeNotFound, QuotaExceeded
from pyvospace_ngas.model.node import ROOT_ID, Node, NodeType
from pyvospace_ngas.model.properties import Settings
from pyvospace_ngas.model.quota import Quota, Room, limited, sentence
from pyvospace_ngas.model.standard import QUOTA
from pyvospace_ngas.model.uri import NodePath

_TRIES: Final = 5


@dataclass(frozen=True, slots=True)
class Report:
    """A quota and where it is (``None``: in the trash); what a recount found, if there was one."""

    path: NodePath | None
    quota: Quota
    counted: int | None = None


async def charge(
    db: Connection, line: Sequence[Node], delta: int, job_id: str | None = None
) -> None:
    """Account for so many bytes more (or less) in the containers ``line``.

    What ``job_id`` has reserved is at its disposal. Raises `QuotaExceeded`, for the caller's
    transaction to be rolled back.
    """
    if delta:
        await _apply(db, dict.fromkeys(limited(line), delta), job_id)


def differ(before: Sequence[Node], after: Sequence[Node]) -> bool:
    """Tell whether a tree that goes from one line of containers to another changes any account."""
    return bool(_crossed(before, after))


def _crossed(before: Sequence[Node], after: Sequence[Node]) -> set[int]:
    return set(limited(before)) ^ set(limited(after))


async def moved(
    db: Connection, node_id: int, before: Sequence[Node], after: Sequence[Node]
) -> None:
    """Account for a tree that leaves the containers ``before`` for ``after``.

    Only where a quota's boundary is crossed is the tree summed up: 100,000 nodes take a tenth of
    a second, and sums kept in every container would cost each upload that much more instead.
    """
    crossed, entered = _crossed(before, after), set(limited(after))
    if crossed:
        size = await quotas.size(db, node_id)
        await _apply(db, {each: size if each in entered else -size for each in crossed}, None)


async def _apply(db: Connection, changes: Mapping[int, int], job_id: str | None) -> None:
    ids = sorted(changes)
    if not ids:
        return
    await quotas.hold(db, ids)
    if any(delta > 0 for delta in changes.values()):
        for quota in await quotas.read(db, ids, job_id):
            if 0 < changes[quota.id] > quota.left:
                raise QuotaExceeded(await _sentence(db, quota))
    await quotas.add(db, [(each, changes[each]) for each in ids])


async def reserve(db: Connection, job_id: str, node_id: int, length: int | None) -> None:
    """Set room aside for the bytes that a transfer has announced, until its job ends."""
    if not length:
        return
    line = await nodes.lineage(db, node_id)
    ids = limited(line)
    more = length - line[0].length if ids else 0
    if more <= 0:
        return
    await quotas.hold(db, ids)
    for quota in await quotas.read(db, ids, job_id):
        if more > quota.left:
            raise QuotaExceeded(await _sentence(db, quota))
    await quotas.reserve(db, job_id, ids, more)


async def room(db: Connection, job_id: str, node_id: int) -> Room | None:
    """Return how long the node's bytes may become, as far as is known now; ``None``: any."""
    line = await nodes.lineage(db, node_id)
    ids = limited(line)
    found = await quotas.read(db, ids, job_id) if ids else []
    if not found:
        return None
    tightest = min(found, key=lambda quota: quota.left)
    most = line[0].length + tightest.available
    return Room(most, await _sentence(db, tightest))


async def shown(db: Connection, node: Node, line: Sequence[Node]) -> Node:
    """Return a container with what is left in it, where that is bounded."""
    ids = limited(line)
    found = await quotas.read(db, ids) if ids else []
    if not found:
        return node
    return node._replace(available=min(quota.available for quota in found))


async def limit(db: Connection, path: NodePath, wanted: int | None) -> Node:
    """Give the container ``path`` a quota of so many bytes, or none; to be run in a transaction.

    What is there already may be more: then nothing can be added.
    """
    await branches.lock_structure(db)
    for _ in range(_TRIES):
        chain = await paths.resolve(db, path)
        if len(chain) <= len(path.parts):
            raise NodeNotFound(path)
        node = chain[-1]
        if node.type is not NodeType.CONTAINER:
            raise InvalidArgument(f"{path} is a {node.type.qname}: only containers have quotas")
        props = {uri: value for uri, value in node.props.items() if uri != QUOTA}
        if wanted is not None:
            props[QUOTA] = str(wanted)
        settings = Settings(props, node.group_read, node.group_write, node.public_read)
        changed = await nodes.change(db, node, settings, node.target)
        if changed is None:
            continue  # somebody else changed its properties between the two statements
        if wanted is None:
            await quotas.drop(db, node.id)
        else:
            await quotas.put(db, node.id, wanted, await quotas.size(db, node.id))
        return changed
    raise NodeBusy(path)


async def listing(db: Connection) -> list[Report]:
    """Return all quotas."""
    return [Report(await _path(db, quota.id), quota) for quota in await quotas.everything(db)]


async def check(db: Connection) -> list[Report]:
    """Count again what is used; a tree in the trash is not counted, it may be purged just now."""
    found = []
    for report in await listing(db):
        count = await quotas.count(db, report.quota.id) if report.path is not None else None
        if count is not None:
            found.append(Report(report.path, count.quota, count.counted))
    return found


async def repair(db: Connection, node_id: int) -> None:
    """Put a ledger right, inside the caller's transaction."""
    await branches.lock_structure(db)
    count = await quotas.count(db, node_id)
    if count is not None:
        await quotas.set_used(db, node_id, count.counted)


async def _sentence(db: Connection, quota: Quota) -> str:
    return sentence(await _path(db, quota.id) or "a container", quota)


async def _path(db: Connection, node_id: int) -> NodePath | None:
    line = await nodes.lineage(db, node_id)
    if not line or line[-1].id != ROOT_ID:
        return None
    return NodePath(tuple(node.name for node in reversed(line[:-1])))
