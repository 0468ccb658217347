"""What the mount knows of the tree, and for how long it believes that.

While the server tells of changes, what is known is believed for as long as nothing else is heard;
otherwise only for moments.
"""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from pyvospace_ngas.client.changes import Changed
from pyvospace_ngas.errors import ContainerNotFound, NodeNotFound
from pyvospace_ngas.fuse.entries import Entry, Kind
from pyvospace_ngas.fuse.remote import Remote
from pyvospace_ngas.fuse.settings import Settings
from pyvospace_ngas.fuse.trust import Trust
from pyvospace_ngas.model.node import NodeType
from pyvospace_ngas.model.uri import NodePath

_MISSES: Final = 3  # names of a listed directory asked for singly, before it is listed anew
_PER_NAME: Final = 30  # names in a listing that cost as much as one request
_TRIES: Final = 3
_TICKS: Final = 0.03  # seconds by which the kernel's clock is rounded
_SETTLES: Final = 0.4  # seconds that anybody waits for the kernel
_MOST: Final = 1 << 20  # names that are remembered
_ONCE: Final = 1e-9  # a time of a listing that is not believed any more, but which there was
_OWN, _STALE = -1e9, -2e9  # times of what we did, and of what others did, and is to be asked for


@dataclass(slots=True)
class _Known:
    entry: Entry
    at: float
    changed: float = -1e9  # when it was found to be another than was told before


@dataclass(slots=True)
class _Directory:
    """``epoch`` counts our own changes: what was asked for before one is not believed after it."""

    names: dict[str, _Known] = field(default_factory=dict)
    listed: float = _OWN
    misses: int = 0
    epoch: int = 0
    listing: threading.Lock = field(default_factory=threading.Lock)


