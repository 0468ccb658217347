"""Every query on UWS jobs. Phases move by one compare-and-set statement each."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

import asyncpg

from pyvospace_ngas.db.connect import HASTY, Connection
from pyvospace_ngas.model import walk
from pyvospace_ngas.model.job import (
    TRANSITIONS,
    Event,
    Failure,
    Job,
    JobFilter,
    Kind,
    Phase,
    Progress,
    Tried,
)
from pyvospace_ngas.model.token import WHOLE, Scope, stored_path
from pyvospace_ngas.model.transfer import Protocol

FIELDS: Final = (
    "id", "kind", "owner", "run_id", "phase", "document", "created", "started", "ended",
    "duration", "destruction", "deadline", "node_id", "size", "detail",
)  # fmt: skip
_COLUMNS: Final = ", ".join(FIELDS)
# What stands from a job's beginning.
_GIVEN: Final = "id, kind, owner, run_id, phase, document, duration, destruction, size, detail"


async def insert(
    db: Connection,
    job: Job,
    *,
    hasty: bool = False,
    executor: str | None = None,
    lease: float | None = None,
) -> Job:
    """Store a new job; the database's clock says when it was made, and begun by an ``executor``.

    A ``hasty`` one, and all of its transaction, is not waited for until it is on the disk: for who
    runs it at once, and loses nothing that could not be asked for again.
    """
    row = await db.fetchrow(
        f"""
        with waits as ({HASTY if hasty else "select 1"})
        insert into job ({_GIVEN}, executor, started, lease)
             select $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11,
                    case when $11::text is not null then clock_timestamp() end,
                    now() + make_interval(secs => $12)
               from waits returning {_COLUMNS}
        """,
        *given(job, job.phase, job.results),
        executor,
        lease,
    )
    assert row is not None  # noqa: S101 - an insert without a condition returns its row
    return job_of(row)


async def insert_negotiated(db: Connection, job: Job) -> Job:
    """Store a new push or pull of which all is known: the node, protocols, results, deadline."""
    row = await db.fetchrow(
        f"""
        insert into job ({_GIVEN}, node_id, deadline, started)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, clock_timestamp())
          returning {_COLUMNS}
        """,
        *given(job, Phase.EXECUTING, job.results),
        job.node_id,
        job.deadline,
    )
    assert row is not None  # noqa: S101 - an insert without a condition returns its row
    return job_of(row)


async def insert_completed(db: Connection, job: Job, results: Sequence[tuple[str, str]]) -> Job:
    """Store a new job that the caller's transaction has done, with its results."""
    row = await db.fetchrow(completed(), *given(job, Phase.COMPLETED, results))
    assert row is not None  # noqa: S101 - an insert without a condition returns its row
    return replace(job, phase=Phase.COMPLETED, results=results, **row)


def completed(source: str = "") -> str:
    """Return the statement that stores what is `given` of a job that is over, for each row of
    ``source``, a FROM clause.
    """
    return f"""
        insert into job ({_GIVEN}, created, started, ended)
             select $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, now(), now(), clock_timestamp()
             {source} returning created, started, ended
        """


def given(job: Job, phase: Phase, results: Sequence[tuple[str, str]]) -> tuple[object, ...]:
    """Return the values of the columns `_GIVEN` for a new job that is stored in ``phase``."""
    detail: dict[str, object] = {
        name: field
        for name, field in (("if_match", job.if_match), ("if_none_match", job.if_none_match))
        if field is not None
    }
    if job.scope != WHOLE:
        detail["scope"] = [job.scope.read_only, str(job.scope.path)]
    if results:
        detail["results"] = [list(result) for result in results]
    if job.protocols:
        detail["protocols"] = _stored(job.protocols)
    return (
        job.id,
        job.kind,
        job.owner,
        job.run_id,
        phase,
        job.document,
        job.duration,
        job.destruction,
        job.size,
        detail,
    )


async def get(db: Connection, job_id: str, *, for_update: bool = False) -> Job | None:
    """Return the job; ``for_update`` holds its row until the commit."""
    if "\0" in job_id:  # which PostgreSQL's text does not know
        return None
    row = await db.fetchrow(
        f"select {_COLUMNS} from job where id = $1" + (" for update" if for_update else ""),
        job_id,
    )
    return None if row is None else job_of(row)


async def listed(db: Connection, owner: str | None, wanted: JobFilter) -> list[Job]:
    """Return the jobs of ``owner`` that a list shows: newest last, unless ``last`` is asked."""
    # A list may be long: without what a job alone is asked for, and what can be large.
    columns = _COLUMNS.replace(" detail", " detail - '{found,walk}'::text[] as detail")
    rows = await db.fetch(
        f"""
        select {columns} from job
         where owner = $1 and ($2::text[] is null or phase = any($2))
           and ($2::text[] is not null or phase <> 'ARCHIVED')
           and ($3::timestamptz is null or created > $3)
           and ($5::text[] is null or kind = any($5))
         order by created desc, id limit $4
        """,
        owner,
        sorted(wanted.phases) or None,
        wanted.after,
        wanted.last or 10_000,
        sorted(wanted.kinds) or None,
    )
    jobs = [job_of(row) for row in rows]
    return jobs if wanted.last else jobs[::-1]


