"""The one module that knows fusepy, or mfusepy with libfuse 3, and how their options differ."""

import codecs
import ctypes
import ctypes.util
import errno
import functools
import importlib
import operator
import os
import struct
import threading
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, Final

ENCODING: Final = "utf8-fuse"  # names are bytes: what is no UTF-8 survives the way there and back
_NAMES: Final = ("utf-8", "surrogateescape")  # the same, without a codec of our own
_PLAIN: Final = (
    "st_mode", "st_nlink", "st_size", "st_blocks", "st_blksize", "st_uid", "st_gid",
)  # fmt: skip
_TIMES: Final = ("st_atime", "st_mtime", "st_ctime")
_CODES: Final = {2: "H", 4: "I", 8: "q"}  # of numbers by their size
_SECOND: Final = 10**9
_LIBRARY: Final = {2: "fuse", 3: "fuse3"}
_NEEDED: Final = "fuse_loop_cfg_create"  # of libfuse 3.12, the oldest that is known to do
_MISSING: Final = {
    2: "the library libfuse.so.2 is missing (Debian: apt-get install libfuse2)",
    3: "libfuse 3.12 or later is missing (Debian: apt-get install fuse3)",
    None: "neither libfuse 3.12 nor libfuse 2 is here (Debian: apt-get install fuse3)",
}
_IDLE: Final = 10  # threads that wait for requests
_BUSY: Final = 256  # threads that wait for servers, where libfuse 3 has but 10 by itself
_STAYING: Final = 64  # threads of which Python keeps 20 KiB each
_FILL_DIR_PLUS: Final = 2
_READDIRPLUS, _READDIRPLUS_AUTO = 1 << 13, 1 << 14
_NOREPLACE: Final = 1  # of renameat2
_ATTRIBUTES: Final = b"user."
_REQUEST: Final = 1 << 20  # bytes that libfuse 3 passes at once


class NoBinding(Exception):
    """Nothing can be mounted here; the text says what is missing."""


def choose(wanted: int | None = None) -> int:
    """Return the version of libfuse to use: 3 where there is one that will do, else 2.

    Listings with all attributes are of libfuse 3 only: ``ls -l`` takes half the time or less.
    """
    if wanted != 2 and _has_libfuse_3():
        return 3
    if wanted != 3 and ctypes.util.find_library(_LIBRARY[2]):
        return 2
    raise NoBinding(_MISSING[wanted])


def _has_libfuse_3() -> bool:
    name = ctypes.util.find_library(_LIBRARY[3])
    return name is not None and hasattr(ctypes.CDLL(name), _NEEDED)


def run(
    operations: object, mountpoint: str, options: Mapping[str, str | bool], kernel: "Kernel"
) -> None:
    """Mount, and serve until the mount is ended by umount or a signal; threads are libfuse's."""
    codecs.register(_codec)
    if kernel.version == 3:
        _run_3(operations, mountpoint, options, kernel)
        return
    fuse = importlib.import_module("fuse")
    found = {**options, "big_writes": True}
    _with_readdir(fuse)(
        operations, mountpoint, raw_fi=True, encoding=ENCODING, foreground=True, **found
    )


def _run_3(
    operations: object, mountpoint: str, options: Mapping[str, str | bool], kernel: "Kernel"
) -> None:
    os.environ["FUSE_LIBRARY_NAME"] = _LIBRARY[3]
    mfusepy = importlib.import_module("mfusepy")
    raw = os.fsencode(mountpoint)

    def main(count: int, words: Any, table: Any, size: int, _data: None) -> int:
        # The last word is the mount point, which only libfuse's own main program would take.
        return _main(mfusepy._libfuse, _Words(count - 1, words, 0), table, size, raw, kernel)

    vars(mfusepy)["fuse_main_real"] = main
    _with_readdirplus(mfusepy)(operations, mountpoint, raw_fi=True, **options)


class _Words(ctypes.Structure):
    """libfuse's struct fuse_args."""

    _fields_ = (
        ("argc", ctypes.c_int),
        ("argv", ctypes.POINTER(ctypes.c_char_p)),
        ("allocated", ctypes.c_int),
    )


