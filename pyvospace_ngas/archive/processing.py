"""Processing at RETRIEVE: a plug-in makes what is sent in place of the file."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from pyvospace_ngas.archive import plugins, sending, workfolders
from pyvospace_ngas.archive.answers import Call
from pyvospace_ngas.archive.configuration import NodeConfig
from pyvospace_ngas.archive.downloads import FORMAT, disposition
from pyvospace_ngas.archive.interfaces import Processed
from pyvospace_ngas.archive.node import VERSION
from pyvospace_ngas.archive.records import Copy
from pyvospace_ngas.archive.refusals import Refused, coded, not_permitted

log = logging.getLogger(__name__)

STEP: Final = 256 * 1024  # of a result is sent at once, where the plug-in gives so much
FOLDER: Final = "processing"  # below the root, where no ProcessingDirectory is configured


@dataclass(frozen=True, slots=True)
class _Chosen:
    """The plug-in that a request is to be answered by."""

    name: str
    function: Callable[..., Any]
    parameters: str


def wanted(call: Call) -> str | None:
    """Return the name of the processing that a request asks for."""
    return call.parameters.get("processing")


async def send(call: Call, copy: Copy, name: str) -> web.StreamResponse:
    """Send the result for a copy that this node holds."""
    chosen = _chosen(call, copy, name)
    async with _folder(call) as folder:
        result = await _process(chosen, copy, folder)
        if isinstance(result.data, Path):
            return await _send_file(call, result, result.data, folder)
        return await _send_pieces(call, result, iter(result.data))


def _chosen(call: Call, copy: Copy, name: str) -> _Chosen:
    config = call.node.config
    found = config.processing.plug_ins.get(name)
    if found is None:
        text = f"No processing {name[:80]} is configured."
        raise Refused(coded("NGAMS_ER_ILL_DPPI", text))
    if not config.permissions.processing:
        raise not_permitted("Processing", "AllowProcessingReq")
    if found.mime_types and copy.file.format not in found.mime_types:
        text = f"The processing {name} is not for files of the type {copy.file.format}."
        raise Refused(coded("NGAMS_ER_ILL_DPPI", text))
    parameters = call.parameters.get("processing_pars", found.plug_in.parameters)
    return _Chosen(name, plugins.load(name), parameters)


@asynccontextmanager
async def _folder(call: Call) -> AsyncIterator[Path]:
    """A folder for one result, removed whatever happens."""
    folder = workfolders.made(base(call.node.config))
    path = await asyncio.to_thread(folder.__enter__)
    try:
        yield path
    finally:
        await asyncio.to_thread(folder.__exit__, None, None, None)


def base(config: NodeConfig) -> Path:
    """Return where the folders for processing are made."""
    return config.processing.folder or config.server.root / FOLDER


async def _process(chosen: _Chosen, copy: Copy, folder: Path) -> Processed:
    try:
        result = await plugins.call(chosen.function, copy.facts(), folder, chosen.parameters)
    except Exception as error:  # a site's own code may raise anything
        log.exception("the processing %s of %s failed", chosen.name, copy.file.file_id)
        raise _failed(chosen.name) from error
    if not isinstance(result, Processed):
        log.error("the processing %s returned %r, not a Processed", chosen.name, type(result))
        raise _failed(chosen.name)
    return result


def _failed(name: str) -> Refused:
    text = f"The processing {name} failed; its log tells why."
    return Refused(coded("NGAMS_ER_CMD_EXEC", text), 500)


def _response(result: Processed) -> web.StreamResponse:
    known = FORMAT.fullmatch(result.format)
    return web.StreamResponse(
        headers={
            "Server": VERSION,
            "Content-Type": result.format if known else "application/octet-stream",
            "Content-Disposition": disposition(result.name),
            "X-Content-Type-Options": "nosniff",
        }
    )


async def _send_file(
    call: Call, result: Processed, path: Path, folder: Path
) -> web.StreamResponse:
    """Send a file that the plug-in left in its folder; no other can be had this way."""
    fd = await asyncio.to_thread(_open_within, folder, path)
    if fd is None:
        log.error("a processing named %s, which is no file in its folder", path)
        raise _failed(wanted(call) or "")
    response = _response(result)
    response.content_length = size = os.fstat(fd).st_size
    try:
        await response.prepare(call.request)
        if call.request.method != "HEAD":
            idle = call.node.config.server.timeout
            await sending.send_plainly(response, fd, range(size), idle)
    except (sending.ClientGone, EOFError) as error:
        _cut(call, error)
    finally:
        os.close(fd)
    return response


def _open_within(folder: Path, path: Path) -> int | None:
    if not path.resolve().is_relative_to(folder):
        return None
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None


async def _send_pieces(
    call: Call, result: Processed, pieces: Iterator[bytes]
) -> web.StreamResponse:
    """Send what the plug-in makes while it makes it, in a thread."""
    response = _response(result)
    await response.prepare(call.request)
    try:
        while call.request.method != "HEAD" and (data := await asyncio.to_thread(_some, pieces)):
            async with asyncio.timeout(call.node.config.server.timeout):
                await response.write(data)
        await response.write_eof()
    except (TimeoutError, ConnectionError) as error:
        _cut(call, error)
    except Exception as error:  # a site's own code may raise anything
        log.exception("the processing %s failed while it was sent", wanted(call))
        _cut(call, error)
    finally:
        await asyncio.to_thread(_close, pieces)
    return response


def _some(pieces: Iterator[bytes]) -> bytes:
    """Take pieces until they are worth sending; nothing: that was all."""
    data = bytearray()
    for piece in pieces:
        data += piece
        if len(data) >= STEP:
            break
    return bytes(data)


def _close(pieces: Iterator[bytes]) -> None:
    if (close := getattr(pieces, "close", None)) is not None:
        close()


def _cut(call: Call, error: Exception) -> None:
    # The status line is gone: a cut connection is the only honest answer left.
    log.info("a processed file was not sent whole: %r", error)
    if call.request.transport is not None:
        call.request.transport.abort()
