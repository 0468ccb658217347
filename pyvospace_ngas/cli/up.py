"""The command ``ngas_up``: everything that a configuration names, on this machine, at once."""

import argparse
import asyncio
import os
import secrets
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg

from pyvospace_ngas import config
from pyvospace_ngas.archive.configuration import ConfigurationError
from pyvospace_ngas.archive.volume import VolumeError
from pyvospace_ngas.cli import folder, parts, postgres
from pyvospace_ngas.cli.binaries import PostgresError
from pyvospace_ngas.cli.folder import DataFolder, FolderError
from pyvospace_ngas.cli.serving import CannotServe
from pyvospace_ngas.cli.supervisor import PartFailed, Supervisor, say
from pyvospace_ngas.config import Config, ConfigError
from pyvospace_ngas.db.connect import Database
from pyvospace_ngas.db.migrate import SchemaTooNew, migrate
from pyvospace_ngas.errors import VOSpaceError
from pyvospace_ngas.model.account import check_name, check_password
from pyvospace_ngas.ops import accounts

DATA: Final = "./ngas-data"
PASSWORD_VARIABLE: Final = "NGAS_ADMIN_PASSWORD"  # noqa: S105 - a name
RECOVERY_SECONDS: Final = 600.0  # PostgreSQL may have a crash to recover from
EXPECTED: Final = (
    ConfigError,
    ConfigurationError,
    VolumeError,
    FolderError,
    PostgresError,
    CannotServe,
    PartFailed,
    SchemaTooNew,
    VOSpaceError,
    OSError,  # a full disk, a missing permission: it names the file
)


class NoPassword(ConfigError):
    """The administrator's password cannot be read from where it should be."""


@dataclass(frozen=True, slots=True)
class Administrator:
    """Who is made when there is no administrator yet; without a password one is generated."""

    name: str
    password: str | None


def main(argv: Sequence[str] | None = None) -> int:
    """Start everything, keep it running until a signal, stop it; return the exit code."""
    args = _parser().parse_args(argv)
    # Taken out of the environment, so that no part inherits it.
    given = os.environ.pop(PASSWORD_VARIABLE, None)
    try:
        settings = config.load(args.cfg)
        first = _administrator(args, given)
        with folder.hold(args.data, say) as data:
            asyncio.run(_run(settings, args.cfg.absolute(), data, first))
    except EXPECTED as error:
        print(f"ngas_up: {error}", file=sys.stderr)
        return 1
    except asyncpg.PostgresError as error:
        print(f"ngas_up: the database of the dsn refuses: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ngas_up",
        description="Start what the configuration names on this machine and is not running yet:"
        " PostgreSQL, archive nodes, the storage server and the space server.",
        epilog=f"The first administrator's password is generated and shown once, unless"
        f" --admin-password-file or the variable {PASSWORD_VARIABLE} gives it.",
    )
    parser.add_argument("--cfg", required=True, type=Path, metavar="FILE", help="the ini file")
    parser.add_argument(
        "--data", type=Path, default=Path(DATA), metavar="DIR", help=f"all data (default {DATA})"
    )
    parser.add_argument(
        "--admin", default="admin", metavar="NAME", help="the first administrator (default admin)"
    )
    parser.add_argument(
        "--admin-password-file", type=Path, metavar="FILE", help="holds their password in a line"
    )
    return parser


def _administrator(args: argparse.Namespace, given: str | None) -> Administrator:
    """Return who is asked for; what cannot be is refused before anything starts."""
    check_name("user", args.admin)
    file: Path | None = args.admin_password_file
    if file is not None:
        try:
            given = file.read_text(encoding="utf-8").partition("\n")[0].rstrip("\r")
        except (OSError, UnicodeDecodeError) as error:
            raise NoPassword(f"--admin-password-file {file} cannot be read: {error}") from error
    if given is not None:
        check_password(given)
    return Administrator(args.admin, given)


async def _run(settings: Config, cfg: Path, data: DataFolder, first: Administrator) -> None:
    supervisor = Supervisor()
    stop = _stop_on_signals(supervisor)
    starting = asyncio.create_task(_start(settings, cfg, data, first, supervisor))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            await starting
            watching = asyncio.create_task(supervisor.watch())
            await asyncio.wait({watching, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not stop.is_set():
                await watching
            watching.cancel()
    finally:
        for task in (starting, stopping):
            task.cancel()
        await asyncio.wait({starting, stopping})
        say("stopping")
        await supervisor.stop()
        say("stopped")


def _stop_on_signals(supervisor: Supervisor) -> asyncio.Event:
    """Return what the first signal sets; a second one ends the patience with the parts."""
    stop = asyncio.Event()

    def stop_or_hurry() -> None:
        (supervisor.hurry if stop.is_set() else stop).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop_or_hurry)
    return stop


async def _start(
    settings: Config, cfg: Path, data: DataFolder, first: Administrator, supervisor: Supervisor
) -> None:
    wanted = await parts.plan(settings)
    for note in wanted.notes:
        say(note)
    if wanted.postgres:
        await _start_postgres(settings.space.dsn, data, supervisor)
    await migrate(settings.space.dsn)
    for port in wanted.nodes:
        await supervisor.start(parts.node_part(port, data))
    if wanted.storage:
        await supervisor.start(parts.storage_part(wanted, cfg, settings.storage.listen, data))
    if wanted.space:
        await supervisor.start(parts.space_part(cfg, settings.space.listen, data))
    password = await _make_administrator(settings.space.dsn, first)
    _announce(settings, data, first, password)


async def _start_postgres(dsn: str, data: DataFolder, supervisor: Supervisor) -> None:
    target = postgres.parse_dsn(dsn)
    cluster = postgres.prepare(data.path, (data.parts_lock,))
    part = parts.postgres_part(cluster, target, data)
    await supervisor.start(part, patience=RECOVERY_SECONDS)
    await postgres.furnish(cluster, target)


async def _make_administrator(dsn: str, first: Administrator) -> str | None:
    """Make the first administrator; return the password if it is to be shown."""
    async with Database(dsn, size=1) as database, database.acquire() as db:
        if await accounts.has_administrator(db):
            return None
        password = first.password or secrets.token_urlsafe(15)
        made = await accounts.ensure_administrator(db, first.name, password)
    return password if made and first.password is None else None


def _announce(
    settings: Config, data: DataFolder, first: Administrator, password: str | None
) -> None:
    space = f"{settings.space.listen.public_url}/vospace"
    nodes = ", ".join(f"{node.hostname}:{node.port}" for node in settings.storage.ngas_servers)
    say("ready")
    say(f"  space     {space}")
    say(f"  storage   {settings.storage.listen.public_url}")
    say(f"  archive   {nodes}")
    say(f"  data      {data.path}")
    if (database := data.path / "postgres").is_symlink():
        say(f"            {database.readlink()}")
    if password is not None:
        say(f"  user      {first.name}")
        say(f"  password  {password}   (shown only this once: keep it)")
    say(f"  try       curl --user {first.name} {space}/nodes")
    say("  stop      Ctrl-C")


if __name__ == "__main__":
    sys.exit(main())
