"""What a site's own plug-ins are called with, and what they return.

Each kind is a function (or a class, where it says so) of a Python module that the configuration
names; `plugins.load` finds it. Plain functions run in a thread, ``async`` ones on the event loop,
which they must not block. ``parameters`` is the text of ``PlugInPars`` or the like as it stands in
the configuration; `plugins.pairs` reads the usual ``name=value,name=value``. What a plug-in raises
is logged, and refuses the request (or skips the step) that it was called for.

A site's own command is a module with ``async def handle(call)``, which is called with the
`answers.Call` and returns an aiohttp response, as those in `commands` are; `examples.room` is one.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class FileFacts:
    """An archived file: one version on one disk of this node."""

    disk_id: str
    file_id: str
    version: int
    format: str  # mime type
    size: int  # bytes
    path: Path
    ingestion_date: str
    checksum: str
    checksum_variant: str


@dataclass(frozen=True, slots=True)
class Incoming:
    """A file that has arrived and is not archived yet; ``path`` may be changed in place."""

    path: Path
    name: str
    file_id: str
    format: str
    size: int
    parameters: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """What a data archiving or registration plug-in says of a file; None: as it was."""

    name: str | None = None
    file_id: str | None = None
    format: str | None = None
    compression: str = "NONE"
    uncompressed_size: int | None = None


class DataArchiving(Protocol):
    """``Streams/Stream PlugIn``: looks at a file, may change it, says how it is archived.

    A function with the attribute ``modifies_content = True`` changes the bytes: size and checksum
    are then those of what it leaves. What it makes beside the file, under the file's name and a
    suffix, is removed afterwards. The text of a ValueError is told to the client, of anything
    else it raises only that it did.
    """

    def __call__(self, file: Incoming, /) -> Accepted | None:
        """Return how the file is to be archived, or raise to refuse it."""


class Registering(Protocol):
    """``Register/PlugIn``: says how a file that lies in a volume already is registered."""

    def __call__(self, file: Incoming, /) -> Accepted | None:
        """Return how the file is to be registered, or raise to refuse it."""


@dataclass(frozen=True, slots=True)
class Processed:
    """The result of processing: bytes as they are made, or a file in the folder given."""

    format: str
    name: str
    data: Iterable[bytes] | Path


class ProcessingFile(Protocol):
    """``Processing/PlugIn``: what RETRIEVE sends in place of the file."""

    def __call__(self, file: FileFacts, folder: Path, parameters: str, /) -> Processed:
        """Return the result; ``folder`` is the call's own and removed afterwards."""


class ArchiveHandler(Protocol):
    """``ArchiveHandling/EventHandlerPlugIn``: a class, made once with its parameters."""

    def handle_event(self, event: FileFacts) -> None:
        """A file has been archived; the client has its answer already."""


class SubscriptionFilter(Protocol):
    """``filter_plug_in`` of a subscription."""

    def __call__(self, file: FileFacts, parameters: str, /) -> bool:
        """Whether the subscriber wants the file."""


class SubscriptionAuth(Protocol):
    """``SubscriptionAuth PlugInName``: credentials for deliveries."""

    def __call__(self, file_name: str, url: str, /) -> str:
        """Return the value of the Authorization header for a delivery."""


class CacheControl(Protocol):
    """``Caching CacheControlPlugIn``."""

    def __call__(self, file: FileFacts, parameters: str, /) -> bool:
        """Whether the file may be removed from the cache now."""


class LogfileHandler(Protocol):
    """``Log/LogfileHandlerPlugIn``."""

    def __call__(self, path: Path, parameters: str, /) -> None:
        """Do something with a log file that was just rotated."""


class JanitorTask(Protocol):
    """``JanitorThread/PlugIn``: called in each of the janitor's rounds."""

    def __call__(self, root: Path, stop: threading.Event, /) -> None:
        """Tidy up; ``stop`` is set when the node goes offline."""


class SystemTask(Protocol):
    """``SystemPlugIns`` (online, offline, disk sync, service), suspension and wake-up."""

    def __call__(self, host_id: str, parameters: str, /) -> None:
        """Do it; for wake-up ``host_id`` is the host to be woken."""


class LabelPrinter(Protocol):
    """``SystemPlugIns LabelPrinterPlugIn``."""

    def __call__(self, label: str, parameters: str, /) -> None:
        """Print the label of a disk."""
