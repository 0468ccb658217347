"""A place on disk for bodies whose length is not known: NGAS wants to be told it first."""

import asyncio
import errno
import fcntl
import logging
import os
import stat
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import aiofiles

from pyvospace_ngas.config import ConfigError
from pyvospace_ngas.errors import QuotaExceeded, ServiceUnavailable

log = logging.getLogger(__name__)

PREFIX: Final = "upload-"
PIECE: Final = 256 * 1024
LOOK: Final = 16 * 2**20  # bytes after which other servers' files are looked at again


class NotOurs(ConfigError):
    """The folder belongs to another user, or lies where only another user may make one."""


class Staging:
    """A folder that storage servers of one user may share; ``limit`` bytes in all."""

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder = folder
        self._limit = limit
        self._taken = 0  # by this process
        self._own: set[str] = set()
        self._others = 0
        self._looked = -LOOK

    def prepare(self) -> None:
        """Make the folder, or check that it is ours alone; remove what dead servers left there."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = self._folder.lstat()
        except PermissionError as error:
            raise NotOurs(self._unfit("lies in a folder of another user")) from error
        except OSError as error:
            raise ConfigError(self._unfit(f"cannot be made ({error.strerror})")) from error
        if not stat.S_ISDIR(found.st_mode):
            raise ConfigError(self._unfit("is no folder (a symbolic link is none either)"))
        if found.st_uid != os.geteuid():
            raise NotOurs(self._unfit("belongs to another user"))
        if stat.S_IMODE(found.st_mode) != 0o700:
            self._folder.chmod(0o700)
        for name in self._names():
            self._remove_abandoned(name)

    @asynccontextmanager
    async def file(self) -> AsyncIterator["StagedFile"]:
        """Lend an empty file; it is gone afterwards, and its room is free again."""
        name, descriptor = await asyncio.to_thread(self._create)
        staged = StagedFile(self, descriptor)
        try:
            yield staged
        finally:
            self._taken -= staged.length
            self._own.discard(name)
            await asyncio.to_thread(self._forget, name, descriptor)

    async def take(self, size: int) -> None:
        """Count ``size`` bytes more, or raise `QuotaExceeded`."""
        if self._taken + size - self._looked >= LOOK:
            self._looked = self._taken
            self._others = await asyncio.to_thread(self._used_by_others)
        if self._taken + self._others + size > self._limit:
            raise QuotaExceeded(
                "there is no room now for a body without a Content-Length; send one that has it"
            )
        self._taken += size

    def _unfit(self, why: str) -> str:
        return f"[Storage] parameters: staging_dir {self._folder} {why}; name another one"

    def _names(self) -> list[str]:
        return [path.name for path in self._folder.iterdir() if path.name.startswith(PREFIX)]

    def _create(self) -> tuple[str, int]:
        while True:
            name = f"{PREFIX}{uuid.uuid4().hex}"
            path = self._folder / name
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            try:
                descriptor = os.open(path, flags, 0o600)
            except OSError as error:
                raise _full(error) from error
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_nlink:
                self._own.add(name)
                return name, descriptor
            os.close(descriptor)  # a starting server took it for abandoned before it was locked

    def _forget(self, name: str, descriptor: int) -> None:
        (self._folder / name).unlink(missing_ok=True)
        os.close(descriptor)

    def _remove_abandoned(self, name: str) -> None:
        path = self._folder / name
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return  # gone meanwhile, or nothing that we ever made
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
            log.info("removed the abandoned %s", path)
        except BlockingIOError:
            pass  # another server is at work on it
        finally:
            os.close(descriptor)

    def _used_by_others(self) -> int:
        used = 0
        for name in set(self._names()) - self._own:
            try:
                used += (self._folder / name).lstat().st_size
            except FileNotFoundError:
                continue
        return used


class StagedFile:
    """A file that is written once and then read, by its owner only."""

    def __init__(self, staging: Staging, descriptor: int) -> None:
        self.length = 0
        self._staging = staging
        self._descriptor = descriptor

    async def write(self, pieces: AsyncIterator[bytes]) -> None:
        """Append ``pieces``; raise `QuotaExceeded` when there is no room for them."""
        async with aiofiles.open(self._descriptor, "wb", closefd=False) as file:
            async for piece in pieces:
                await self._staging.take(len(piece))
                self.length += len(piece)
                await _checked(file.write(piece))
            await _checked(file.flush())

    async def read(self) -> AsyncGenerator[bytes, None]:
        """Give what was written."""
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        async with aiofiles.open(self._descriptor, "rb", closefd=False) as file:
            while piece := await file.read(PIECE):
                yield piece


async def _checked(work: Awaitable[object]) -> None:
    try:
        await work
    except OSError as error:
        raise _full(error) from error


def _full(error: OSError) -> QuotaExceeded | ServiceUnavailable:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return QuotaExceeded("the staging area is full; send a Content-Length")
    log.error("the staging area cannot be used: %s", error)
    return ServiceUnavailable("the staging area cannot be used; send a Content-Length")
