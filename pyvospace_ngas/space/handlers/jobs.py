"""UWS 1.1: the lists of jobs, such as ``/transfers``, and what each job shows and takes."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from aiohttp import web

from pyvospace_ngas.errors import InvalidArgument, JobNotFound
from pyvospace_ngas.http.keys import DATABASE, IDENTITY, SPACE
from pyvospace_ngas.model.job import TRANSFERS, Job, Kind, Phase
from pyvospace_ngas.model.properties import timestamp
from pyvospace_ngas.model.uri import NodePath
from pyvospace_ngas.ops import executing, jobs, searches
from pyvospace_ngas.space.handlers.transfers import details
from pyvospace_ngas.space.parameters import (
    Parameters,
    job_filter,
    moment,
    one,
    parameters,
    phase,
    required,
    whole_number,
)
from pyvospace_ngas.space.running import PREFIXES, RUNNING, base_url, plain, see_other, xml
from pyvospace_ngas.xml.searches import write_found
from pyvospace_ngas.xml.uws import (
    DETAILS,
    FAILURES,
    FOUND,
    write_job,
    write_jobs,
    write_parameters,
    write_results,
)

_LISTS: Final = {
    Kind.DELETE: "async-delete",
    Kind.SET: "async-setprops",
    Kind.SEARCH: "searches",
}


def path_of(kind: Kind) -> str:
    """Return the list that shows jobs of this kind, as its path below the service."""
    return _LISTS.get(kind, "transfers")


async def list_jobs(request: web.Request) -> web.Response:
    """GET a list: the caller's jobs of its kinds."""
    base = _list(request)
    wanted = replace(
        job_filter(parameters(request.query.items())),
        kinds=frozenset(kind for kind in Kind if path_of(kind) == base),
    )
    async with request.app[DATABASE].acquire() as db:
        found = await jobs.listed(db, request[IDENTITY], wanted)
    return xml(write_jobs(found, f"{base_url(request)}/{base}"))


async def get_job(request: web.Request) -> web.Response:
    """GET: the job; WAIT holds the answer back until its phase changes."""
    given = parameters(request.query.items())
    seconds, only = one(given, "WAIT"), one(given, "PHASE")
    job = await _job(request)
    if seconds is not None:
        job = await jobs.wait(
            request.app[DATABASE],
            request[IDENTITY],
            job.id,
            whole_number("WAIT", seconds, -1),
            None if only is None else phase(only),
        )
    return xml(write_job(job, _url(request), datetime.now(UTC)))


async def post_job(request: web.Request) -> web.Response:
    """POST ACTION=DELETE: the same as DELETE."""
    given = await _form(request)
    if (one(given, "ACTION") or "").upper() != "DELETE":
        raise InvalidArgument("a job can be told ACTION=DELETE here, and PHASE at its /phase")
    return await delete_job(request)


async def delete_job(request: web.Request) -> web.Response:
    """DELETE: stop the job if it runs, and forget it; 303 to the list."""
    async with request.app[DATABASE].transaction() as db:
        await jobs.delete(db, await jobs.get(db, request[IDENTITY], request.match_info["id"]))
    return see_other(f"{base_url(request)}/{_list(request)}")


async def get_phase(request: web.Request) -> web.Response:
    """GET /phase: one bare word."""
    return plain((await _job(request)).phase)


async def post_phase(request: web.Request) -> web.Response:
    """POST PHASE=RUN or PHASE=ABORT; 303 to the job."""
    word = required(await _form(request), "PHASE").upper()
    job = await _job(request)
    match word:
        case "RUN":
            await executing.run(request.app[RUNNING], request[IDENTITY], job)
        case "ABORT":
            async with request.app[DATABASE].transaction() as db:
                await jobs.abort(db, job)
        case _:
            raise InvalidArgument(f"PHASE {word[:40]!r} is neither RUN nor ABORT")
    return see_other(_url(request))


async def get_duration(request: web.Request) -> web.Response:
    """GET /executionduration: seconds, 0 for no limit."""
    return plain(str((await _job(request)).duration))


