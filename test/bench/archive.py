"""How fast the archive node is: small files made durable, large ones, and beside slow clients.

``python test/bench/archive.py`` starts all it needs by itself, on free ports of this machine.
"""

import argparse
import itertools
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import gauges
import limits
import load
import report
import rig
import streams
from report import MEBIBYTE, Figures, Goal
from rig import Rig

SMALL: Final = 10 * 1024
AT_ONCE: Final = (8, 32)
SLOW: Final = 32
SIP: Final = 4096  # bytes that a slow client takes or sends
PAUSE: Final = 0.1  # seconds between two sips
AGAIN: Final = 4  # times that the large file is got in a round
QARCHIVE: Final = "/QARCHIVE?mime_type=application/octet-stream&filename="
BINARY: Final = {"Content-Type": "application/octet-stream"}
LARGE: Final = "/RETRIEVE?file_id=large"


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    rounds: int
    large: int  # bytes of the large file
    count: int  # small files of one case in one round


@dataclass(slots=True)
class Bench:
    """What runs, and what was measured."""

    site: Rig
    plan: Plan
    source: streams.Source
    node: int
    unsafe: int  # a node that syncs nothing
    server: int  # of plain files
    served: str
    figures: Figures = field(default_factory=Figures)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def new(self) -> str:
        """Return where a file with a new name is archived."""
        return f"{QARCHIVE}new-{next(self.numbers)}"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the tables; return 1 when a goal is not reached and that was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=1024, help="MiB of the large file")
    parser.add_argument("--count", type=int, default=2000, help="small files of a case in a round")
    parser.add_argument("--quick", action="store_true", help="small counts, to see that it works")
    parser.add_argument("--no-nginx", action="store_true", help="compare with a raw sendfile")
    parser.add_argument("--dir", type=Path, help="where the bytes are kept; needs 4 x size")
    parser.add_argument("--strict", action="store_true", help="exit code 1 for a missed goal")
    args = parser.parse_args(argv)
    if args.quick:
        args.rounds, args.size = min(args.rounds, 2), min(args.size, 32)
        args.count = min(args.count, 64)
    plan = Plan(args.rounds, args.size * MEBIBYTE, args.count)
    with _nodes(args.dir, plan, with_nginx=not args.no_nginx) as bench:
        report.rounds(_small(bench), plan.rounds)
        report.rounds(_large(bench), plan.rounds)
        print(_small_table(bench))
        print(_large_table(bench))
        goals = _goals(bench)
    print(report.goals(goals))
    return int(args.strict and not all(goal.is_reached for goal in goals))


