"""The same operations on a mount and on a plain directory, compared after each."""

import contextlib
import errno
import os
import random
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

import mount_support
import pytest
from mount_support import Site, mounted, tree_of

pytestmark = pytest.mark.skipif(
    mount_support.why_not() is not None, reason=str(mount_support.why_not())
)

NAMES: Final = ("a", "b", "é ü", "%41", "d#?")
LARGEST: Final = 300_000
SEED: Final = 20_261_122


class Pair:
    """Two directories that the same is done to."""

    def __init__(self, plain: Path, mount: Path, seed: int) -> None:
        self.roots = [plain, mount]
        self.choose = random.Random(seed)
        self.open: dict[int, list[int]] = {}
        self.numbers = iter(range(10**9))
        self.used: list[str] = []

    def step(self) -> str:
        """Do one operation to both; both must answer the same."""
        action = self.choose.choice(ACTIONS)
        state = self.choose.getstate()
        answers = []
        self.used.clear()
        for side in (0, 1):
            self.choose.setstate(state)
            answers.append(action(self, side))
        told = f"{action.__name__} {self.used} {str(answers)[:200]}"
        assert answers[0] == answers[1], told
        return told

    def path(self, side: int) -> Path:
        """Return a path, of a file or directory or of neither."""
        path = self.roots[side]
        for _ in range(self.choose.choice((1, 1, 1, 1, 2, 2, 3))):
            path /= self.choose.choice(NAMES)
        if side == 0:
            self.used.append(str(path.relative_to(self.roots[side])))
        return path

    def data(self) -> bytes:
        size = self.choose.choice((0, 1, 100, 4096, 70_000))
        return self.choose.randbytes(size)

    def handle(self, side: int) -> int:
        """Return an open file, or one that is not."""
        if not self.open:
            return -1
        return self.open[self.choose.choice(sorted(self.open))][side]

    def close(self) -> None:
        for number in list(self.open):
            for fd in self.open.pop(number):
                os.close(fd)


Action = Callable[[Pair, int], object]


def tried(action: Action) -> Action:
    """Return ``action`` with its error as its answer."""

    def answer(pair: Pair, side: int) -> object:
        try:
            return action(pair, side)
        except OSError as error:
            return errno.errorcode[error.errno or 0]

    answer.__name__ = action.__name__
    return answer


def same(*numbers: int) -> Callable[[Action], Action]:
    """Take ``numbers`` for one: POSIX lets a file system choose."""

    def wrap(action: Action) -> Action:
        def answer(pair: Pair, side: int) -> object:
            found = action(pair, side)
            return "either" if found in {errno.errorcode[n] for n in numbers} else found

        answer.__name__ = action.__name__
        return answer

    return wrap


@tried
def write_whole(pair: Pair, side: int) -> object:
    return pair.path(side).write_bytes(pair.data())


@tried
def append(pair: Pair, side: int) -> object:
    with pair.path(side).open("ab") as file:
        return file.write(pair.data())


@tried
def overwrite_part(pair: Pair, side: int) -> object:
    with pair.path(side).open("r+b", buffering=0) as file:
        file.seek(pair.choose.randrange(LARGEST))
        return file.write(pair.data())


@tried
def read_part(pair: Pair, side: int) -> object:
    with pair.path(side).open("rb", buffering=0) as file:
        file.seek(pair.choose.randrange(LARGEST))
        return file.read(pair.choose.randrange(1, 100_000))


@tried
def truncate(pair: Pair, side: int) -> object:
    os.truncate(pair.path(side), pair.choose.choice((0, 1, 5000, 100_000)))
    return "done"


@tried
def create_new(pair: Pair, side: int) -> object:
    os.close(os.open(pair.path(side), os.O_CREAT | os.O_EXCL | os.O_RDWR))
    return "done"


@tried
def mkdir(pair: Pair, side: int) -> object:
    pair.path(side).mkdir()
    return "done"


@tried
def rmdir(pair: Pair, side: int) -> object:
    pair.path(side).rmdir()
    return "done"


@tried
def unlink(pair: Pair, side: int) -> object:
    pair.path(side).unlink()
    return "done"


@same(errno.ENOTEMPTY, errno.EEXIST)
@tried
def rename(pair: Pair, side: int) -> object:
    pair.path(side).rename(pair.path(side))
    return "done"


