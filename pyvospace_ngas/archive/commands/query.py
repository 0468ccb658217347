"""QUERY: lists of files, disks and nodes, as JSON, a table or Python's notation."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from pyvospace_ngas.archive.answers import Call
from pyvospace_ngas.archive.node import VERSION
from pyvospace_ngas.archive.refusals import Refused
from pyvospace_ngas.archive.steps import PAGE, DatabaseError, Row
from pyvospace_ngas.archive.tables import SHAPES, Shape

log = logging.getLogger(__name__)

FILES: Final = (
    *("disk_id", "file_name", "file_id", "file_version", "format", "file_size"),
    *("uncompressed_file_size", "compression", "ingestion_date", "file_ignore", "checksum"),
    *("checksum_plugin", "file_status", "creation_date", "io_time", "ingestion_rate"),
    "container_id",
)
DISKS: Final = (
    *("disk_id", "archive", "logical_name", "host_id", "slot_id", "mounted", "mount_point"),
    *("number_of_files", "available_mb", "bytes_stored", "type", "capacity_mb"),
    *("manufacturer", "installation_date", "checksum", "total_disk_write_time", "completed"),
    *("completion_date", "last_check", "last_host_id"),
)
HOSTS: Final = (
    *("host_id", "domain", "ip_address", "mac_address", "n_slots", "cluster_name"),
    *("installation_date", "srv_version", "srv_port", "srv_archive", "srv_retrieve"),
    *("srv_process", "srv_remove", "srv_data_checking", "srv_state", "srv_suspended"),
    *("srv_req_wake_up_srv", "srv_req_wake_up_time"),
)
LOCATION: Final = ("host_id", "file_full_path", "file_version", "ingestion_date")
RECENT: Final = ("file_id", "file_name", "file_size", "ingestion_date")
SUBSCRIBERS: Final = (
    *("host_id", "srv_port", "subscr_prio", "subscr_id", "subscr_url", "subscr_start_date"),
    *("subscr_filter_plugin", "subscr_filter_plugin_pars", "last_file_ingestion_date"),
    "concurrent_threads",
)
PLACE: Final = (
    "select d.host_id, d.mount_point || '/' || f.file_name, f.file_version, f.ingestion_date "
    "from ngas_files f join ngas_disks d on d.disk_id = f.disk_id"
)


@dataclass(frozen=True, slots=True)
class Query:
    """A question with the names of its columns, and the parameters that it takes."""

    columns: Sequence[str]
    sql: str
    parameters: Sequence[tuple[str, str]] = ()  # with what stands for those not given


def _all(columns: Sequence[str], table: str, rest: str = "") -> str:
    return f"select {', '.join(columns)} from {table} {rest}"  # noqa: S608 - constants above


LIKE: Final = (("like", "%"),)
QUERIES: Final[dict[str, Query]] = {
    "files_list": Query(FILES, _all(FILES, "ngas_files", "order by ingestion_date")),
    "files_like": Query(
        FILES,
        _all(FILES, "ngas_files", "where file_id like $1 order by file_id, file_version"),
        LIKE,
    ),
    "files_between": Query(
        FILES,
        _all(
            FILES,
            "ngas_files",
            "where ingestion_date between $1 and $2 order by ingestion_date",
        ),
        (("start", ""), ("end", "9999")),
    ),
    "files_greater": Query(
        FILES,
        _all(FILES, "ngas_files", "where ingestion_date > $1 order by ingestion_date"),
        (("start", ""),),
    ),
    "files_location": Query(
        LOCATION, f"{PLACE} where f.file_id like $1 order by f.file_id, f.file_version", LIKE
    ),
    "lastver_location": Query(
        LOCATION,
        f"{PLACE} join (select file_id, max(file_version) as last from ngas_files "  # noqa: S608
        "where file_id like $1 group by file_id) l on l.file_id = f.file_id "
        "and l.last = f.file_version order by f.file_id",
        LIKE,
    ),
    "files_stats": Query(
        ("Number of files", "Total volume [MB]"),
        "select count(*), coalesce(sum(file_size), 0) / 1048576.0 from ngas_files",
    ),
    "files_list_recent": Query(
        RECENT, _all(RECENT, "ngas_files", "order by ingestion_date desc limit 300")
    ),
    "disks_list": Query(DISKS, _all(DISKS, "ngas_disks", "order by logical_name")),
    "hosts_list": Query(HOSTS, _all(HOSTS, "ngas_hosts", "order by host_id")),
    "subscribers_list": Query(SUBSCRIBERS, _all(SUBSCRIBERS, "ngas_subscribers")),
    "subscribers_like": Query(
        SUBSCRIBERS, _all(SUBSCRIBERS, "ngas_subscribers", "where host_id like $1"), LIKE
    ),
}


async def handle(call: Call) -> web.StreamResponse:
    """Answer one of the named questions; free SQL is none of them."""
    name = call.parameters.get("query", "")
    query = QUERIES.get(name)
    if query is None:
        raise Refused(f"Invalid query specified. Valid queries are: {', '.join(QUERIES)}")
    shape = call.parameters.get("format", "python-list")
    if shape == "pickle":
        raise Refused(
            "format=pickle is not served, as reading a pickle runs what is in it; take json."
        )
    if shape not in SHAPES:
        raise Refused(f"Invalid format specified. Valid formats are: {', '.join(SHAPES)}")
    arguments = [call.parameters.get(each, default) for each, default in query.parameters]
    pages = call.node.database.pages(query.sql, *arguments)
    async with aclosing(pages):
        first: list[Row] = await anext(pages, [])
        answer = SHAPES[shape](query.columns)
        if len(first) < PAGE:
            return _small(answer, first)
        if answer.measured:
            async with aclosing(call.node.database.pages(query.sql, *arguments)) as all_pages:
                async for page in all_pages:
                    answer.measure(page)
        return await _large(call, answer, first, pages)


def _small(answer: Shape, rows: Sequence[Row]) -> web.Response:
    answer.measure(rows)
    return web.Response(
        text=answer.begin() + answer.write(rows) + answer.end(),
        content_type=answer.content_type,
        charset="utf-8",
        headers={"Server": VERSION},
    )


async def _large(
    call: Call, answer: Shape, first: Sequence[Row], pages: AsyncIterator[list[Row]]
) -> web.StreamResponse:
    """Send an answer while it is read, so that no more than a page of it is in memory."""
    response = web.StreamResponse(headers={"Server": VERSION})
    response.content_type, response.charset = answer.content_type, "utf-8"
    await response.prepare(call.request)
    try:
        await _write(call, response, answer.begin() + answer.write(first))
        async for page in pages:
            await _write(call, response, answer.write(page))
        await _write(call, response, answer.end())
    except (DatabaseError, TimeoutError, ConnectionError) as error:
        # The status line is gone: a cut connection is the only honest answer left.
        log.warning("the answer to a query broke off: %r", error)
        if call.request.transport is not None:
            call.request.transport.abort()
    return response


async def _write(call: Call, response: web.StreamResponse, text: str) -> None:
    if text and call.request.method != "HEAD":
        async with asyncio.timeout(call.node.config.server.timeout):
            await response.write(text.encode("utf-8", "surrogatepass"))
