"""UWS documents of jobs, out."""

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Final

from pyvospace_ngas.errors import InvalidArgument
from pyvospace_ngas.model.job import RECURSIVE, Job, Kind, Phase, is_over
from pyvospace_ngas.model.properties import timestamp
from pyvospace_ngas.xml.escaping import UWS, XLINK, XSI, attribute, text
from pyvospace_ngas.xml.parsing import parse
from pyvospace_ngas.xml.searches import matches_of
from pyvospace_ngas.xml.transfers import read_transfer

DETAILS: Final = "transferDetails"
FOUND: Final = "searchDetails"
FAILURES: Final = "failures"  # plain text: one node and the reason a line
PROGRESS: Final = "urn:pyvospace-ngas:progress"  # namespace of the element beside the transfer
_TRANSFERS: Final = (Kind.PUSH, Kind.PULL, Kind.PULL_TO, Kind.PUSH_FROM)
_TRANSIENT: Final = frozenset({"NodeBusy", "ServiceUnavailable"})  # the same may do another time
_ROOT: Final = f'xmlns:uws="{UWS}" xmlns:xlink="{XLINK}" xmlns:xsi="{XSI}"'
_DECLARATION: Final = re.compile(r"\ufeff?\s*<\?xml[^>]*\?>\s*")


def write_job(job: Job, job_url: str, now: datetime) -> str:
    """Return the document of ``job``; while it waits for bytes, its quote is when that ends."""
    quote = job.deadline if not is_over(job.phase) else None
    if quote is not None and quote <= now:
        quote = None
    return "".join(
        [
            f'<uws:job {_ROOT} version="1.1">',
            f"<uws:jobId>{text(job.id)}</uws:jobId>",
            "" if job.run_id is None else f"<uws:runId>{text(job.run_id)}</uws:runId>",
            _nillable("ownerId", job.owner),
            f"<uws:phase>{job.phase}</uws:phase>",
            _time("quote", quote),
            _creation(job),
            _time("startTime", job.started),
            _time("endTime", job.ended),
            f"<uws:executionDuration>{job.duration}</uws:executionDuration>",
            _time("destruction", job.destruction),
            f"<uws:parameters>{_parameters(job)}</uws:parameters>",
            f"<uws:results>{_results(job, job_url)}</uws:results>",
            _error(job),
            _info(job),
            "</uws:job>",
        ]
    )


def write_jobs(jobs: Iterable[Job], jobs_url: str) -> str:
    """Return the list of ``jobs``, which live below ``jobs_url``."""
    entries = "".join(_reference(job, f"{jobs_url}/{job.id}") for job in jobs)
    return f'<uws:jobs {_ROOT} version="1.1">{entries}</uws:jobs>'


def write_results(job: Job, job_url: str) -> str:
    """Return the list of what ``job`` has brought so far."""
    return f"<uws:results {_ROOT}>{_results(job, job_url)}</uws:results>"


def write_parameters(job: Job) -> str:
    """Return what ``job`` was asked to do, in the words of the parameter mode."""
    return f"<uws:parameters {_ROOT}>{_parameters(job)}</uws:parameters>"


def _reference(job: Job, url: str) -> str:
    run = "" if job.run_id is None else f"<uws:runId>{text(job.run_id)}</uws:runId>"
    return (
        f'<uws:jobref id="{attribute(job.id)}" xlink:type="simple" xlink:href="{attribute(url)}">'
        f"<uws:phase>{job.phase}</uws:phase>{run}{_nillable('ownerId', job.owner)}"
        f"{_creation(job)}</uws:jobref>"
    )


def _results(job: Job, job_url: str) -> str:
    results = list(job.results)
    if job.kind in _TRANSFERS and job.phase is not Phase.PENDING:
        results.insert(0, (DETAILS, f"{job_url}/results/{DETAILS}"))
    if job.kind is Kind.SEARCH and job.phase is Phase.COMPLETED:
        results.append((FOUND, f"{job_url}/results/{FOUND}"))
    if job.failures and is_over(job.phase):
        results.append((FAILURES, f"{job_url}/results/{FAILURES}"))
    return "".join(
        f'<uws:result id="{attribute(name)}" xlink:type="simple" xlink:href="{attribute(href)}"/>'
        for name, href in results
    )


def _parameters(job: Job) -> str:
    if job.kind in RECURSIVE:
        target = parse(job.document.encode(), "node").get("uri", "")
        return f'<uws:parameter id="TARGET">{text(target)}</uws:parameter>'
    if job.kind is Kind.SEARCH:
        return f'<uws:parameter id="MATCHES">{text(matches_of(job.document))}</uws:parameter>'
    try:
        transfer = read_transfer(job.document.encode())
    except InvalidArgument:
        return ""  # a job that no transfer document started
    pairs = [("TARGET", transfer.target), ("DIRECTION", transfer.direction)]
    pairs += [("PROTOCOL", protocol.uri) for protocol in transfer.protocols]
    if transfer.view is not None:
        pairs.append(("VIEW", transfer.view.uri))
    if transfer.keep_bytes is not None:
        pairs.append(("KEEPBYTES", "true" if transfer.keep_bytes else "false"))
    return "".join(
        f'<uws:parameter id="{name}">{text(value)}</uws:parameter>' for name, value in pairs
    )


def _error(job: Job) -> str:
    if job.failure is None:
        return ""
    kind = "transient" if job.failure.name in _TRANSIENT else "fatal"
    return (
        f'<uws:errorSummary type="{kind}" hasDetail="true">'
        f"<uws:message>{text(job.failure.message)}</uws:message></uws:errorSummary>"
    )


def _info(job: Job) -> str:
    document = _DECLARATION.sub("", job.document, count=1).strip()
    document += _progress(job)
    return f"<uws:jobInfo>{document}</uws:jobInfo>" if document else ""


def _progress(job: Job) -> str:
    if job.progress is None:
        return ""
    total = "" if job.progress.total is None else f' total="{job.progress.total}"'
    return f'<p:progress xmlns:p="{PROGRESS}" unit="bytes" done="{job.progress.done}"{total}/>'


def _creation(job: Job) -> str:
    """Return when the job was made, to the last digit: what AFTER asks for is later than that."""
    return f"<uws:creationTime>{timestamp(job.created, 'microseconds')}</uws:creationTime>"


def _nillable(name: str, value: str | None) -> str:
    if value is None:
        return f'<uws:{name} xsi:nil="true"/>'
    return f"<uws:{name}>{text(value)}</uws:{name}>"


def _time(name: str, moment: datetime | None) -> str:
    return _nillable(name, None if moment is None else timestamp(moment))
