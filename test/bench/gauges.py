"""What processes have used, out of /proc: CPU seconds, and memory now and at its peak."""

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TICKS: Final = os.sysconf("SC_CLK_TCK")
RESET_PEAK: Final = "5"  # proc(5), clear_refs


@dataclass(frozen=True, slots=True)
class Program:
    """A part of what is measured: one process, or all that descend from it."""

    name: str
    pid: int
    family: bool = False


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds since the start, and bytes that are resident: now, and at most."""

    cpu: float
    resident: int
    peak: int


def read(programs: Iterable[Program]) -> dict[str, Usage]:
    """Return what each program has used by now."""
    return {program.name: _usage(program) for program in programs}


def spent(before: Mapping[str, Usage], after: Mapping[str, Usage]) -> dict[str, float]:
    """Return the CPU seconds of each program between two readings."""
    return {name: after[name].cpu - before[name].cpu for name in before}


def reset_peaks(programs: Iterable[Program]) -> None:
    """Let the peaks begin anew at what is resident now."""
    for program in programs:
        for pid in _pids(program):
            try:
                Path(f"/proc/{pid}/clear_refs").write_text(RESET_PEAK, encoding="ascii")
            except OSError:  # it ended, or is not ours
                continue


def parent_of(pid: int) -> int:
    """Return the process that started ``pid``."""
    return int(_stat(pid)[1])


def _usage(program: Program) -> Usage:
    """Add up a family; ended children count in their parent, and shared memory several times."""
    cpu = 0.0
    resident = peak = 0
    for pid in _pids(program):
        try:
            fields, status = _stat(pid), _status(pid)
        except OSError:  # it has just ended
            continue
        last = 15 if program.family else 13
        cpu += sum(int(ticks) for ticks in fields[11:last]) / TICKS
        resident += status.get("VmRSS", 0)
        peak += status.get("VmHWM", 0)
    return Usage(cpu, resident, peak)


def _pids(program: Program) -> list[int]:
    if not program.family:
        return [program.pid]
    found = [program.pid]
    for pid in found:
        with suppress(OSError):  # it has just ended
            for children in list(Path(f"/proc/{pid}/task").glob("*/children")):
                found += [int(child) for child in children.read_text(encoding="ascii").split()]
    return found


def _stat(pid: int) -> list[str]:
    """Return the fields of proc(5) from "state" on; the name before it may hold anything."""
    text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    return text.rpartition(")")[2].split()


def _status(pid: int) -> dict[str, int]:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    sizes = (line.partition(":") for line in lines if line.endswith(" kB"))
    return {name: int(value.split()[0]) * 1024 for name, _, value in sizes}
