"""Files that could not be archived and wait, durably, until they can (BackLogBuffering)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final, NoReturn

from pyvospace_ngas.archive import placement
from pyvospace_ngas.archive.node import Node
from pyvospace_ngas.archive.receiving import Limited, Received, Source
from pyvospace_ngas.archive.records import Copy
from pyvospace_ngas.archive.settings.tending import Notice
from pyvospace_ngas.archive.upload import CannotOverwrite, History, NotArchived, Upload
from pyvospace_ngas.archive.volume import SPARE_BYTES, sync_folder
from pyvospace_ngas.archive.waiting import to_its_end
from pyvospace_ngas.archive.wishes import Wish, compare
from pyvospace_ngas.ngas.checksum import Variant

log = logging.getLogger(__name__)

FOLDER: Final = "back-log"
RECORD: Final = ".json"
STRAY_SECONDS: Final = 24 * 3600.0  # no upload under way is idle for so long
ASIDE: Final = ".refused"  # what can never be archived, for a person to look at


class Kept(NotArchived):
    """A file is not archived; it waits, and will be."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file that waits, with how it is wanted."""

    token: str
    started: str
    wish: Wish


@dataclass(frozen=True, slots=True)
class Backlog:
    """A folder with, for each file that waits, its bytes and then a record of it."""

    staging: Path  # the folder

    def entries(self) -> Iterator[Entry]:
        """Yield what waits, the oldest first; a record that cannot be read is set aside."""
        found: list[Entry] = []
        for path in self.staging.glob(f"*{RECORD}"):
            try:
                found.append(_entry(path.stem, json.loads(path.read_bytes())))
            except (ValueError, KeyError, TypeError):
                log.exception("%s is no record of a file that waits", path)
                path.replace(path.with_suffix(ASIDE))
        yield from sorted(found, key=lambda entry: entry.started)

    def write(self, entry: Entry) -> None:
        """Record a file whose bytes are there; both are durable when this returns."""
        record = self.staging / f"{entry.token}{RECORD}"
        new = record.with_suffix(".new")
        with new.open("w", encoding="utf-8") as file:
            json.dump({"started": entry.started, "wish": asdict(entry.wish)}, file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(record)
        sync_folder(self.staging)

    def remove(self, entry: Entry) -> None:
        """Forget a file, which is archived by now."""
        (self.staging / f"{entry.token}{RECORD}").unlink(missing_ok=True)
        sync_folder(self.staging)  # a record never outlives its bytes
        placement.clear(self, [entry.token])

    def set_aside(self, entry: Entry) -> None:
        """Keep a file, and never try again."""
        record = self.staging / f"{entry.token}{RECORD}"
        record.replace(record.with_suffix(ASIDE))

    def sweep(self) -> None:
        """Remove old bytes without a record: their client was never told that they are kept."""
        for path in self.staging.iterdir():
            if any(path.with_suffix(suffix).exists() for suffix in (RECORD, ASIDE)):
                continue
            with contextlib.suppress(FileNotFoundError):  # its client has just left
                if time.time() - path.stat().st_mtime > STRAY_SECONDS:
                    path.unlink()


def of(node: Node) -> Backlog | None:
    """Return where a node keeps what it cannot archive, if it does that."""
    folder = node.config.handling.backlog_folder
    return None if folder is None else Backlog(folder / FOLDER)


async def commit(node: Node, backlog: Backlog | None, wish: Wish, upload: Upload) -> Copy:
    """Archive an upload; what fails for no fault of its own is kept, where that is wanted."""
    if backlog is None:
        return await node.committer.archive(upload)
    spare = upload.volume.staging / f"{upload.token}.kept"  # the committer clears the other name
    if upload.body is None:
        with contextlib.suppress(OSError):  # then it can be archived, but not kept
            spare.hardlink_to(upload.volume.staging / upload.token)
    try:
        return await node.committer.archive(upload)
    except CannotOverwrite:
        raise
    except NotArchived as problem:
        entry = Entry(upload.token, upload.started, _as_received(wish, upload))
        await to_its_end(asyncio.to_thread(_save, backlog, entry, upload, spare, problem))
        _tell(node, entry, problem)
    finally:
        spare.unlink(missing_ok=True)


async def take(
    node: Node, backlog: Backlog, wish: Wish, source: Source, started: str, problem: NotArchived
) -> NoReturn:
    """Keep what there is no room for now; without room here as well it is that problem."""
    token = str(uuid.uuid4())
    free = await asyncio.to_thread(_room, backlog)
    if (source.length or 0) > free:
        raise problem
    if source.length is None:
        source = replace(source, content=Limited(source.content, free))
    with node.receiving(), ExitStack() as failing:
        received = await node.receiver.take(source, backlog, token, wish.variant, staged=True)
        failing.callback(placement.clear, backlog, [token])
        compare(wish, received)
        entry = Entry(token, started, _with_sums(wish, received))
        await asyncio.to_thread(backlog.write, entry)
        failing.pop_all()
    _tell(node, entry, problem)


def _tell(node: Node, entry: Entry, problem: NotArchived) -> NoReturn:
    text = f"{entry.wish.file_id} waits in the backlog: {problem}."
    node.notices.tell(Notice.ERROR, f"a file waits on {node.host_id}", text)
    raise Kept(str(problem)) from problem


def _save(
    backlog: Backlog, entry: Entry, upload: Upload, spare: Path, problem: NotArchived
) -> None:
    """Write an upload to the backlog, or raise the problem that it has anyway."""
    try:
        backlog.staging.mkdir(parents=True, exist_ok=True)
        if upload.body is not None:
            placement.stage(backlog, entry.token, upload.body, durable=True)
        else:
            _link_or_copy(spare, backlog.staging / entry.token)
        backlog.write(entry)
    except OSError:
        log.exception("%s could not be kept in the backlog", entry.wish.file_id)
        raise problem from None


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:  # another file system
        with source.open("rb") as stream, target.open("xb") as copy:
            shutil.copyfileobj(stream, copy, 1024 * 1024)
            copy.flush()
            os.fsync(copy.fileno())


def _room(backlog: Backlog) -> int:
    backlog.staging.mkdir(parents=True, exist_ok=True)
    return max(shutil.disk_usage(backlog.staging).free - SPARE_BYTES, 0)


def _as_received(wish: Wish, upload: Upload) -> Wish:
    """Return how a file is wanted that a plug-in has seen already."""
    return replace(
        wish,
        file_id=upload.file_id,
        name=upload.name,
        format=upload.format,
        checksum=upload.checksum or None,
        size=upload.size,
        compression=upload.compression,
        uncompressed_size=upload.uncompressed_size,
        untouched=True,
    )


def _with_sums(wish: Wish, received: Received) -> Wish:
    return replace(wish, checksum=received.checksum or None, size=received.size)


def _entry(token: str, record: dict[str, object]) -> Entry:
    values = dict(record["wish"])  # type: ignore[call-overload]  # a TypeError is expected
    history = values.pop("history")
    values["variant"] = Variant(values["variant"])
    wish = Wish(**values, history=None if history is None else History(**history))
    return Entry(token, str(record["started"]), wish)