async def advance(
    db: Connection,
    job_id: str,
    event: Event,
    detail: Mapping[str, object] | None = None,
    *,
    node_id: int | None = None,
    deadline: datetime | None = None,
) -> bool:
    """Move a job on by ``event`` if its phase allows it, with what is new; say if it did."""
    moves = {phase: steps[event] for phase, steps in TRANSITIONS.items() if event in steps}
    target = next(iter(moves.values()))
    done = await db.execute(
        """
        update job set phase = $3,
               started = case when $3 = 'EXECUTING' then clock_timestamp() else started end,
               ended = case when $4 then clock_timestamp() else ended end,
               detail = detail || $5, node_id = coalesce($6, node_id),
               deadline = coalesce($7, deadline)
         where id = $1 and phase = any($2)
        """,
        job_id,
        list(moves),
        target,
        not TRANSITIONS[target],
        dict(detail or {}),
        node_id,
        deadline,
    )
    return bool(done == "UPDATE 1")


async def finish(db: Connection, job_id: str, results: Sequence[tuple[str, str]] = ()) -> bool:
    """EXECUTING becomes COMPLETED, with results; ``False`` when the job was in another phase."""
    found = {"results": [list(result) for result in results]} if results else {}
    return await advance(db, job_id, Event.FINISH, found)


async def fail(db: Connection, job_id: str, failure: Failure) -> bool:
    """End a job in ERROR; ``False`` when it was over already."""
    words = {"name": failure.name, "message": failure.message, "detail": failure.detail}
    return await advance(db, job_id, Event.FAIL, {"failure": words})


async def negotiated(
    db: Connection,
    job_id: str,
    node_id: int,
    results: Sequence[tuple[str, str]],
    protocols: Sequence[Protocol],
    deadline: datetime,
    view: str | None = None,
) -> None:
    """QUEUED becomes EXECUTING, with what a push or pull is promised."""
    detail = {
        "results": [list(result) for result in results],
        "protocols": _stored(protocols),
        **({} if view is None else {"view": view}),
    }
    await advance(db, job_id, Event.START, detail, node_id=node_id, deadline=deadline)


async def accepted(
    db: Connection,
    job_id: str,
    node_id: int,
    results: Sequence[tuple[str, str]],
    protocols: Sequence[Protocol],
) -> None:
    """Store which endpoints of others a job is to call, for which node."""
    detail = {
        "results": [list(result) for result in results],
        "protocols": _stored(protocols),
    }
    await db.execute(
        "update job set node_id = $2, detail = detail || $3 where id = $1",
        job_id,
        node_id,
        detail,
    )


async def set_match(db: Connection, job_id: str, tag: str) -> None:
    """Store what the job's node has to be when its bytes are put in place, whatever was asked."""
    words = {"if_match": tag, "if_none_match": None}
    await db.execute("update job set detail = detail || $2 where id = $1", job_id, words)


async def set_tried(db: Connection, job_id: str, executor: str, tried: Sequence[Tried]) -> bool:
    """Store which endpoints were called so far; ``False`` when the job is not its own any more."""
    words = {"tried": [[one.number, one.host, one.reason] for one in tried]}
    done = await db.execute(
        """
        update job set detail = detail || $3
         where id = $1 and executor = $2 and phase = 'EXECUTING'
        """,
        job_id,
        executor,
        words,
    )
    return bool(done == "UPDATE 1")


async def set_progress(db: Connection, job_id: str, executor: str, progress: Progress) -> None:
    """Store how far the job is."""
    await db.execute(
        "update job set detail = detail || $3 where id = $1 and executor = $2",
        job_id,
        executor,
        {"progress": [progress.done, progress.total]},
    )


async def is_executed_by(db: Connection, job_id: str, executor: str) -> bool:
    """Tell whether a job is still its executor's to do, and within its duration."""
    found: bool = await db.fetchval(
        """
        select exists (
            select 1 from job where id = $1 and executor = $2 and phase = 'EXECUTING'
               and (duration = 0 or started + make_interval(secs => duration) > now()))
        """,
        job_id,
        executor,
    )
    return found


async def set_duration(db: Connection, job_id: str, seconds: int) -> None:
    """Store how long the job may execute."""
    await db.execute("update job set duration = $2 where id = $1", job_id, seconds)


async def set_destruction(db: Connection, job_id: str, moment: datetime) -> None:
    """Store when the job goes."""
    await db.execute("update job set destruction = $2 where id = $1", job_id, moment)


async def set_found(db: Connection, job_id: str, found: Sequence[int]) -> None:
    """Store the nodes that a search has found."""
    words = {"found": list(found)}
    await db.execute("update job set detail = detail || $2 where id = $1", job_id, words)


