"""Files in a volume that the index does not know."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

from pyvospace_ngas.archive.placement import DISK_INFO
from pyvospace_ngas.archive.registration import OWN_FILES
from pyvospace_ngas.archive.steps import Database
from pyvospace_ngas.archive.volume import STAGING, Volume

BATCH: Final = 500
MOST: Final = 10_000  # in one volume; whoever has more does not need the rest


async def on(db: Database, volume: Volume) -> list[str]:
    """Return the names of files that were unknown before the walk and are so after it."""
    found: list[str] = []
    names = _names(volume.path)
    while batch := await asyncio.to_thread(lambda: list(islice(names, BATCH))):
        found += await _unknown(db, volume.disk_id, batch)
        del found[MOST:]
    left: list[str] = []
    for start in range(0, len(found), BATCH):
        # What was archived or removed meanwhile was on its way, and is no stranger.
        unknown = await _unknown(db, volume.disk_id, found[start : start + BATCH])
        left += [name for name in unknown if (volume.path / name).exists()]
    return left


async def _unknown(db: Database, disk_id: str, names: Sequence[str]) -> list[str]:
    known: set[str] = set()
    for table in ("ngas_files", "archive_intent", "archive_removal"):
        rows = await db.fetch(
            f"select file_name from {table} where disk_id = $1 and file_name in @2",  # noqa: S608
            disk_id,
            list(names),
        )
        known |= {str(row[0]) for row in rows}
    return [name for name in names if name not in known]


def _names(root: Path) -> Iterator[str]:
    for folder, folders, names in os.walk(root):
        here = Path(folder).relative_to(root)
        if folder == str(root):
            folders[:] = [name for name in folders if name != STAGING]
        for name in names:
            if not name.startswith(OWN_FILES) and (here / name) != Path(DISK_INFO):
                # A name that is no text cannot be in the index; as text it can be told.
                yield os.fsencode(here / name).decode("utf-8", "backslashreplace")
