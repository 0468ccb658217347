"""The limit where there is no nginx: a file over two sockets. ``copier.py PORT FOLDER [direct]``.

A thread sends the file into a socket, another copies from there to the client; ``direct`` sends
it to the client at once, as a server does that is no proxy.
"""

import os
import socket
import socketserver
import sys
import threading
from pathlib import Path
from typing import Final

PIECE: Final = 1 << 18


class Copier(socketserver.StreamRequestHandler):
    """Answers each connection's requests, until the client closes it."""

    root = Path()
    disable_nagle_algorithm = True  # else the end of a small file waits 40 ms for the head's ACK
    direct = False

    def handle(self) -> None:
        while line := self.rfile.readline():
            while self.rfile.readline() not in (b"\r\n", b""):
                continue
            path = self.root / line.split()[1].decode().lstrip("/")
            self._answer(path if path.is_file() else None)

    def _answer(self, path: Path | None) -> None:
        size = path.stat().st_size if path else 0
        status = "200 OK" if path else "404 Not Found"
        self.wfile.write(f"HTTP/1.1 {status}\r\nContent-Length: {size}\r\n\r\n".encode())
        if path is None:
            return
        if self.direct:
            _send(self.connection, path)
            return
        near, far = socket.socketpair()
        sending = threading.Thread(target=_send_and_close, args=(far, path))
        sending.start()
        with near:
            buffer = memoryview(bytearray(PIECE))
            while got := near.recv_into(buffer):
                self.connection.sendall(buffer[:got])
        sending.join()


def _send_and_close(sock: socket.socket, path: Path) -> None:
    with sock:
        _send(sock, path)


def _send(sock: socket.socket, path: Path) -> None:
    with path.open("rb") as file:
        while os.sendfile(sock.fileno(), file.fileno(), file.tell(), PIECE):
            file.seek(PIECE, os.SEEK_CUR)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


def main() -> None:
    Copier.root = Path(sys.argv[2])
    Copier.direct = sys.argv[3:] == ["direct"]
    with Server(("127.0.0.1", int(sys.argv[1])), Copier) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
