"""Files of this machine that may be archived: those below ``PullRoots``, and nothing else."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pyvospace_ngas.archive.receiving import Source
from pyvospace_ngas.archive.refusals import Refused, coded
from pyvospace_ngas.archive.volume import sync_folder
from pyvospace_ngas.archive.waiting import to_its_end

READ_BYTES: Final = 1024 * 1024
FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK a pipe would wait for its writer.
FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A regular file that is open for reading."""

    path: Path
    folder: int  # both are descriptors: names may come to mean something else
    file: int
    size: int

    async def readany(self) -> bytes:
        """Return what follows, nothing at the end."""
        return await to_its_end(asyncio.to_thread(os.read, self.file, READ_BYTES))

    def close(self) -> None:
        os.close(self.file)
        os.close(self.folder)

    def remove(self) -> None:
        """Remove the file, durably, unless its name stands for another one by now."""
        named = os.stat(self.path.name, dir_fd=self.folder, follow_symlinks=False)
        if not os.path.samestat(named, os.fstat(self.file)):
            raise FileNotFoundError(f"{self.path} is another file by now")
        os.unlink(self.path.name, dir_fd=self.folder)
        sync_folder(self.path.parent)


@asynccontextmanager
async def opened(roots: Sequence[Path], path: str) -> AsyncIterator[tuple[LocalFile, Source]]:
    """Open a file below one of the roots, or refuse it."""
    file = await asyncio.to_thread(open_below, roots, path)
    try:
        yield file, Source(file, file.size, pulled=True)
    finally:
        await asyncio.to_thread(file.close)


def open_below(roots: Sequence[Path], path: str) -> LocalFile:
    """Open a file without leaving the roots, whoever changes names meanwhile.

    What lies outside is refused in the same words whether it is there or not.
    """
    if "\0" in path or not path.startswith("/"):
        raise _refused("a file is named by its absolute path", 400)
    real = Path(os.path.realpath(path))
    for root in (Path(os.path.realpath(root)) for root in roots):
        if real.is_relative_to(root) and real != root:
            try:
                return walk(root, real)
            except OSError as error:
                raise _refused(f"the file cannot be read ({error.strerror})", 404) from error
    raise _refused("files are taken only from the folders in ArchiveHandling PullRoots", 403)


def walk(root: Path, real: Path) -> LocalFile:
    """Open a file folder by folder from the root: nothing on the way may be a link by now."""
    *folders, name = real.relative_to(root).parts
    with ExitStack() as opened:
        here = os.open(root, FOLDER)
        opened.callback(os.close, here)
        for folder in folders:
            here = os.open(folder, FOLDER, dir_fd=here)
            opened.callback(os.close, here)
        file = os.open(name, FILE, dir_fd=here)
        try:
            found = os.fstat(file)
            if not stat.S_ISREG(found.st_mode):
                raise _refused("that is no regular file", 400)
            return LocalFile(real, os.dup(here), file, found.st_size)
        except (OSError, Refused):
            os.close(file)
            raise


def _refused(text: str, status: int) -> Refused:
    return Refused(coded("NGAMS_ER_ARCHIVE_PULL_REQ", f"Nothing is archived: {text}."), status)
