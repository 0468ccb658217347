"""What is kept of a disk that has become full: a row of its history, and a file in it."""

from __future__ import annotations

from typing import Final

from pyvospace_ngas.archive.records import Disk
from pyvospace_ngas.archive.steps import Many
from pyvospace_ngas.ngas.status import Answer, Status, render

SYNOPSIS: Final = "Disk Completed"
INSERT: Final = (
    "insert into ngas_disks_hist (disk_id, hist_date, hist_origin, hist_synopsis, "
    "hist_descr_mime_type, hist_descr) values ($1, $2, $3, $4, 'text/xml', $5)"
)


def document(disk: Disk, now: str) -> bytes:
    """Return what is known of a disk as a status document, in NGAS's form."""
    status = Status(date=now, version="", host_id=disk.host_id, message=SYNOPSIS)
    return render(Answer(status, (disk.status(),)), disk.host_id)


def history(disk: Disk, now: str, synopsis: str = SYNOPSIS) -> Many:
    """Return the step that remembers what has happened to a disk."""
    return Many(
        INSERT,
        [(disk.disk_id, now, disk.host_id, synopsis, document(disk, now).decode("ascii"))],
    )
