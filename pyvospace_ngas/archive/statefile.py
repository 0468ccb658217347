"""Small files of the node's own, which are there as they were or as they are to be."""

from __future__ import annotations

import os
from pathlib import Path

from pyvospace_ngas.archive.volume import sync_folder


def replace(path: Path, content: bytes) -> None:
    """Write a file that only its owner reads, durably and at once."""
    new = path.with_name(f"{path.name}.new")
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(fd)
    new.replace(path)
    sync_folder(path.parent)
