"""Folders for the work of one request: removed with it, or by the janitor after a crash."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

PREFIX: Final = "retrieve-"
FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def made(base: Path) -> Iterator[Path]:
    """Make a folder that is in use, which `sweep` sees, until the end of the context."""
    base.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base)).resolve()
    fd = os.open(folder, FLAGS)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(fd)


def sweep(base: Path, before: float) -> int:
    """Remove the folders of that kind that nobody uses and that are older; return how many."""
    try:
        entries = list(os.scandir(base))
    except FileNotFoundError:
        return 0
    return sum(
        _remove(Path(entry.path), before)
        for entry in entries
        if entry.name.startswith(PREFIX) and entry.is_dir(follow_symlinks=False)
    )


def _remove(folder: Path, before: float) -> bool:
    try:
        fd = os.open(folder, FLAGS)
    except OSError:  # gone meanwhile, or of somebody else
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(fd).st_mtime >= before:
            return False
        shutil.rmtree(folder)
    except OSError:  # in use, or not ours to remove
        return False
    else:
        return True
    finally:
        os.close(fd)