class Tree:
    """Entries by path. The lock is held for moments, never while a server is asked."""

    def __init__(self, remote: Remote, settings: Settings) -> None:
        self._remote = remote
        self._root = settings.root
        self._fresh = settings.fresh
        self._trust = Trust(settings.fresh)
        self._kernel = settings.kernel
        self._lock = threading.Lock()
        self._directories: dict[NodePath, _Directory] = {}
        self._top: _Known | None = None

    def lookup(self, path: NodePath) -> Entry:
        """Return the entry at ``path``, not older than it may be; `NodeNotFound`."""
        if path == self._root:
            return self._look_at_root()
        with self._lock:
            directory = self._directory(path.parent)
            known = directory.names.get(path.name)
            if known is not None and self._trust.believes(known.at):
                return known.entry
            if known is None and self._trust.believes(directory.listed):
                raise NodeNotFound(path)
            directory.misses += known is None or known.at != _OWN
            enough = _MISSES + len(directory.names) // _PER_NAME
            again = directory.listed > 0 and directory.misses > enough
        if again:
            found = self.listing(path.parent).get(path.name)
            if found is None:
                raise NodeNotFound(path)
            return found
        return self.ask(path)

    def ask(self, path: NodePath, *, endpoint: bool = False) -> Entry:
        """Return the entry at ``path`` as it is at the server at this moment.

        With the ``endpoint`` of its bytes for who is about to read them.
        """
        with self._lock:
            directory = self._directory(path.parent)
            known, epoch = directory.names.get(path.name), directory.epoch
        at = time.monotonic()
        try:
            before = known.entry if known is not None else None
            found = self._remote.node(path, before, endpoint=endpoint)
        except (NodeNotFound, ContainerNotFound):
            with self._lock:
                if directory.epoch == epoch and not self._trust.is_overtaken(path, at, None):
                    directory.names.pop(path.name, None)
            raise NodeNotFound(path) from None
        entry = _kept(found)
        with self._lock:
            if directory.epoch == epoch and not self._trust.is_overtaken(path, at, entry.etag):
                directory.names[path.name] = _found(entry, directory.names.get(path.name), at)
        return found

    @property
    def is_told(self) -> bool:
        """Tell whether the server tells of changes."""
        return self._trust.is_told

    def begin(self) -> None:
        """Take in that from now on the server tells of changes: all before may be outdated."""
        self.forget()
        with self._lock:
            self._trust.begin()

    def current(self, lag: float) -> None:
        """Take in that all has been told that happened until ``lag`` seconds ago."""
        with self._lock:
            self._trust.current(lag)

    def changed(self, news: Changed) -> bool:
        """Take in what the server tells; ``False`` when that is what we know already."""
        path = news.path
        with self._lock:
            self._trust.hear(news)
            if self._root.is_below(path):
                return self._changed_around(path, news)
            return self._changed_below(path, news)

    def _changed_around(self, path: NodePath, news: Changed) -> bool:
        top = self._top
        if top is not None and path == self._root and _is_known(top, news):
            return False
        self._directories.clear()
        self._top = None
        return True

    def _changed_below(self, path: NodePath, news: Changed) -> bool:
        directory = self._directories.get(path.parent)
        known = None if directory is None else directory.names.get(path.name)
        if known is not None and _is_known(known, news):
            return False
        was_file = known is not None and known.entry.kind is not Kind.DIRECTORY
        if news.type is NodeType.CONTAINER or not (news.type or was_file):
            self._forget_below(path)
        if directory is not None:
            _doubt(directory, path.name, exists=news.type is not None)
        return True

    def settle(self, path: NodePath) -> bool:
        """Return once the kernel believes nothing older than is known here; tell if that took."""
        with self._lock:
            known = self._directory(path.parent).names.get(path.name)
        if known is None:
            return False
        # Where it is told to believe for longer, it is told as well what not to believe any more.
        believed = min(self._kernel, _SETTLES) + _TICKS
        left = known.changed + believed - time.monotonic()
        time.sleep(max(0.0, left))
        return left > 0

    def listing(self, path: NodePath) -> Mapping[str, Entry]:
        """Return what is in a directory, not older than it may be."""
        with self._lock:
            directory = self._directory(path)
        with directory.listing:  # who waits here finds what the one before has brought
            with self._lock:
                if self._is_whole(directory):
                    return {name: known.entry for name, known in directory.names.items()}
            return self._list(path, directory)

    def _is_whole(self, directory: _Directory) -> bool:
        """Tell whether a listing still holds, with all that it says of each name."""
        if time.monotonic() - directory.listed < self._fresh:
            return all(known.at != _STALE for known in directory.names.values())
        return self._trust.believes(directory.listed) and all(
            known.at > _OWN for known in directory.names.values()
        )

    def _list(self, path: NodePath, directory: _Directory) -> Mapping[str, Entry]:
        found: dict[str, Entry] = {}
        for _ in range(_TRIES):
            at, epoch = time.monotonic(), directory.epoch
            found = self._remote.listing(path)
            with self._lock:
                told = self._trust.told_since(path, at)
                if directory.epoch != epoch or told is None:
                    continue
                before = directory.names
                directory.names = {
                    name: _found(_same(entry, before.get(name)), before.get(name), at)
                    for name, entry in found.items()
                }
                directory.listed, directory.misses = at, 0
                for name, exists in told.items():
                    _doubt(directory, name, exists=exists)
                break
        return found

    def put(self, path: NodePath, entry: Entry, *, fresh: bool = True) -> None:
        """Take in what we did ourselves; one that is not ``fresh`` is asked for when needed."""
        with self._lock:
            known = _Known(_kept(entry), self._time_of(path, entry) if fresh else _OWN)
            if path == self._root:
                self._top = known
                return
            directory = self._directory(path.parent)
            directory.epoch += 1
            directory.names[path.name] = known

    def made(self, path: NodePath, entry: Entry) -> None:
        """Take in that we made a directory: what the server does not tell of is not in it."""
        self.put(path, entry)
        with self._lock:
            told = self._trust.told_since(path, entry.asked)
            if told is not None and not told:
                self._directories[path] = _Directory(listed=entry.asked)

    def remove(self, path: NodePath) -> None:
        """Take in that we removed ``path``, or that nothing about it is believed."""
        with self._lock:
            directory = self._directory(path.parent)
            directory.epoch += 1
            directory.names.pop(path.name, None)
            self._forget_below(path)

    def move(self, source: NodePath, destination: NodePath, entry: Entry) -> None:
        """Take in that we moved ``source``, which is ``entry`` now."""
        self.remove(source)
        with self._lock:
            self._forget_below(destination)
        self.put(destination, entry)

    def forget(self, path: NodePath | None = None) -> None:
        """Believe nothing any more: of one path, or of all."""
        with self._lock:
            if path is None:
                self._directories.clear()
                self._top = None
            elif (directory := self._directories.get(path.parent)) is not None:
                directory.names.pop(path.name, None)
                directory.listed = _OWN
                directory.epoch += 1

    def _time_of(self, path: NodePath, entry: Entry) -> float:
        """Return since when we know ``entry``, unless the server told of another one meanwhile."""
        overtaken = self._trust.is_overtaken(path, entry.asked, entry.etag)
        return _STALE if overtaken else time.monotonic()

    def _look_at_root(self) -> Entry:
        known = self._top
        if known is not None and self._trust.believes(known.at):
            return known.entry
        entry = self._remote.node(self._root)
        self.put(self._root, entry)
        return entry

    def _directory(self, path: NodePath) -> _Directory:
        found = self._directories.get(path)
        if found is None:
            if sum(len(each.names) for each in self._directories.values()) > _MOST:
                self._directories.clear()
            found = self._directories[path] = _Directory()
        return found

    def _forget_below(self, path: NodePath) -> None:
        for below in [each for each in self._directories if each.is_below(path)]:
            del self._directories[below]


def _doubt(directory: _Directory, name: str, *, exists: bool) -> None:
    """Take in that something happened to a name of which we may know something older.

    Or something newer: what is told is how it was a moment ago.
    """
    known = directory.names.get(name)
    if known is None and exists:
        directory.listed = min(directory.listed, _ONCE)
    elif known is not None and (known.at != _OWN or not exists):
        known.at = _STALE


def _kept(entry: Entry) -> Entry:
    """Return what is remembered of an entry: not the place of its bytes, which is soon no good."""
    return entry if entry.place is None else entry._replace(place=None)


def _is_known(known: _Known, news: Changed) -> bool:
    return news.etag is not None and known.entry.etag == news.etag


def _found(entry: Entry, before: _Known | None, at: float) -> _Known:
    """Return what is known now, and since when it is so if it was known to be otherwise."""
    if before is None:
        return _Known(entry, at)
    if before.entry.md5 != entry.md5:
        return _Known(entry, at, time.monotonic())
    return _Known(entry, at, before.changed)


def _same(entry: Entry, known: _Known | None) -> Entry:
    """Return ``entry`` with the tag of what we knew, if it shows no difference to it."""
    if known is None or known.entry._replace(etag=None, asked=entry.asked) != entry:
        return entry
    return known.entry
