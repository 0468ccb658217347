"""What there is to be measured against: a constant answer, pgbench, nginx, a raw copy, MD5."""

import hashlib
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import load
import rig
import streams
from crc32c import crc32c
from gauges import Program
from ports import free_port
from rig import Rig

from pyvospace_ngas.cli import binaries, probes

HERE: Final = Path(__file__).resolve().parent
ROWS: Final = 10_000
_TPS: Final = re.compile(r"^tps = ([0-9.]+)", re.MULTILINE)
_NGINX: Final = """
daemon off; worker_processes 2; pid {home}/nginx.pid; error_log {home}/nginx.error;
{user}
events {{ worker_connections 512; }}
http {{
    access_log off; sendfile on; keepalive_requests 1000000;
    client_body_temp_path {home}; proxy_temp_path {home}; fastcgi_temp_path {home};
    uwsgi_temp_path {home}; scgi_temp_path {home};
    {server}
}}
"""
_ORIGIN: Final = "server {{ listen 127.0.0.1:{port}; root {root}; }}"
_PROXY: Final = """
    upstream origin {{ server 127.0.0.1:{origin}; keepalive 32; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection "";
            proxy_buffers 16 256k; proxy_buffer_size 256k; proxy_busy_buffers_size 512k;
            proxy_max_temp_file_size 0;
        }}
    }}
"""


async def _answers(port: int) -> bool:
    status, _ = await probes.fetch(f"http://{load.HOST}:{port}/")
    return status != 0


def start_constant(rig_: Rig, ending: ExitStack) -> int:
    """Start an aiohttp that answers a constant; return its port."""
    port = free_port()
    command = [sys.executable, str(HERE / "constant.py"), str(port)]
    rig.start(rig_, ending, "constant", command, partial(_answers, port))
    return port


def start_proxies(
    rig_: Rig, ending: ExitStack, root: Path, *, with_nginx: bool
) -> tuple[str, int]:
    """Start a proxy before a server of the files in ``root``; return what it is, and its port."""
    nginx = _nginx() if with_nginx else None
    origin, proxy = free_port(), free_port()
    if nginx is None:
        _start_copier(rig_, ending, proxy, root)
        return "raw copy", proxy
    _start_nginx(rig_, ending, nginx, "origin", origin, _ORIGIN.format(port=origin, root=root))
    _start_nginx(rig_, ending, nginx, "proxy", proxy, _PROXY.format(port=proxy, origin=origin))
    return "nginx -> nginx", proxy


def start_server(rig_: Rig, ending: ExitStack, root: Path, *, with_nginx: bool) -> tuple[str, int]:
    """Start a server of the files in ``root``; return what it is, and its port."""
    nginx = _nginx() if with_nginx else None
    port = free_port()
    if nginx is None:
        _start_copier(rig_, ending, port, root, "direct")
        return "raw sendfile", port
    _start_nginx(rig_, ending, nginx, "origin", port, _ORIGIN.format(port=port, root=root))
    return "nginx", port


def _nginx() -> str | None:
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def _start_copier(rig_: Rig, ending: ExitStack, port: int, root: Path, *how: str) -> None:
    command = [sys.executable, str(HERE / "copier.py"), str(port), str(root), *how]
    rig.start(rig_, ending, "proxy", command, partial(_answers, port))


def _start_nginx(
    rig_: Rig, ending: ExitStack, nginx: str, name: str, port: int, server: str
) -> None:
    home = rig_.home / name
    home.mkdir()
    user = "user root;" if os.geteuid() == 0 else ""
    conf = home / "nginx.conf"
    conf.write_text(_NGINX.format(home=home, user=user, server=server), encoding="utf-8")
    command = [nginx, "-p", str(home), "-c", str(conf), "-e", str(home / "start.error")]
    rig.start(rig_, ending, name, command, partial(_answers, port))
    rig_.programs[-1] = Program(name, rig_.programs[-1].pid, family=True)


class Pgbench:
    """The C client of PostgreSQL, on the server that the tree is on."""

    def __init__(self, rig_: Rig) -> None:
        folder = binaries.wheel_folder() or next(iter(binaries.system_folders()))
        self._programs = binaries.Programs(folder, None)
        self._target = urlsplit(rig_.superuser)
        self._home = rig_.home
        self.exists = (folder / "pgbench").is_file()
        rig_.administer(
            "create table limits (id bigint primary key generated always as identity,"
            " parent bigint not null, name text not null, props jsonb not null)",
            'insert into limits (parent, name, props) select 1, n::text, \'{"a": "b"}\''
            f" from generate_series(1, {ROWS}) n",
            "vacuum analyze limits",
        )
        self._write("read", f"\\set id random(1, {ROWS})\nselect * from limits where id = :id;\n")
        self._write(
            "insert",
            f"\\set n random(1, {ROWS})\n"
            'insert into limits (parent, name, props) values (1, :n::text, \'{"a": "b"}\');\n',
        )

    def _write(self, name: str, script: str) -> None:
        (self._home / f"{name}.sql").write_text(script, encoding="ascii")

    def rate(self, script: str, at_once: int, seconds: float) -> float:
        """Return the statements a second of a script, prepared."""
        target = self._target
        command = self._programs.command(
            "pgbench",
            *("-n", "-M", "prepared", "-f", str(self._home / f"{script}.sql")),
            *("-c", str(at_once), "-j", "1", "-T", str(max(1, round(seconds)))),
            *("-h", str(target.hostname), "-p", str(target.port), "-U", str(target.username)),
            target.path[1:],
        )
        environment = self._programs.environment() | {"PGPASSWORD": str(target.password)}
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, cwd=self._home
        )
        found = _TPS.search(done.stdout)
        if done.returncode != 0 or found is None:
            raise load.Failed(f"pgbench: {done.stderr}")
        return float(found[1])


def md5_seconds(size: int) -> float:
    """Return how long MD5 alone takes for ``size`` bytes."""
    piece = os.urandom(streams.PIECE)
    digest = hashlib.md5(usedforsecurity=False)
    began = time.perf_counter()
    for _ in range(0, size, len(piece)):
        digest.update(piece)
    return time.perf_counter() - began


def copy_seconds(source: streams.Source, target: Path, size: int) -> float:
    """Return how long it takes to copy ``size`` bytes from a socket into a file.

    Their CRC-32C is computed, and they are durable: all that has to be done, and nothing else.
    """
    with socket.create_server((load.HOST, 0)) as listener:
        jobs = [
            partial(_send, source, listener.getsockname()[1], size),
            partial(_receive, listener, target),
        ]
        seconds = streams.parallel(jobs)
    target.unlink()
    return seconds


def _send(source: streams.Source, port: int, size: int) -> None:
    with socket.create_connection((load.HOST, port)) as sock:
        source.send(sock, size)


def _receive(listener: socket.socket, target: Path) -> None:
    crc, buffer = 0, memoryview(bytearray(streams.PIECE))
    sock, _ = listener.accept()
    with sock, target.open("wb", buffering=0) as file:
        while got := sock.recv_into(buffer):
            crc = crc32c(buffer[:got], crc)
            file.write(buffer[:got])
        os.fsync(file.fileno())