async def post_duration(request: web.Request) -> web.Response:
    """POST EXECUTIONDURATION: more than we allow is cut down (the truth is in the job)."""
    text = required(await _form(request), "EXECUTIONDURATION")
    seconds = whole_number("EXECUTIONDURATION", text)
    job = await _job(request)
    async with request.app[DATABASE].acquire() as db:
        await jobs.limit(db, job, seconds)
    return see_other(_url(request))


async def get_destruction(request: web.Request) -> web.Response:
    """GET /destruction: when the job goes."""
    destruction = (await _job(request)).destruction
    return plain("" if destruction is None else timestamp(destruction))


async def post_destruction(request: web.Request) -> web.Response:
    """POST DESTRUCTION: another time at which the job goes."""
    wanted = moment("DESTRUCTION", required(await _form(request), "DESTRUCTION"))
    job = await _job(request)
    async with request.app[DATABASE].acquire() as db:
        await jobs.destroy_at(db, job, wanted)
    return see_other(_url(request))


async def get_quote(request: web.Request) -> web.Response:
    """GET /quote: when the job will be over, where that is known: the end of its endpoints."""
    job = await _job(request)
    known = job.deadline if job.phase is Phase.EXECUTING else None
    return plain("" if known is None else timestamp(known))


async def get_owner(request: web.Request) -> web.Response:
    """GET /owner."""
    return plain((await _job(request)).owner or "")


async def get_error(request: web.Request) -> web.Response:
    """GET /error: the fault's name and detail (A4)."""
    failure = (await _job(request)).failure
    if failure is None:
        raise JobNotFound("this job has no error")
    return plain(f"{failure.name} {failure.detail}".rstrip())


async def get_parameters(request: web.Request) -> web.Response:
    """GET /parameters."""
    return xml(write_parameters(await _job(request)))


async def get_results(request: web.Request) -> web.Response:
    """GET /results."""
    return xml(write_results(await _job(request), _url(request)))


async def get_result(request: web.Request) -> web.Response:
    """GET /results/ID: the transfer with its endpoints, what failed, or what a result names."""
    job = await _job(request)
    name = request.match_info["result"]
    if name == DETAILS and job.kind in TRANSFERS and job.phase is not Phase.PENDING:
        return xml(details(request, job))
    if name == FOUND and job.kind is Kind.SEARCH and job.phase is Phase.COMPLETED:
        return xml(await _found(request, job))
    if name == FAILURES and job.failures:
        space = request.app[SPACE]
        paths = ((NodePath(tuple(path.split("/")[1:])), why) for path, why in job.failures)
        return plain("".join(f"{space.uri(path)} {why}\n" for path, why in paths))
    href = dict(job.results).get(name)
    if href is None:
        raise JobNotFound(f"the job {job.id} has no result {name[:80]}")
    return plain(href)


async def _found(request: web.Request, job: Job) -> str:
    """Return what a search has found, as it is now."""
    async with request.app[DATABASE].acquire() as db:
        found = await searches.found(db, request[IDENTITY], job)
    detail = request.app[RUNNING].read_search(job.document).detail
    return write_found(found, request.app[SPACE], detail)


async def _job(request: web.Request) -> Job:
    async with request.app[DATABASE].acquire() as db:
        job = await jobs.get(db, request[IDENTITY], request.match_info["id"])
    if path_of(job.kind) != _list(request):
        raise JobNotFound(job.id)
    return job


async def _form(request: web.Request) -> Parameters:
    return parameters(request.query.items(), await request.read())


def _url(request: web.Request) -> str:
    return f"{base_url(request)}/{_list(request)}/{request.match_info['id']}"


def _list(request: web.Request) -> str:
    """Return the name of the list that the URL is in."""
    path = request.rel_url.raw_path
    prefix = next(prefix for prefix in PREFIXES if path.startswith(prefix + "/"))
    return path[len(prefix) + 1 :].partition("/")[0]
