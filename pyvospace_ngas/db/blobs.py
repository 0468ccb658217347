"""Every query on bytes: blobs, their one part, and where the copies of it lie."""

from collections.abc import Sequence
from typing import Final

import asyncpg

from pyvospace_ngas.db.connect import Connection
from pyvospace_ngas.model.content import Archived, Blob, Content, Copy, Served
from pyvospace_ngas.model.node import ROOT_ID
from pyvospace_ngas.model.standard import TYPE

_SERVED: Final = f"""
with recursive line as (
    select n.id, n.parent_id from node n where n.id = $1
     union all
    select n.id, n.parent_id from line join node n on n.id = line.parent_id
)
select node.name, node.type between 1 and 3 as holds_data, node.length, node.md5, node.mtime,
       node.blob_id, node.props ->> $3 as content_type,
       exists (select 1 from line where id = {ROOT_ID}) as is_rooted, node.provisional,
       (select phase from job where id = $2) as job_phase,
       array(select (file_id, entry, host_id, disk_id, version) from copy
              where copy.blob_id = node.blob_id) as copies
  from node where node.id = $1
"""


async def served(db: Connection, node_id: int, job_id: str) -> Served | None:
    """Return what a download needs, in one round trip; ``None`` when the node is gone."""
    row = await db.fetchrow(_SERVED, node_id, job_id, TYPE)
    if row is None:
        return None
    return Served(
        row["name"],
        row["holds_data"],
        row["is_rooted"],
        row["provisional"],
        row["job_phase"],
        row["content_type"],
        row["length"],
        row["md5"],
        row["mtime"],
        row["blob_id"],
        [Copy(*copy) for copy in row["copies"]],
    )


# Goes into a ``with``: makes the blob ``whole``, in one part with one copy, and none of no bytes.
STORE: Final = """
whole as (
    insert into blob (length, md5, crc32c)
         select $1, $2, $3 where $1::bigint > 0 returning id
), first as (
    insert into part (blob_id, seq, length, crc, variant)
         select id, 0, $1, $4, $5 from whole returning blob_id, seq
), held as (
    insert into copy (blob_id, seq, file_id, entry, host_id, disk_id, version)
         select blob_id, seq, $6, $7, $8, $9, $10 from first
)
"""


def stored(content: Content, archived: Archived | None) -> tuple[object, ...]:
    """Return the parameters of `STORE`, from the first on."""
    if archived is None:
        return (content.length, content.md5, content.crc32c, *(None,) * 7)
    checksum, copy = archived.checksum, archived.copy
    return (
        content.length,
        content.md5,
        content.crc32c,
        int(checksum) if checksum.lstrip("-").isdecimal() else None,
        archived.variant,
        copy.file_id,
        copy.entry,
        copy.host_id,
        copy.disk_id,
        copy.version,
    )


async def insert(db: Connection, content: Content, archived: Archived) -> int:
    """Store that these bytes exist; return the blob's id."""
    values = stored(content, archived)
    blob_id: int = await db.fetchval(f"with {STORE} select id from whole", *values)
    return blob_id


async def get(db: Connection, blob_id: int) -> Blob | None:
    """Return the blob with its copies."""
    rows = await db.fetch(
        """
        select blob.length, blob.md5, copy.verified, copy.file_id, copy.entry, copy.host_id,
               copy.disk_id, copy.version
          from blob left join copy on copy.blob_id = blob.id where blob.id = $1
        """,
        blob_id,
    )
    if not rows:
        return None
    return Blob(
        blob_id,
        rows[0]["length"],
        rows[0]["md5"],
        [_copy(row) for row in rows if row["file_id"] is not None],
        any(row["verified"] is not None for row in rows),
    )


async def read_back(db: Connection, blob_id: int) -> None:
    """Note that the bytes were just read back and are right."""
    await db.execute("update copy set verified = now() where blob_id = $1", blob_id)


async def is_known(db: Connection, file_id: str) -> bool:
    """Tell whether any blob lies in this file."""
    known: bool = await db.fetchval(
        "select exists (select 1 from copy where file_id = $1)", file_id
    )
    return known


async def hold(db: Connection, blob_ids: Sequence[int]) -> None:
    """Wait for whoever is about to use the blobs, and keep others from it until the commit."""
    ids = sorted(set(blob_ids))
    await db.execute("select id from blob where id = any($1) order by id for update", ids)


async def release(
    db: Connection, blob_ids: Sequence[int], reason: str, delay: float, after_blob: int | None
) -> int:
    """Delete those of the blobs that no node uses; queue their files to be discarded.

    To be run in a transaction. The first statement waits for whoever is about to use a blob, and
    who comes later finds it gone (a foreign key); the second one has a snapshot from after that.
    What waited for a blob to be read back waits for ``after_blob`` from now on.
    """
    ids = sorted(set(blob_ids))
    await hold(db, ids)
    done: str = await db.execute(
        """
        with unused as (
            select id from blob
             where id = any($1) and not exists (select 1 from node where node.blob_id = blob.id)
        ), queued as (
            insert into discard (file_id, entry, host_id, disk_id, version, reason, not_before,
                                 after_blob)
                 select file_id, entry, host_id, disk_id, version, $2,
                        now() + make_interval(secs => $3), $4
                   from copy join unused on unused.id = copy.blob_id
            on conflict do nothing
        ), waiting as (
            update discard set after_blob = $4 from unused where after_blob = unused.id
        )
        delete from blob using unused where blob.id = unused.id
        """,
        ids,
        reason,
        delay,
        after_blob,
    )
    return int(done.rpartition(" ")[2])


def _copy(row: asyncpg.Record) -> Copy:
    return Copy(row["file_id"], row["entry"], row["host_id"], row["disk_id"], row["version"])
