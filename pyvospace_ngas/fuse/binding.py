"""The one module that knows fusepy, or mfusepy with libfuse 3, and how their options differ."""

import codecs
import ctypes
import ctypes.util
import errno
import importlib
import importlib.util
import os
import threading
from collections.abc import Mapping
from types import ModuleType
from typing import Any, Final

ENCODING: Final = "utf8-fuse"  # names are bytes: what is no UTF-8 survives the way there and back
_LIBRARY: Final = {2: "fuse", 3: "fuse3"}
_SIGNALLED: Final = 8  # what libfuse 3 returns after a signal has ended the mount in order
_FILL_DIR_PLUS: Final = 2
_READDIRPLUS, _READDIRPLUS_AUTO = 1 << 13, 1 << 14
_NOREPLACE: Final = 1  # of renameat2
_ATTRIBUTES: Final = b"user."
_REQUEST: Final = 1 << 20  # bytes that libfuse 3 passes at once


class NoBinding(Exception):
    """Nothing can be mounted here; the text says what is missing."""


def choose(wanted: int | None = None) -> int:
    """Return the version of libfuse to use: 3 where mfusepy and libfuse3 are, else 2."""
    has_3 = importlib.util.find_spec("mfusepy") and ctypes.util.find_library(_LIBRARY[3])
    if wanted in (None, 3) and has_3:
        return 3
    if wanted == 3:
        raise NoBinding("libfuse 3 needs the extra fuse3 (mfusepy) and the package libfuse3-3")
    if not ctypes.util.find_library(_LIBRARY[2]):
        raise NoBinding("the library libfuse.so.2 is missing (Debian: apt-get install libfuse2)")
    return 2


def run(
    operations: object, mountpoint: str, options: Mapping[str, str | bool], version: int
) -> None:
    """Mount, and serve until the mount is ended by umount or a signal; threads are libfuse's."""
    codecs.register(_codec)
    found = dict(options)
    if version == 3:
        _run_3(operations, mountpoint, found)
        return
    fuse = importlib.import_module("fuse")
    found["big_writes"] = True
    _lean(fuse)(operations, mountpoint, raw_fi=True, encoding=ENCODING, foreground=True, **found)


def _run_3(operations: object, mountpoint: str, options: dict[str, str | bool]) -> None:
    os.environ["FUSE_LIBRARY_NAME"] = _LIBRARY[3]
    mfusepy = importlib.import_module("mfusepy")
    try:
        _with_readdirplus(mfusepy)(
            operations,
            mountpoint,
            raw_fi=True,
            foreground=True,
            max_idle_threads=10,
            **options,
        )
    except RuntimeError as error:
        if error.args != (_SIGNALLED,):
            raise


def _lean(binding: ModuleType) -> Any:
    """Return the binding's FUSE without what costs most where it is asked for most.

    Bytes are read into the kernel's request, where both bindings want an object of its own to copy
    from. Attributes that we have none of, ``ls -l`` asks for two of each name: no decoding, and no
    exceptions, for these.
    """

    class Lean(binding.FUSE):  # type: ignore[misc, name-defined]
        def getxattr(self, path: bytes, name: bytes, value: Any, size: int, *args: Any) -> int:
            if not name.startswith(_ATTRIBUTES):
                return -errno.ENODATA
            return int(super().getxattr(path, name, value, size, *args))

        def read(self, _path: bytes, buf: Any, size: int, offset: int, fip: Any) -> int:
            memory = (ctypes.c_char * size).from_address(ctypes.addressof(buf.contents))
            into = memoryview(memory).cast("B")
            return int(self.operations.read(fip.contents.fh, into, offset))

    return Lean


def _with_readdirplus(mfusepy: ModuleType) -> Any:
    """Return mfusepy's FUSE with attributes in listings, and with large requests."""

    class Plus(_lean(mfusepy)):  # type: ignore[misc]
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
            listed = self.operations.listed(fip.contents.fh)
            for number, (name, attrs) in enumerate(listed[offset:], offset + 1):
                status = mfusepy.c_stat()
                mfusepy.set_st_attrs(status, attrs, use_ns=True)
                # With an offset of 0 libfuse ignores that the attributes are all there.
                plus = _FILL_DIR_PLUS if flags & 1 else 0
                if filler(buf, name.encode(self.encoding, self.errors), status, number, plus):
                    break
            return 0

    return Plus


class Kernel:
    """What the kernel keeps of a mount; libfuse 3 can have it drop that, 2 waits for its time."""

    def __init__(self, version: int) -> None:
        self._version = version
        self._lock = threading.Lock()
        self._handle = 0

    def begin(self) -> None:
        """Learn which mount it is; to be called from its operation ``init``."""
        if self._version == 3:
            context = _library().fuse_get_context().contents
            self._handle = int(context.fuse or 0)

    def end(self) -> None:
        """Let the mount go, which libfuse is about to free."""
        with self._lock:
            self._handle = 0

    def drop(self, path: str) -> None:
        """Have attributes and pages of ``path`` dropped; never to be called from an operation.

        The kernel waits there for operations on the same file.
        """
        with self._lock:
            if self._handle:
                raw = ctypes.c_char_p(path.encode("utf-8", "surrogateescape"))
                _library().fuse_invalidate_path(ctypes.c_void_p(self._handle), raw)


def _library() -> Any:
    return importlib.import_module("mfusepy")._libfuse


def _codec(name: str) -> codecs.CodecInfo | None:
    if name.replace("_", "-") != ENCODING:
        return None
    utf8 = codecs.lookup("utf-8")

    def encode(text: str, _errors: str = "strict") -> tuple[bytes, int]:
        return utf8.encode(text, "surrogateescape")

    def decode(raw: Any, _errors: str = "strict") -> tuple[str, int]:
        return utf8.decode(raw, "surrogateescape")

    return codecs.CodecInfo(encode, decode, name=ENCODING)
