"""One file while it is open, or is to be sent: clean ones are read, changed ones staged."""

import errno
import functools
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import Final

from pyvospace_ngas.errors import PreconditionFailed
from pyvospace_ngas.fuse import entries
from pyvospace_ngas.fuse.chunks import Chunks, Content
from pyvospace_ngas.fuse.entries import Entry
from pyvospace_ngas.fuse.remote import Remote, away
from pyvospace_ngas.fuse.staging import Note, Staged, Staging
from pyvospace_ngas.fuse.tree import Tree
from pyvospace_ngas.model.content import EMPTY_MD5
from pyvospace_ngas.model.standard import PUBLIC_READ
from pyvospace_ngas.model.uri import NodePath

log = logging.getLogger(__name__)

_PIECE: Final = 4 << 20
_LONGEST_FIELD: Final = 4096  # characters of a header field, of 8190 that servers take
_OVER: Final = "the mount ended before it was sent"
_UNKNOWN: Final = ""  # the version of a file whose own changes were given up


@dataclass(frozen=True, slots=True)
class Means:
    """What open files work with."""

    remote: Remote
    tree: Tree
    staging: Staging
    chunks: Chunks


class File:
    """One file, from its first open on. ``path`` is ``None`` once it was deleted.

    ``version`` is the MD5 of the server's bytes that this one has or was made from. When another
    version is taken over, ``generation`` says to those who read the old one that theirs is gone.
    A file ``is_promised`` when it was closed and its bytes are in the journal, to be sent later.

    Who changes bytes, or sends them, holds ``lock`` for as long as that takes. Who reads, closes
    or sets properties does not wait for it: a second lock, held for moments, keeps what is shared.
    """

    def __init__(self, means: Means, path: NodePath, entry: Entry) -> None:
        self._means = means
        self.path: NodePath | None = path
        self.entry = entry
        self.version = entry.md5
        self.generation = 0
        self.users = 0
        self.writers = 0
        self.lock = threading.RLock()
        self._brief = threading.RLock()
        self._staged: Staged | None = None
        self._content: Content | None = None
        self.is_dirty = False
        self.is_promised = False
        self.is_displaced = False  # the kernel has pages of it that are elsewhere here
        self._is_noted = False  # what the journal says is what is here
        self._sent = -1.0  # when the server took our bytes last
        self._pending: dict[str, str | None] = {}  # properties for when the bytes are sent
        self._mtime = 0
        self._mtime_shown = False
        self.failure: str | None = None
        self.endpoint: str | None = None  # that its first bytes go to, if it was made here

    def stat(self) -> Entry:
        """Return the file as its users see it, with what was not sent yet."""
        staged = self._staged
        if not self.is_dirty or staged is None:
            return self.entry
        self._mtime_shown = True
        props = merged(self.entry.properties, self._pending)
        own = self._means.remote.words
        mtime = entries.read_time(self._pending.get(own.mtime), self._mtime)
        return self.entry._replace(
            size=staged.size,
            properties=props,
            mtime=mtime,
            atime=entries.read_time(self._pending.get(own.atime), mtime),
            ctime=max(self._mtime, self.entry.ctime),
            mode=entries.mode(self.entry.kind, props, own),
        )

    def adopt(self, entry: Entry, asked: float) -> None:
        """Take over what the server had when it was ``asked``, unless our own is newer."""
        if self._is_ahead(asked):
            return  # without waiting until it is sent
        with self.lock, self._brief:
            if self._is_ahead(asked):
                return
            if entry.md5 != self.version:
                self.generation += 1
                self.version = entry.md5
                self._drop()
            self.entry = entry

    def _is_ahead(self, asked: float) -> bool:
        return self.is_dirty or self.path is None or asked < self._sent

    def read(self, offset: int, into: memoryview, generation: int) -> int:
        """Read bytes of the version that was opened, or of what was written since."""
        with self._brief:
            self._check(generation)
            if self._staged is not None:
                return self._staged.read(offset, into)
            content = self._clean()
        return content.read(offset, into)

    def write(self, offset: int, data: bytes, generation: int, *, at_end: bool = False) -> int:
        """Change bytes in the staged file, or add to them wherever its end is by now."""
        with self.lock:
            self._check(generation)
            staged = self._for_writing()
            if at_end and offset != staged.size:
                offset, self.is_displaced = staged.size, True
            count = staged.write(offset, data)
            self._touched()
            return count

    def truncate(self, size: int, generation: int | None = None) -> None:
        """Cut or extend the file; for an empty one nothing is fetched."""
        with self.lock:
            if generation is not None:
                self._check(generation)
            if size == 0 and self._staged is None:
                self._staged = self._means.staging.new()
            staged = self._for_writing()
            if staged.size != size or not self.is_dirty:
                staged.truncate(size)
                self._touched()

    def change(self, properties: Mapping[str, str | None]) -> bool:
        """Keep changes of properties until the bytes are sent; ``False`` if there is no need."""
        with self._brief:
            if not self.is_dirty:
                return False
            self._pending = {**self._pending, **properties}
            self._is_noted = False
            if self.is_promised:
                self.promise()
            return True

    def localise(self) -> None:
        """Have all bytes here: the server is about to lose them."""
        with self.lock:
            self._for_writing()

    def orphan(self) -> None:
        """Go on without a name; nothing will be sent any more."""
        with self.lock, self._brief:
            self.path = None
            self.is_promised = False
            if self._staged is not None:
                self._means.staging.disown(self._staged)

    def promise(self) -> bool:
        """Have all that is not sent in the journal, for good; ``False`` if there is nothing."""
        with self._brief:
            if not self.is_dirty or self.path is None or self._staged is None:
                return False
            if not self._is_noted:
                self._means.staging.commit(self._staged, self._note(self.path, closed=True))
            self._is_noted = self.is_promised = True
            return True

    def resume(self, staged: Staged, note: Note) -> None:
        """Take over what an earlier mount has promised to send."""
        with self.lock, self._brief:
            self._staged, self._mtime, self._pending = staged, note.mtime, dict(note.changes)
            self.is_dirty = self.is_promised = self._is_noted = True

    def flush(self) -> None:
        """Return once the server has every byte; what it refuses is raised, and kept here."""
        with self.lock:
            if not self.is_dirty or self.path is None or self._staged is None:
                return
            try:
                self._send(self.path, self._staged)
            except Exception as error:
                is_over = isinstance(error, CancelledError)
                self.failure = _OVER if is_over else str(error) or type(error).__name__
                if is_over or away(error):
                    self._write_down(closed=self.is_promised)
                else:
                    # It would be refused for ever, and stand in the way of those who come now.
                    self.keep_aside()
                raise
            self.failure = None

    def close(self) -> None:
        """Forget the file; bytes that the server did not get are kept aside."""
        with self.lock:
            if self.is_dirty and self.path is not None:
                # What a mapping wrote after close() comes only now.
                try:
                    self.flush()
                except Exception as error:  # noqa: BLE001  nobody is there to be told; the bytes are kept
                    log.warning("%s could not be stored: %s", self.path, error)
            self.keep_aside()
            self._drop()

    def leave(self) -> None:
        """End with the mount: what was promised stays in the journal."""
        with self.lock, self._brief:
            if not self.is_promised:
                self.keep_aside()
                self._drop()

    def keep_aside(self) -> None:
        """Keep bytes that the server did not get where they can be found, and forget them here."""
        with self.lock, self._brief:
            staged = self._staged
            if self.is_dirty and self.path is not None and staged is not None:
                self._staged, self._content = None, None
                self.is_dirty = self.is_promised = False
                self._means.staging.lose(staged, str(self.path), self.failure or "not sent")
                self._pending = {}
                self.version = _UNKNOWN
                self.generation += 1
                self._means.tree.forget(self.path)

    def _send(self, path: NodePath, staged: Staged) -> None:
        means, size, mtime = self._means, staged.size, self._mtime
        endpoint, self.endpoint = self.endpoint, None  # it is good for one upload
        self._write_down(closed=True)  # who dies in between has bytes and properties sent again
        with self._brief:
            changes = self._changes()
        given = self._with_bytes(changes, is_ours=endpoint is not None)
        asked = time.monotonic()
        try:
            stored = means.remote.push(path, staged.file, size, self.version, endpoint, given)
        except PreconditionFailed:
            means.tree.forget(path)
            raise
        self.version, self._sent = stored.md5, time.monotonic()
        entry = entries.written(self.entry, stored, given, means.remote.words, mtime, asked)
        done = changes if given and stored.step is not None else {}
        while (left := self._left_after(done, path, staged, entry)) is not None:
            entry = means.remote.change(path, left)
            done = left

    def _left_after(
        self, done: Mapping[str, str | None], path: NodePath, staged: Staged, entry: Entry
    ) -> dict[str, str | None] | None:
        """Return the properties to set, with those that came meanwhile; ``None`` once all are."""
        with self._brief:
            changes = self._changes()
            if changes != done:
                return changes
            # Before the file is clean: then nobody asks it any more what it is.
            self._means.tree.put(path, entry, fresh=entry.etag is not None)
            self.entry, self._pending = entry, {}
            self.is_dirty = self.is_promised = self._is_noted = False
            self._means.staging.disown(staged)
            return None

    def _changes(self) -> dict[str, str | None]:
        """Return the properties to set after the bytes: those that an upload takes away, too."""
        own = self._means.remote.words
        kept = self.entry.own
        kept.pop(own.mtime, None)
        kept.pop(own.atime, None)
        changes: dict[str, str | None] = {**kept, **self._pending}
        if (self._mtime_shown or self.is_promised) and own.mtime not in changes:
            changes[own.mtime] = entries.write_time(self._mtime)
        return changes

    def _with_bytes(self, changes: Mapping[str, str | None], *, is_ours: bool) -> dict[str, str]:
        """Return the properties that go with the bytes: all of ``changes`` that set one, or none.

        None where some could be refused, as then the bytes would be: what others than the mount
        have a word for is set when the bytes are stored. The rest an upload takes away by itself.
        Whether all may read it is said with the bytes of a file that we have just made.
        """
        own, kept = self._means.remote.words, self.entry.own
        given = {uri: value for uri, value in changes.items() if value is not None}
        sure = {PUBLIC_READ} if is_ours else set()
        is_sure = entries.SHARING.isdisjoint(changes.keys() - (given.keys() & sure)) and all(
            own.has(uri) or uri in sure or kept.get(uri) == value for uri, value in given.items()
        )
        return given if is_sure and len(json.dumps(given)) <= _LONGEST_FIELD else {}

    def _note(self, path: NodePath, *, closed: bool) -> Note:
        return Note(
            path=str(path),
            closed=closed,
            version=self.version,
            mtime=self._mtime,
            changes=self._changes() if closed else {},
        )

    def _write_down(self, *, closed: bool) -> None:
        """Have the journal say no more than that, unless it says for good what is here."""
        with self._brief:
            if self._staged is not None and self.path is not None and not self._is_noted:
                self._means.staging.note(self._staged, self._note(self.path, closed=closed))

    def _check(self, generation: int) -> None:
        if generation != self.generation:
            raise OSError(errno.ESTALE, "the file was replaced since it was opened")

    def _clean(self) -> Content:
        if self._content is None:
            assert self.path is not None  # noqa: S101  an orphan is always staged
            means = self._means
            path, place = self.path, self.entry.place
            self._content = Content(
                means.remote,
                means.chunks,
                means.remote.reader(path, place),
                self.version,
                self.entry.size,
                functools.partial(means.remote.fetch, path, place),
            )
        return self._content

    def _for_writing(self) -> Staged:
        if self._staged is None:
            staged = self._means.staging.new()
            try:
                if self.version != EMPTY_MD5:
                    self._fetch(staged.write)
            except BaseException:
                self._means.staging.drop(staged)
                raise
            self._staged = staged
        return self._staged

    def _fetch(self, write: Callable[[int, memoryview], int]) -> None:
        content, offset = self._clean(), 0
        piece = memoryview(bytearray(min(_PIECE, content.size)))
        while count := content.read(offset, piece):
            offset += write(offset, piece[:count])

    def _touched(self) -> None:
        own = self._means.remote.words
        with self._brief:
            self._is_noted = False
            if not self.is_dirty:
                self._write_down(closed=False)
            self.is_dirty = True
            self._mtime, self._mtime_shown = time.time_ns(), False
            times = (own.mtime, own.atime)
            self._pending = {uri: v for uri, v in self._pending.items() if uri not in times}

    def _drop(self) -> None:
        with self._brief:
            if self._staged is not None:
                self._means.staging.drop(self._staged)
            self._staged = self._content = None


def merged(before: Mapping[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    """Return ``before`` with ``changes``, where ``None`` takes away."""
    found = dict(before)
    for uri, value in changes.items():
        if value is None:
            found.pop(uri, None)
        else:
            found[uri] = value
    return found
