"""Large files over plain sockets, so cheaply that the servers are what is measured."""

import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import load

PIECE: Final = 1 << 20
SOURCE: Final = 64 * PIECE  # bytes of the file that uploads are made of, again and again
PATIENCE: Final = 300


@dataclass(frozen=True, slots=True)
class Source:
    """Random bytes in a file, sent out of the page cache without a copy."""

    path: Path

    @classmethod
    def make(cls, folder: Path, size: int) -> "Source":
        path = folder / "source"
        with path.open("wb") as file:
            for _ in range(0, min(size, SOURCE), PIECE):
                file.write(os.urandom(PIECE))
        return cls(path)

    def send(self, sock: socket.socket, size: int) -> None:
        """Send ``size`` bytes."""
        with self.path.open("rb") as file:
            length = os.fstat(file.fileno()).st_size
            sent = 0
            while sent < size:
                start = sent % length
                sent += os.sendfile(
                    sock.fileno(), file.fileno(), start, min(length - start, size - sent, PIECE)
                )


def get(port: int, target: str) -> int:
    """Fetch ``target`` and let the kernel drop its bytes; return how many there were."""
    with _open(port) as sock:
        sock.sendall(load.request("GET", target, headers={"Connection": "close"}))
        length, left = _head(sock)
        buffer = bytearray(PIECE)
        while left > 0:
            got = sock.recv_into(buffer, min(left, PIECE), socket.MSG_TRUNC)
            if not got:
                raise load.Failed(f"{target}: {left} bytes of {length} are missing")
            left -= got
    return length


def put(port: int, method: str, target: str, source: Source, size: int) -> None:
    """Send ``size`` bytes to ``target`` and wait for the answer."""
    head = (
        f"{method} {target} HTTP/1.1\r\nHost: {load.HOST}\r\nConnection: close\r\n"
        f"Content-Type: application/octet-stream\r\nContent-Length: {size}\r\n\r\n"
    )
    with _open(port) as sock:
        sock.sendall(head.encode())
        source.send(sock, size)
        _head(sock)


def parallel(jobs: Sequence[Callable[[], object]]) -> float:
    """Run all ``jobs`` at once, each in a thread; return the seconds until the last is done."""
    problems: list[BaseException] = []
    start = threading.Barrier(len(jobs) + 1)

    def run(job: Callable[[], object]) -> None:
        start.wait()
        try:
            job()
        except Exception as error:  # noqa: BLE001 - whatever it was is raised in the main thread
            problems.append(error)

    threads = [threading.Thread(target=run, args=(job,), daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    start.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    if problems:
        raise problems[0]
    return time.perf_counter() - began


def _open(port: int) -> socket.socket:
    sock = socket.create_connection((load.HOST, port), PATIENCE)
    sock.settimeout(None)  # sendfile needs a socket that blocks; the kernel keeps the time
    for limit in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        sock.setsockopt(socket.SOL_SOCKET, limit, struct.pack("ll", PATIENCE, 0))
    return sock


def _head(sock: socket.socket) -> tuple[int, int]:
    """Read the head of an answer; return the body's length, and what of it is still to come."""
    data = b""
    while (end := data.find(b"\r\n\r\n")) < 0:
        piece = sock.recv(65536)
        if not piece:
            raise load.Failed(f"a connection was closed in a head: {data!r}")
        data += piece
    head = data[:end].lower()
    if not head.startswith((b"http/1.1 2", b"http/1.0 2")):
        raise load.Failed(repr(data[:1000]))
    start = head.find(b"\r\ncontent-length:")
    length = int(head[start + 17 :].split(b"\r", 1)[0]) if start >= 0 else 0
    return length, length - (len(data) - end - 4)
