"""How fast a mount is, by time and by HTTP requests, beside others that are installed here.

``python test/bench/mount.py`` starts all it needs by itself, on free ports of this machine.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import report
import rig
import stack
from report import MEBIBYTE
from rig import Rig

sys.path.append(str(Path(__file__).resolve().parent.parent))

import mount_support
import peers

from pyvospace_ngas.fuse.operations import STATUS

BLOCK: Final = 1 << 20
SMALL: Final = 4096
SOURCE: Final = Path(__file__).resolve().parents[2] / "pyvospace_ngas"


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    rounds: int
    large: int  # bytes
    names: int  # in the large directories
    small: int  # files of 4 KiB


@dataclass(slots=True)
class Bench:
    """One mount and what was measured on it; ``requests`` are counted by the mount itself."""

    path: Path
    plan: Plan
    requests: Callable[[], int]
    figures: dict[str, list[float]] = field(default_factory=dict)
    counts: dict[str, list[float]] = field(default_factory=dict)

    @contextmanager
    def measured(self, name: str, amount: float) -> Iterator[None]:
        """Note ``amount`` in a second, and the requests for one."""
        before, begun = self.requests(), time.perf_counter()
        yield
        took = time.perf_counter() - begun
        self.figures.setdefault(name, []).append(amount / took)
        self.counts.setdefault(name, []).append(self.requests() - before)


def write_large(bench: Bench, number: int) -> None:
    block = os.urandom(BLOCK)
    path = bench.path / f"large{number}"
    with (
        bench.measured("write, MiB/s", bench.plan.large / MEBIBYTE),
        path.open("wb", buffering=0) as file,
    ):
        for _ in range(bench.plan.large // BLOCK):
            file.write(block)


def read_large(bench: Bench, number: int, name: str) -> None:
    path = bench.path / f"large{number}"
    amount = bench.plan.large / MEBIBYTE
    with bench.measured(name, amount), path.open("rb", buffering=0) as file:
        while file.read(BLOCK):
            pass


def small_files(bench: Bench, number: int) -> None:
    folder, count = bench.path / f"small{number}", bench.plan.small
    folder.mkdir()
    data = os.urandom(SMALL)
    with bench.measured("4 KiB create+write+close, 1/s", count):
        for each in range(count):
            (folder / str(each)).write_bytes(data)
    with bench.measured("4 KiB open+read, 1/s", count):
        for each in range(count):
            (folder / str(each)).read_bytes()
    with bench.measured("rename, 1/s", count):
        for each in range(count):
            (folder / str(each)).rename(folder / f"r{each}")
    with bench.measured("unlink, 1/s", count):
        for each in range(count):
            (folder / f"r{each}").unlink()


def untar(bench: Bench, number: int, archive: Path, count: int) -> None:
    folder = bench.path / f"tree{number}"
    folder.mkdir()
    with bench.measured("untar, files/s", count):
        subprocess.run(["tar", "-xf", archive, "-C", folder], check=True)


def list_all(bench: Bench) -> None:
    with bench.measured("ls -lR, names/s", bench.plan.names):
        subprocess.run(["ls", "-lR", bench.path / "many"], check=True, stdout=subprocess.DEVNULL)


def drop_caches() -> None:
    """Have the kernel forget pages, where we may."""
    caches = Path("/proc/sys/vm/drop_caches")
    if os.access(caches, os.W_OK):
        os.sync()
        caches.write_text("3", encoding="ascii")


def pack(folder: Path) -> tuple[Path, int]:
    """Return an archive of a tree of sources, and how many files it has."""
    archive = folder / "source.tar"
    with tarfile.open(archive, "w") as packed:
        packed.add(SOURCE, "source", filter=lambda each: None if "pycache" in each.name else each)
        return archive, sum(each.isfile() for each in packed)


@contextmanager
def mounted(site: Rig, folder: Path, version: int) -> Iterator[tuple[Path, Callable[[], int]]]:
    """Mount the container of the measurements; give it, and what counts its requests."""
    mountpoint, secret = folder / "m", folder / "secret"
    mountpoint.mkdir(parents=True)
    secret.touch(0o600)
    secret.write_text(stack.PASSWORD, encoding="utf-8")
    words = [sys.executable, "-m", "pyvospace_ngas.cli.mount", "--user", rig.USER]
    words += ["--url", f"http://127.0.0.1:{site.space}", "--path", f"/home/{rig.USER}"]
    words += ["--password-file", str(secret), "-o", f"fuse={version},state={folder}/state"]
    subprocess.run([*words, str(mountpoint)], check=True)
    try:
        yield mountpoint, lambda: int(json.loads(os.getxattr(mountpoint, STATUS))["requests"])
    finally:
        mount_support.let_go(mountpoint)


def measure(plan: Plan, folder: Path, mounting: peers.Mounting) -> Bench:
    """Do every case ``plan.rounds`` times, reading with a new mount and so cold."""
    archive, count = pack(folder)
    figures: dict[str, list[float]] = {}
    counts: dict[str, list[float]] = {}
    bench = Bench(folder, plan, lambda: 0)
    for number in range(plan.rounds):
        for part, work in (("write", write_part), ("read", read_part)):
            place = folder / f"{part}{number}"
            with mounting(place) as (path, requests):
                bench = Bench(path, plan, requests, figures, counts)
                work(bench, number, archive, count)
    return bench


def write_part(bench: Bench, number: int, archive: Path, count: int) -> None:
    write_large(bench, number)
    small_files(bench, number)
    untar(bench, number, archive, count)


def read_part(bench: Bench, number: int, _archive: Path, _count: int) -> None:
    drop_caches()
    read_large(bench, number, "read cold, MiB/s")
    read_large(bench, number, "read again, MiB/s")
    list_all(bench)
    (bench.path / f"large{number}").unlink()


def fill(site: Rig, names: int) -> None:
    """Make ``many``: ten directories with so many names in all."""
    home = f"/home/{rig.USER}/many"
    site.make(home)
    for number in range(10):
        site.make(f"{home}/d{number}")
        for each in range(names // 10):
            site.make(f"{home}/d{number}/f{each}", "DataNode")


def fill_plain(folder: Path, names: int) -> None:
    """Make the same in a plain folder, for the peers."""
    for number in range(10):
        (folder / "many" / f"d{number}").mkdir(parents=True)
        for each in range(names // 10):
            (folder / "many" / f"d{number}" / f"f{each}").touch()


def show(name: str, bench: Bench) -> None:
    """Print a table: a median with its range, and requests in all where they are counted."""
    print(f"\n{name}\n{'':36}{'median [range]':>26}{'requests':>12}", flush=True)
    figures = report.Figures(bench.figures)
    for case in bench.figures:
        requests = sorted(bench.counts[case])[len(bench.counts[case]) // 2]
        print(f"{case:36}{figures.text(case):>26}{requests or '':>12}", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--large", type=int, default=1024, help="MiB of the large file")
    parser.add_argument("--names", type=int, default=10_000, help="in the listed tree")
    parser.add_argument("--small", type=int, default=200, help="files of 4 KiB")
    parser.add_argument("--folder", type=Path, help="where to work")
    args = parser.parse_args(argv)
    reason = mount_support.why_not()
    if reason is not None:
        print(f"nothing can be mounted here: {reason}")
        return 0
    plan = Plan(args.rounds, args.large * MEBIBYTE, args.names, args.small)
    with rig.running(args.folder, nodes=1) as site:
        fill(site, plan.names)
        for version in mount_support.versions():
            folder = site.home / f"fuse{version}"
            folder.mkdir()
            mounting = partial(mounted, site, version=version)
            show(f"ngas_mount, libfuse {version}", measure(plan, folder, mounting))
            with mounting(folder / "end") as (path, _):
                for left in (*path.glob("small*"), *path.glob("tree*")):
                    shutil.rmtree(left)
            shutil.rmtree(folder, ignore_errors=True)
        compare(plan, site.home)
    return 0


def compare(plan: Plan, home: Path) -> None:
    """Measure the peers that are installed here."""
    for name, serving in peers.there().items():
        folder = home / name.split()[0]
        (folder / "served").mkdir(parents=True)
        fill_plain(folder / "served", plan.names)
        with serving(folder / "served") as mounting:
            show(name, measure(plan, folder, mounting))
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
