"""A file on its way in, and the ways in which that can end."""

from __future__ import annotations

import asyncio
import errno
from dataclasses import dataclass, field

from pyvospace_ngas.archive.records import Copy, File
from pyvospace_ngas.archive.volume import Volume


class NotArchived(Exception):
    """A file was not archived; nothing of it is left, or it will be taken out."""


class NoRoom(NotArchived):
    """No volume has room for the file."""

    unread = False  # its bytes are still on their way


class CannotOverwrite(NotArchived):
    """There is no version here that could be overwritten."""


class Outdated(NotArchived):
    """What was to be copied is not there any more as it was."""


class InDoubt(NotArchived):
    """The index went away during the commit: the file is archived, or will be taken out."""


def _future() -> asyncio.Future[Copy]:
    return asyncio.get_running_loop().create_future()


@dataclass(frozen=True, slots=True)
class History:
    """What a file brings along that was archived before."""

    ingestion_date: str
    creation_date: str
    file_status: str


@dataclass(slots=True, eq=False)
class Upload:
    """A file that wants to be archived: its bytes in memory, or staged and durable already."""

    token: str
    volume: Volume
    file_id: str
    name: str
    format: str
    size: int
    checksum: str
    checksum_plugin: str
    body: bytes | None
    started: str
    seconds: float = 0.0
    overwrite: int | None = None
    exact: int | None = None  # the version that it had before
    history: History | None = None
    uncompressed_size: int | None = None
    compression: str = "NONE"
    twin_of: str = ""  # a replica has the token of its main file
    partner: Upload | None = None  # main file and replica: they succeed or fail together
    source: File | None = None  # of which this is a further copy, in the same version
    problem: NotArchived | None = None
    done: asyncio.Future[Copy] = field(default_factory=_future)

    @property
    def waits(self) -> bool:
        """Whether nothing has been decided yet."""
        return self.problem is None and not self.done.done()

    @property
    def all(self) -> tuple[Upload, ...]:
        """The file, with its replica where it is to have one."""
        return (self,) if self.partner is None else (self, self.partner)

    def fail(self, problem: NotArchived) -> None:
        """Decide that it failed, unless something else is decided already."""
        if self.waits:
            self.problem = problem
            if self.partner is not None:
                self.partner.fail(problem)

    def deliver_failure(self) -> None:
        """Tell whoever waits of the failure, when its traces are gone."""
        if self.problem is not None and not self.done.done():
            self.done.set_exception(self.problem)
            self.done.exception()  # a client may have left: then nobody asks


def refusal(error: OSError, what: str) -> NotArchived:
    """Say what an error of the file system means for the upload."""
    kind = NoRoom if error.errno in {errno.ENOSPC, errno.EDQUOT} else NotArchived
    return kind(f"{what}: {error.strerror or 'the name is taken'}")
