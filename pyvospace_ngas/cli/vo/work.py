"""``jobs`` and ``trash``: what the server does, and what it keeps for a while."""

import argparse
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from pyvospace_ngas import errors
from pyvospace_ngas.cli.vo import options
from pyvospace_ngas.cli.vo.screen import table
from pyvospace_ngas.cli.vo.session import Session, each
from pyvospace_ngas.client.account import Record
from pyvospace_ngas.client.vospace import JobList
from pyvospace_ngas.errors import VOSpaceError
from pyvospace_ngas.model.job import Phase
from pyvospace_ngas.xml.answers import JobDocument

if TYPE_CHECKING:
    from pyvospace_ngas.cli.vo.options import Parts

MINUTE: Final = "%Y-%m-%d %H:%M"
_EARLY: Final = datetime(1970, 1, 1, tzinfo=UTC)


def add_commands(parts: "Parts") -> None:
    """Add the commands."""
    help_ = "transfers, moves, copies and work on trees; alone it lists them"
    jobs = options.group(parts, "jobs", _list, help_, phase=[])
    listing = options.command(jobs, "list", _list, "list your jobs, the last one first")
    listing.add_argument("--phase", action="append", default=[], choices=[*Phase], metavar="PHASE")
    for name, run, help_ in (
        ("show", _show, "show jobs, and why they failed"),
        ("abort", _abort, "stop jobs"),
    ):
        parser = options.command(jobs, name, run, help_)
        parser.add_argument("ids", nargs="+", metavar="ID")
    help_ = "what you deleted, and can have back; alone it lists that"
    trash = options.group(parts, "trash", _list_trash, help_)
    options.command(trash, "list", _list_trash, "list it, the last deleted first")
    restore = options.command(trash, "restore", _restore, "bring it back where it was")
    restore.add_argument("ids", nargs="+", metavar="ID")
    restore.add_argument("--to", metavar="PATH", help="not where it was, but there")


async def _list(session: Session, args: argparse.Namespace) -> None:
    found: list[tuple[JobList, JobDocument]] = []
    for kind in JobList:
        try:
            jobs = await session.client.jobs(*args.phase, kind=kind)
        except VOSpaceError:
            if kind is JobList.TRANSFERS:  # the others are not in every service
                raise
            continue
        found += [(kind, job) for job in jobs]
    found.sort(key=lambda pair: pair[1].created or _EARLY, reverse=True)
    if args.json:
        for kind, job in found:
            session.screen.record(_record(kind, job))
        return
    rows = [(job.id, job.phase.value, _minute(job.created), kind.value) for kind, job in found]
    table(session.screen, ("ID", "PHASE", "CREATED", "KIND"), rows)


async def _show(session: Session, args: argparse.Namespace) -> None:
    async def show(job_id: str) -> None:
        kind, job = await _find(session, job_id)
        values = _record(kind, job)
        if job.phase is Phase.ERROR:
            values["error"] = await session.client.job_error(job_id, kind)
        if args.json:
            session.screen.record(values)
            return
        for name, value in values.items():
            if value is not None:
                text = f"{value:{MINUTE}}" if isinstance(value, datetime) else str(value)
                session.screen.print(f"{name:10} {text}")

    await each(session, args.ids, show)


async def _abort(session: Session, args: argparse.Namespace) -> None:
    async def abort(job_id: str) -> None:
        kind, _ = await _find(session, job_id)
        await session.client.abort(job_id, kind)
        session.screen.did("aborted", job_id)

    await each(session, args.ids, abort)


async def _find(session: Session, job_id: str) -> tuple[JobList, JobDocument]:
    """Return a job out of whichever list it is in."""
    for kind in JobList:
        try:
            return kind, await session.client.job(job_id, kind=kind)
        except errors.JobNotFound:
            continue
    raise errors.JobNotFound(job_id)


def _record(kind: JobList, job: JobDocument) -> dict[str, object]:
    transfer = job.transfer
    return {
        "id": job.id,
        "kind": kind.value,
        "phase": job.phase.value,
        "created": job.created,
        "started": job.started,
        "ended": job.ended,
        "target": None if transfer is None else transfer.target,
        "direction": None if transfer is None else transfer.direction,
        "error": job.message,
    }


def _minute(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:{MINUTE}}"


async def _list_trash(session: Session, args: argparse.Namespace) -> None:
    async with aclosing(session.client.trash()) as entries:
        async for entry in entries:
            if args.json:
                session.screen.record(entry)
            else:
                session.screen.print(_line(session, entry))


def _line(session: Session, entry: Record) -> str:
    path = session.space.parse(str(entry.get("uri")))
    deleted, kept = str(entry.get("deleted"))[:16], str(entry.get("kept"))[:16]
    return f"{entry.get('id'):>8}  {deleted}  kept until {kept}  {path}"


async def _restore(session: Session, args: argparse.Namespace) -> None:
    destination = None if args.to is None else session.path(args.to)

    async def restore(entry: str) -> None:
        uri = await session.client.restore(entry, destination)
        session.screen.did("restored", session.space.parse(uri))

    await each(session, args.ids, restore)
