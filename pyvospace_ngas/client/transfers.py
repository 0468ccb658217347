"""Asking for transfers: endpoints for bytes, and jobs that move and copy."""

import asyncio
import time
from contextlib import suppress
from typing import Final
from urllib.parse import urlencode

from yarl import URL

from pyvospace_ngas import errors
from pyvospace_ngas.client.connection import Answer, Connection
from pyvospace_ngas.client.discovery import Service
from pyvospace_ngas.client.faults import fault, of_text
from pyvospace_ngas.model.content import Step
from pyvospace_ngas.model.job import Phase, is_over
from pyvospace_ngas.model.standard import (
    HTTP_GET,
    HTTP_PUT,
    HTTPS_GET,
    HTTPS_PUT,
    LENGTH,
)
from pyvospace_ngas.model.transfer import Direction, Protocol, Transfer
from pyvospace_ngas.xml.answers import JobDocument, read_job
from pyvospace_ngas.xml.transfers import read_transfer, write_transfer

_DETAILS: Final = "/results/transferDetails"
_WAIT: Final = 30  # seconds that one request waits for a job
_LAST_WORD: Final = 5.0  # seconds to stop a job whose caller goes
_HOPS: Final = 5
_PLAIN: Final = {Direction.PUSH_TO: HTTP_PUT, Direction.PULL_FROM: HTTP_GET}
_TLS: Final = {Direction.PUSH_TO: HTTPS_PUT, Direction.PULL_FROM: HTTPS_GET}


async def negotiate(
    connection: Connection,
    service: Service,
    uri: str,
    direction: Direction,
    size: int | None,
    begun: list[URL] | None = None,
) -> list[str]:
    """Return the endpoints for the bytes of a node, or raise why there are none.

    The job that they are of is added to ``begun``.
    """
    wanted = [_TLS[direction], _PLAIN[direction]]
    if connection.base.scheme == "http":
        wanted.reverse()
    transfer = Transfer(
        target=uri,
        direction=direction,
        protocols=tuple(Protocol(protocol) for protocol in wanted),
        params=() if size is None else ((LENGTH, str(size)),),
    )
    answer = await _ask(connection, service.sync, transfer)
    details = await _follow(connection, answer)
    offered = [protocol.endpoint for protocol in read_transfer(details.body).protocols]
    endpoints = [endpoint for endpoint in offered if endpoint is not None]
    path = str(details.url).partition("?")[0]
    if endpoints:
        if begun is not None and path.endswith(_DETAILS):
            begun.append(URL(path.removesuffix(_DETAILS), encoded=True))
        return endpoints
    if not path.endswith(_DETAILS):
        raise errors.TransferFailed("the service offered no endpoint, and does not say why")
    raise await failure(connection, URL(path.removesuffix(_DETAILS), encoded=True))


async def offered_put(connection: Connection, service: Service, uri: str) -> list[str]:
    """Return endpoints for bytes to ``uri``, asked for in one request, without a document."""
    secure = connection.base.scheme == "https"
    form = {
        "TARGET": uri,
        "DIRECTION": Direction.PUSH_TO.value,
        "PROTOCOL": HTTPS_PUT if secure else HTTP_PUT,
    }
    answer = await connection.ask(
        "POST", service.sync, urlencode(form).encode(), kind="application/x-www-form-urlencoded"
    )
    protocols = read_transfer(answer.body).protocols
    endpoints = [protocol.endpoint for protocol in protocols if protocol.endpoint is not None]
    if endpoints:
        return endpoints
    path = answer.headers.get("Content-Location", "").partition("?")[0]
    if not path.endswith(_DETAILS):
        raise errors.TransferFailed("the service offered no endpoint, and does not say why")
    raise await failure(connection, connection.here(path.removesuffix(_DETAILS)))


