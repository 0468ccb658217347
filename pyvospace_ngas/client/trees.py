"""Jobs over whole trees: deleting them, and setting properties on all of their nodes."""

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from yarl import URL

from pyvospace_ngas import errors
from pyvospace_ngas.client import transfers
from pyvospace_ngas.client.connection import Connection
from pyvospace_ngas.model.job import Phase
from pyvospace_ngas.xml.answers import JobDocument

_FORM: Final = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job over a tree ended. ``failures`` are the first of them: a URI, and why."""

    job: JobDocument
    done: int
    failed: int
    failures: tuple[tuple[str, str], ...] = ()


async def delete(connection: Connection, url: URL, target: str) -> Outcome:
    """Delete the tree ``target`` by a job at the list ``url``; return when that is over."""
    return await _over(connection, url, urlencode({"target": target}).encode(), _FORM)


async def change(connection: Connection, url: URL, document: str) -> Outcome:
    """Set the properties of ``document`` on all of its tree; return when that is over."""
    return await _over(connection, url, document.encode(), "text/xml")


async def _over(connection: Connection, url: URL, body: bytes, kind: str) -> Outcome:
    # A job that nobody runs does nothing: it may be asked for twice.
    answer = await connection.ask("POST", url, body, kind=kind)
    job_url = connection.here(transfers.location(answer), answer.url)
    job = await transfers.completed(connection, job_url)
    found = Outcome(job, _count(job, "successcount"), _count(job, "errorcount"))
    if "failures" in job.results:
        text = (await connection.ask("GET", job_url / "results/failures")).body.decode()
        failures = tuple(_failure(line) for line in text.splitlines())
        found = Outcome(job, found.done, found.failed, failures)
    if job.phase is not Phase.COMPLETED and not found.failures:
        if job.phase is Phase.ERROR:
            raise await transfers.failure(connection, job_url)
        raise errors.TransferFailed(f"the job {job.id} ended as {job.phase}")
    return found


def _count(job: JobDocument, name: str) -> int:
    number = job.results.get(name, "").rpartition(":")[2]
    return int(number) if number.isascii() and number.isdigit() else 0


def _failure(line: str) -> tuple[str, str]:
    uri, _, reason = line.partition(" ")
    return uri, reason
