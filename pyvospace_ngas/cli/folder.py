"""The data folder of ngas_up: its version, and the locks that keep two of them apart."""

import fcntl
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

VERSION: Final = "1"  # of the folder's layout
REMAINS_SECONDS: Final = 30.0  # what a killed ngas_up left gets to stop by itself


class FolderError(Exception):
    """The data folder cannot be used; the text says what to do."""


@dataclass(frozen=True, slots=True)
class DataFolder:
    """A data folder that is ours alone. Parts inherit ``parts_lock`` and so hold it too."""

    path: Path
    parts_lock: int


@contextmanager
def hold(
    path: Path, tell: Callable[[str], None], remains_seconds: float = REMAINS_SECONDS
) -> Iterator[DataFolder]:
    """Make or check the data folder ``path`` and keep every other ngas_up out of it.

    Two locks: ``lock`` says that an ngas_up runs, ``parts.lock`` that any process that one
    started still does. The kernel drops both with the processes, whatever they die of.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_version(path)
        ours = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise FolderError(f"cannot use the data folder {path}: {error.strerror}") from error
    try:
        _lock_alone(path, ours)
        parts = os.open(path / "parts.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _outlast_remains(path, parts, tell, remains_seconds)
            yield DataFolder(path.resolve(), parts)
        finally:
            os.close(parts)
    finally:
        os.close(ours)


def _check_version(path: Path) -> None:
    note = path / "version"
    try:
        version = note.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        if any(not entry.name.startswith("version.") for entry in path.iterdir()):
            raise FolderError(
                f"{path} is not empty and no data folder of ngas_up: name another with --data"
            ) from None
        _write(note, VERSION)
        return
    except UnicodeDecodeError:
        version = "unknown"
    if version != VERSION:
        raise FolderError(
            f"the data folder {path} has the layout of version {version}, and this ngas_up knows"
            f" {VERSION}: use the release that made it, or name another folder with --data"
        )


def _write(note: Path, text: str) -> None:
    """Write ``note`` so that it is there whole or not at all."""
    partial = note.with_name(f"{note.name}.{os.getpid()}")
    with partial.open("w", encoding="utf-8") as file:
        file.write(f"{text}\n")
        file.flush()
        os.fsync(file.fileno())
    partial.rename(note)


def _lock_alone(path: Path, lock: int) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(lock, 20, 0).decode("ascii", "replace").strip()
        raise FolderError(
            f"another ngas_up (process {holder or 'unknown'}) uses the data folder {path}"
        ) from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode("ascii"), 0)


def _outlast_remains(path: Path, lock: int, tell: Callable[[str], None], seconds: float) -> None:
    """Wait for the parts of an ngas_up that was killed; they were told to stop. Then kill them."""
    if _taken_within(lock, 0):
        return
    tell("waiting for the parts of an earlier ngas_up to stop")
    if _taken_within(lock, seconds):
        return
    for process in _holders(path / "parts.lock"):
        os.kill(process, signal.SIGKILL)
    if not _taken_within(lock, 10):
        raise FolderError(f"processes of an earlier ngas_up still use the data folder {path}")


def _taken_within(lock: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        else:
            return True


def _holders(file: Path) -> set[int]:
    """Return the processes, other than ourselves, that have ``file`` open."""
    status = file.stat()
    wanted = (status.st_dev, status.st_ino)
    holders = set()
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            opened = link.stat()
        except OSError:  # it ended, or is not ours to look at
            continue
        if (opened.st_dev, opened.st_ino) == wanted:
            holders.add(int(link.parts[2]))
    return holders - {os.getpid()}
