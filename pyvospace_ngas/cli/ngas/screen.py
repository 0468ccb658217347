"""What the command says, and what it remembers of what failed."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from pyvospace_ngas.cli.ngas.sentences import Exit, code_of, sentence
from pyvospace_ngas.cli.tables import print_table
from pyvospace_ngas.cli.vo.paths import shown
from pyvospace_ngas.cli.vo.progress import Progress
from pyvospace_ngas.ngas.status import Answer, DiskStatus, FileStatus


@dataclass(slots=True)
class Screen:
    """stdout for what was asked for, stderr for the rest."""

    json: bool
    quiet: bool
    progress: Progress
    done: int = 0
    codes: list[Exit] = field(default_factory=list)

    def record(self, values: Mapping[str, object]) -> None:
        """Print one JSON document in a line."""
        self.progress.hide()
        print(json.dumps(values), flush=True)

    def warn(self, text: str) -> None:
        """Tell a person something that they must know."""
        self.progress.hide()
        print("ngas_client:", " ".join(shown(text).split()), file=sys.stderr, flush=True)

    def did(self, text: str, values: Mapping[str, object]) -> None:
        """Say that something is done."""
        self.done += 1
        if self.json:
            self.record(values)
        elif not self.quiet:
            self.progress.hide()
            print(shown(text), flush=True)

    def fail(self, error: Exception, name: str = "") -> None:
        """Say that something failed, and keep it for the exit code."""
        self.codes.append(code_of(error))
        said = sentence(error)
        if self.json:
            kind = type(error).__name__
            self.record({"action": "failed", "name": name, "error": kind, "text": said})
        self.warn(said if not name or name in said else f"{name}: {said}")

    def finish(self) -> Exit:
        """Return the exit code: what all failures have in common, where nothing was done."""
        if not self.codes:
            return Exit.DONE
        alike = len(set(self.codes)) == 1 and not self.done
        return self.codes[0] if alike else Exit.FAILED

    def answer(self, answer: Answer) -> None:
        """Print a status document."""
        if self.json:
            self.record(asdict(answer))
            return
        pairs = (f"{name}: {shown(value)}" for name, value in _facts(answer))
        print("\n".join(pairs), flush=True)
        files = [_file_row(file, disk) for disk in answer.disks for file in disk.files]
        files += [_file_row(file) for each in answer.containers for file in each.files]
        if files:
            print_table(FILE_HEAD, files)
        elif answer.disks:
            print_table(DISK_HEAD, [_disk_row(disk) for disk in answer.disks])


FILE_HEAD: Sequence[str] = ("FILE", "VERSION", "SIZE", "CHECKSUM", "KIND", "DISK", "HOST")
DISK_HEAD: Sequence[str] = ("DISK", "SLOT", "HOST", "FILES", "FREE MB", "MOUNTED", "COMPLETED")


def _facts(answer: Answer) -> list[tuple[str, str]]:
    """Return what is known of a node and its request, by NGAS's names."""
    status = answer.status
    pairs = [
        ("Message", status.message),
        ("Status", status.status),
        ("State", f"{status.state}/{status.sub_state}"),
        ("HostId", status.host_id),
        ("Version", status.version),
        ("RequestId", status.request_id),
        ("CompletionPercent", status.completion_percent),
        ("ActualCount", status.actual_count),
        ("ExpectedCount", status.expected_count),
        ("ConfigFileName", status.config_file_name),
    ]
    pairs += [("Container", f"{each.id} {each.name}") for each in answer.containers]
    return [(name, value) for name, value in pairs if value]


def _file_row(file: FileStatus, disk: DiskStatus | None = None) -> list[str]:
    values = (
        *(file.file_id, file.file_version, file.file_size, file.checksum, file.checksum_plugin),
        *(("", "") if disk is None else (disk.disk_id, disk.host_id)),
    )
    return [shown(value) for value in values]


def _disk_row(disk: DiskStatus) -> list[str]:
    values = (
        *(disk.disk_id, disk.slot_id, disk.host_id, disk.number_of_files, disk.available_mb),
        *("yes" if claim else "no" for claim in (disk.mounted, disk.completed)),
    )
    return [shown(value) for value in values]
