"""Partner sites: other archives that are asked for files which this cluster does not have."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout, web
from yarl import URL

from pyvospace_ngas.archive import parameters, proxying
from pyvospace_ngas.archive.answers import Call
from pyvospace_ngas.archive.peers import MARK, read_answer
from pyvospace_ngas.archive.refusals import Refused, unavailable
from pyvospace_ngas.ngas.status import MalformedAnswer

log = logging.getLogger(__name__)

ASKED: Final = "X-NGAS-Partner"  # two archives that are each other's partners must not loop
LOOK_UP_SECONDS: Final = 10.0  # for one partner
LONGEST_SECONDS: Final = 60.0
REDIRECTS: Final = 3
TAKEN: Final = frozenset({200, 206, 304, 416})
NARROWING: Final = ("disk_id", "host_id", "processing")  # what a partner does not have or do


async def retrieve(call: Call) -> web.StreamResponse:
    """Send a file that the cluster does not have from the first partner that has it.

    Refused as unavailable where the configuration wants no partner asked (ProxyMode=0).
    """
    given = call.parameters
    version = parameters.version(given, call.command)
    missing = unavailable(given["file_id"], version)
    if not _may_ask(call):
        raise missing
    wanted = {"file_id": given["file_id"]} | ({"file_version": str(version)} if version else {})
    idle = call.node.config.server.timeout
    timeout = ClientTimeout(total=None, connect=LOOK_UP_SECONDS, sock_read=idle)
    headers = {ASKED: "1"}
    async with ClientSession(timeout=timeout, headers=headers, auto_decompress=False) as session:
        for site in _sites(call):
            if not await _has(session, site, wanted, patience(given)):
                continue
            async with _opened(call, session, site, wanted) as source:
                if source is not None:
                    log.info("%s comes from the partner %s", given["file_id"], site)
                    return await proxying.relay(call.request, source, idle)
    raise missing


def patience(given: Mapping[str, str]) -> float:
    """Return for how many seconds one site may be asked about a file (``timeout``)."""
    try:
        seconds = float(given.get("timeout", LOOK_UP_SECONDS))
    except ValueError:
        seconds = -1.0
    if not seconds > 0:
        raise Refused("timeout must be a number of seconds above 0")
    return min(seconds, LONGEST_SECONDS)


def _may_ask(call: Call) -> bool:
    passed_on = {MARK, ASKED} & set(call.request.headers)
    narrowed = any(name in call.parameters for name in NARROWING)
    return call.node.config.partners.proxy and not passed_on and not narrowed


def _sites(call: Call) -> list[URL]:
    return [
        URL(address if "://" in address else f"http://{address}")
        for address in call.node.config.partners.addresses
    ]


async def _has(
    session: ClientSession, site: URL, wanted: Mapping[str, str], seconds: float
) -> bool:
    try:
        async with (
            asyncio.timeout(seconds),
            session.get((site / "STATUS").with_query(wanted), allow_redirects=False) as source,
        ):
            answer = await read_answer(source)
            return source.status == 200 and answer.status.succeeded and bool(answer.disks)
    except (ClientError, TimeoutError, OSError, MalformedAnswer) as error:
        log.warning("the partner %s does not answer: %r", site, error)
        return False


@asynccontextmanager
async def _opened(
    call: Call, session: ClientSession, site: URL, wanted: Mapping[str, str]
) -> AsyncIterator[ClientResponse | None]:
    """Open the file at a partner; None where it does not come after all.

    A real NGAS knows no HEAD, and of the ranges only ``bytes=N-``: it is asked in its own way.
    """
    kept = {
        name: call.request.headers[name]
        for name in ("Range", "If-Range")
        if name in call.request.headers
    }
    url = (site / "RETRIEVE").with_query(wanted)
    try:
        source = await _get(call, session, url, kept)
        if source.status not in TAKEN and kept:
            source.close()
            source = await _get(call, session, url, {})
    except (ClientError, TimeoutError, OSError, ValueError) as error:
        log.warning("the partner %s does not answer: %r", site, error)
        yield None
        return
    async with source:
        if source.status not in TAKEN:
            log.warning("the partner %s answers %d", site, source.status)
        yield source if source.status in TAKEN else None


async def _get(
    call: Call, session: ClientSession, url: URL, headers: Mapping[str, str]
) -> ClientResponse:
    """Return the answer, after redirects among the nodes that are named as partners."""
    allowed = {site.origin() for site in _sites(call)}
    source = await session.get(url, headers=headers, allow_redirects=False)
    for _ in range(REDIRECTS):
        if source.status != 303:
            break
        url = url.join(URL(source.headers.get("Location", ""), encoded=True))
        if url.scheme not in {"http", "https"} or url.origin() not in allowed:
            log.warning("the partner redirects to %s, which is no PartnerSite", url.host)
            break
        source.close()
        source = await session.get(url, headers=headers, allow_redirects=False)
    return source