def _main(
    libfuse: Any, words: _Words, table: Any, size: int, mountpoint: bytes, kernel: "Kernel"
) -> int:
    """Do what libfuse 3's own main does; return 0, or the number of the step that failed.

    But for one thing: the kernel is let go of while all that it is told by is there. libfuse
    calls its operation ``destroy`` only after it has closed the device and freed the names.
    """
    # The plain name, fuse_new, is not found any more from libfuse 3.17 on.
    for name in ("fuse_new_31", "fuse_get_session", "fuse_loop_cfg_create"):
        getattr(libfuse, name).restype = ctypes.c_void_p
    fuse = ctypes.c_void_p(libfuse.fuse_new_31(ctypes.byref(words), table, size, None))
    if fuse.value is None:
        return 3
    failed = 4
    if libfuse.fuse_mount(fuse, mountpoint) == 0:
        os.chdir("/")  # nothing of where it was begun is kept in use
        failed = _serve(libfuse, fuse, kernel)
        libfuse.fuse_unmount(fuse)
    libfuse.fuse_destroy(fuse)
    libfuse.fuse_opt_free_args(ctypes.byref(words))
    return failed


def _serve(libfuse: Any, fuse: ctypes.c_void_p, kernel: "Kernel") -> int:
    session = ctypes.c_void_p(libfuse.fuse_get_session(fuse))
    if libfuse.fuse_set_signal_handlers(session) != 0:
        return 6
    threads = ctypes.c_void_p(libfuse.fuse_loop_cfg_create())
    libfuse.fuse_loop_cfg_set_idle_threads(threads, _IDLE)
    libfuse.fuse_loop_cfg_set_max_threads(threads, _BUSY)
    kernel.begin(functools.partial(libfuse.fuse_invalidate_path, fuse))
    ended = libfuse.fuse_loop_mt(fuse, threads)  # positive: the signal that has ended it
    kernel.end()
    libfuse.fuse_loop_cfg_destroy(threads)
    libfuse.fuse_remove_signal_handlers(session)
    return 8 if ended < 0 else 0


def _lean(binding: ModuleType) -> Any:
    """Return the binding's FUSE without what costs most where it is asked for most.

    Bytes are read into the kernel's request, where both bindings want an object of its own to copy
    from. Attributes that we keep none of, a program may ask for by each name: no decoding, and no
    exceptions, for these. ``ls -l`` asks for two, and for no more once it is told of no support.
    """
    layout = _Layout(binding.c_stat)

    class Lean(binding.FUSE):  # type: ignore[misc, name-defined]
        def _wrapper(self, func: Callable[..., Any], *args: Any) -> Any:
            _stay()
            return super()._wrapper(func, *args)

        def fgetattr(self, path: bytes | None, buf: Any, fip: Any) -> int:
            text = None if path is None else path.decode(*_NAMES)
            attrs = self.operations.getattr(text, fip.contents if fip else None)
            layout.fill(buf.contents, attrs)
            return 0

        def getxattr(self, path: bytes, name: bytes, value: Any, size: int, *args: Any) -> int:
            if not name.startswith(_ATTRIBUTES):
                return -errno.EOPNOTSUPP
            return int(super().getxattr(path, name, value, size, *args))

        def read(self, _path: bytes, buf: Any, size: int, offset: int, fip: Any) -> int:
            memory = (ctypes.c_char * size).from_address(ctypes.addressof(buf.contents))
            into = memoryview(memory).cast("B")
            return int(self.operations.read(fip.contents.fh, into, offset))

    return Lean


_staying = threading.local()
_stays: Final = iter(range(_STAYING))


def _stay() -> None:
    """Let Python keep what it knows of this thread, which is libfuse's, until the thread ends.

    Otherwise it makes that anew for each request, memory from the system included: a third of a
    small one. Nobody tells when such a thread ends, so it is done for the first ones only.
    """
    if not hasattr(_staying, "here") and next(_stays, None) is not None:
        _staying.here = True
        ctypes.pythonapi.PyGILState_Ensure()  # what is released at the end is the second


def _with_readdir(fuse: ModuleType) -> Any:
    """Return fusepy's FUSE with listings of what libfuse 2 passes on: names, and what they are."""

    class Names(_lean(fuse)):  # type: ignore[misc]  # its base is known when it is chosen
        def readdir(self, _path: bytes, buf: Any, filler: Any, _offset: int, fip: Any) -> int:
            status = fuse.c_stat()
            shown = ctypes.byref(status)
            for name, attrs in self.operations.listed(fip.contents.fh):
                status.st_mode = attrs["st_mode"]
                if filler(buf, name.encode(*_NAMES), shown, 0):
                    break
            return 0

    return Names


