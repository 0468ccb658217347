"""The programs that measure still work, at tiny counts; how fast they find us is no test."""

import subprocess
import sys
from pathlib import Path
from typing import Final

import mount_support
import pytest

BENCH: Final = Path(__file__).resolve().parent / "bench"
PATIENCE: Final = 240


@pytest.mark.parametrize(
    ("program", "arguments", "shown"),
    [
        ("tree.py", ("--seconds", "0.1", "--children", "30"), ("getNode at 16", "pgbench read")),
        ("bytes.py", ("--size", "1", "--count", "8", "--no-nginx"), ("MD5 alone", "raw copy")),
        ("archive.py", ("--size", "1", "--count", "40", "--no-nginx"), ("10 KiB", "slow clients")),
    ],
)
def test_a_program_measures_and_leaves_nothing_behind(
    program: str, arguments: tuple[str, ...], shown: tuple[str, ...], tmp_path: Path
) -> None:
    options = ("--quick", "--rounds", "1", "--dir", str(tmp_path), *arguments)
    said = said_by(program, *options)
    assert list(tmp_path.iterdir()) == []
    assert "Goals" in said
    for text in shown:
        assert text in said


@pytest.mark.skipif(mount_support.why_not() is not None, reason=str(mount_support.why_not()))
def test_mounts_are_measured_of_servers_that_are_far_away(tmp_path: Path) -> None:
    counts = ("--rounds", "1", "--large", "1", "--names", "20", "--small", "2", "--files", "5")
    said = said_by("mount.py", *counts, "--delay", "5", "--folder", str(tmp_path))
    assert list(tmp_path.iterdir()) == []
    for version in mount_support.versions():
        _, found, table = said.partition(f"ngas_mount, libfuse {version}")
        [line] = [each for each in table.splitlines() if each.startswith("rename, 1/s")][:1]
        rename, _, requests = line.removeprefix("rename, 1/s").split()
        assert (found != "", requests) == (True, "2")
        assert float(rename) < 200  # as each is a request


def said_by(program: str, *options: str) -> str:
    """Run a program that measures; return what it printed."""
    done = subprocess.run(
        [sys.executable, str(BENCH / program), *options],
        cwd=BENCH,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout
