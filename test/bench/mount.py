"""How fast a mount is, by time and by HTTP requests, beside others that are installed here.

``python test/bench/mount.py`` starts all it needs by itself, on free ports of this machine.
"""

import argparse
import itertools
import json
import mmap
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import floor
import report
import rig
import stack
from report import MEBIBYTE
from rig import Rig

sys.path.append(str(Path(__file__).resolve().parent.parent))

import far
import mount_support
import peers

from pyvospace_ngas.fuse.operations import STATUS

BLOCK: Final = 1 << 20
SMALL: Final = 4096
COLD: Final = "read cold, MiB/s"
OPEN: Final = "4 KiB open+read, 1/s"
RENAME: Final = "rename, 1/s"
LIST: Final = "ls -lR, names/s"
OURS: Final = "ngas_mount, libfuse {}"
FLOOR: Final = "names known beforehand, libfuse {}"
GOALS: Final = (
    (COLD, peers.RCLONE, 2),
    (COLD, peers.SSHFS, 2),
    (LIST, peers.RCLONE, 3),
    (LIST, peers.SSHFS, 1),  # with libfuse 3
    (OPEN, peers.RCLONE, 10),
    (RENAME, peers.RCLONE, 10),
)
DIRECTORIES: Final = 10
_PER_READ: Final = 4  # times a file is in memory, at most: of its server, in a cache, of the mount
SOURCE: Final = Path(__file__).resolve().parents[2] / "pyvospace_ngas"


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    large: int  # bytes
    names: int  # in the large directories
    small: int  # files of 4 KiB


@dataclass(slots=True)
class Bench:
    """One kind of mount and what was measured on it, a new mount each time.

    ``requests`` of ours are counted by the mount itself.
    """

    name: str
    folder: Path
    plan: Plan
    mounting: peers.Mounting
    path: Path = Path()
    requests: Callable[[], int] = int
    figures: report.Figures = field(default_factory=report.Figures)
    counts: report.Figures = field(default_factory=report.Figures)

    @contextmanager
    def measured(self, name: str, amount: float) -> Iterator[None]:
        """Note ``amount`` in a second, and the requests for one."""
        before, begun = self.requests(), time.perf_counter()
        yield
        took = time.perf_counter() - begun
        self.figures.add(name, amount / took)
        self.counts.add(name, self.requests() - before)


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
    with bench.measured(OPEN, count):
        for each in range(count):
            (folder / str(each)).read_bytes()
    with bench.measured(RENAME, count):
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
    with bench.measured(LIST, bench.plan.names):
        subprocess.run(["ls", "-lR", bench.path / "many"], check=True, stdout=subprocess.DEVNULL)


def drop_caches(room: int) -> None:
    """Have the kernel forget pages, where we may, and have as many bytes for others at hand.

    A virtual machine gives free memory back, and gets it page by page when it is used again. That
    takes as long as all the rest of a cold read, and longer for whoever comes after a pause.
    """
    caches = Path("/proc/sys/vm/drop_caches")
    if os.access(caches, os.W_OK):
        os.sync()
        caches.write_text("3", encoding="ascii")
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
    mmap.mmap(-1, min(room, _available() // 2), flags=flags).close()


def _available() -> int:
    """Return the bytes of memory that nobody has."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable"))


def pack(folder: Path, most: int) -> tuple[Path, int]:
    """Return an archive of a tree of sources, and how many files it has."""
    archive, numbers = folder / "source.tar", itertools.count()

    def taken(each: tarfile.TarInfo) -> tarfile.TarInfo | None:
        is_too_much = each.isfile() and next(numbers) >= most
        return None if "pycache" in each.name or is_too_much else each

    with tarfile.open(archive, "w") as packed:
        packed.add(SOURCE, "source", filter=taken)
        return archive, sum(each.isfile() for each in packed)


@contextmanager
def mounted_floor(
    place: Path, version: int, names: int
) -> Iterator[tuple[Path, Callable[[], int]]]:
    """Mount as many names that nobody has to be asked for."""
    mountpoint = place / "many"
    mountpoint.mkdir(parents=True)
    numbers = (version, DIRECTORIES, names // DIRECTORIES)
    words = [sys.executable, floor.__file__, *map(str, numbers), str(mountpoint)]
    process = subprocess.Popen(words)
    try:
        peers.until(mountpoint.is_mount)
        yield place, lambda: 0
    finally:
        mount_support.let_go(mountpoint)
        process.wait(peers.PATIENCE)


@contextmanager
def mounted(site: Rig, folder: Path, version: int) -> Iterator[tuple[Path, Callable[[], int]]]:
    """Mount the container of the measurements; give it, and what counts its requests."""
    mountpoint, secret = folder / "m", folder / "secret"
    mountpoint.mkdir(parents=True)
    secret.touch(0o600)
    secret.write_text(stack.PASSWORD, encoding="utf-8")
    words = [sys.executable, "-m", "pyvospace_ngas.cli.mount", "--user", rig.USER]
    words += ["--url", f"http://127.0.0.1:{site.door}", "--path", f"/home/{rig.USER}"]
    words += ["--password-file", str(secret), "-o", f"fuse={version},state={folder}/state"]
    subprocess.run([*words, str(mountpoint)], check=True)
    try:
        yield mountpoint, lambda: int(json.loads(os.getxattr(mountpoint, STATUS))["requests"])
    finally:
        mount_support.let_go(mountpoint)


def measure(bench: Bench, number: int, archive: Path, count: int) -> None:
    """Do every case once, reading with a new mount and so cold."""
    for part, work in (("write", write_part), ("read", read_part)):
        place = bench.folder / f"{part}{number}"
        with bench.mounting(place) as (bench.path, bench.requests):
            work(bench, number, archive, count)
        shutil.rmtree(place, ignore_errors=True)


def measure_floor(bench: Bench) -> None:
    """List what is known beforehand: what a listing takes without a tree, and without a server."""
    with bench.mounting(bench.folder) as (bench.path, _):
        list_all(bench)
    shutil.rmtree(bench.folder)


def write_part(bench: Bench, number: int, archive: Path, count: int) -> None:
    write_large(bench, number)
    small_files(bench, number)
    untar(bench, number, archive, count)


def read_part(bench: Bench, number: int, _archive: Path, _count: int) -> None:
    drop_caches(_PER_READ * bench.plan.large)
    read_large(bench, number, COLD)
    read_large(bench, number, "read again, MiB/s")
    list_all(bench)
    (bench.path / f"large{number}").unlink()
    for left in (f"small{number}", f"tree{number}"):
        shutil.rmtree(bench.path / left)


def fill(site: Rig, names: int) -> None:
    """Make ``many``: some directories with so many names in all."""
    home = f"/home/{rig.USER}/many"
    site.make(home)
    for number in range(DIRECTORIES):
        site.make(f"{home}/d{number}")
        for each in range(names // DIRECTORIES):
            site.make(f"{home}/d{number}/f{each}", "DataNode")


def fill_plain(folder: Path, names: int) -> None:
    """Make the same in a plain folder, for the peers."""
    for number in range(DIRECTORIES):
        (folder / "many" / f"d{number}").mkdir(parents=True)
        for each in range(names // DIRECTORIES):
            (folder / "many" / f"d{number}" / f"f{each}").touch()


def show(bench: Bench) -> None:
    """Print a table: a median with its range, and requests in all where they are counted."""
    rows = []
    for case in bench.figures.values:
        requests = bench.counts.middle(case)
        rows.append([case, bench.figures.text(case), f"{requests:.0f}" if requests else ""])
    print(report.table(bench.name, ["", "median [range]", "requests"], rows), flush=True)


def goals(benches: Mapping[str, Bench]) -> list[report.Goal]:
    """Return what is to be reached next to the peers that are here."""
    found = []
    for version in mount_support.versions():
        ours = benches[OURS.format(version)]
        for case, peer, bound in GOALS:
            if peer not in benches or (version == 2 and (case, peer) == (LIST, peers.SSHFS)):
                continue
            ratio = ours.figures.middle(case) / benches[peer].figures.middle(case)
            text = f"{case.partition(',')[0]}: {ours.name} / {peer.partition(' ')[0]}"
            found.append(report.Goal(text, ratio, bound))
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="that count; one more goes before")
    parser.add_argument("--large", type=int, default=1024, help="MiB of the large file")
    parser.add_argument("--names", type=int, default=10_000, help="in the listed tree")
    parser.add_argument("--small", type=int, default=200, help="files of 4 KiB")
    parser.add_argument("--files", type=int, default=1000, help="of our sources to untar, at most")
    parser.add_argument("--delay", type=float, default=0, help="ms to all servers and back")
    parser.add_argument("--folder", type=Path, help="where to work")
    args = parser.parse_args(argv)
    reason = mount_support.why_not()
    if reason is not None:
        print(f"nothing can be mounted here: {reason}")
        return 0
    plan = Plan(args.large * MEBIBYTE, args.names, args.small)
    with rig.running(args.folder, nodes=1, delay=args.delay) as site, ExitStack() as ending:
        fill(site, plan.names)
        benches = {each.name: each for each in mounts(site, plan, args.delay, ending)}
        archive, count = pack(site.home, args.files)
        numbers = itertools.count()

        def once(bench: Bench) -> None:
            measure(bench, next(numbers), archive, count)

        cases = {name: partial(once, bench) for name, bench in benches.items()}
        floors = {each.name: each for each in floors_below(site.home, plan)}
        cases.update({name: partial(measure_floor, bench) for name, bench in floors.items()})
        benches.update(floors)
        # Whoever comes first would pay for what is read from the disk for the first time.
        report.rounds(cases, 1)
        for bench in benches.values():
            bench.figures, bench.counts = report.Figures(), report.Figures()
        report.rounds(cases, args.rounds)
    for bench in benches.values():
        show(bench)
    print(report.goals(goals(benches)))
    return 0


def mounts(site: Rig, plan: Plan, delay: float, ending: ExitStack) -> Iterator[Bench]:
    """Give our mount with each libfuse, and the peers that are installed here."""
    for version in mount_support.versions():
        mounting = partial(mounted, site, version=version)
        folder = site.home / f"fuse{version}"
        yield Bench(OURS.format(version), folder, plan, mounting)
    way = partial(far.way, delay)
    for name, serving in peers.there().items():
        folder = site.home / name.split()[0]
        (folder / "served").mkdir(parents=True)
        fill_plain(folder / "served", plan.names)
        yield Bench(name, folder, plan, ending.enter_context(serving(folder / "served", way)))


def floors_below(home: Path, plan: Plan) -> Iterator[Bench]:
    """Give mounts of names that are known beforehand, with each libfuse."""
    for version in mount_support.versions():
        mounting = partial(mounted_floor, version=version, names=plan.names)
        yield Bench(FLOOR.format(version), home / f"floor{version}", plan, mounting)


if __name__ == "__main__":
    sys.exit(main())
