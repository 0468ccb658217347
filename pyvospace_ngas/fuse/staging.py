"""Bytes on their way to the server: local files, each with a note of whose they are.

The notes are the journal: what one of them says is to be sent, the next mount sends, if this one
does not live to do it. What could not be sent, or was open when a mount died, is kept in the
folder ``lost``.
"""

import errno
import fcntl
import itertools
import json
import logging
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

_STAGED: Final = "staged"
_LOST: Final = "lost"
_LOCK: Final = "lock"
_NOTE: Final = ".json"
_LONG: Final = 1 << 18  # bytes of notes, after which they begin anew
_TURN: Final = 0.1  # seconds between two looks at a folder that is in use


class InUse(Exception):
    """Another mount works with this folder."""


@dataclass(frozen=True, slots=True)
class Note:
    """Which file staged bytes are of, and what is to be done with them.

    They may replace those bytes only whose MD5 is ``version``; ``changes`` are the properties to
    set with them. ``closed`` says that all of them are there, to be sent by whoever finds them.
    """

    path: str
    owner: str = ""  # the service and the user that they are for
    closed: bool = False
    version: str = ""
    mtime: int = 0
    changes: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Lost:
    """Bytes that a server has not taken: which file they are meant for, and where they are."""

    path: str
    file: str
    why: str
    when: float
    size: int = 0


@dataclass(slots=True)
class Staged:
    """One file's bytes, whole. The size is kept beside: it is asked for without any lock."""

    file: Path
    fd: int
    size: int = 0

    def read(self, offset: int, into: memoryview) -> int:
        return os.preadv(self.fd, [into], offset)

    def write(self, offset: int, data: bytes | memoryview) -> int:
        view, done = memoryview(data), 0
        while done < len(data):
            done += os.pwrite(self.fd, view[done:], offset + done)
        self.size = max(self.size, offset + done) if done else self.size
        return done

    def truncate(self, size: int) -> None:
        os.ftruncate(self.fd, size)
        self.size = size


class Staging:
    """The folder of one mount; nobody else may use it meanwhile."""

    def __init__(self, folder: Path, owner: str = "", patience: float = 0.0) -> None:
        """Take ``folder``, which may be in use for ``patience`` seconds still."""
        self._folder = folder
        self._owner = owner
        for part in (folder, folder / _STAGED, folder / _LOST):
            part.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = _locked(folder, patience)
        self._begun = time.time_ns()
        self._numbers = itertools.count(1)

    def close(self) -> None:
        """Let another mount have the folder."""
        os.close(self._lock)

    def new(self) -> Staged:
        """Return an empty file, of which no later mount hears before there is a note of it."""
        file = self._folder / _STAGED / f"{self._begun}-{next(self._numbers):08}"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        return Staged(file, os.open(file, flags, 0o600))

    def note(self, staged: Staged, note: Note) -> None:
        """Write down what is to be done with bytes; that survives the end of this process."""
        _write(staged.file, replace(note, owner=self._owner))

    def commit(self, staged: Staged, note: Note) -> None:
        """Write down what is to be done with bytes, and have both survive a power cut."""
        os.fdatasync(staged.fd)
        _write(staged.file, replace(note, owner=self._owner), durable=True)

    def disown(self, staged: Staged) -> None:
        """Let no later mount find bytes: a server has them, or nobody wants them."""
        staged.file.with_suffix(_NOTE).unlink(missing_ok=True)

    def drop(self, staged: Staged) -> None:
        """Forget bytes that are elsewhere, or that nobody wants."""
        os.close(staged.fd)
        self.disown(staged)
        staged.file.unlink(missing_ok=True)

    def lose(self, staged: Staged, path: str, why: str) -> Path:
        """Keep bytes that the server did not take; return where."""
        os.fsync(staged.fd)
        os.close(staged.fd)
        return self._keep(staged.file, path, why)

    def left(self) -> Iterator[tuple[Note, Staged]]:
        """Give what an earlier mount was to send; what it was not is kept as lost."""
        for file, note in _notes(self._folder):
            if not note.closed:
                self._keep(file, note.path, "the mount ended before close() had returned")
            elif note.owner != self._owner:
                self._keep(file, note.path, f"it was to be sent to {note.owner}")
            else:
                fd = os.open(file, os.O_RDWR | os.O_CLOEXEC)
                yield note, Staged(file, fd, os.fstat(fd).st_size)
        self._sweep()

    def _keep(self, file: Path, path: str, why: str) -> Path:
        name = f"{time.time_ns()}-{path.rpartition('/')[2][:100] or 'file'}"
        kept = self._folder / _LOST / name
        note = Lost(path, str(kept), why, time.time(), file.stat().st_size)
        text = json.dumps(asdict(note))
        kept.with_name(kept.name + _NOTE).write_text(text, encoding="utf-8")
        file.rename(kept)
        file.with_suffix(_NOTE).unlink(missing_ok=True)
        log.error("%s was not stored at the server (%s); its bytes are in %s", path, why, kept)
        return kept

    def _sweep(self) -> None:
        """Remove what a mount that died had already let go of."""
        mine = f"{self._begun}-"
        for each in (self._folder / _STAGED).iterdir():
            bytes_ = each.with_suffix("")
            whole = bytes_.exists() and _is_noted(bytes_)
            if not whole and not each.name.startswith(mine):
                each.unlink()


