"""A move that is done at once: all that it changes, and its job, in one statement."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import asyncpg

from pyvospace_ngas.db import jobs
from pyvospace_ngas.db.connect import Connection
from pyvospace_ngas.errors import DuplicateNode
from pyvospace_ngas.model.job import Job, Phase
from pyvospace_ngas.model.node import Node

_MOVE: Final = f"""
with moved as materialized (
    select move_unless_changed($11, $12, $13, $14, $15, $16, $17) as done
) {jobs.completed("from moved where done")}
"""


async def move(
    db: Connection,
    job: Job,
    results: Sequence[tuple[str, str]],
    node: Node,
    parent: Node,
    name: str,
    seen: Sequence[Node],
) -> Job | None:
    """Hang ``node`` into ``parent`` under ``name``; return the ``job`` that was stored with that.

    ``None``, and nothing is done, when any node of ``seen`` is not what it was: those on the way
    to it and to its new place. Waits for other moves by itself, and so is no part of a
    transaction. Raises `DuplicateNode` when the name is taken.
    """
    try:
        row = await db.fetchrow(
            _MOVE,
            *jobs.given(job, Phase.COMPLETED, results),
            node.id,
            node.parent_id,
            node.name,
            parent.id,
            name,
            [each.id for each in seen],
            [each.version for each in seen],
        )
    except asyncpg.UniqueViolationError as error:
        raise DuplicateNode(name) from error
    if row is None:
        return None
    return replace(job, phase=Phase.COMPLETED, results=results, **row)
