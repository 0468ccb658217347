"""Group commit: all files that wait are made durable together, by one transaction for their rows.

There are no timers: while one batch is under way the next one gathers.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from pyvospace_ngas.archive import completion, index, transactions
from pyvospace_ngas.archive.diskwork import DiskWork
from pyvospace_ngas.archive.notices import Notices
from pyvospace_ngas.archive.records import Copy, File, stamp
from pyvospace_ngas.archive.settings.tending import Notice
from pyvospace_ngas.archive.steps import Database, DatabaseError
from pyvospace_ngas.archive.transactions import (
    Arrival,
    Commit,
    Intent,
    NothingToOverwrite,
    Room,
    VersionTaken,
    Wanted,
)
from pyvospace_ngas.archive.upload import (
    CannotOverwrite,
    History,
    InDoubt,
    NotArchived,
    Outdated,
    Upload,
)
from pyvospace_ngas.archive.volume import MEBIBYTE, Volume

log = logging.getLogger(__name__)

BATCH_FILES: Final = 256
BATCH_BYTES: Final = 32 * MEBIBYTE


class Committer:
    """Takes uploads until it is closed. One for a node, for as long as it is online."""

    def __init__(
        self,
        database: Database,
        disks: DiskWork,
        volumes: Sequence[Volume],
        *,
        host_id: str,
        prefix: str,
        notices: Notices,
        full_below_mb: int = 0,
        warn_below_mb: int = 0,
    ) -> None:
        self._database = database
        self._disks = disks
        self._volumes = {volume.disk_id: volume for volume in volumes}
        self._host_id = host_id
        self._prefix = prefix
        self._notices = notices
        self._turned: set[str] = set()  # disks that are full, which the index does not know yet
        self._full_below_mb = full_below_mb
        self._warn_below_mb = warn_below_mb
        self._waiting: list[Upload] = []
        self._batch: list[Upload] = []  # under way
        self._leftover: dict[str, tuple[Upload, Intent | None]] = {}  # may have no row
        self._called = asyncio.Event()
        self._closing = False
        self._task = asyncio.create_task(self._work(), name="committer")

    async def archive(self, upload: Upload) -> Copy:
        """Return when the file and its row are durable, or raise why they will not be."""
        if self._closing:
            raise NotArchived("the node is going offline")
        if any(each.volume.disk_id not in self._volumes for each in upload.all):
            raise NotArchived("the volume was removed meanwhile")
        self._waiting.append(upload)
        self._called.set()
        return await asyncio.shield(upload.done)  # a client that left does not undo a batch

    def give_up(self, volume: Volume) -> bool:
        """Take no more files for a volume; return False while some are on their way into it."""
        going = [*self._waiting, *self._batch, *(each for each, _ in self._leftover.values())]
        if volume.promised or any(each.volume is volume for up in going for each in up.all):
            return False
        volume.completed = True
        self._volumes.pop(volume.disk_id, None)
        return True

    def settle(self) -> None:
        """Decide soon what is still in doubt, though no file comes."""
        self._called.set()

    async def close(self) -> None:
        """Finish what waits, then stop."""
        self._closing = True
        self._called.set()
        await self._task

    async def _work(self) -> None:
        while self._waiting or not self._closing:
            await self._called.wait()
            self._called.clear()
            while self._waiting:
                await self._try_to_commit(self._take())
            await self._settle()
        await self._settle()

    async def _try_to_commit(self, batch: list[Upload]) -> None:
        self._batch = batch
        try:
            await self._commit(batch)
        except Exception as error:  # whatever it was, the next batch must go on
            log.exception("a batch of %d files failed", len(batch))
            for upload in batch:
                upload.fail(InDoubt(f"the archiving failed: {type(error).__name__}"))
        for upload in batch:
            upload.deliver_failure()
        self._batch = []

    def _take(self) -> list[Upload]:
        count = size = 0
        for upload in self._waiting[:BATCH_FILES]:
            size += len(upload.body or b"")
            if count and size > BATCH_BYTES:
                break
            count += 1
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        return [each for upload in batch for each in upload.all]

    async def _commit(self, batch: list[Upload]) -> None:
        await self._settle()
        # Versions do not depend on the bytes, nor the bytes on the versions.
        intents, problems = await asyncio.gather(self._reserve(batch), self._disks.stage(batch))
        _fail(batch, problems)
        names, problems = await self._disks.place([u for u in batch if u.waits], intents)
        _fail(batch, problems)
        going = [upload for upload in batch if upload.waits]
        commit = await self._write_rows(
            [_arrival(upload, intents[upload.token], names[upload.token]) for upload in going]
        )
        changed = Outdated("what was to be copied is not there any more as it was")
        _fail(going, dict.fromkeys(commit.outdated, changed))
        for upload in going:
            if file := commit.files.get(upload.token):
                upload.done.set_result(Copy(file, commit.disks[file.disk_id]))
        self._leftover |= {
            upload.token: (upload, intent)
            for upload in batch
            if (intent := intents.get(upload.token)) and upload.token not in commit.files
        }
        await self._clean(batch, commit)

    async def _reserve(self, batch: Sequence[Upload]) -> dict[str, Intent]:
        day = stamp()[:10]
        folder = f"{self._prefix}/{day}" if self._prefix else day
        wanted = [_wanted(upload, folder) for upload in batch]
        try:
            reserved = await self._database.run(transactions.reserve(wanted, self._host_id))
        except DatabaseError:
            log.exception("%d files could not be reserved", len(batch))
            self._leftover |= {upload.token: (upload, None) for upload in batch}
            _fail(batch, {u.token: NotArchived("the index is not available") for u in batch})
            return {}
        for upload in batch:
            answer = reserved[upload.token]
            if isinstance(answer, NothingToOverwrite | VersionTaken):
                upload.fail(CannotOverwrite(answer.reason))
        return {token: each for token, each in reserved.items() if isinstance(each, Intent)}

    async def _write_rows(self, arrivals: Sequence[Arrival]) -> Commit:
        if not arrivals:
            return Commit({}, {}, ())
        try:
            rooms = self._measure()
            commit = await self._database.run(transactions.commit(arrivals, rooms, stamp()))
        except DatabaseError:
            log.exception("the commit of %d files was not answered", len(arrivals))
            return await self._find_out(arrivals)
        if self._turned:
            await self._describe_completed(commit)
        return commit

    def _measure(self) -> dict[str, Room]:
        """Measure the volumes; one below its limit takes no more files."""
        rooms: dict[str, Room] = {}
        for disk_id, volume in self._volumes.items():
            free = volume.available_mb
            full = free < self._full_below_mb
            if full and not volume.completed:
                volume.completed = True
                self._turned.add(disk_id)
            elif free < self._warn_below_mb and not volume.warned:
                self._notices.tell(
                    Notice.DISK_SPACE,
                    f"little room on {volume.slot}",
                    f"The volume {volume.path} has only {free} MB left.",
                )
            volume.warned = free < self._warn_below_mb
            rooms[disk_id] = Room(free, full=full, turned=disk_id in self._turned)
        return rooms

    async def _describe_completed(self, commit: Commit) -> None:
        """Tell of disks that take no more files, the operator and whoever holds the disk."""
        for disk_id in self._turned:
            volume, disk = self._volumes[disk_id], commit.disks.get(disk_id)
            self._notices.tell(
                Notice.DISK_CHANGE,
                f"the volume {volume.slot} is completed",
                f"The volume {volume.path} has only {volume.available_mb} MB left and takes no "
                "more files. Files go to other volumes as long as there are some with room.",
            )
            if disk is not None:
                await self._disks.describe(volume, completion.document(disk, stamp()))
        self._turned.clear()

    async def _find_out(self, arrivals: Sequence[Arrival]) -> Commit:
        """Return what a commit did whose answer was lost; nothing, when that is still open."""
        tokens = [each.token for each in arrivals]
        try:
            undone = set(await self._database.run(transactions.abandon(tokens)))
            files = {each.token: each.file for each in arrivals if each.token not in undone}
            disks = {}
            for disk_id in {file.disk_id for file in files.values()}:
                if found := await index.disk(self._database, disk_id):
                    disks[disk_id] = found
        except DatabaseError:
            return Commit({}, {}, ())
        return Commit(files, disks, ())

    async def _settle(self) -> None:
        """Take out what has no row.

        What the index does not answer for stays in its place: it is settled with a later batch,
        or when the node goes online again.
        """
        if not self._leftover:
            return
        leftover = dict(self._leftover)
        try:
            undone = set(await self._database.run(transactions.abandon(list(leftover))))
            await self._disks.withdraw([i for t, (_, i) in leftover.items() if i and t in undone])
            await self._disks.clear([upload for upload, _ in leftover.values()])
            await self._database.run(transactions.forget(list(leftover)))
        except (DatabaseError, OSError):
            log.exception("%d files stay in doubt", len(leftover))
            return
        for token in leftover:
            del self._leftover[token]

    async def _clean(self, batch: Sequence[Upload], commit: Commit) -> None:
        """After the answers: staged names, and files that were replaced."""
        for upload in batch:
            upload.fail(InDoubt("the index did not answer; ask for the file's STATUS later"))
        await self._disks.clear([u for u in batch if u.token not in self._leftover])
        if commit.replaced:
            own = [each for each in commit.replaced if each[0] in self._volumes]
            await finish_removals(self._database, self._disks, own)
        await self._settle()


async def finish_removals(
    database: Database, disks: DiskWork, files: Sequence[tuple[str, str]]
) -> None:
    """Remove files whose rows are gone; what fails is tried when the node goes online again."""
    gone = await disks.remove(files)
    try:
        if gone:
            await database.run(transactions.removed(gone))
    except DatabaseError:
        log.exception("%d removals stay on record", len(gone))


def _fail(batch: Sequence[Upload], problems: Mapping[str, NotArchived]) -> None:
    for upload in batch:
        if problem := problems.get(upload.token):
            upload.fail(problem)


def _wanted(upload: Upload, folder: str) -> Wanted:
    return Wanted(
        upload.token,
        upload.volume.disk_id,
        upload.file_id,
        folder,
        upload.name,
        upload.overwrite,
        upload.exact,
        upload.twin_of,
        upload.source.version if upload.source else None,
    )


def _arrival(upload: Upload, intent: Intent, file_name: str) -> Arrival:
    rate = int(upload.size / upload.seconds) if upload.seconds > 0 else 0
    if upload.source is not None:
        file = replace(
            upload.source,
            disk_id=upload.volume.disk_id,
            file_name=file_name,
            ingestion_date=stamp(),
            file_status="00000000",
            ingestion_rate=rate,
            io_milliseconds=int(upload.seconds * 1000),
        )
        return Arrival(upload.token, file, overwrites=False, source=upload.source)
    history = upload.history or History(stamp(), upload.started, "00000000")
    file = File(
        disk_id=upload.volume.disk_id,
        file_name=file_name,
        file_id=upload.file_id,
        version=intent.version,
        format=upload.format,
        size=upload.size,
        ingestion_date=history.ingestion_date,
        ignore=False,
        checksum=upload.checksum,
        checksum_plugin=upload.checksum_plugin,
        file_status=history.file_status,
        creation_date=history.creation_date,
        container_id=None,
        ingestion_rate=rate,
        io_milliseconds=int(upload.seconds * 1000),
        uncompressed_size=upload.uncompressed_size,
        compression=upload.compression,
    )
    overwrites = upload.overwrite is not None and not upload.twin_of
    return Arrival(upload.token, file, overwrites=overwrites, twin_of=upload.twin_of)
