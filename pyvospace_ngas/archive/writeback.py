"""Letting the disk begin with bytes that will have to be durable, while more of them arrive."""

from __future__ import annotations

import ctypes
from typing import Any, Final

STEP: Final = 16 * 2**20  # bytes that are worth a call
WRITE: Final = 2  # SYNC_FILE_RANGE_WRITE: begin, and do not wait


def _found() -> Any:
    """Return Linux's sync_file_range; None where there is no such thing."""
    function = getattr(ctypes.CDLL(None), "sync_file_range", None)
    if function is not None:
        function.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    return function


_SYNC_FILE_RANGE: Final = _found()


class Writeback:
    """How far a file is written, and how far the disk was told to begin."""

    __slots__ = ("_begun", "_fd", "_written")

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._written = 0
        self._begun = 0

    def wrote(self, size: int) -> None:
        """Take note of bytes that were appended. Nothing is durable by this: that takes a sync."""
        self._written += size
        length = self._written - self._begun
        if length >= STEP and _SYNC_FILE_RANGE is not None:
            _SYNC_FILE_RANGE(self._fd, self._begun, length, WRITE)  # a failure is fdatasync's
            self._begun = self._written
