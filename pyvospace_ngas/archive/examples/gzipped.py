"""A data archiving plug-in: files are kept gzipped.

``PlugInPars="format=application/x-gfits,level=6"``; what is gzipped already stays as it is.
"""

from __future__ import annotations

import gzip
import shutil
from typing import Final

from pyvospace_ngas.archive.interfaces import Accepted, Incoming
from pyvospace_ngas.archive.plugins import pairs

MAGIC: Final = b"\x1f\x8b"


def gzipped(file: Incoming) -> Accepted | None:
    """Put a gzipped file in the place of the one that came."""
    given = pairs(file.parameters)
    packed = file.path.with_name(f"{file.path.name}.gz")  # beside it: removed if this fails
    with file.path.open("rb") as plain, packed.open("xb") as raw:
        if plain.read(len(MAGIC)) == MAGIC:
            return None
        plain.seek(0)
        level = int(given.get("level", "6"))
        # No name and no time: the same bytes give the same file.
        with gzip.GzipFile("", "wb", level, raw, mtime=0) as stream:
            shutil.copyfileobj(plain, stream)
    packed.replace(file.path)
    return Accepted(
        name=f"{file.name}.gz",
        format=given.get("format", file.format),
        compression="gzip",
        uncompressed_size=file.size,
    )


gzipped.modifies_content = True  # type: ignore[attr-defined]  # what NGAS reads as well
