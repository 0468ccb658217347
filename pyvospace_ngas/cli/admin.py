"""The command ``ngas_admin``: users, tokens, the trash, and the queue of files to be discarded."""

import argparse
import asyncio
import getpass
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from typing import Final

import asyncpg

from pyvospace_ngas.cli import token_commands, tree_commands
from pyvospace_ngas.cli.tables import MINUTE, print_json, print_table
from pyvospace_ngas.config import ConfigError, load
from pyvospace_ngas.db.connect import Connection, Database
from pyvospace_ngas.db.discards import Discard
from pyvospace_ngas.errors import InvalidArgument, VOSpaceError
from pyvospace_ngas.http.credentials import STALENESS
from pyvospace_ngas.model.account import check_name, check_password
from pyvospace_ngas.ops import accounts, discards

SETTLE: Final = STALENESS  # until no server remembers the password of a user who is removed

QUEUE_HEAD: Final = ("FILE", "HELD BY", "QUEUED", "NOT BEFORE", "TRIES", "WHY", "LAST ERROR")

Command = Callable[[Connection, argparse.Namespace], Awaitable[None]]


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says; return the exit code."""
    args = _parser().parse_args(argv)
    try:
        config = load(args.cfg)
        if args.asks_password:
            check_name("user", args.name)
            args.password = _read_password(args.name, from_stdin=args.password_stdin)
        asyncio.run(_run(config.space.dsn, args))
    except asyncpg.UndefinedTableError:
        return _complain("the database has no tables yet: start ngas_space once, it makes them")
    except (ConfigError, VOSpaceError) as error:
        return _complain(str(error))
    except asyncpg.PostgresError as error:
        return _complain(f"the database refuses: {error}")
    except KeyboardInterrupt:
        return _complain("stopped")
    return 0


def _complain(text: str) -> int:
    print("ngas_admin:", " ".join(text.split()), file=sys.stderr)
    return 1


async def _run(dsn: str, args: argparse.Namespace) -> None:
    command: Command = args.command
    async with Database(dsn, size=1) as database, database.acquire() as db:
        await command(db, args)


def _read_password(name: str, *, from_stdin: bool) -> str:
    """Return a password that nobody sees: not on the command line, not on the screen."""
    if from_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    elif sys.stdin.isatty():
        password = getpass.getpass(f"password for {name}: ")
        if getpass.getpass("the same again: ") != password:
            raise InvalidArgument("the two are not the same; nothing was changed")
    else:
        raise InvalidArgument("there is no terminal to ask for the password: --password-stdin")
    check_password(password)
    return password


async def _add(db: Connection, args: argparse.Namespace) -> None:
    await accounts.add(
        db, args.name, args.password, admin=args.admin, groups=args.group, home=args.home
    )
    print(f"added {args.name}" + (f", who has /home/{args.name}" if args.home else ""))


async def _list(db: Connection, args: argparse.Namespace) -> None:
    found = await accounts.listing(db)
    if args.json:
        print_json(
            [
                {
                    "name": account.name,
                    "admin": account.admin,
                    "groups": account.groups,
                    "disabled": account.disabled,
                    "created": account.created,
                }
                for account in found
            ]
        )
        return
    print_table(
        ("NAME", "ROLE", "CREATED", "GROUPS"),
        [
            (
                account.name,
                "disabled" if account.disabled else "admin" if account.admin else "user",
                f"{account.created:{MINUTE}}",
                ",".join(account.groups),
            )
            for account in found
        ],
    )


async def _remove(db: Connection, args: argparse.Namespace) -> None:
    given = await accounts.remove(db, args.name, args.give_to, settle=SETTLE)
    print(f"removed {args.name}" + (f"; {given} nodes went to {args.give_to}" if given else ""))


async def _passwd(db: Connection, args: argparse.Namespace) -> None:
    await accounts.set_password(db, args.name, args.password)
    print(f"changed the password of {args.name} and ended all sessions")


async def _groups(db: Connection, args: argparse.Namespace) -> None:
    if args.set is not None:
        if args.add or args.remove:
            raise InvalidArgument("--set goes without --add and --remove")
        await accounts.set_groups(db, args.name, [group for group in args.set.split(",") if group])
    elif args.add or args.remove:
        await accounts.change_groups(db, args.name, args.add, args.remove)
    groups = await accounts.groups_of(db, args.name)
    print(f"{args.name}: {' '.join(groups) or 'no groups'}")


async def _queue(db: Connection, args: argparse.Namespace) -> None:
    if args.accept_restore:
        await discards.accept(db)
    status, waiting = await discards.status(db), await discards.listing(db, args.limit)
    if args.json:
        files = [asdict(discard) for discard in waiting]
        print_json(asdict(status) | {"files": files})
        return
    counts = status.counts
    print(f"{counts.waiting} waiting, {counts.due} due, {counts.failing} failed before")
    if status.halted:
        print(
            "Nothing is discarded: this database was restored or failed over. Make sure that it\n"
            "knows every file that must be kept, then run this with --accept-restore."
        )
    if waiting:
        print_table(QUEUE_HEAD, [_queue_line(discard) for discard in waiting])


def _queue_line(discard: Discard) -> Sequence[str]:
    return (
        discard.copy.file_id,
        discard.copy.host_id,
        f"{discard.queued:{MINUTE}}",
        f"{discard.not_before:{MINUTE}}",
        str(discard.tries),
        discard.reason,
        discard.last_error or "",
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ngas_admin", description=__doc__)
    parser.add_argument("--cfg", required=True, metavar="FILE", help="the servers' ini file")
    parser.set_defaults(asks_password=False)
    parts = parser.add_subparsers(required=True, metavar="user|token|trash|quota|queue")
    _add_user_commands(parts.add_parser("user", help="who may log in"))
    token_commands.add_commands(parts)
    tree_commands.add_commands(parts)
    queue = _command(parts, "queue", _queue, "the files that the archive is yet to forget")
    queue.add_argument("--limit", type=int, default=100, metavar="N", help="at most so many")
    queue.add_argument("--json", action="store_true")
    queue.add_argument(
        "--accept-restore",
        action="store_true",
        help="let discarding go on after the database was restored or failed over",
    )
    return parser


def _add_user_commands(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True, metavar="add|list|remove|passwd|groups")

    add = _command(commands, "add", _add, "add a user, with a container /home/NAME", named=True)
    add.add_argument("--admin", action="store_true", help="an administrator, who may do all")
    add.add_argument("--group", action="append", default=[], metavar="G", help="(repeatable)")
    add.add_argument("--no-home", action="store_false", dest="home", help="make no /home/NAME")

    listing = _command(commands, "list", _list, "list the users")
    listing.add_argument("--json", action="store_true")

    remove = _command(commands, "remove", _remove, "remove a user", named=True)
    remove.add_argument("--give-to", metavar="OTHER", help="the user who gets their nodes")

    passwd = _command(commands, "passwd", _passwd, "change a password", named=True)
    for parser_ in (add, passwd):
        parser_.add_argument("--password-stdin", action="store_true", help="read it from stdin")
        parser_.set_defaults(asks_password=True)

    groups = _command(commands, "groups", _groups, "show or change a user's groups", named=True)
    groups.add_argument("--add", action="append", default=[], metavar="G", help="(repeatable)")
    groups.add_argument("--remove", action="append", default=[], metavar="G", help="(repeatable)")
    groups.add_argument("--set", metavar="G,G", help="exactly these")


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    command: Command,
    help_: str,
    *,
    named: bool = False,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=help_, description=help_)
    parser.set_defaults(command=command)
    if named:
        parser.add_argument("name", metavar="NAME")
    return parser


if __name__ == "__main__":
    sys.exit(main())
