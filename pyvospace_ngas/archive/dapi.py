"""Data archiving plug-ins: what a stream's own code makes of a file before it is archived."""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import Final

from pyvospace_ngas.archive import plugins
from pyvospace_ngas.archive.interfaces import Accepted, Incoming
from pyvospace_ngas.archive.receiving import Received
from pyvospace_ngas.archive.refusals import Refused, coded
from pyvospace_ngas.archive.site import Loaded
from pyvospace_ngas.archive.upload import refusal
from pyvospace_ngas.archive.waiting import to_its_end
from pyvospace_ngas.archive.wishes import Wish, check_format, check_id, check_name
from pyvospace_ngas.ngas.checksum import Crc, Variant

log = logging.getLogger(__name__)

READ_BYTES: Final = 1024 * 1024
LONGEST_COMPRESSION: Final = 32  # ngas_files.compression


async def apply(
    plug_in: Loaded, wish: Wish, received: Received, path: Path, *, durable: bool
) -> tuple[Wish, Received]:
    """Let a plug-in see a staged file; return how, and what, is to be archived then."""
    changes = bool(getattr(plug_in.function, "modifies_content", False))
    if changes:
        await asyncio.to_thread(path.chmod, 0o644)
    try:
        accepted = await ask(plug_in, _incoming(plug_in, wish, received, path))
        if changes:
            work = asyncio.to_thread(_measured, path, wish.variant, durable=durable)
            size, crc = await to_its_end(work)
            received = replace(received, size=size, checksum=crc)
    except OSError as error:
        raise refusal(error, "what the plug-in left cannot be read") from error
    finally:
        await asyncio.to_thread(_tidy, path)
    return (wish if accepted is None else _as_accepted(wish, accepted)), received


async def ask(plug_in: Loaded, file: Incoming) -> Accepted | None:
    """Call a plug-in; what it raises refuses the file.

    The text of a ValueError is meant for the client; anything else stays in the log.
    """
    try:
        answer = await to_its_end(plugins.call(plug_in.function, file))
    except Exception as error:  # a site's own code
        log.exception("the plug-in %s refused %s", plug_in.name, file.name)
        reason = str(error) if isinstance(error, ValueError) else "the node's log says why"
        raise _refused(plug_in, reason) from error
    if answer is None or isinstance(answer, Accepted):
        return answer
    raise _refused(plug_in, "it did not answer Accepted or None")


def _incoming(plug_in: Loaded, wish: Wish, received: Received, path: Path) -> Incoming:
    return Incoming(
        path=path,
        name=wish.name,
        file_id=wish.file_id,
        format=wish.format,
        size=received.size,
        parameters=plug_in.parameters,
    )


def _tidy(path: Path) -> None:
    """Remove what a plug-in left beside the file."""
    for leftover in path.parent.glob(f"{path.name}.*"):
        leftover.unlink()


def _refused(plug_in: Loaded, reason: str) -> Refused:
    name = plug_in.name.rpartition(".")[2]
    text = f"The plug-in {name} does not take the file: {reason}."
    return Refused(coded("NGAMS_ER_DAPI_BAD_FILE", text))


def _as_accepted(wish: Wish, accepted: Accepted) -> Wish:
    return replace(
        wish,
        name=wish.name if accepted.name is None else check_name(accepted.name),
        file_id=wish.file_id if accepted.file_id is None else check_id(accepted.file_id),
        format=wish.format if accepted.format is None else check_format(accepted.format),
        compression=accepted.compression[:LONGEST_COMPRESSION],
        uncompressed_size=accepted.uncompressed_size,
    )


def _measured(path: Path, variant: Variant, *, durable: bool) -> tuple[int, str]:
    """Make what a plug-in left durable and read-only; return its size and checksum."""
    crc, size = Crc(variant), 0
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        while data := os.read(fd, READ_BYTES):
            crc.update(data)
            size += len(data)
        os.fchmod(fd, 0o444)
        if durable:
            os.fsync(fd)
    finally:
        os.close(fd)
    return size, crc.text