def _with_readdirplus(mfusepy: ModuleType) -> Any:
    """Return mfusepy's FUSE with attributes in listings, and with large requests."""

    layout = _Layout(mfusepy.c_stat)

    class Plus(_lean(mfusepy)):  # type: ignore[misc]  # its base is known when it is chosen
        def init_fuse_3(self, conn: Any, config: Any) -> None:
            info = conn.contents
            info.want = (info.want | _READDIRPLUS) & ~_READDIRPLUS_AUTO
            info.max_readahead = _REQUEST
            info.max_write = _REQUEST
            super().init_fuse_3(conn, config)

        def rename_fuse_3(self, old: bytes, new: bytes, flags: int) -> int:
            if flags & ~_NOREPLACE:  # to exchange two files is nothing that a server does
                raise OSError(errno.EINVAL, "no such way to rename")
            names = (raw.decode(self.encoding, self.errors) for raw in (old, new))
            return int(self.operations.rename(*names, replace=not flags))

        def readdir_fuse_3(
            self, _path: bytes, buf: Any, filler: Any, offset: int, fip: Any, flags: int
        ) -> int:
            # With an offset of 0 libfuse ignores that the attributes are all there.
            plus = _FILL_DIR_PLUS if flags & 1 else 0
            status = mfusepy.c_stat()  # libfuse copies it
            shown = ctypes.byref(status)
            listed = self.operations.listed(fip.contents.fh)
            for number in range(offset, len(listed)):
                name, attrs = listed[number]
                layout.fill(status, attrs)
                if filler(buf, name.encode(*_NAMES), shown, number + 1, plus):
                    break
            return 0

    return Plus


class _Layout:
    """How a ``struct stat`` is filled in at once: field by field takes twice as long, or more."""

    def __init__(self, layout: Any) -> None:
        places = []  # where each number lies, and in how many bytes, which differs by platform
        for key in _PLAIN:
            place = getattr(layout, key)
            places.append((place.offset, _CODES[place.size]))
        for key in _TIMES:
            place, half = getattr(layout, f"{key}spec"), getattr(layout, f"{key}spec").size // 2
            places += [(place.offset, _CODES[half]), (place.offset + half, _CODES[half])]
        self._order = operator.itemgetter(*sorted(range(len(places)), key=places.__getitem__))
        text, end = "=", 0
        for offset, code in sorted(places):
            text += f"{offset - end}x{code}"
            end = offset + struct.calcsize(code)
        self._pack = struct.Struct(text).pack_into

    def fill(self, status: Any, attrs: Mapping[str, int]) -> None:
        """Write all of ``attrs``, and zeros between them."""
        numbers = [attrs[key] for key in _PLAIN]
        for key in _TIMES:
            numbers += divmod(attrs[key], _SECOND)
        self._pack(status, 0, *self._order(numbers))


class Kernel:
    """What the kernel keeps of a mount; libfuse 3 can have it drop that, 2 waits for its time."""

    def __init__(self, version: int) -> None:
        self.version = version
        self._lock = threading.Lock()
        self._drop: Callable[[bytes], int] | None = None

    def begin(self, drop: Callable[[bytes], int]) -> None:
        """Learn how a path of the mount is dropped."""
        self._drop = drop

    def end(self) -> None:
        """Let the mount go, which libfuse is about to free."""
        with self._lock:
            self._drop = None

    def drop(self, path: str) -> None:
        """Have attributes and pages of ``path`` dropped; never to be called from an operation.

        The kernel waits there for operations on the same file.
        """
        with self._lock:
            if self._drop is not None:
                self._drop(path.encode(*_NAMES))


def _codec(name: str) -> codecs.CodecInfo | None:
    if name.replace("_", "-") != ENCODING:
        return None
    utf8 = codecs.lookup("utf-8")

    def encode(text: str, _errors: str = "strict") -> tuple[bytes, int]:
        return utf8.encode(text, "surrogateescape")

    def decode(raw: Any, _errors: str = "strict") -> tuple[str, int]:
        return utf8.decode(raw, "surrogateescape")

    return codecs.CodecInfo(encode, decode, name=ENCODING)
