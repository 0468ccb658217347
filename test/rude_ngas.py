"""A fake NGAS node on a bare socket that behaves like the real one, and like it at its worst.

It stores and returns bytes, in memory. A test sets `RudeNgas.faults`; a fault stays until it is
taken back, or, when its name is put into `Faults.once`, for one request.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import parse_qsl, urlsplit
from xml.sax.saxutils import quoteattr

from crc32c import crc32c

VERSION = "12.0/2022-11-29T07:00:00"
NOT_AVAILABLE = "NGAMS_ER_UNAVAIL_FILE:4019:ERROR: File with ID: {} appears not to be available."
NO_ARCHIVING = "NGAMS_ER_ILL_REQ:4017:ERROR: This node is not configured for Archive Requests."
NO_REMOVAL = "NGAMS_ER_ILL_REQ:4017:ERROR: This node is not configured for Discard Requests."
CHECKSUMS: dict[str, Callable[[bytes], str]] = {
    "crc32c": lambda data: str(crc32c(data)),
    "crc32": lambda data: str(zlib.crc32(data) - 2**32),  # signed, as old releases wrote it
    "ngamsGenCrc32": lambda data: str(zlib.crc32(data)),
    "crc32z": lambda data: str(zlib.crc32(data)),
    "none": lambda _data: "",
}


@dataclass
class Faults:
    """What goes wrong, and how."""

    once: set[str] = field(default_factory=set)  # names of faults that end with their first use
    state: str = "ONLINE"
    busy: bool = False  # a bare 503, then a reset
    capacity: int = 20  # requests at once
    silent: bool = False  # closes every connection without a word
    refuse_archive: str = ""  # this message, before the body is read
    refuse_and_stall: bool = False  # ... and the connection stays open, nothing being read
    reset_after: int | None = None  # bytes of an upload's body
    lose_upload: bool = False  # reads it all, stores nothing, closes without an answer
    lose_answer: bool = False  # stores it, closes without an answer
    half_answer: bool = False  # stores it, closes in the middle of the answer
    late: asyncio.Event | None = None  # an upload is answered once this is set
    wrong_checksum: bool = False
    wrong_size: bool = False
    checksum: str = "crc32c"
    failure_with_200: bool = False
    latin_1: bool = False
    removal: bool = True
    ranges: str = "start"  # "start": the real server; "full": 206; "none": the whole file
    cut_download: int | None = None  # bytes of the body, then a reset
    deny: bool = False  # RETRIEVE does not find anything
    vanished: bool = False  # the row is there, the file is not: an empty reply
    redirect: str = ""  # RETRIEVE answers 303 to this host:port
    doubled_headers: bool = False  # as a proxying node
    knows_queries: bool = True
    available_mb: int = 78050
    completed: int = 0


@dataclass(frozen=True)
class RudeFile:
    """A stored file."""

    data: bytes
    version: int
    checksum: str
    plugin: str


@dataclass(frozen=True)
class Request:
    """A request as it came."""

    method: str
    command: str
    parameters: dict[str, str]
    headers: dict[str, str]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class RudeNgas:
    """``async with RudeNgas() as rude: rude.port; rude.faults; rude.files; rude.requests``."""

    def __init__(self, host_id: str = "") -> None:
        self.faults = Faults()
        self.files: dict[str, RudeFile] = {}
        self.requests: list[Request] = []
        self.stored = asyncio.Event()  # an upload was stored, and perhaps not yet answered
        self.port = 0
        self.most_at_once = 0
        self._host_id = host_id
        self._running = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen; again on the same port after `stop`."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and cut every connection."""
        if self._server is not None:
            # asyncio leaks a connection whose accept is half done when its server closes.
            for _ in range(3):
                await asyncio.sleep(0)
            self._server.close()
            for task in tuple(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._server.wait_closed()
            self._server = None

    @property
    def host_id(self) -> str:
        """The name in its status documents."""
        return self._host_id or f"rude:{self.port}"

    def commands(self, name: str) -> list[Request]:
        """Return the requests for one command."""
        return [request for request in self.requests if request.command == name]

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            async with self._counted():
                await self._serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    @asynccontextmanager
    async def _counted(self) -> AsyncIterator[None]:
        self._running += 1
        self.most_at_once = max(self.most_at_once, self._running)
        try:
            yield
        finally:
            self._running -= 1

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is("silent"):
            return
        if self._running > self.faults.capacity or self._is("busy"):
            writer.write(b"HTTP/1.0 503 Service Unavailable\r\n\r\n")
            await writer.drain()
            _reset(writer)
            return
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *fields = head.split("\r\n")
        method, target, _ = line.split(" ")
        parts = urlsplit(target)
        pairs = (one.partition(":") for one in fields if one)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        parameters = dict(parse_qsl(parts.query))
        request = Request(method, parts.path.strip("/"), parameters, headers, reader, writer)
        self.requests.append(request)
        handlers = {
            "STATUS": self._status,
            "QARCHIVE": self._archive,
            "RETRIEVE": self._retrieve,
            "DISCARD": self._discard,
            "QUERY": self._query,
        }
        handler = handlers.get(request.command)
        if handler is None:
            await self._answer(request, 404, "Command not found")
        else:
            await handler(request)

    async def _status(self, request: Request) -> None:
        file_id = request.parameters.get("file_id")
        if file_id is None:
            await self._answer(request, 200, "Successfully handled command STATUS")
        elif file_id in self.files and self.faults.state == "ONLINE":
            await self._answer(request, 200, "Successfully handled command STATUS", file_id)
        else:
            await self._answer(request, 400, NOT_AVAILABLE.format(file_id))

    async def _archive(self, request: Request) -> None:
        length = int(request.headers.get("content-length", "0"))
        if not length:
            await self._answer(request, 411, "Content-Length is 0 or unknown")
            return
        if message := self._take("refuse_archive"):
            await self._answer(request, 400, str(message))
            if self.faults.refuse_and_stall:
                await asyncio.Event().wait()
            return
        limit = self._take("reset_after")
        if limit is not None:
            await request.reader.readexactly(int(str(limit)))
            _reset(request.writer)
            return
        body = await request.reader.readexactly(length)
        if self._is("lose_upload"):
            return
        file_id = request.parameters.get("file_id") or request.parameters["filename"]
        self._store(file_id, body)
        if self.faults.late is not None:
            await self.faults.late.wait()
        if self._is("lose_answer"):
            return
        message = "Successfully handled Archive Push Request"
        await self._answer(request, 200, message, file_id)

    def _store(self, file_id: str, body: bytes) -> None:
        plugin = self.faults.checksum
        checksum = CHECKSUMS[plugin](body)
        if self._is("wrong_checksum"):
            checksum = str(int(checksum) ^ 1)
        known = self.files.get(file_id)
        version = known.version + 1 if known else 1
        self.files[file_id] = RudeFile(body, version, checksum, plugin)
        self.stored.set()

    async def _retrieve(self, request: Request) -> None:
        file_id = request.parameters.get("file_id", "")
        if place := self._take("redirect"):
            location = f"http://{place}/RETRIEVE?file_id={file_id}"
            await self._send(request, 303, b"", {"Location": location}, length=False)
            return
        stored = self.files.get(file_id)
        version = request.parameters.get("file_version")
        unknown = stored is None or (version is not None and int(version) != stored.version)
        if stored is None or unknown or self._is("deny"):
            await self._answer(request, 400, NOT_AVAILABLE.format(file_id))
        elif not self._is("vanished"):
            await self._send_file(request, stored.data)

    async def _send_file(self, request: Request, data: bytes) -> None:
        fields = {"Content-Type": "application/octet-stream"}
        code, start, end = 200, 0, len(data)
        wanted = request.headers.get("range")
        if wanted is not None and self.faults.ranges != "none":
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            if self.faults.ranges == "start" and (last or not first):
                text = (
                    "Invalid Range header, must have the form 'bytes=start-' (start offset only)"
                )
                await self._answer(request, 400, text)
                return
            start, end = int(first), min(end, int(last) + 1) if last else end
            code = 206 if self.faults.ranges == "full" else 200
            fields["Accept-Ranges"] = "bytes"
            fields["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
        cut = self._take("cut_download")
        await self._send(request, code, data[start:end], fields, cut=cut)

    async def _discard(self, request: Request) -> None:
        if not self.faults.removal:
            await self._answer(request, 400, NO_REMOVAL)
            return
        file_id, disk_id = request.parameters["file_id"], request.parameters["disk_id"]
        stored = self.files.get(file_id)
        version = int(request.parameters["file_version"])
        if stored is None or disk_id != self._disk_id or stored.version != version:
            message = "NGAMS_ER_DISCARD_NOT_FOUND:4063:ERROR: File scheduled to be discarded.."
            await self._answer(request, 200, message, failed=True)
        elif request.parameters.get("execute") == "1":
            del self.files[file_id]
            await self._answer(request, 200, "NGAMS_INFO_DISCARD_OK:4066:INFO: discarded")
        else:
            await self._answer(request, 200, "NGAMS_INFO_DISCARD_GRANTED:4065:INFO: granted")

    async def _query(self, request: Request) -> None:
        if not self.faults.knows_queries:
            await self._answer(request, 400, "Unknown query")
            return
        ours = {
            "disk_id": self._disk_id,
            "host_id": self.host_id,
            "mounted": 1,
            "available_mb": self.faults.available_mb,
            "completed": self.faults.completed,
        }
        others = ours | {"disk_id": "elsewhere", "host_id": "else:7777", "available_mb": 1}
        body = json.dumps([ours, others]).encode()
        await self._send(request, 200, body, {"Content-Type": "application/json"})

    async def _answer(
        self, request: Request, code: int, message: str, file_id: str = "", *, failed: bool = False
    ) -> None:
        archived = request.command == "QARCHIVE" and bool(file_id)
        failed = failed or code != 200 or (archived and self._is("failure_with_200"))
        text = self._document(message, file_id, failed=failed)
        body = text.encode("latin-1" if self.faults.latin_1 else "utf-8")
        cut = 40 if archived and self._is("half_answer") else None
        await self._send(request, code, body, {"Content-Type": "text/xml"}, cut=cut)

    @property
    def _disk_id(self) -> str:
        return f"disk-{self.port}"

    def _document(self, message: str, file_id: str, *, failed: bool) -> str:
        status = "FAILURE" if failed else "SUCCESS"
        extra = " \xe9" if self.faults.latin_1 else ""
        lines = [
            '<?xml version="1.0" ?>',
            "<!DOCTYPE NgamsStatus SYSTEM "
            f'"http://127.0.0.1:{self.port}/RETRIEVE?internal=ngamsStatus.dtd">',
            "<NgamsStatus>",
            f'  <Status Date="2026-11-21T23:20:00.546" Version="{VERSION}" '
            f'HostId="{self.host_id}" Message={quoteattr(message + extra)} Status="{status}" '
            f'State="{self.faults.state}" SubState="BUSY"/>',
        ]
        if file_id:
            lines += self._disk(file_id, self.files[file_id])
        return "\n".join([*lines, "</NgamsStatus>"])

    def _disk(self, file_id: str, stored: RudeFile) -> list[str]:
        size = len(stored.data) + int(self._is("wrong_size"))
        return [
            f'  <DiskStatus DiskId="{self._disk_id}" Archive="Rude" HostId="{self.host_id}" '
            'LogicalName="RUDE-M-000001" SlotId="volume1" Mounted="1" MountPoint="/nowhere" '
            f'NumberOfFiles="{len(self.files)}" AvailableMb="{self.faults.available_mb}" '
            'BytesStored="0" Completed="0" TotalDiskWriteTime="0.0">',
            f'    <FileStatus FileName="rude/{file_id}" FileId="{file_id}" '
            f'FileVersion="{stored.version}" Format="application/octet-stream" '
            f'FileSize="{size}" Checksum="{stored.checksum}" '
            f'ChecksumPlugIn="{stored.plugin}" TotalIoTime="-1.0" ContainerId="None"/>',
            "  </DiskStatus>",
        ]

    async def _send(
        self,
        request: Request,
        code: int,
        body: bytes,
        fields: dict[str, str],
        *,
        length: bool = True,
        cut: object = None,
    ) -> None:
        """Answer in HTTP/1.0; with ``cut`` reset after so many bytes of the body."""
        reasons = {200: "OK", 206: "Partial Content", 303: "See Other", 404: "Not Found"}
        always = [f"Server: NGAMS/{VERSION}", "Date: Sat, 21 Nov 2026 23:20:00 GMT"]
        lines = [f"HTTP/1.0 {code} {reasons.get(code, 'Bad Request')}", *always]
        lines += always if self.faults.doubled_headers else []
        lines += [f"{name}: {value}" for name, value in fields.items()]
        lines += [f"Content-Length: {len(body)}"] if length else []
        request.writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        request.writer.write(body if cut is None else body[: int(str(cut))])
        await request.writer.drain()
        if cut is not None:
            request.writer.transport.set_write_buffer_limits(0)
            await request.writer.drain()
            _reset(request.writer)

    def _take(self, name: str) -> object:
        """Return the value of a fault; end it when it happens once."""
        value: object = getattr(self.faults, name)
        default: object = getattr(Faults(), name)
        if value != default and name in self.faults.once:
            self.faults.once.discard(name)
            setattr(self.faults, name, default)
        return value

    def _is(self, name: str) -> bool:
        return bool(self._take(name))


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close so that the peer sees a reset."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
