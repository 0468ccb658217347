"""The commands of ``ngas_admin`` that are about the tree: its trash, and quotas."""

import argparse
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Final

from pyvospace_ngas.cli.tables import MINUTE, print_json, print_table
from pyvospace_ngas.db.connect import Connection, transaction
from pyvospace_ngas.errors import InvalidArgument
from pyvospace_ngas.model import quota
from pyvospace_ngas.model.access import Identity
from pyvospace_ngas.model.uri import NodePath, check_name
from pyvospace_ngas.ops import quotas, trash

ADMINISTRATOR: Final = Identity(admin=True)

Command = Callable[[Connection, argparse.Namespace], Awaitable[None]]


def add_commands(parts: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``trash`` and ``quota``."""
    help_ = "what was deleted and can be had back"
    _add_trash(parts.add_parser("trash", help=help_, description=help_))
    help_ = "what containers may hold, with all below them"
    _add_quota(parts.add_parser("quota", help=help_, description=help_))


def _add_trash(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True, metavar="list|restore|purge")
    listing = _command(commands, "list", _list_trash, "list it, the last deleted first")
    listing.add_argument("--user", metavar="NAME", help="only what NAME deleted")
    listing.add_argument("--limit", type=int, default=100, metavar="N", help="at most so many")
    listing.add_argument("--json", action="store_true")
    restore = _command(commands, "restore", _restore, "bring a tree back")
    restore.add_argument("--to", metavar="PATH", help="not where it was, but there")
    purge = _command(commands, "purge", _purge, "give a tree up for good")
    for each in (restore, purge):
        each.add_argument("id", type=int, metavar="ID", help="as listed")


async def _list_trash(db: Connection, args: argparse.Namespace) -> None:
    found = await trash.listed(db, ADMINISTRATOR, None, args.limit, args.user)
    if args.json:
        print_json([asdict(each) | {"type": each.type.qname} for each in found])
        return
    print_table(
        ("ID", "DELETED", "BY", "TYPE", "PATH"),
        [
            (
                str(each.id),
                f"{each.deleted:{MINUTE}}",
                each.deleted_by or "",
                each.type.qname,
                each.path,
            )
            for each in found
        ],
    )


async def _restore(db: Connection, args: argparse.Namespace) -> None:
    destination = path_of(args.to) if args.to else None
    async with transaction(db):
        path = await trash.restore(db, ADMINISTRATOR, args.id, destination)
    print(f"restored {path}")


async def _purge(db: Connection, args: argparse.Namespace) -> None:
    async with transaction(db):
        await trash.purge(db, ADMINISTRATOR, args.id)
    print(f"{args.id} cannot be restored any more; a space server deletes it")


def _add_quota(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True, metavar="set|list|check")
    change = _command(commands, "set", _set_quota, "give a container a quota, or take it away")
    change.add_argument("path", metavar="PATH", help="such as /home/alice")
    change.add_argument("bytes", metavar="BYTES", help="a number, or: none")
    listing = _command(commands, "list", _list_quotas, "list the quotas, and what is used")
    listing.add_argument("--json", action="store_true")
    check = _command(commands, "check", _check_quotas, "count again what is used, and compare")
    check.add_argument("--repair", action="store_true", help="put right what is not")


async def _set_quota(db: Connection, args: argparse.Namespace) -> None:
    path = path_of(args.path)
    wanted = None if args.bytes == "none" else quota.read(args.bytes)
    async with transaction(db):
        await quotas.limit(db, path, wanted)
    print(f"{path} has {'no quota' if wanted is None else f'a quota of {wanted} bytes'}")


async def _list_quotas(db: Connection, args: argparse.Namespace) -> None:
    found = await quotas.listing(db)
    if args.json:
        print_json([_words(report) for report in found])
        return
    print_table(
        ("PATH", "QUOTA", "USED", "RESERVED", "LEFT", "USED %"),
        [
            (
                _where(report),
                str(report.quota.bytes),
                str(report.quota.used),
                str(report.quota.reserved),
                str(report.quota.available),
                f"{100 * report.quota.used / report.quota.bytes:.0f}"
                if report.quota.bytes
                else "",
            )
            for report in found
        ],
    )


async def _check_quotas(db: Connection, args: argparse.Namespace) -> None:
    found = await quotas.check(db)
    wrong = [report for report in found if report.counted != report.quota.used]
    for report in wrong:
        print(f"{_where(report)}: {report.quota.used} noted, {report.counted} counted")
    print(f"{len(found)} quotas, {len(wrong)} wrong")
    if not args.repair:
        return
    for report in wrong:
        async with transaction(db):
            await quotas.repair(db, report.quota.id)
        print(f"repaired {_where(report)}")


def _where(report: quotas.Report) -> str:
    return "(in the trash)" if report.path is None else str(report.path)


def _words(report: quotas.Report) -> dict[str, object]:
    path = None if report.path is None else str(report.path)
    return {"path": path, **asdict(report.quota), "available": report.quota.available}


def path_of(text: str) -> NodePath:
    """Return the path that a person wrote, as it is: nothing in it is escaped."""
    parts = tuple(part for part in text.split("/") if part)
    if not text.startswith("/"):
        raise InvalidArgument(f"{text!r} is no path such as /home/alice")
    for part in parts:
        check_name(part, text)
    return NodePath(parts)


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    command: Command,
    help_: str,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=help_, description=help_)
    parser.set_defaults(command=command)
    return parser