@tried
def symlink(pair: Pair, side: int) -> object:
    pair.path(side).symlink_to(pair.choose.choice(("a", "../b", "no/where", "./c/../a")))
    return "done"


@tried
def look(pair: Pair, side: int) -> object:
    found = pair.path(side).lstat()
    size = found.st_size if stat.S_ISREG(found.st_mode) else 0
    return stat.S_IFMT(found.st_mode), size


@tried
def list_names(pair: Pair, side: int) -> object:
    return sorted(path.name for path in pair.path(side).iterdir())


@tried
def set_time(pair: Pair, side: int) -> object:
    path, moment = pair.path(side), pair.choose.randrange(10**18)
    os.utime(path, ns=(moment, moment))
    return path.stat().st_mtime_ns


@tried
def set_attribute(pair: Pair, side: int) -> object:
    path, value = pair.path(side), pair.choose.randbytes(9)
    os.setxattr(path, "user.test", value)
    return os.getxattr(path, "user.test")


@tried
def open_file(pair: Pair, side: int) -> object:
    fd = os.open(pair.path(side), os.O_RDWR | os.O_CREAT)
    if side == 0:
        pair.open[next(pair.numbers)] = [fd]
    else:
        pair.open[max(pair.open)].append(fd)
    return "done"


@tried
def write_to_open(pair: Pair, side: int) -> object:
    return os.pwrite(pair.handle(side), pair.data(), pair.choose.randrange(LARGEST))


@tried
def read_from_open(pair: Pair, side: int) -> object:
    return os.pread(pair.handle(side), 50_000, pair.choose.randrange(LARGEST))


@tried
def size_of_open(pair: Pair, side: int) -> object:
    return os.fstat(pair.handle(side)).st_size


@tried
def close_one(pair: Pair, side: int) -> object:
    if not pair.open:
        return "none"
    number = min(pair.open)
    fd = pair.open[number][side]
    if side == 1:
        del pair.open[number]
    os.close(fd)
    return "done"


ACTIONS: Final[tuple[Action, ...]] = (
    write_whole, write_whole, append, overwrite_part, overwrite_part, read_part, read_part,
    truncate, create_new, mkdir, rmdir, unlink, unlink, rename, rename, symlink, look, look,
    list_names, set_time, set_attribute, open_file, open_file, open_file, write_to_open,
    write_to_open, read_from_open, read_from_open, size_of_open, close_one,
)  # fmt: skip


def run(site: Site, folder: Path, steps: int, seed: int, *options: str) -> None:
    """Do ``steps`` operations, with a new mount, and so a cold cache, in between."""
    plain = folder / "beside" / "plain"  # what a link to .. leads to is another than the mount's
    plain.mkdir(parents=True)
    path = site.container()
    done: list[str] = []
    left = steps
    while left:
        count = min(left, max(steps // 3, 1))
        left -= count
        with mounted(site, folder, path, *options) as m:
            pair = Pair(plain, m.path, seed + left)
            with contextlib.closing(pair):
                for _ in range(count):
                    try:
                        done.append(pair.step())
                    except AssertionError as error:
                        raise AssertionError("\n".join([*done[-40:], str(error)])) from None
            assert tree_of(plain) == tree_of(m.path), done[-20:]
            if left % 2 and m.path.exists():
                for root in (plain, m.path):
                    shutil.rmtree(root / "a", ignore_errors=True)


@pytest.mark.parametrize("version", mount_support.versions())
def test_a_mount_answers_as_a_plain_directory(site: Site, tmp_path: Path, version: int) -> None:
    run(site, tmp_path, 1500, SEED + version, f"fuse={version}")


def test_a_mount_that_sends_later_answers_as_a_plain_directory(site: Site, tmp_path: Path) -> None:
    run(site, tmp_path, 500, SEED, "writeback")


@pytest.mark.scale
@pytest.mark.parametrize("seed", range(4))
def test_a_hundred_thousand_operations_make_no_difference(
    site: Site, tmp_path: Path, seed: int
) -> None:
    versions = mount_support.versions()
    options = ["writeback"] if seed % 2 else []
    run(site, tmp_path, 25_000, seed, f"fuse={versions[seed // 2 % len(versions)]}", *options)
