"""The operations of the mount, as the kernel asks for them: thin, and each told by an errno."""

import contextlib
import errno
import itertools
import logging
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from pyvospace_ngas.errors import (
    DuplicateNode,
    InvalidURI,
    NodeNotFound,
    PreconditionFailed,
    VOSpaceError,
)
from pyvospace_ngas.fuse import entries, xattrs
from pyvospace_ngas.fuse.entries import Entry, Kind
from pyvospace_ngas.fuse.errnos import operation
from pyvospace_ngas.fuse.files import File, Means
from pyvospace_ngas.fuse.settings import Settings
from pyvospace_ngas.fuse.table import Files
from pyvospace_ngas.fuse.walks import Walks
from pyvospace_ngas.model import standard
from pyvospace_ngas.model.node import NodeType
from pyvospace_ngas.model.uri import LONGEST_NAME, RESERVED, NodePath, check_name, plain_names

log = logging.getLogger(__name__)

_HIDDEN: Final = ".fuse_hidden"  # what libfuse calls files that are deleted while they are open
_NOW, _OMIT = (1 << 30) - 1, (1 << 30) - 2  # of utimensat, in place of nanoseconds
_BLOCK: Final = 4096
_PLENTY: Final = 1 << 50  # bytes of room where no quota says how much there is
_BELIEVED: Final = 10.0  # seconds for the answer to statfs
_USUAL_MODE: Final = 0o666
_TURNS: Final = 4  # of asking for a file that others change all the time
_CREATE, _REPLACE = 1, 2  # flags of setxattr


class Info(Protocol):
    """What libfuse keeps for an open file."""

    flags: int
    keep_cache: int
    fh: int


@dataclass(slots=True)
class Handle:
    """One open of a file."""

    file: File
    generation: int
    writes: bool
    appends: bool


