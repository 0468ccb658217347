"""How far a data check has come: kept in a file, so that a restart goes on with it, and told."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pyvospace_ngas.archive import statefile
from pyvospace_ngas.archive.records import Copy, stamp
from pyvospace_ngas.archive.steps import Database, Script, Statement
from pyvospace_ngas.archive.volume import MEBIBYTE

log = logging.getLogger(__name__)

MOST_REPORTED: Final = 500  # of a kind; of the others only their number is told


@dataclass(slots=True)
class Findings:
    """What is to be told, and how much more there is."""

    lines: list[str] = field(default_factory=list)
    count: int = 0

    def add(self, line: str) -> None:
        """Take note of one more."""
        self.count += 1
        if len(self.lines) < MOST_REPORTED:
            self.lines.append(line)

    def text(self, title: str) -> str:
        """Return the paragraph about them; "" where there are none."""
        if not self.count:
            return ""
        more = self.count - len(self.lines)
        rest = [f"and {more} more"] if more else []
        return "\n".join([f"{title}: {self.count}", *self.lines, *rest, "", ""])


@dataclass(slots=True)
class Check:
    """A check of all files, from its start to its end."""

    started: str = ""  # "": none yet
    ended: str = ""
    done: list[str] = field(default_factory=list)  # disk ids
    disk_id: str = ""  # that is being looked through, after this file:
    file_id: str = ""
    version: int = 0
    files: int = 0
    bytes: int = 0
    bad: Findings = field(default_factory=Findings)
    strangers: Findings = field(default_factory=Findings)

    def seconds(self, now: datetime) -> float:
        """Return how long ago it began."""
        return (now - datetime.fromisoformat(self.started).replace(tzinfo=UTC)).total_seconds()


def load(path: Path) -> Check:
    """Return what is kept; a new one where there is nothing to be read."""
    try:
        found = json.loads(path.read_bytes())
        bad, strangers = Findings(**found.pop("bad")), Findings(**found.pop("strangers"))
        check = Check(**found, bad=bad, strangers=strangers)
        check.seconds(datetime.now(UTC))
    except FileNotFoundError:
        return Check()
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        log.warning("%s cannot be used, the data check begins anew: %s", path, error)
        return Check()
    return check


def keep(path: Path, check: Check) -> None:
    """Write it down."""
    statefile.replace(path, json.dumps(asdict(check)).encode())


async def amount(db: Database, disk_ids: Sequence[str]) -> tuple[int, int]:
    """Return how many files there are on the disks, and their bytes."""
    files = size = 0
    for disk_id in disk_ids:
        rows = await db.fetch(
            "select count(*), coalesce(sum(file_size), 0) from ngas_files "
            "where disk_id = $1 and coalesce(file_ignore, 0) = 0",
            disk_id,
        )
        files, size = files + int(rows[0][0]), size + int(rows[0][1])
    return files, size


def show(host_id: str, check: Check, files: int, size: int) -> Script[None]:
    """Tell everyone how far it is (ngas_hosts)."""
    seconds = max(check.seconds(datetime.now(UTC)), 0.001)
    rate = check.bytes / MEBIBYTE / seconds
    remaining = max(size - check.bytes, 0) / MEBIBYTE / rate if rate else 0.0
    yield Statement(
        "update ngas_hosts set srv_data_checking = $2, srv_check_start = $3, "
        "srv_check_remain = $4, srv_check_end = $5, srv_check_rate = $6, srv_check_mb = $7, "
        "srv_checked_mb = $8, srv_check_files = $9, srv_check_count = $10 where host_id = $1",
        (
            *(host_id, 0 if check.ended else 1, check.started),
            *(min(int(remaining), 2**31 - 1), check.ended or None, rate, size / MEBIBYTE),
            *(check.bytes / MEBIBYTE, files, check.files),
        ),
    )


def rests(host_id: str) -> Script[None]:
    """Tell everyone that nothing is checked now."""
    yield Statement("update ngas_hosts set srv_data_checking = 0 where host_id = $1", (host_id,))


def disk_checked(disk_id: str) -> Script[None]:
    """Write when a disk was looked through."""
    yield Statement("update ngas_disks set last_check = $2 where disk_id = $1", (disk_id, stamp()))


def mark(copy: Copy, *, bad: bool) -> Script[None]:
    """Write into the first place of file_status whether a file is bad; the rest stays."""
    file = copy.file
    yield Statement(
        f"update ngas_files set file_status = '{int(bad)}' "  # noqa: S608 - 0 or 1
        "|| substr(coalesce(file_status, '00000000'), 2) "
        "where disk_id = $1 and file_id = $2 and file_version = $3 and file_name = $4 "
        "and ingestion_date = $5",
        (file.disk_id, file.file_id, file.version, file.file_name, file.ingestion_date),
    )
