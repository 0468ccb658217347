"""The programs that measure still work, at tiny counts; how fast they find us is no test."""

import subprocess
import sys
from pathlib import Path
from typing import Final

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
    done = subprocess.run(
        [sys.executable, str(BENCH / program), *options],
        cwd=BENCH,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert list(tmp_path.iterdir()) == []
    assert (done.returncode, done.stderr) == (0, "")
    assert "Goals" in done.stdout
    for text in shown:
        assert text in done.stdout