def _locked(folder: Path, patience: float) -> int:
    """Return the lock of a folder; whoever ends with it soon is waited for."""
    lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    until = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() + _TURN > until:
                os.close(lock)
                raise InUse(f"another mount uses {folder}") from None
            time.sleep(_TURN)
        else:
            return lock


def _write(file: Path, note: Note, *, durable: bool = False) -> None:
    """Add a note of a staged file to those of before, of which the last whole one counts.

    In place of each would be a new file. Of these a busy mount makes and deletes so many that ext4
    without a journal, which keeps from what was deleted lately, takes a millisecond for one.
    """
    place, line = file.with_suffix(_NOTE), f"\n{json.dumps(asdict(note))}\n".encode()
    fd = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        if os.fstat(fd).st_size > _LONG:
            _begin_anew(place, line)
        else:
            _append(fd, line)
            if durable:
                os.fsync(fd)
    finally:
        os.close(fd)
    if durable:
        _sync(file.parent)


def _append(fd: int, line: bytes) -> None:
    if os.write(fd, line) < len(line):
        raise OSError(errno.ENOSPC, "no room for the mount's journal")


def _begin_anew(place: Path, line: bytes) -> None:
    """Put one note in the place of many, in one step, for good."""
    new = place.with_suffix(".new")
    with new.open("wb") as opened:
        opened.write(line)
        opened.flush()
        os.fsync(opened.fileno())
    new.replace(place)


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _notes(folder: Path) -> list[tuple[Path, Note]]:
    """Return the staged files with their notes, in the order in which they were begun."""
    found = []
    for place in sorted((folder / _STAGED).glob("*" + _NOTE)):
        file = place.with_suffix("")
        if file.exists() and _is_noted(file):
            found.append((file, _last(place)))
    return found


def _is_noted(file: Path) -> bool:
    """Tell whether there is a note, and not only the file for one."""
    try:
        return file.with_suffix(_NOTE).stat().st_size > 0
    except FileNotFoundError:
        return False


def _last(place: Path) -> Note:
    """Return the last note that was written down whole."""
    for line in reversed(place.read_bytes().splitlines()):
        try:
            return Note(**json.loads(line))
        except (ValueError, TypeError):
            continue
    return Note("unknown")


def waiting(folder: Path) -> list[Lost]:
    """Return what the next mount with this folder is going to send."""
    return [
        Lost(note.path, str(file), "", file.stat().st_mtime, file.stat().st_size)
        for file, note in _notes(folder)
        if note.closed
    ]


def lost(folder: Path) -> list[Lost]:
    """Return what is kept in the folder of a mount, which may be running or not."""
    found = []
    for note in sorted((folder / _LOST).glob("*.json")):
        try:
            kept = Lost(**json.loads(note.read_text(encoding="utf-8")))
        except (ValueError, TypeError):
            continue
        if Path(kept.file).exists():
            found.append(kept)
    return found
