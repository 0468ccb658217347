"""Opening the copies of files that lie on this node's volumes."""

from __future__ import annotations

import logging
import os

from pyvospace_ngas.archive.records import Copy

log = logging.getLogger(__name__)


def open_copy(copy: Copy) -> int | None:
    """Open a copy; None when it is not there or not as long as it should be."""
    path = copy.path
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        log.warning("%s cannot be read: %s", path, error.strerror)
        return None
    if os.fstat(fd).st_size != copy.file.size:
        log.warning("%s has %d bytes, not %d", path, os.fstat(fd).st_size, copy.file.size)
        os.close(fd)
        return None
    return fd