async def move_over(
    connection: Connection,
    service: Service,
    target: str,
    destination: str,
    *,
    over: bool = True,
) -> Step | None:
    """Make ``destination`` a node's name, at once; ``over`` a file or link that has it, if so.

    A container that has it is in the way: `DuplicateNode`. Returns what that made of the node,
    where it is told.
    """
    own = service.space.identifier
    transfer = Transfer(
        target=target,
        direction=destination,
        keep_bytes=False,
        params=((f"{own}#overwrite", str(over).lower()), (f"{own}#exact", "true")),
    )
    document = write_transfer(transfer, ()).encode()
    answer = await connection.ask(
        "POST", service.sync, document, again=False, fields={"Prefer": "return=representation"}
    )
    if "Preference-Applied" in answer.headers:  # else a refusal would have been the answer
        return Step.told(answer.headers)
    place = str(connection.here(location(answer), answer.url)).partition("?")[0]
    job_url = URL(place.removesuffix(_DETAILS), encoded=True)
    job = await job_at(connection, job_url, 0)
    if not is_over(job.phase):
        job = await _until_over(connection, job_url)
    if job.phase is Phase.ERROR:
        raise await failure(connection, job_url)
    if job.phase is not Phase.COMPLETED:
        raise errors.TransferFailed(f"the job ended as {job.phase}")
    return None


async def relocate(
    connection: Connection,
    service: Service,
    target: str,
    destination: str,
    *,
    keep: bool,
    overwrite: bool = False,
) -> JobDocument:
    """Move or copy a node by a job; return when it is completed. To be cancelled stops the job."""
    params = ((f"{service.space.identifier}#overwrite", "true"),) if overwrite else ()
    transfer = Transfer(target=target, direction=destination, keep_bytes=keep, params=params)
    answer = await _ask(connection, service.transfers, transfer)
    url = connection.here(location(answer), answer.url)
    job = await completed(connection, url)
    if job.phase is Phase.COMPLETED:
        return job
    if job.phase is Phase.ERROR:
        raise await failure(connection, url)
    raise errors.TransferFailed(f"the job ended as {job.phase}")


async def completed(connection: Connection, url: URL) -> JobDocument:
    """Run the job at ``url`` to its end; where the caller is cancelled meanwhile, abort it."""
    await change_phase(connection, url, "RUN")
    try:
        return await _until_over(connection, url)
    except asyncio.CancelledError:
        await abandon(connection, url)
        raise


async def abandon(connection: Connection, *urls: URL) -> None:
    """Abort jobs whose caller goes, as far as that can be done quickly."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_LAST_WORD):
            for url in urls:
                with suppress(errors.VOSpaceError):
                    await change_phase(connection, url, "ABORT")


async def job_at(connection: Connection, url: URL, wait: int) -> JobDocument:
    """Return the job at ``url``, after at most ``wait`` seconds without a change."""
    asked = url.with_query(WAIT=str(wait)) if wait else url
    return read_job((await connection.ask("GET", asked, wait=wait)).body)


async def change_phase(connection: Connection, url: URL, phase: str) -> None:
    """Send RUN or ABORT to the job at ``url``. That RUN was heard already is no error."""
    try:
        await connection.ask(
            "POST",
            url / "phase",
            f"PHASE={phase}".encode(),
            kind="application/x-www-form-urlencoded",
        )
    except errors.IllegalTransition:
        # The answer to a first attempt may have been lost.
        if phase != "RUN" or (await job_at(connection, url, 0)).phase is Phase.PENDING:
            raise


async def _until_over(connection: Connection, url: URL) -> JobDocument:
    """Wait for a job, also where the server does not wait with us."""
    nap = 0.05
    while True:
        asked = time.monotonic()
        job = await job_at(connection, url, _WAIT)
        if is_over(job.phase):
            return job
        if time.monotonic() - asked < nap:
            await connection.sleep(nap)
            nap = min(2.0, nap * 2)


async def _ask(connection: Connection, url: URL, transfer: Transfer) -> Answer:
    # A job that nobody runs, and endpoints that nobody uses, do nothing: it may be asked twice.
    document = write_transfer(transfer, transfer.protocols).encode()
    return await connection.ask("POST", url, document)


async def _follow(connection: Connection, answer: Answer) -> Answer:
    for _ in range(_HOPS):
        if answer.status < 300:
            return answer
        answer = await connection.ask("GET", connection.here(location(answer), answer.url))
    raise errors.TransferFailed("the service redirects without end")


def location(answer: Answer) -> str:
    location = answer.headers.get("Location")
    if location is None:
        raise fault(answer.status, answer.body)
    return location


async def failure(connection: Connection, job: URL) -> errors.VOSpaceError:
    """Return why the job at this address ended in ERROR."""
    answer = await connection.ask("GET", job / "error")
    text = answer.body.decode("utf-8", "replace")
    return of_text(text) or errors.VOSpaceError(text[:500])
