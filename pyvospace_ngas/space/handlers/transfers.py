"""The resources ``/transfers`` (made) and ``/synctrans``: asking for bytes to move."""

from dataclasses import replace
from typing import Final

from aiohttp import web

from pyvospace_ngas import errors
from pyvospace_ngas.errors import InvalidArgument, OperationNotSupported
from pyvospace_ngas.http.keys import DATABASE, IDENTITY, SPACE
from pyvospace_ngas.model.job import Job, Phase
from pyvospace_ngas.model.standard import HTTP_GET
from pyvospace_ngas.model.transfer import THIRD_PARTY, Direction, Protocol, Transfer, View
from pyvospace_ngas.model.uri import is_uri
from pyvospace_ngas.ops import executing, jobs, transfers
from pyvospace_ngas.space.parameters import Parameters, one, parameters, prefers, required
from pyvospace_ngas.space.running import ENDPOINT_KEY, RUNNING, base_url, see_other, xml
from pyvospace_ngas.xml.transfers import read_and_keep, write_transfer

_BY_PARAMETERS: Final = (Direction.PUSH_TO, Direction.PULL_FROM)
REDIRECT: Final = "redirect"
_REPRESENTATION: Final = "return=representation"  # a preference of RFC 7240


def is_document(body: bytes) -> bool:
    """Tell a document from a form, whatever the Content-Type says (curl's default is wrong)."""
    return body.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<"


async def create_job(request: web.Request) -> web.Response:
    """POST /transfers: 303 to a new job, which PHASE=RUN starts at once."""
    body = await request.read()
    given = parameters(request.query.items(), b"" if is_document(body) else body)
    wanted = one(given, "PHASE")
    if wanted is not None and wanted.upper() != "RUN":
        raise InvalidArgument(f"PHASE {wanted[:40]!r}: a new job can only be told RUN")
    transfer, document = read_and_keep(body)
    async with request.app[DATABASE].acquire() as db:
        job = await jobs.create(db, _new(request, transfer, document, one(given, "RUNID")))
    if wanted is not None:
        await executing.run(request.app[RUNNING], request[IDENTITY], job, transfer)
    return see_other(f"{base_url(request)}/transfers/{job.id}")


async def synchronous(request: web.Request) -> web.Response:
    """/synctrans: a document is answered by 303 to its details, parameters by the details."""
    body = await request.read()
    if is_document(body):
        transfer, document = read_and_keep(body)
        if transfer.known_direction in THIRD_PARTY:  # may take hours: only as a job (A12)
            raise OperationNotSupported(f"{transfer.direction} at /synctrans; use /transfers")
        job = await _run(request, transfer, document)
        if prefers(request.headers, _REPRESENTATION):
            return _represented(request, job, transfer)
        return see_other(_details_url(request, job))
    return await _by_parameters(request, parameters(request.query.items(), body))


def _represented(request: web.Request, job: Job, transfer: Transfer) -> web.Response:
    """Answer with the details that a 303 leads to, or with why there are none (RFC 7240)."""
    _raise_failure(job)
    headers = {
        "Content-Location": _details_url(request, job),
        "Preference-Applied": _REPRESENTATION,
        **({} if job.moved is None else job.moved.fields()),
    }
    return xml(_details(request, job, transfer), headers=headers)


async def redirect_to_bytes(
    request: web.Request, target: str, view: View | None = None
) -> web.Response:
    """Send a client to an endpoint that gives the bytes of the node ``target``, in a view."""
    protocols = (Protocol(HTTP_GET),)
    return await _redirect(request, Transfer(target, Direction.PULL_FROM, view, protocols))


def details(request: web.Request, job: Job) -> str:
    """Return the transfer of ``job`` with its endpoints; without any when it failed."""
    return _details(request, job, request.app[RUNNING].read(job.document))


def _details(request: web.Request, job: Job, transfer: Transfer) -> str:
    failed = job.phase is Phase.ERROR
    offered = [] if failed else transfers.endpoints(job, request.app[ENDPOINT_KEY])
    made = dict(job.results).get("target")
    return write_transfer(replace(transfer, target=made) if made else transfer, offered)


async def _by_parameters(request: web.Request, given: Parameters) -> web.Response:
    transfer = _transfer(given)
    mode = one(given, "REQUEST")
    if mode not in (None, REDIRECT):
        raise InvalidArgument(f"REQUEST {mode[:40]!r} can only be {REDIRECT}")
    if mode == REDIRECT and transfer.known_direction is Direction.PULL_FROM:
        return await _redirect(request, transfer)
    if request.method == "HEAD":  # it must change nothing, and a negotiation is a job
        raise web.HTTPMethodNotAllowed(request.method, ["GET", "POST"])
    job = await _run(request, transfer, write_transfer(transfer, transfer.protocols))
    return xml(
        _details(request, job, transfer), headers={"Content-Location": _details_url(request, job)}
    )


def _transfer(given: Parameters) -> Transfer:
    """Return what the parameters ask for (VOSpace 2.1, section 6.4.1.1)."""
    direction = required(given, "DIRECTION")
    if direction not in _BY_PARAMETERS:
        raise InvalidArgument(f"DIRECTION {direction[:40]!r} needs a transfer document")
    for name in ("VIEW", "PROTOCOL", "SECURITYMETHOD"):
        for value in given.get(name, ()):
            if value and not is_uri(value):
                raise InvalidArgument(f"{name} {value[:80]!r} is no URI")
    view = one(given, "VIEW")
    return Transfer(
        target=required(given, "TARGET"),
        direction=direction,
        view=View(view) if view else None,
        protocols=(
            Protocol(required(given, "PROTOCOL"), security=tuple(given.get("SECURITYMETHOD", ()))),
        ),
        version="2.1",
    )


async def _redirect(request: web.Request, transfer: Transfer) -> web.Response:
    """Negotiate a pull and send the client to its first endpoint; a failure is answered itself."""
    job = await _run(request, transfer, write_transfer(transfer, transfer.protocols))
    _raise_failure(job)
    endpoint = transfers.endpoints(job, request.app[ENDPOINT_KEY])[0].endpoint
    return see_other(str(endpoint))


def _raise_failure(job: Job) -> None:
    if job.failure is not None:
        kind = getattr(errors, job.failure.name, errors.InternalFault)
        raise kind(job.failure.detail)
    if job.phase is Phase.ABORTED:
        raise errors.TransferFailed("the job was aborted")


async def _run(request: web.Request, transfer: Transfer, document: str) -> Job:
    """Make a job, run it to where the client can go on, and return it as it is then."""
    job = _new(request, transfer, document, None)
    return await executing.run_now(request.app[RUNNING], request[IDENTITY], job, transfer)


def _new(request: web.Request, transfer: Transfer, document: str, run_id: str | None) -> Job:
    return jobs.new(
        request[IDENTITY],
        transfer,
        document,
        run_id,
        request.app[SPACE],
        request.headers.get("If-Match"),
        request.headers.get("If-None-Match"),
    )


def _details_url(request: web.Request, job: Job) -> str:
    return f"{base_url(request)}/transfers/{job.id}/results/transferDetails"
