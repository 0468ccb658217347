"""CARCHIVE: archive the files of a MIME message into a new container, messages within it below."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

from aiohttp import BodyPartReader, MultipartReader, StreamReader, hdrs, web
from aiohttp.client_exceptions import ClientError
from aiohttp.helpers import parse_mimetype
from aiohttp.http_exceptions import HttpProcessingError
from multidict import CIMultiDict, CIMultiDictProxy

from pyvospace_ngas.archive import (
    archiving,
    containers,
    containing,
    parameters,
    targets,
    transactions,
    wishes,
)
from pyvospace_ngas.archive.answers import Call, with_containers
from pyvospace_ngas.archive.committer import finish_removals
from pyvospace_ngas.archive.containers import NewContainer
from pyvospace_ngas.archive.ingest import ingest
from pyvospace_ngas.archive.node import Node
from pyvospace_ngas.archive.receiving import Pieces, Source
from pyvospace_ngas.archive.records import Copy, stamp
from pyvospace_ngas.archive.refusals import Refused, bad_syntax, coded, no_room
from pyvospace_ngas.archive.steps import Script
from pyvospace_ngas.archive.upload import NotArchived
from pyvospace_ngas.archive.wishes import Wish

log = logging.getLogger(__name__)

CHUNK: Final = 256 * 1024
MOST_HEADERS: Final = 64 * 1024
PLAIN: Final = frozenset({"", "7bit", "8bit", "binary"})  # encodings that change nothing

Headers = Mapping[str, str]  # in any case of letters


@dataclass(slots=True)
class _Taken:
    """What has been archived so far, and in which container each file will be."""

    copies: list[tuple[str, Copy]] = field(default_factory=list)
    kept: bool = False


async def handle(call: Call) -> web.StreamResponse:
    """Archive all files of the message, then make the container of them: all of it, or nothing.

    The message's own headers may stand in the body, as the real server wants it, or be those of
    the request.
    """
    node = call.node
    archiving.may_archive(node)
    if call.request.method not in {"POST", "PUT"}:
        raise bad_syntax(call.command, "a MIME message as its body")
    parent, taken = containing.parent_of(call), _Taken()
    with node.busy():
        try:
            reader = await _message(call)
            top = _name_of(reader.headers) or call.parameters.get("container_name", "")
            with containing.refusals():
                await node.database.run(containers.vacant(containing.usable_name(top), parent))
                new = await _read(call, reader, top, taken)
                await node.database.run(_finish(new, parent, taken))
            taken.kept = True
        finally:
            if not taken.kept:
                await asyncio.shield(_undo(node, [copy for _, copy in taken.copies]))
    for _, copy in taken.copies:
        node.events.fire(copy.facts())
    made = await containers.find(node.database, new.id, None)
    tree = await containers.tree(node.database, made, node.host_id)
    message = f"Successfully handled Archive Push Request for container {top}"
    return await with_containers(call, message, tree.status())


def _finish(new: NewContainer, parent: str | None, taken: _Taken) -> Script[None]:
    yield from containers.create(new, parent)
    yield from containers.fill(
        [(place, copy.file.file_id, copy.file.version) for place, copy in taken.copies], stamp()
    )


async def _message(call: Call) -> MultipartReader:
    content: StreamReader = call.request.content
    headers: Headers = call.request.headers
    if not headers.get(hdrs.CONTENT_TYPE, "").lower().startswith("multipart/"):
        headers = await _own_headers(call.node, content)
    if not parse_mimetype(headers.get(hdrs.CONTENT_TYPE, "")).parameters.get("boundary"):
        raise bad_syntax(call.command, "a multipart/mixed message with its boundary")
    try:
        return MultipartReader(headers, content)
    except ValueError as error:
        raise _broken("its boundary cannot be used") from error


async def _own_headers(node: Node, content: StreamReader) -> Headers:
    """Read the headers that the body begins with."""
    headers: CIMultiDict[str] = CIMultiDict()
    length = 0
    last = ""
    while (line := await _line(node, content)).strip():
        length += len(line)
        if length > MOST_HEADERS:
            raise _broken("its headers are too long")
        text = line.decode("utf-8", "replace").rstrip("\r\n")
        if text[:1] in {" ", "\t"} and last:  # a header goes on
            headers[last] += f" {text.strip()}"
            continue
        last, _, value = text.partition(":")
        headers[last] = value.strip()
    return CIMultiDictProxy(headers)


async def _line(node: Node, content: StreamReader) -> bytes:
    try:
        async with asyncio.timeout(node.config.server.timeout):
            return await content.readline()
    except TimeoutError:
        raise _late(node) from None
    except (ClientError, HttpProcessingError, ConnectionError, ValueError) as error:
        raise _broken("it ended early, or a line is too long") from error


async def _read(
    call: Call, reader: MultipartReader, name: str, taken: _Taken, depth: int = 1
) -> NewContainer:
    """Archive the parts of a message; return the container that they are to be in."""
    if depth > containing.DEEPEST:
        raise _broken(f"messages can be {containing.DEEPEST} deep")
    place, children = str(uuid.uuid4()), []
    while (part := await _next(call.node, reader)) is not None:
        if isinstance(part, MultipartReader):
            below = _name_of(part.headers)
            children.append(await _read(call, part, below, taken, depth + 1))
        else:
            taken.copies.append((place, await _archive(call, part)))
    if len({child.name for child in children}) < len(children):
        raise Refused(f"two containers in {name!r} have one name", 409, close=True)
    return NewContainer(place, containing.usable_name(name), tuple(children))


async def _next(node: Node, reader: MultipartReader) -> BodyPartReader | MultipartReader | None:
    try:
        async with asyncio.timeout(node.config.server.timeout):
            part = await reader.next()
    except TimeoutError:
        raise _late(node) from None
    except (ClientError, HttpProcessingError, ConnectionError, ValueError) as error:
        raise _broken("its parts cannot be told apart, or it ended early") from error
    if part is None and not reader.at_eof():
        raise _broken("it ended early")
    return part


async def _archive(call: Call, part: BodyPartReader) -> Copy:
    node = call.node
    disposition = parameters.of_disposition(part.headers.get(hdrs.CONTENT_DISPOSITION, ""))
    name = parameters.base_name(disposition.get("filename", ""))
    if not name or len(name.encode()) > wishes.LONGEST_NAME or len(name) > wishes.LONGEST_ID:
        raise _broken("each part needs a Content-Disposition with a filename that can be used")
    if part.headers.get(hdrs.CONTENT_TRANSFER_ENCODING, "").lower() not in PLAIN:
        raise _broken("its parts must be sent as they are (Content-Transfer-Encoding: binary)")
    target = targets.on_any(node, 0)
    if target is None:
        raise no_room()
    wish = Wish(
        uri=name,
        file_id=name,
        name=name,
        format=_format(node, part, name),
        variant=node.config.handling.crc,
        checksum=None,
    )
    try:
        async with aclosing(_chunks(node, part)) as pieces:
            return await ingest(node, wish, Source(Pieces(pieces), None), target, stamp())
    except NotArchived as problem:
        raise archiving.refused(problem) from problem


async def _chunks(node: Node, part: BodyPartReader) -> AsyncGenerator[bytes]:
    while not part.at_eof():
        try:
            async with asyncio.timeout(node.config.server.timeout):
                chunk = await part.read_chunk(CHUNK)
        except TimeoutError:
            raise _late(node) from None
        except (ClientError, HttpProcessingError, ConnectionError, ValueError) as error:
            raise _broken("a part ended early") from error
        if chunk:
            yield chunk


def _format(node: Node, part: BodyPartReader, name: str) -> str:
    given = part.headers.get(hdrs.CONTENT_TYPE, "").partition(";")[0].strip().lower()
    if wishes.MIME_TYPE.fullmatch(given) and len(given) <= wishes.LONGEST_FORMAT:
        return given
    extension = name.rpartition(".")[2]
    return node.config.mime_types.get(extension, "application/octet-stream")


def _name_of(headers: Headers) -> str:
    return parse_mimetype(headers.get(hdrs.CONTENT_TYPE, "")).parameters.get("container_name", "")


async def _undo(node: Node, copies: Sequence[Copy]) -> None:
    """Take out what was archived of a message that was not archived whole."""
    gone = []
    for copy in copies:
        volume = node.volume(copy.file.disk_id)
        if volume is None:
            continue
        file = copy.file
        script = transactions.discard(
            file.disk_id, file.file_id, file.version, volume.available_mb
        )
        if await node.database.run(script):
            gone.append((file.disk_id, file.file_name))
    if gone and node.disks is not None:
        await finish_removals(node.database, node.disks, gone)


def _late(node: Node) -> Refused:
    text = f"no data came for {node.config.server.timeout:.0f} seconds; nothing is kept."
    return Refused(coded("NGAMS_ER_ARCH_RECV", text), 408, close=True)


def _broken(text: str) -> Refused:
    message = f"The MIME message cannot be archived: {text}."
    return Refused(coded("NGAMS_ER_ARCH_RECV", message), close=True)