async def delete(db: Connection, job_id: str) -> None:
    """Forget a job; its endpoints are void from then on."""
    await db.execute("delete from job where id = $1", job_id)


async def claim(db: Connection, kinds: Iterable[Kind], executor: str, lease: float) -> Job | None:
    """Take the oldest job that waits for a server, or whose server has died; one caller wins."""
    row = await db.fetchrow(
        f"""
        update job set phase = 'EXECUTING', executor = $2,
               started = coalesce(started, clock_timestamp()),
               lease = now() + make_interval(secs => $3)
         where id = (
            select id from job
             where kind = any($1)
               and (phase = 'QUEUED' or (phase = 'EXECUTING' and lease < now()))
             order by created limit 1 for update skip locked)
        returning {_COLUMNS}
        """,
        list(kinds),
        executor,
        lease,
    )
    return None if row is None else job_of(row)


async def renew(db: Connection, job_id: str, executor: str, lease: float) -> bool:
    """Say that the executor of a job lives; ``False`` when the job is not its own any more."""
    done = await db.execute(
        """
        update job set lease = now() + make_interval(secs => $3)
         where id = $1 and executor = $2 and phase = 'EXECUTING'
        """,
        job_id,
        executor,
        lease,
    )
    return bool(done == "UPDATE 1")


async def abort_overdue(db: Connection) -> list[int]:
    """Abort what is past its deadline or duration; return the nodes of those jobs."""
    rows = await db.fetch(
        """
        update job set phase = 'ABORTED', ended = clock_timestamp()
         where phase in ('QUEUED', 'EXECUTING')
           and (deadline < now()
                or (duration > 0 and started + make_interval(secs => duration) < now()))
        returning node_id
        """
    )
    return [row["node_id"] for row in rows if row["node_id"] is not None]


async def abort_left(db: Connection, age: float) -> list[int]:
    """Abort first uploads that broke off ``age`` seconds ago, or earlier; return their nodes.

    A client that wants to send the bytes again does so sooner, or asks for another endpoint.
    """
    rows = await db.fetch(
        """
        update job set phase = 'ABORTED', ended = clock_timestamp()
          from node
         where node.provisional and job.node_id = node.id
           and job.kind = 'push' and job.phase = 'EXECUTING'
           and exists (select 1 from attempt where attempt.job_id = job.id)
           and not exists (select 1 from attempt where attempt.job_id = job.id
                              and (ended is null or ended > now() - make_interval(secs => $1)))
        returning job.node_id
        """,
        age,
    )
    return [row["node_id"] for row in rows]


async def archive_outdated(db: Connection, kept: timedelta) -> list[int]:
    """Archive jobs whose destruction time has come, for as long as ``kept``; return their nodes.

    What ran is over, and every endpoint void.
    """
    rows = await db.fetch(
        """
        update job set phase = 'ARCHIVED', ended = coalesce(ended, clock_timestamp()),
                       destruction = now() + $1, deadline = null
         where destruction < now() and phase <> 'ARCHIVED'
        returning node_id
        """,
        kept,
    )
    return [row["node_id"] for row in rows if row["node_id"] is not None]


async def delete_outdated(db: Connection) -> int:
    """Delete archived jobs whose time has come; return how many."""
    done: str = await db.execute(
        "delete from job where destruction < now() and phase = 'ARCHIVED'"
    )
    return int(done.rpartition(" ")[2])


def _stored(protocols: Iterable[Protocol]) -> list[list[object]]:
    return [[each.uri, each.endpoint, list(each.security)] for each in protocols]


def job_of(row: asyncpg.Record | Mapping[str, Any]) -> Job:
    """Return the job of a row that has `FIELDS`."""
    detail = row["detail"]
    failure = detail.get("failure")
    return Job(
        id=row["id"],
        kind=Kind(row["kind"]),
        owner=row["owner"],
        phase=Phase(row["phase"]),
        document=row["document"],
        created=row["created"],
        run_id=row["run_id"],
        started=row["started"],
        ended=row["ended"],
        duration=row["duration"],
        destruction=row["destruction"],
        deadline=row["deadline"],
        node_id=row["node_id"],
        size=row["size"],
        results=[(name, href) for name, href in detail.get("results", [])],
        protocols=[
            Protocol(uri, endpoint, tuple(security))
            for uri, endpoint, security in detail.get("protocols", [])
        ],
        failure=Failure(**failure) if failure else None,
        tried=[Tried(*one) for one in detail.get("tried", [])],
        progress=Progress(*detail["progress"]) if "progress" in detail else None,
        view=detail.get("view"),
        if_match=detail.get("if_match"),
        if_none_match=detail.get("if_none_match"),
        found=detail.get("found", ()),
        scope=_scope(*detail["scope"]) if "scope" in detail else WHOLE,
        failures=walk.read(detail.get("walk")).failures,
    )


def _scope(read_only: bool, path: str) -> Scope:
    return Scope(read_only, stored_path(path))
