"""Plans that connections keep: made while tables are empty, used when they are not any more."""

import re

import pytest

from pyvospace_ngas.db import changes, nodes, paths
from pyvospace_ngas.db.connect import connect

INSERTED = (
    "bigint, text, smallint, text, text, text, boolean, text, jsonb, boolean, text, bigint, bigint"
)


@pytest.mark.parametrize(
    ("statement", "types", "values"),
    [
        (paths._resolve(3), "text, text, text", "'a', 'b', 'c'"),
        (paths._WHOLE, "text", "'a/b'"),
        (
            nodes._insert_below(1),
            INSERTED,
            "1, 'n', 1, 'o', null, null, null, null, '{}', false, 'a', 1, 1",
        ),
        (nodes._LINEAGE, "bigint", "1"),
        (changes._READ, "text, bigint", "'5', 1000"),
        (changes._LINES, "bigint[]", "'{1,2}'"),
        (changes._HOLDERS, "bigint[], text[]", "'{1}', '{a}'"),
        (nodes._NAMES, "bigint, text, bigint", "1, 'a', 1000"),
    ],
)
async def test_a_plan_made_on_empty_tables_suits_full_ones(
    dsn: str, statement: str, types: str, values: str
) -> None:
    db = await connect(dsn)
    try:
        await db.execute("set plan_cache_mode = force_generic_plan")
        await db.execute(f"prepare kept ({types}) as {statement}")
        plan = await db.fetch(f"explain execute kept ({values})")
    finally:
        await db.close()
    # Neither reads a whole table, nor does a join that would have to.
    bad = [line for (line,) in plan if re.search("Seq Scan|Hash Join|Merge Join", line)]
    assert bad == []
