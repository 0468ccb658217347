"""The open files by path, and those that were closed and are still to be sent."""

import threading

from pyvospace_ngas.fuse.entries import Entry
from pyvospace_ngas.fuse.files import File, Means
from pyvospace_ngas.fuse.sender import Sender
from pyvospace_ngas.fuse.staging import Note, Staged
from pyvospace_ngas.model.uri import NodePath


class Files:
    """The open files by path, and those that were deleted under their readers by a local name."""

    def __init__(self, means: Means, *, later: bool = False) -> None:
        """Begin without any; with ``later`` what is closed is sent in its own time."""
        self._means = means
        self._later = later
        self.sender = Sender(self._settle)
        self._lock = threading.RLock()
        self._open: dict[NodePath, File] = {}
        self._hidden: dict[NodePath, File] = {}
        self._kernel: dict[NodePath, str] = {}  # the version whose pages the kernel may have

    def find(self, path: NodePath) -> File | None:
        """Return the open file at ``path``."""
        with self._lock:
            return self._open.get(path) or self._hidden.get(path)

    def is_hidden(self, path: NodePath) -> bool:
        """Tell whether ``path`` is the local name of a deleted file."""
        with self._lock:
            return path in self._hidden

    def join(self, path: NodePath, *, writes: bool) -> File | None:
        """Return the file at ``path``, open once more, if it has changes that nobody else has."""
        with self._lock:
            file = self.find(path)
            if file is None or not (file.is_dirty or file.path is None):
                return None
            file.users += 1
            file.writers += writes
            return file

    def acquire(self, path: NodePath, entry: Entry, asked: float, *, writes: bool) -> File:
        """Return the file at ``path``, open once more, in the version that the server had."""
        with self._lock:
            file = self._open.get(path)
            if file is None:
                file = self._open[path] = File(self._means, path, entry)
            file.users += 1
            file.writers += writes
        file.adopt(entry, asked)
        return file

    def store(self, file: File) -> None:
        """Return once a file that is closed is safe: at the server, or in the journal."""
        if not self._later or self.sender.is_full or not file.promise():
            file.flush()

    def release(self, file: File, *, wrote: bool) -> None:
        """End one use; the last one closes the file, and the last writer has it sent."""
        with self._lock:
            file.users -= 1
            file.writers -= wrote
            if file.writers or (file.users and not file.is_promised):
                return
        if file.is_promised and file.promise():  # what a mapping wrote after close() as well
            self.sender.put(file)
        elif not file.users:
            file.close()
            self._forget(file)

    def resume(self, path: NodePath, entry: Entry, staged: Staged, note: Note) -> None:
        """Go on with what an earlier mount has promised to send."""
        with self._lock:
            file = self._open[path] = File(self._means, path, entry)
            file.resume(staged, note)
        self.sender.put(file)

    def _settle(self, file: File) -> None:
        """Forget a file that was sent, unless it is open."""
        if not file.users and not file.is_promised and self._forget(file):
            file.close()

    def _forget(self, file: File) -> bool:
        with self._lock:
            if file.users:
                return False
            for table in (self._open, self._hidden):
                for path in [path for path, each in table.items() if each is file]:
                    del table[path]
            return True

    def has_pages(self, path: NodePath) -> bool:
        """Tell whether the kernel may have pages of ``path``, of whichever version."""
        with self._lock:
            return path in self._kernel

    def is_kept(self, path: NodePath, version: str) -> bool:
        """Tell whether the kernel's pages of ``path`` are ``version``'s; from now on they are."""
        with self._lock:
            kept = self._kernel.get(path) == version
            self._kernel[path] = version
            if len(self._kernel) > 100_000:
                self._kernel.clear()
            return kept

    def hide(self, path: NodePath, name: NodePath) -> None:
        """Give a file that is deleted a name that only this mount knows."""
        with self._lock:
            file = self._open.pop(path)
            file.orphan()
            self._hidden[name] = file
            self._kernel.pop(path, None)

    def unhide(self, name: NodePath) -> None:
        """Take the local name of a deleted file away."""
        with self._lock:
            self._hidden.pop(name, None)

    def gone(self, path: NodePath) -> None:
        """Take in that ``path`` was deleted."""
        with self._lock:
            self._kernel.pop(path, None)
            file = self._open.pop(path, None)
        if file is not None:
            file.orphan()
            if not file.users:
                file.close()

    def move(self, source: NodePath, destination: NodePath) -> None:
        """Give open files below ``source`` their new paths."""
        with self._lock:
            self.gone(destination)
            self._kernel.pop(source, None)
            for table in (self._open, self._hidden):
                for path in [path for path in table if path.is_below(source)]:
                    new = NodePath((*destination.parts, *path.parts[len(source.parts) :]))
                    file = table[new] = table.pop(path)
                    file.path = new if file.path is not None else None

    def below(self, path: NodePath) -> list[File]:
        """Return the open files at or below ``path``."""
        with self._lock:
            return [file for each, file in self._open.items() if each.is_below(path)]

    def all(self) -> list[tuple[NodePath, File]]:
        """Return all that are open and have a name."""
        with self._lock:
            return list(self._open.items())
