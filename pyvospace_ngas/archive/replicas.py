"""The second copy of a file, on the replication volume of its storage set."""

from __future__ import annotations

import os
from typing import Final

from pyvospace_ngas.archive import placement
from pyvospace_ngas.archive.upload import NotArchived, Upload, refusal
from pyvospace_ngas.ngas.checksum import Crc

READ_BYTES: Final = 1024 * 1024


def copy(original: Upload, replica: Upload, *, durable: bool) -> None:
    """Copy a staged file to another volume's staging folder, durably, or leave nothing there.

    What is read back must have the checksum that the bytes had when they came.
    """
    try:
        _copy(original, replica, durable=durable)
    except OSError as error:
        raise refusal(error, "the replication volume refused the file") from error


def _copy(original: Upload, replica: Upload, *, durable: bool) -> None:
    complete = False
    target = placement.create(replica.volume, replica.token)
    try:
        if _pour(original, target) != original.checksum:
            raise NotArchived("the file was not read back from the main volume as it came")
        os.fchmod(target, 0o444)
        if durable:
            os.fdatasync(target)
        complete = True
    finally:
        os.close(target)
        if not complete:
            placement.clear(replica.volume, [replica.token])


def _pour(original: Upload, target: int) -> str:
    crc = Crc(original.checksum_plugin)
    source = os.open(original.volume.staging / original.token, os.O_RDONLY | os.O_CLOEXEC)
    try:
        while data := os.read(source, READ_BYTES):
            crc.update(data)
            placement.write_all(target, data)
    finally:
        os.close(source)
    return crc.text