class Mount:
    """A container of a space as a directory. Called from many threads at once."""

    use_ns = True
    flag_utime_omit_ok = 1

    def __init__(
        self,
        settings: Settings,
        means: Means,
        status: Callable[[], bytes],
        *,
        begin: Callable[[], None] | None = None,
        end: Callable[[], None] | None = None,
    ) -> None:
        self._settings = settings
        self._means = means
        self._status = status
        self._begin, self._end = begin, end
        self.files = Files(means, later=settings.writeback)
        self._walks = Walks(means.tree)
        self._handles: dict[int, Handle] = {}
        self._listings: dict[int, Sequence[tuple[str, dict[str, int]]]] = {}
        self._numbers = itertools.count(1)
        self._room: tuple[float, int, int] = (-1e9, _PLENTY, _PLENTY)
        self._uid, self._gid = os.getuid(), os.getgid()

    def __call__(self, name: str, *args: object) -> object:
        """Do an operation by its name, as fusepy asks."""
        return getattr(self, name)(*args)

    def init(self, _path: str) -> None:
        """Tell that the kernel has begun to ask."""
        if self._begin is not None:
            self._begin()

    def destroy(self, _path: str) -> None:
        """End after the last operation."""
        self._walks.end()
        if self._end is not None:
            self._end()

    # Names and attributes

    @operation
    def getattr(self, path: str, info: Info | None = None) -> dict[str, int]:
        if info is not None and (handle := self._handles.get(info.fh)) is not None:
            return self._shown(handle.file.stat())
        return self._shown(self._entry(self._path(path)))

    @operation
    def access(self, path: str, mode: int) -> int:
        entry = self._entry(self._path(path))
        if mode & os.W_OK and self._settings.read_only:
            raise OSError(errno.EROFS, path)
        if mode & os.X_OK and entry.kind is Kind.FILE and not entry.mode & 0o111:
            raise OSError(errno.EACCES, path)
        return 0

    @operation
    def readlink(self, path: str) -> str:
        where = self._path(path)
        entry = self._entry(where)
        if entry.kind is not Kind.LINK:
            raise OSError(errno.EINVAL, path)
        remote = self._means.remote
        return entries.link_text(
            entry, where, self._settings.root, remote.service.space, remote.words
        )

    @operation
    def opendir(self, path: str) -> int:
        where = self._path(path)
        listing = self._means.tree.listing(where)
        self._walks.opened(where, listing)
        around = self._shown(Entry(Kind.DIRECTORY))  # of which only the type counts
        shown = [(".", around), ("..", around)]
        own = {}
        for file in self.files.below(where):
            if (at := file.path) is not None and at.parent == where and file.is_dirty:
                own[at.name] = file.stat()
        for name, entry in listing.items():
            shown.append((name, self._shown(own.get(name, entry))))
        number = next(self._numbers)
        self._listings[number] = shown
        return number

    def listed(self, number: int) -> Sequence[tuple[str, dict[str, int]]]:
        """Return what an open directory lists, for bindings that pass attributes on."""
        return self._listings.get(number, ())

    @operation
    def readdir(self, _path: str, number: int) -> Iterator[tuple[str, dict[str, int], int]]:
        return iter([(name, attrs, 0) for name, attrs in self.listed(number)])

    @operation
    def releasedir(self, _path: str, number: int) -> int:
        self._listings.pop(number, None)
        return 0

    @operation
    def statfs(self, _path: str) -> dict[str, int]:
        total, left = self._space()
        return {
            "f_bsize": _BLOCK,
            "f_frsize": _BLOCK,
            "f_blocks": total // _BLOCK,
            "f_bfree": left // _BLOCK,
            "f_bavail": left // _BLOCK,
            "f_files": 1 << 32,
            "f_ffree": 1 << 31,
            "f_favail": 1 << 31,
            "f_namemax": LONGEST_NAME,
        }

    # Changes of names

    @operation
    def mkdir(self, path: str, mode: int) -> int:
        where = self._new(path)
        props = self._first_mode(mode, 0o777)
        entry = self._means.remote.create(where, NodeType.CONTAINER, props)
        self._means.tree.made(where, entry)
        return 0

    @operation
    def rmdir(self, path: str) -> int:
        where = self._changing(path)
        if self._entry(where).kind is not Kind.DIRECTORY:
            raise OSError(errno.ENOTDIR, path)
        self._delete(where, empty=True)
        return 0

    @operation
    def unlink(self, path: str) -> int:
        where = self._changing(path)
        if self.files.is_hidden(where):
            self.files.unhide(where)
            return 0
        if self._entry(where).kind is Kind.DIRECTORY:
            raise OSError(errno.EISDIR, path)
        with self._held(where):
            self._delete(where)
            self.files.gone(where)
        return 0

    @operation
    def rename(self, old: str, new: str, *, replace: bool = True) -> int:
        source = self._changing(old)
        if new.rpartition("/")[2].startswith(_HIDDEN):
            self._hide(source, self._path(new))
            return 0
        destination = self._new(new)
        tree, remote = self._means.tree, self._means.remote
        with self._held(source, destination):
            for file in self.files.below(source):
                if file.is_promised:
                    file.flush()  # the journal knows its bytes by this name
            moved, asked = self._entry(source), time.monotonic()
            try:
                try:
                    step = remote.move(source, destination, over=replace)
                except DuplicateNode:
                    if not replace:
                        raise
                    self._make_way(destination, moved)
                    step = remote.move(source, destination)
            except VOSpaceError:
                tree.forget(source)
                tree.forget(destination)
                raise
            self.files.move(source, destination)
            here = self.files.find(destination)
            is_ours = here is not None and here.is_dirty  # what is shown, not the server's
            tree.move(source, destination, entries.moved(moved, None if is_ours else step, asked))
        return 0

    @operation
    def symlink(self, path: str, text: str) -> int:
        where = self._new(path)
        remote, settings = self._means.remote, self._settings
        space, own = remote.service.space, remote.words
        uri = entries.link_uri(text, where, settings.root, settings.mountpoint, space)
        props = {own.link: f"{uri} {text}"} if text.isprintable() else {}
        self._means.tree.put(where, remote.create(where, NodeType.LINK, props, uri))
        return 0

    @operation
    def link(self, _path: str, _source: str) -> int:
        raise OSError(errno.EPERM, "a VOSpace has no hard links")

    @operation
    def mknod(self, path: str, mode: int, _device: int) -> int:
        if not stat.S_ISREG(mode):
            raise OSError(errno.EPERM, "a VOSpace has no devices")
        where = self._new(path)
        props = self._first_mode(mode, _USUAL_MODE)
        entry = self._means.remote.create(where, NodeType.UNSTRUCTURED, props)
        self._means.tree.put(where, entry)
        return 0

    # Changes of attributes

    @operation
    def chmod(self, path: str, mode: int) -> int:
        where = self._changing(path)
        entry = self._entry(where)
        if entry.kind is Kind.LINK:
            raise OSError(errno.EOPNOTSUPP, path)
        self._change(where, entries.changed_mode(entry, mode, self._means.remote.words))
        return 0

    @operation
    def chown(self, path: str, uid: int, gid: int) -> int:
        if uid not in (-1, self._uid) or gid not in (-1, self._gid):
            raise OSError(errno.EPERM, path)
        return 0

    @operation
    def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
        own, now = self._means.remote.words, time.time_ns()
        changes: dict[str, str | None] = {}
        for uri, moment in zip((own.atime, own.mtime), times or (_NOW, _NOW), strict=True):
            if moment != _OMIT:
                changes[uri] = entries.write_time(now if moment == _NOW else moment)
        if changes.get(own.atime) == changes.get(own.mtime):
            changes[own.atime] = None  # it need not be kept twice
        self._change(self._changing(path), changes)
        return 0

    @operation
    def getxattr(self, path: str, name: str, _position: int = 0) -> bytes:
        if path == "/" and name == STATUS:
            return self._status()
        own = self._means.remote.words
        value = self._entry(self._path(path)).properties.get(xattrs.uri(name, own))
        if value is None:
            raise OSError(errno.ENODATA, name)
        return xattrs.value(value)

    @operation
    def listxattr(self, path: str) -> list[str]:
        entry = self._entry(self._path(path))
        return xattrs.names(entry.own, self._means.remote.words)

    @operation
    def setxattr(
        self, path: str, name: str, value: bytes, options: int, _position: int = 0
    ) -> int:
        uri = xattrs.uri(name, self._means.remote.words)
        where = self._changing(path)
        entry = self._entry(where)
        if uri in entry.read_only or uri in standard.READ_ONLY:
            raise OSError(errno.EPERM, name)
        if options & _CREATE and uri in entry.properties:
            raise OSError(errno.EEXIST, name)
        if options & _REPLACE and uri not in entry.properties:
            raise OSError(errno.ENODATA, name)
        self._change(where, {uri: xattrs.text(value)})
        return 0

    @operation
    def removexattr(self, path: str, name: str) -> int:
        uri = xattrs.uri(name, self._means.remote.words)
        where = self._changing(path)
        entry = self._entry(where)
        if uri not in entry.properties:
            raise OSError(errno.ENODATA, name)
        if uri in entry.read_only:
            raise OSError(errno.EPERM, name)
        self._change(where, {uri: None})
        return 0

    # Bytes

    @operation
    def create(self, path: str, mode: int, info: Info) -> int:
        where, asked = self._new(path), time.monotonic()
        props = self._first_mode(mode, _USUAL_MODE)
        try:
            entry, endpoint = self._means.remote.create_file(where, props)
        except DuplicateNode:
            self._means.tree.forget(where)
            if info.flags & os.O_EXCL:
                raise
            return self._open(where, info)
        self._means.tree.put(where, entry)
        file = self.files.acquire(where, entry, asked, writes=_writes(info.flags))
        file.endpoint = endpoint
        self._opened(where, file, info)
        return 0

    @operation
    def open(self, path: str, info: Info) -> int:
        where = self._path(path)
        if _writes(info.flags):
            self._changing(path)
        return self._open(where, info)

    @operation
    def read(self, number: int, into: memoryview, offset: int) -> int:
        """Read into the binding's own memory (see `binding`)."""
        handle = self._handles[number]
        return handle.file.read(offset, into, handle.generation)

    @operation
    def write(self, _path: str, data: bytes, offset: int, info: Info) -> int:
        handle = self._handles[info.fh]
        # Where the end is the kernel may not know, if others write there, too.
        return handle.file.write(offset, data, handle.generation, at_end=handle.appends)

    @operation
    def truncate(self, path: str, size: int, info: Info | None = None) -> int:
        if info is not None and (handle := self._handles.get(info.fh)) is not None:
            handle.file.truncate(size, handle.generation)
            return 0
        where = self._changing(path)
        file = self._used(where, writes=True)
        try:
            file.truncate(size)
            if file.writers == 1:  # nobody else will close it
                self.files.store(file)
        finally:
            self.files.release(file, wrote=True)
        return 0

    @operation
    def flush(self, _path: str, info: Info) -> int:
        self._send(self._handles[info.fh].file, self.files.store)
        return 0

    @operation
    def fsync(self, _path: str, _data_only: int, info: Info) -> int:
        self._send(self._handles[info.fh].file, File.flush)
        return 0

    @operation
    def release(self, _path: str, info: Info) -> int:
        handle = self._handles.pop(info.fh, None)
        if handle is not None:
            self.files.release(handle.file, wrote=handle.writes)
        return 0

    @operation
    def fsyncdir(self, path: str, _data_only: int, _number: int) -> int:
        for file in self.files.below(self._path(path)):  # the names are at the server already
            if file.is_promised:
                file.flush()
        return 0

    # What the operations share

    def _path(self, path: str) -> NodePath:
        if (plain := plain_names(path)) is not None:
            return NodePath((*self._settings.root.parts, *plain))
        names = [name for name in path.split("/") if name]
        if any(len(name.encode("utf-8", "surrogateescape")) > LONGEST_NAME for name in names):
            raise OSError(errno.ENAMETOOLONG, path)
        try:
            for name in names:
                check_name(name, path)
        except (InvalidURI, UnicodeEncodeError):
            raise NodeNotFound(path) from None
        return NodePath((*self._settings.root.parts, *names))

    def _changing(self, path: str) -> NodePath:
        if self._settings.read_only:
            raise OSError(errno.EROFS, path)
        return self._path(path)

    def _new(self, path: str) -> NodePath:
        """Return the path of something to be made, whose name a VOSpace must be able to hold."""
        name = path.rpartition("/")[2]
        try:
            name.encode()
        except UnicodeEncodeError:
            raise OSError(errno.EILSEQ, "a name in a VOSpace is UTF-8") from None
        try:
            where = self._changing(path)
        except NodeNotFound:
            raise OSError(errno.EINVAL, "a name in a VOSpace has no such character") from None
        if name in RESERVED:
            raise OSError(errno.EINVAL, f"{name} has a meaning of its own in a VOSpace")
        return where

    def _entry(self, path: NodePath) -> Entry:
        file = self.files.find(path)
        if file is not None and (file.is_dirty or file.path is None):
            return file.stat()
        return self._means.tree.lookup(path)

    def _used(
        self, path: NodePath, *, writes: bool, settled: bool = False, reads: bool = False
    ) -> File:
        """Return the file at ``path``, open, as the server has it now: close-to-open."""
        file = self.files.join(path, writes=writes)
        if file is not None:
            return file
        endpoint = reads and not self.files.has_pages(path)
        entry, asked = self._current(path, settled=settled, endpoint=endpoint)
        if entry.kind is Kind.DIRECTORY:
            raise OSError(errno.EISDIR, str(path))
        return self.files.acquire(path, entry, asked, writes=writes)

    def _current(self, path: NodePath, *, settled: bool, endpoint: bool) -> tuple[Entry, float]:
        """Return what is at ``path`` and when that was asked; ``settled``, the kernel agrees."""
        tree = self._means.tree
        asked, entry = time.monotonic(), tree.ask(path, endpoint=endpoint)
        for _ in range(_TURNS if settled else 0):
            if not tree.settle(path):
                break
            asked, entry = time.monotonic(), tree.ask(path, endpoint=endpoint)
        return entry, asked

    def _shown(self, entry: Entry) -> dict[str, int]:
        return entries.attributes(entry, self._uid, self._gid)

    def _first_mode(self, mode: int, usual: int) -> dict[str, str]:
        """Return the properties of a new node: its mode only if it says more than sharing does."""
        bits = stat.S_IMODE(mode) & 0o777
        executable = usual == _USUAL_MODE and bits & 0o111
        if not executable and bits & 0o600 == 0o600:
            return {}
        return {self._means.remote.words.mode: f"{bits:04o}"}

    def _open(self, path: NodePath, info: Info) -> int:
        # Neither who begins anew nor who only appends goes by the size that the kernel believes.
        appends = info.flags & (os.O_ACCMODE | os.O_APPEND) == os.O_WRONLY | os.O_APPEND
        settled = not (appends or info.flags & os.O_TRUNC)
        reads = not info.flags & os.O_TRUNC
        file = self._used(path, writes=_writes(info.flags), settled=settled, reads=reads)
        self._opened(path, file, info)
        if info.flags & os.O_TRUNC and _writes(info.flags):
            file.truncate(0)  # libfuse 3 leaves it to us
        return 0

    def _opened(self, path: NodePath, file: File, info: Info) -> None:
        info.fh = next(self._numbers)
        writes, appends = _writes(info.flags), bool(info.flags & os.O_APPEND)
        self._handles[info.fh] = Handle(file, file.generation, writes, appends)
        # Pages of the same version are good for the next one who opens the file.
        kept = file.is_dirty or self.files.is_kept(path, file.version)
        info.keep_cache = int(kept and not file.is_displaced)
        file.is_displaced = False

    def _send(self, file: File, store: Callable[[File], None]) -> None:
        sends = file.is_dirty
        store(file)
        if sends and file.path is not None and not file.is_displaced:
            self.files.is_kept(file.path, file.version)  # what was written is in its pages

    @contextlib.contextmanager
    def _held(self, *paths: NodePath) -> Iterator[None]:
        """Let nobody send files of ``paths``, or below them, meanwhile."""
        with contextlib.ExitStack() as held:
            for path in paths:
                for file in self.files.below(path):
                    held.enter_context(file.lock)
            yield

    def _change(self, path: NodePath, properties: Mapping[str, str | None]) -> None:
        file = self.files.find(path)
        if file is not None and (file.path is None or file.change(properties)):
            return
        asked = time.monotonic()
        entry = self._means.remote.change(path, properties)
        self._means.tree.put(path, entry)
        if file is not None:
            file.adopt(entry, asked)

    def _delete(self, path: NodePath, *, empty: bool = False) -> None:
        try:
            self._means.remote.delete(path, empty=empty)
        except (VOSpaceError, OSError) as error:
            self._means.tree.forget(path)
            if empty and isinstance(error, PreconditionFailed):
                raise OSError(errno.ENOTEMPTY, str(path)) from None
            raise
        self._means.tree.remove(path)

    def _hide(self, path: NodePath, name: NodePath) -> None:
        """Delete a file that is open: its bytes stay here for those who have it open."""
        file = self.files.find(path)
        if file is None:
            raise NodeNotFound(path)
        with file.lock:
            file.localise()
            self._delete(path)
            self.files.hide(path, name)

    def _make_way(self, destination: NodePath, moved: Entry) -> None:
        """Remove what no file may take the place of: an empty directory, for another one."""
        try:
            there = self._means.tree.ask(destination)
        except NodeNotFound:
            return
        if there.kind is Kind.DIRECTORY:
            if moved.kind is not Kind.DIRECTORY:
                raise OSError(errno.EISDIR, str(destination))
            self._delete(destination, empty=True)
        elif moved.kind is Kind.DIRECTORY:
            raise OSError(errno.ENOTDIR, str(destination))

    def _space(self) -> tuple[int, int]:
        """Return how many bytes there may be, and how many more, as the quota says."""
        at, total, left = self._room
        if time.monotonic() - at < _BELIEVED:
            return total, left
        try:
            props = self._means.remote.node(self._settings.root).properties
        except (VOSpaceError, OSError):
            return total, left
        left = _whole(props.get(standard.AVAILABLE_SPACE), _PLENTY)
        total = max(left, _whole(props.get(standard.QUOTA), left))
        self._room = (time.monotonic(), total, left)
        return total, left


STATUS: Final = "user.ngas_mount.status"


def _writes(flags: int) -> bool:
    return flags & os.O_ACCMODE != os.O_RDONLY


def _whole(text: str | None, otherwise: int) -> int:
    return int(text) if text is not None and text.isascii() and text.isdigit() else otherwise
