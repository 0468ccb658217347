"""Files on their way into a volume: staged, put in their place, and taken out again."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pyvospace_ngas.archive.transactions import Intent
from pyvospace_ngas.archive.volume import Staging, Volume, sync_folder

log = logging.getLogger(__name__)

FOLDERS_KNOWN: Final = 10_000
TOKEN_LENGTH: Final = 36
DISK_INFO: Final = "NgasDiskInfo"


@dataclass(slots=True)
class Folders:
    """The folders of a batch, so that each is made once and made durable once."""

    durable: bool
    roots: frozenset[Path] = frozenset()  # the volumes
    known: set[Path] = field(default_factory=set)  # across batches: they are there and durable
    changed: set[Path] = field(default_factory=set)

    def make(self, folder: Path) -> None:
        """Make a folder; its entry in its parent will be made durable.

        That is done for a folder that is there already as well, the first time: it may be
        what a crash left, and not durable.
        """
        if folder in self.known or folder in self.roots:
            return
        self.make(folder.parent)
        folder.mkdir(exist_ok=True)
        self.changed.add(folder.parent)
        if len(self.known) > FOLDERS_KNOWN:
            self.known.clear()
        self.known.add(folder)

    def sync(self, pool: ThreadPoolExecutor) -> dict[Path, OSError]:
        """Make all changes durable; return the folders for which that failed."""
        changed, self.changed = sorted(self.changed), set()
        if not self.durable:
            return {}
        outcomes = zip(changed, pool.map(_try_sync, changed), strict=True)
        return {folder: error for folder, error in outcomes if error is not None}


def create(volume: Staging, token: str) -> int:
    """Open a new file in the staging folder, for writing."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    return os.open(volume.staging / token, flags, 0o444)


def write_all(fd: int, data: bytes | bytearray | memoryview) -> None:
    """Write everything; the kernel may take less at once."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def stage(volume: Staging, token: str, body: bytes, *, durable: bool) -> None:
    """Write a small file into the staging folder."""
    fd = create(volume, token)
    try:
        write_all(fd, body)
        os.fchmod(fd, 0o444)
        if durable:
            os.fdatasync(fd)
    finally:
        os.close(fd)


def put(volume: Volume, intent: Intent, folders: Folders) -> str:
    """Give a staged file its place, never in place of another; return its name in the volume.

    The staged name stays until the row is there: as long as it does, a file in that place can
    be told from a stranger's by being the same file.
    """
    staged = volume.staging / intent.token
    for name in (intent.file_name, intent.other_name):
        target = volume.path / name
        for attempt in (1, 2):
            try:
                folders.make(target.parent)
                target.hardlink_to(staged)
            except FileExistsError:
                break
            except FileNotFoundError:  # someone removed a folder that was known
                if attempt == 2 or not staged.exists():
                    raise
                folders.known.clear()
            else:
                folders.changed.add(target.parent)
                return name
    raise FileExistsError(f"{intent.file_name} is taken")


def withdraw(volume: Volume, intent: Intent) -> None:
    """Take out a file whose row was never written; a stranger in its place stays."""
    staged = volume.staging / intent.token
    for name in (intent.file_name, intent.other_name):
        target = volume.path / name
        with contextlib.suppress(FileNotFoundError):
            if target.samefile(staged):
                target.unlink()
                sync_folder(target.parent)
                _drop_if_own(target.parent)
    clear(volume, [intent.token])


def remove(volume: Volume, file_name: str) -> None:
    """Remove an archived file whose row is gone, durably."""
    target = volume.path / file_name
    try:
        target.unlink()
    except FileNotFoundError:
        log.warning("%s was gone already", target)
        return
    sync_folder(target.parent)
    _drop_if_own(target.parent)


def describe(volume: Volume, document: bytes) -> None:
    """Write what is known of a disk into it, in place of what was known before."""
    new = volume.staging / DISK_INFO
    with new.open("wb") as file:
        file.write(document)
        file.flush()
        os.fsync(file.fileno())
    new.replace(volume.path / DISK_INFO)
    sync_folder(volume.path)


def clear(volume: Staging, tokens: Iterable[str]) -> None:
    """Remove staged names that are no longer needed."""
    for token in tokens:
        (volume.staging / token).unlink(missing_ok=True)


def sweep(volume: Volume) -> int:
    """Remove what earlier lives left in the staging folder; return how much there was."""
    count = 0
    for leftover in volume.staging.iterdir():
        if leftover.is_file():
            leftover.unlink()
            count += 1
    return count


def _drop_if_own(folder: Path) -> None:
    """Remove the folder that a file got for itself because its name was taken."""
    if len(folder.name) == TOKEN_LENGTH:
        with contextlib.suppress(OSError):  # not empty: not ours
            folder.rmdir()


def _try_sync(folder: Path) -> OSError | None:
    try:
        sync_folder(folder)
    except OSError as error:
        return error
    return None
