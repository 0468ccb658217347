"""How fast bytes are: large and small files, put and got; next to what nginx and MD5 can do.

``python test/bench/bytes.py`` starts all it needs by itself, on free ports of this machine.
"""

import argparse
import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

import gauges
import limits
import load
import report
import rig
import stack
import streams
from report import MEBIBYTE, Figures, Goal
from rig import Rig

SMALL: Final = 10 * 1024
AT_ONCE: Final = (1, 8, 32)
STREAMS: Final = 8
QARCHIVE: Final = "/QARCHIVE?mime_type=application/octet-stream&filename="
BINARY: Final = {"Content-Type": "application/octet-stream"}


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    rounds: int
    large: int  # bytes of the one large file
    middle: int  # and of each of the eight
    count: int  # small files of one case in one round


@dataclass(slots=True)
class Bench:
    """What runs, what was measured, and where the bytes lie."""

    site: Rig
    plan: Plan
    source: streams.Source
    node: int
    unsafe: int  # a node that syncs nothing
    proxy: int
    proxied: str
    figures: Figures = field(default_factory=Figures)
    numbers: Iterator[int] = field(default_factory=itertools.count)
    endpoints: dict[str, str] = field(default_factory=dict)  # by path, for GET

    def endpoint(self, path: str, direction: str, protocol: str) -> str:
        """Negotiate; return where the bytes go or come from at the storage server."""
        target = quote(f"{stack.AUTHORITY}{path}", safe="")
        wanted = f"TARGET={target}&DIRECTION={direction}"
        method = quote(f"{stack.CORE}{protocol}", safe="")
        found = self.site.ask("GET", f"/synctrans?{wanted}&PROTOCOL={method}").body.decode()
        url = found.partition("<vos:endpoint>")[2].partition("<")[0].replace("&amp;", "&")
        if not url:
            raise load.Failed(f"there is no endpoint for {path}: {found}")
        parts = urlsplit(url)
        return f"{parts.path}?{parts.query}" if parts.query else parts.path

    def pulls(self, path: str) -> str:
        """Return where ``path`` is got, as often as one likes."""
        if path not in self.endpoints:
            self.endpoints[path] = self.endpoint(path, "pullFromVoSpace", "httpget")
        return self.endpoints[path]

    def pushes(self, path: str) -> str:
        return self.endpoint(path, "pushToVoSpace", "httpput")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the tables; return 1 when a goal is not reached and that was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=1024, help="MiB of the large file")
    parser.add_argument("--count", type=int, default=400, help="small files of a case in a round")
    parser.add_argument("--quick", action="store_true", help="small counts, to see that it works")
    parser.add_argument("--no-nginx", action="store_true", help="compare with a raw copy")
    parser.add_argument("--dir", type=Path, help="where the bytes are kept; needs 8 x size")
    parser.add_argument("--strict", action="store_true", help="exit code 1 for a missed goal")
    args = parser.parse_args(argv)
    if args.quick:
        args.rounds, args.size = min(args.rounds, 2), min(args.size, 32)
        args.count = min(args.count, 64)
    large = args.size * MEBIBYTE
    plan = Plan(args.rounds, large, max(large // 4, MEBIBYTE), args.count)
    with ExitStack() as ending:
        site = ending.enter_context(rig.running(args.dir, nodes=1))
        goals = _measure(_bench(site, ending, plan, with_nginx=not args.no_nginx))
    print(report.goals(goals))
    return int(args.strict and not all(goal.is_reached for goal in goals))


def _bench(site: Rig, ending: ExitStack, plan: Plan, *, with_nginx: bool) -> Bench:
    """Start what is compared with, and put what is got."""
    root = site.home / "files"
    root.mkdir()
    source = streams.Source.make(site.home, plan.large)
    node = site.node_ports[0]
    unsafe = rig.start_node(site, ending, "unsafe node", site.home / "unsafe", durable=False)
    proxied, proxy = limits.start_proxies(site, ending, root, with_nginx=with_nginx)
    bench = Bench(site, plan, source, node, unsafe, proxy, proxied)
    site.make("/bench")
    sizes = {"large": plan.large, "small": SMALL}
    sizes |= {f"middle-{n}": plan.middle for n in range(STREAMS)}
    for name, size in sizes.items():
        _write(root / name, source, size)
        streams.put(site.storage, "PUT", bench.pushes(f"/bench/{name}"), source, size)
        streams.put(node, "POST", f"{QARCHIVE}{name}", source, size)
    return bench


def _write(path: Path, source: streams.Source, size: int) -> None:
    with path.open("wb") as file, source.path.open("rb") as content:
        while (left := size - file.tell()) > 0:
            piece = content.read(min(left, MEBIBYTE))
            file.write(piece)
            if not piece:
                content.seek(0)


def _measure(bench: Bench) -> list[Goal]:
    figures, plan = bench.figures, bench.plan
    report.rounds(_large(bench), plan.rounds)
    print(_large_table(bench))
    print(_cost_table(bench))
    report.rounds(_small(bench), plan.rounds)
    print(_small_table(bench))
    third = 1 / 3
    return [
        Goal(
            f"one large file got through the storage server / {bench.proxied}",
            figures.ratio("get storage 1", "get limit 1"),
            third,
        ),
        Goal(
            "one large file put through the storage server / MD5 alone",
            figures.ratio("put storage 1", "md5 1"),
            third,
        ),
        Goal(
            "10 KiB archived at the node, 8 at a time, durable / without any fsync",
            figures.ratio("small put node 8", "small put unsafe node 8"),
            1 / 5,
        ),
    ]


def _files(bench: Bench, count: int) -> list[tuple[str, int]]:
    if count == 1:
        return [("large", bench.plan.large)]
    return [(f"middle-{n}", bench.plan.middle) for n in range(count)]


def _large(bench: Bench) -> dict[str, Callable[[], None]]:
    """Return the cases of large files: MiB a second, and what each program needed."""
    site = bench.site

    def get(name: str, port: int, target: Callable[[str], str], count: int) -> None:
        files = _files(bench, count)
        targets = [target(file) for file, _ in files]
        jobs = [partial(streams.get, port, each) for each in targets]
        _timed(bench, f"get {name} {count}", files, jobs)

    def put(name: str, port: int, target: Callable[[str], str], count: int) -> None:
        files = _files(bench, count)
        method = "PUT" if name == "storage" else "POST"
        before = set(site.stored())
        jobs = [
            partial(streams.put, port, method, target(f"put-{file}"), bench.source, size)
            for file, size in files
        ]
        _timed(bench, f"put {name} {count}", files, jobs)
        for path in set(site.stored()) - before:  # nobody reads them; the disk is not endless
            path.unlink()

    def md5(count: int) -> None:
        files = _files(bench, count)
        jobs = [partial(limits.md5_seconds, size) for _, size in files]
        seconds = streams.parallel(jobs)
        bench.figures.add(f"md5 {count}", sum(s for _, s in files) / MEBIBYTE / seconds)

    cases: dict[str, Callable[[], None]] = {}
    for count in (1, STREAMS):
        ways: dict[str, tuple[int, Callable[[str], str]]] = {
            "storage": (site.storage, lambda file: bench.pulls(f"/bench/{file}")),
            "node": (bench.node, lambda file: f"/RETRIEVE?file_id={file}"),
            "limit": (bench.proxy, lambda file: f"/{file}"),
        }
        cases |= {f"get {n} {count}": partial(get, n, *way, count) for n, way in ways.items()}
        ways = {
            "storage": (site.storage, lambda file: bench.pushes(f"/bench/{file}")),
            "node": (bench.node, lambda file: f"{QARCHIVE}{file}"),
        }
        cases |= {f"put {n} {count}": partial(put, n, *way, count) for n, way in ways.items()}
        cases[f"md5 {count}"] = partial(md5, count)
    return cases


def _timed(
    bench: Bench,
    name: str,
    files: Sequence[tuple[str, int]],
    jobs: Sequence[Callable[[], object]],
) -> None:
    programs = bench.site.programs
    gauges.reset_peaks(programs)
    before = gauges.read(programs)
    seconds = streams.parallel(jobs)
    after = gauges.read(programs)
    size = sum(size for _, size in files)
    bench.figures.add(name, size / MEBIBYTE / seconds)
    for program, used in gauges.spent(before, after).items():
        bench.figures.add(f"{name} cpu {program}", used * 1024 * MEBIBYTE / size)
        bench.figures.add(f"{name} peak {program}", after[program].peak / MEBIBYTE)


def _large_table(bench: Bench) -> str:
    figures, plan = bench.figures, bench.plan
    texts = {
        "get storage": "got through the storage server",
        "get node": "got straight at the node",
        "get limit": f"got through {bench.proxied}",
        "put storage": "put through the storage server",
        "put node": "put straight at the node (durable)",
        "md5": "MD5 alone",
    }
    rows = []
    for case, text in texts.items():
        limit = "get limit" if case.startswith("get") else "md5"
        row = [text]
        for count in (1, STREAMS):
            row.append(figures.text(f"{case} {count}"))
            row.append(report.number(figures.ratio(f"{case} {count}", f"{limit} {count}")))
        rows.append(row)
    sizes = f"1 x {plan.large // MEBIBYTE} MiB", f"{STREAMS} x {plan.middle // MEBIBYTE} MiB"
    heads = ("", f"{sizes[0]}: MiB/s", "/limit", f"{sizes[1]}: MiB/s", "/limit")
    return report.table(f"Large files: median [least-most] of {plan.rounds} rounds", heads, rows)


def _cost_table(bench: Bench) -> str:
    """Show what the programs of ours needed in the cases of large files."""
    figures = bench.figures
    parts = ("storage", "node 1", "space", "postgres")
    rows = [
        [f"{case} {count}"]
        + [report.number(figures.middle(f"{case} {count} cpu {part}")) for part in parts]
        + [report.number(max(figures.values[f"{case} {count} peak {part}"])) for part in parts]
        for case in ("get storage", "get node", "put storage", "put node")
        for count in (1, STREAMS)
    ]
    costs = [f"{part} s/GiB" for part in parts] + [f"{part} MiB" for part in parts]
    return report.table("CPU seconds per GiB, and peak memory", ("", *costs), rows)


def _small(bench: Bench) -> dict[str, Callable[[], None]]:
    """Return the cases of 10 KiB files: files a second."""
    site, count = bench.site, bench.plan.count
    body = bench.source.path.read_bytes()[:SMALL]

    def drive(name: str, port: int, requests: Iterator[bytes], at_once: int) -> None:
        programs = site.programs
        before = gauges.read(programs)
        outcome = load.drive(port, requests, at_once)
        bench.figures.add(f"{name} {at_once}", outcome.rate)
        for program, used in gauges.spent(before, gauges.read(programs)).items():
            bench.figures.add(f"{name} {at_once} cpu {program}", 1e6 * used / outcome.answers)

    def get(name: str, port: int, target: Callable[[], str], at_once: int) -> None:
        wanted = load.request("GET", target())
        drive(f"small get {name}", port, itertools.repeat(wanted, count), at_once)

    def archive(name: str, port: int, at_once: int) -> None:
        targets = [f"{QARCHIVE}small-{next(bench.numbers)}" for _ in range(count)]
        requests = (load.request("POST", target, body, BINARY) for target in targets)
        drive(f"small put {name}", port, requests, at_once)

    def put(at_once: int) -> None:
        paths = [f"/bench/small-{next(bench.numbers)}" for _ in range(count)]
        targets = [bench.pushes(path) for path in paths]  # before the clock starts
        requests = (load.request("PUT", target, body, BINARY) for target in targets)
        drive("small put storage", site.storage, requests, at_once)

    ways: dict[str, tuple[int, Callable[[], str]]] = {
        "storage": (site.storage, lambda: bench.pulls("/bench/small")),
        "node": (bench.node, lambda: "/RETRIEVE?file_id=small"),
        "limit": (bench.proxy, lambda: "/small"),
    }
    cases: dict[str, Callable[[], None]] = {}
    for at_once in AT_ONCE:
        cases |= {f"get {n} {at_once}": partial(get, n, *way, at_once) for n, way in ways.items()}
        for name, port in {"node": bench.node, "unsafe node": bench.unsafe}.items():
            cases[f"put {name} {at_once}"] = partial(archive, name, port, at_once)
        cases[f"put storage {at_once}"] = partial(put, at_once)
    return cases


def _small_table(bench: Bench) -> str:
    figures = bench.figures
    texts = {
        "small get storage": ("got through the storage server", "small get limit"),
        "small get node": ("got straight at the node", "small get limit"),
        "small get limit": (f"got through {bench.proxied}", "small get limit"),
        "small put storage": ("put through the storage server", "small put unsafe node"),
        "small put node": ("put straight at the node (durable)", "small put unsafe node"),
        "small put unsafe node": ("put at a node without any fsync", "small put unsafe node"),
    }
    rows = []
    for case, (text, limit) in texts.items():
        for at_once in AT_ONCE:
            name = f"{case} {at_once}"
            row = [text, str(at_once), figures.text(name)]
            row.append(report.number(figures.ratio(name, f"{limit} {at_once}")))
            node = "unsafe node" if "unsafe" in case else "node 1"
            row += [
                report.number(figures.middle(f"{name} cpu {part}"))
                for part in ("storage", node, "postgres")
            ]
            rows.append(row)
    return report.table(
        f"Files of 10 KiB: median [least-most] of {bench.plan.rounds} rounds",
        ("", "at once", "/s", "/limit", "storage us", "node us", "postgres us"),
        rows,
    )


if __name__ == "__main__":
    sys.exit(main())
