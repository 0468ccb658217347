"""Virtual environments of the clients' own: made once, kept in the temporary folder.

They are under another licence than ours (AGPL), so that they are programs that we run, and never
imported here.
"""

import fcntl
import hashlib
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

VOS: Final = ("vos==3.7", "cadcutils==1.6.2")
VOSFS: Final = ("vosfs==0.12.0", "fsspec==2026.9.0", "pytest==9.2.0")
SUITE: Final = ("pandas==3.1.1", "pyarrow==26.0.1", "astropy==8.0.2", "zarr==3.1.6")
SECONDS: Final = 900
_DONE: Final = "complete"


def environment(name: str, *requirements: str) -> Path:
    """Return the folder of the programs of an environment with ``requirements``.

    The test is skipped where the package index cannot be reached.
    """
    described = " ".join((sys.version, *requirements))
    key = hashlib.sha256(described.encode()).hexdigest()[:12]
    folder = _cache() / f"{name}-{key}"
    with _locked(folder.with_suffix(".lock")):
        if not (folder / _DONE).exists():
            _make(folder, requirements)
    return folder / "bin"


def _make(folder: Path, requirements: tuple[str, ...]) -> None:
    venv.create(folder, clear=True, with_pip=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", *requirements]
    done = subprocess.run(pip, capture_output=True, text=True, timeout=SECONDS, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["pip failed"])[-1]
        pytest.skip(f"{' '.join(requirements)} cannot be installed: {reason[:200]}")
    (folder / _DONE).touch()


def _cache() -> Path:
    """Return a folder that nobody else can have put anything into."""
    folder = Path(tempfile.gettempdir()) / f"pyvospace-ngas-clients-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if folder.is_symlink() or status.st_uid != os.getuid() or status.st_mode & 0o077:
        pytest.skip(f"{folder} is not ours alone")
    return folder


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Let one test process at a time make an environment."""
    with file.open("w") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield
