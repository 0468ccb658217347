"""Volumes: directories that hold archived files, each with one writer."""

from __future__ import annotations

import asyncio
import base64
import binascii
import fcntl
import os
import secrets
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

INFO: Final = ".ngas_volume_info"
LOCK: Final = ".ngas_volume_lock"
STAGING: Final = "staging"
MEBIBYTE: Final = 1024 * 1024
SPARE_BYTES: Final = 16 * MEBIBYTE  # what a file system needs to stay usable
MEASURED_SECONDS: Final = 1.0


class VolumeError(Exception):
    """A volume cannot be used; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What a volume says of itself."""

    disk_id: str
    manufacturer: str = "UNDEFINED"
    type: str = "UNDEFINED"


class Staging(Protocol):
    """Something with a folder for files that are on their way."""

    @property
    def staging(self) -> Path:
        """The folder."""


@dataclass(slots=True)
class Volume:
    """A volume that this node may write: it is held by a lock until `release`."""

    path: Path
    identity: Identity
    lock: int
    completed: bool = False
    promised: int = 0  # bytes of uploads under way
    warned: bool = False  # that little room is left
    alone: asyncio.Lock = field(default_factory=asyncio.Lock)  # for writers with Mutex=1
    _measured: float = field(default=-1.0, init=False)
    _free: int = field(default=0, init=False)
    _size: int = field(default=0, init=False)

    @property
    def disk_id(self) -> str:
        return self.identity.disk_id

    @property
    def slot(self) -> str:
        return self.path.name

    @property
    def staging(self) -> Path:
        return self.path / STAGING

    def free(self) -> int:
        """Return the bytes that new files may take, without those that are promised."""
        now = time.monotonic()
        if now - self._measured > MEASURED_SECONDS or self._measured < 0:
            figures = os.statvfs(self.path)
            self._free = figures.f_bavail * figures.f_frsize
            self._size = figures.f_blocks * figures.f_frsize
            self._measured = now
        return max(self._free - self.promised - SPARE_BYTES, 0)

    @property
    def available_mb(self) -> int:
        """The free space as the tables have it."""
        return self.free() // MEBIBYTE

    @property
    def capacity_mb(self) -> int:
        self.free()
        return self._size // MEBIBYTE

    def release(self) -> None:
        """Let another node have it."""
        os.close(self.lock)


def prepare(path: Path) -> Identity:
    """Make a directory a volume, with a disk id of its own."""
    path.mkdir(parents=True, exist_ok=True)
    identity = Identity(secrets.token_hex(16))
    text = (
        f"DiskId = {identity.disk_id}\n"
        f"Manufacturer = {identity.manufacturer}\n"
        f"Type = {identity.type}\n"
    )
    try:
        with (path / INFO).open("xb") as file:
            file.write(base64.b64encode(text.encode("ascii")) + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        raise VolumeError(f"{path} is a volume already") from None
    sync_folder(path)
    return identity


def read_identity(path: Path) -> Identity:
    """Read who a volume is."""
    try:
        text = base64.b64decode((path / INFO).read_bytes()).decode("utf-8")
    except (OSError, binascii.Error, UnicodeDecodeError) as error:
        raise VolumeError(f"{path / INFO} cannot be read: {error}") from error
    values = dict(_pair(line) for line in text.splitlines() if "=" in line)
    if not values.get("DiskId"):
        raise VolumeError(f"{path / INFO} names no DiskId")
    return Identity(
        values["DiskId"],
        values.get("Manufacturer", "UNDEFINED"),
        values.get("Type", "UNDEFINED"),
    )


def open_all(folder: Path) -> list[Volume]:
    """Take every volume in a folder, or none: a volume that another process writes is an error."""
    try:
        paths = sorted(path for path in folder.iterdir() if (path / INFO).exists())
    except OSError as error:
        raise VolumeError(f"the volumes' folder {folder}: {error.strerror}") from error
    volumes: list[Volume] = []
    try:
        for path in paths:
            volumes.append(take(path))
            _refuse_twins(volumes)
    except VolumeError:
        for volume in volumes:
            volume.release()
        raise
    return volumes


def take(path: Path) -> Volume:
    """Become the one writer of a volume."""
    identity = read_identity(path)
    try:
        lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise VolumeError(f"the volume {path} cannot be written: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _try_links(path)
    except OSError as error:
        os.close(lock)
        if isinstance(error, BlockingIOError):
            raise VolumeError(f"the volume {path} is in use by another node") from error
        raise VolumeError(
            f"the volume {path} cannot be used: {error.strerror} "
            "(it must be writable and its file system must have hard links)"
        ) from error
    return Volume(path, identity, lock)


def sync_folder(path: Path) -> None:
    """Make the entries of a folder durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _pair(line: str) -> tuple[str, str]:
    name, _, value = line.partition("=")
    return name.strip(), value.strip()


def _refuse_twins(volumes: list[Volume]) -> None:
    last = volumes[-1]
    for other in volumes[:-1]:
        if other.disk_id == last.disk_id:
            raise VolumeError(f"{other.path} and {last.path} have one DiskId; one is a copy")


def _try_links(path: Path) -> None:
    """Make sure that a file can get its place without ever replacing another."""
    (path / STAGING).mkdir(exist_ok=True)
    trial = path / STAGING / f"trial-{secrets.token_hex(8)}"
    second = trial.with_suffix(".link")
    trial.touch()
    try:
        second.hardlink_to(trial)
        second.unlink()
    finally:
        trial.unlink()
