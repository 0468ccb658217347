"""The work on the disks that a batch needs, in threads."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from pyvospace_ngas.archive import placement
from pyvospace_ngas.archive.placement import Folders
from pyvospace_ngas.archive.transactions import Intent
from pyvospace_ngas.archive.upload import NotArchived, Upload, refusal
from pyvospace_ngas.archive.volume import Volume

log = logging.getLogger(__name__)

SYNCING: Final = 8
Result = TypeVar("Result")


class DiskWork:
    """One job at a time, each with as many threads as syncing can use."""

    def __init__(self, volumes: Iterable[Volume], *, durable: bool) -> None:
        self._volumes = {volume.disk_id: volume for volume in volumes}
        self._durable = durable
        self._folders = Folders(durable, frozenset(v.path for v in self._volumes.values()))
        self._jobs = ThreadPoolExecutor(1, "commit")
        self._syncing = ThreadPoolExecutor(SYNCING, "sync")

    async def close(self) -> None:
        """Wait for the job under way and let the threads go."""
        await asyncio.to_thread(self._jobs.shutdown)
        await asyncio.to_thread(self._syncing.shutdown)

    async def stage(self, uploads: Sequence[Upload]) -> dict[str, NotArchived]:
        """Write the small files, durably; return what went wrong with which."""
        small = [upload for upload in uploads if upload.body is not None]
        return await self._do(lambda: self._stage(small)) if small else {}

    async def place(
        self, uploads: Sequence[Upload], intents: Mapping[str, Intent]
    ) -> tuple[dict[str, str], dict[str, NotArchived]]:
        """Put files in their places, durably; return their names and what went wrong."""
        return await self._do(lambda: self._place(uploads, intents))

    async def clear(self, uploads: Sequence[Upload]) -> None:
        """Remove staged names."""

        def clear() -> None:
            for upload in uploads:
                placement.clear(upload.volume, [upload.token])

        await self._do(clear)

    async def withdraw(self, intents: Sequence[Intent]) -> None:
        """Take out files that never got a row."""

        def withdraw() -> None:
            for intent in intents:
                placement.withdraw(self._volumes[intent.disk_id], intent)

        await self._do(withdraw)

    async def remove(self, files: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        """Remove files whose rows are gone; return those that are away for good."""
        return await self._do(lambda: [each for each in files if self._remove(*each)])

    async def describe(self, volume: Volume, document: bytes) -> None:
        """Leave a description of a completed disk in it; without one it is as complete."""

        def describe() -> None:
            try:
                placement.describe(volume, document)
            except OSError:
                log.exception("the volume %s is not described in itself", volume.path)

        await self._do(describe)

    async def _do(self, job: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._jobs, job)

    def _stage(self, uploads: Sequence[Upload]) -> dict[str, NotArchived]:
        if len(uploads) == 1:  # another thread would only cost
            problems = [self._stage_one(uploads[0])]
        else:
            problems = list(self._syncing.map(self._stage_one, uploads))
        return {
            upload.token: problem
            for upload, problem in zip(uploads, problems, strict=True)
            if problem is not None
        }

    def _stage_one(self, upload: Upload) -> NotArchived | None:
        try:
            placement.stage(upload.volume, upload.token, upload.body or b"", durable=self._durable)
        except OSError as error:
            return refusal(error, "the volume refused the file")
        return None

    def _place(
        self, uploads: Sequence[Upload], intents: Mapping[str, Intent]
    ) -> tuple[dict[str, str], dict[str, NotArchived]]:
        placed: dict[str, str] = {}
        problems: dict[str, NotArchived] = {}
        for upload in uploads:
            try:
                placed[upload.token] = placement.put(
                    upload.volume, intents[upload.token], self._folders
                )
            except OSError as error:
                problems[upload.token] = refusal(error, "the file got no place")
        lost = self._folders.sync(self._syncing)
        if lost:
            self._folders.known.clear()
            problem = refusal(next(iter(lost.values())), "a folder could not be made durable")
            problems |= dict.fromkeys(placed, problem)
            placed = {}
        return placed, problems

    def _remove(self, disk_id: str, file_name: str) -> bool:
        try:
            placement.remove(self._volumes[disk_id], file_name)
        except OSError:
            log.exception("%s is removed later", file_name)
            return False
        return True