@contextmanager
def _nodes(folder: Path | None, plan: Plan, *, with_nginx: bool) -> Iterator[Bench]:
    """Run a node, one that syncs nothing, and a server of plain files."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # clean up then, too
    with ExitStack() as ending:
        home = Path(tempfile.mkdtemp(prefix="ngas-bench-", dir=folder))
        ending.callback(shutil.rmtree, home, ignore_errors=True)
        site, root = Rig(home), home / "files"
        root.mkdir()
        source = streams.Source.make(home, plan.large)
        node = rig.start_node(site, ending, "node", home / "nodes")
        unsafe = rig.start_node(site, ending, "unsafe node", home / "unsafe", durable=False)
        served, server = limits.start_server(site, ending, root, with_nginx=with_nginx)
        bench = Bench(site, plan, source, node, unsafe, server, served)
        streams.put(node, "POST", f"{QARCHIVE}large", source, plan.large)
        (stored,) = site.stored()
        shutil.copyfile(stored, root / "large")
        yield bench


def _small(bench: Bench) -> dict[str, Callable[[], None]]:
    """Return the cases of 10 KiB files: files a second."""
    body = bench.source.path.read_bytes()[:SMALL]

    def archive(name: str, port: int, at_once: int) -> None:
        targets = [bench.new() for _ in range(bench.plan.count)]
        requests = (load.request("POST", target, body, BINARY) for target in targets)
        bench.figures.add(f"{name} {at_once}", load.drive(port, requests, at_once).rate)

    ports = {"durable": bench.node, "unsafe": bench.unsafe}
    return {
        f"{name} {at_once}": partial(archive, name, port, at_once)
        for name, port in ports.items()
        for at_once in AT_ONCE
    }


def _large(bench: Bench) -> dict[str, Callable[[], None]]:
    """Return the cases of large files: MiB a second."""
    size, source = bench.plan.large, bench.source
    retrieve = partial(streams.get, bench.node, LARGE)

    def timed(name: str, job: Callable[[], object], times: int = 1) -> None:
        gauges.reset_peaks(bench.site.programs)
        began = time.perf_counter()
        for _ in range(times):
            job()
        seconds = time.perf_counter() - began
        bench.figures.add(name, times * size / MEBIBYTE / seconds)
        used = gauges.read(bench.site.programs)["node"]
        bench.figures.add(f"{name} peak", used.peak / MEBIBYTE)

    def archive() -> None:
        before = set(bench.site.stored())
        timed("archive", partial(streams.put, bench.node, "POST", bench.new(), source, size))
        for path in set(bench.site.stored()) - before:  # nobody reads it; the disk is not endless
            path.unlink()

    def copy() -> None:
        seconds = limits.copy_seconds(source, bench.site.home / "copy", size)
        bench.figures.add("copy", size / MEBIBYTE / seconds)

    def beside() -> None:
        with _slow_clients(bench):
            timed("beside", retrieve, AGAIN)

    return {
        "archive": archive,
        "copy": copy,
        "retrieve": lambda: timed("retrieve", retrieve, AGAIN),
        "serve": lambda: timed("serve", partial(streams.get, bench.server, "/large"), AGAIN),
        "beside": beside,
    }


@contextmanager
def _slow_clients(bench: Bench) -> Iterator[None]:
    """Have clients that take a file, and as many that send one, a sip at a time."""
    settled, ended = threading.Event(), threading.Event()
    head = f"Host: {load.HOST}\r\nContent-Length: {bench.plan.large}\r\n\r\n"
    with ExitStack() as opened:
        takers = [_connected(bench, opened) for _ in range(SLOW // 2)]
        senders = [_connected(bench, opened) for _ in range(SLOW // 2)]
        for sock in takers:
            sock.sendall(load.request("GET", LARGE))
        for sock in senders:
            sock.sendall(f"POST {bench.new()} HTTP/1.1\r\n{head}".encode())

        def sip() -> None:
            while not ended.wait(PAUSE):
                for sock in takers:
                    sock.recv(SIP)
                for sock in senders:
                    sock.sendall(bytes(SIP))
                settled.set()

        sipping = threading.Thread(target=sip, daemon=True)
        sipping.start()
        try:
            if not settled.wait(load.PATIENCE):
                raise load.Failed("the slow clients do not get going")
            yield
        finally:
            ended.set()
            sipping.join()


def _connected(bench: Bench, opened: ExitStack) -> socket.socket:
    sock = opened.enter_context(socket.socket())
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SIP)
    sock.settimeout(load.PATIENCE)
    sock.connect((load.HOST, bench.node))
    return sock


def _small_table(bench: Bench) -> str:
    figures = bench.figures
    rows = [
        [
            str(at_once),
            figures.text(f"durable {at_once}"),
            figures.text(f"unsafe {at_once}"),
            report.number(figures.ratio(f"durable {at_once}", f"unsafe {at_once}")),
        ]
        for at_once in AT_ONCE
    ]
    title = f"10 KiB archived: median [least-most] of {bench.plan.rounds} rounds"
    return report.table(title, ("at once", "durable /s", "without fsync /s", "ratio"), rows)


def _large_table(bench: Bench) -> str:
    figures = bench.figures
    cases = {
        "archive": ("archived, durable", "copy"),
        "copy": ("copied from a socket, with CRC-32C and fsync", "copy"),
        "retrieve": ("retrieved", "serve"),
        "beside": (f"retrieved beside {SLOW} slow clients", "retrieve"),
        "serve": (f"served by {bench.served}", "serve"),
    }
    rows = [
        [
            text,
            figures.text(case),
            report.number(figures.ratio(case, limit)),
            report.number(max(figures.values.get(f"{case} peak", [0]))),
        ]
        for case, (text, limit) in cases.items()
    ]
    title = f"One file of {bench.plan.large // MEBIBYTE} MiB"
    return report.table(title, ("", "MiB/s", "/limit", "node's peak MiB"), rows)


def _goals(bench: Bench) -> list[Goal]:
    figures = bench.figures
    return [
        Goal(
            "10 KiB archived, 8 at a time / without any fsync",
            figures.ratio("durable 8", "unsafe 8"),
            1 / 4,
        ),
        Goal(
            "10 KiB archived, 32 at a time / without any fsync",
            figures.ratio("durable 32", "unsafe 32"),
            1 / 3,
        ),
        Goal(
            "a large file archived / copied with CRC-32C and fsync",
            figures.ratio("archive", "copy"),
            0.8,
        ),
        Goal(
            f"a large file retrieved / served by {bench.served}",
            figures.ratio("retrieve", "serve"),
            0.9,
        ),
        Goal(
            f"a large file retrieved beside {SLOW} slow clients / without them",
            figures.ratio("beside", "retrieve"),
            0.8,
        ),
    ]


if __name__ == "__main__":
    sys.exit(main())
