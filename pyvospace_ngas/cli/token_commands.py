"""The commands of ``ngas_admin`` that are about bearer tokens."""

import argparse
import sys
from typing import Final

from pyvospace_ngas.cli.tables import MINUTE, print_json, print_table
from pyvospace_ngas.db.connect import Connection
from pyvospace_ngas.model import token as model
from pyvospace_ngas.model.token import Token
from pyvospace_ngas.ops import tokens

HEAD: Final = ("ID", "SCOPE", "PATH", "CREATED", "EXPIRES", "USED", "MADE BY")


def add_commands(parts: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``token``."""
    help_ = "what programs log in with in place of a password"
    commands = parts.add_parser("token", help=help_, description=help_).add_subparsers(
        required=True, metavar="add|list|revoke"
    )
    add = commands.add_parser("add", help="make a token and print it, once")
    add.add_argument("name", metavar="USER")
    add.add_argument("--expires", metavar="TIME", help="30d (if not said), 12h, 4w, 1y, ...")
    add.add_argument("--scope", choices=("read", "write"), default="write")
    add.add_argument("--path", metavar="PATH", help="good for this node and what is below it")
    add.set_defaults(command=_add)
    listing = commands.add_parser("list", help="list the tokens of a user")
    listing.add_argument("name", metavar="USER")
    listing.add_argument("--json", action="store_true")
    listing.set_defaults(command=_list)
    revoke = commands.add_parser("revoke", help="end a token, and those that were made by it")
    revoke.add_argument("id", metavar="ID", help="as listed")
    revoke.set_defaults(command=_revoke)


async def _add(db: Connection, args: argparse.Namespace) -> None:
    scope, lifetime = model.scope(args.scope, args.path), model.lifetime(args.expires)
    token, secret = await tokens.create_for(db, args.name, scope, lifetime)
    # The token alone goes where a program reads it.
    print(
        f"token {token.id} of {args.name}: {token.scope}, until {token.expires:{MINUTE}} UTC;"
        " it is not shown again",
        file=sys.stderr,
    )
    print(secret)


async def _list(db: Connection, args: argparse.Namespace) -> None:
    found = await tokens.listed_of(db, args.name)
    if args.json:
        print_json([_record(token) for token in found])
        return
    print_table(HEAD, [[value or "" for value in _record(token).values()] for token in found])


def _record(token: Token) -> dict[str, str | None]:
    return {
        "id": token.id,
        "scope": "read" if token.scope.read_only else "write",
        "path": str(token.scope.path),
        "created": f"{token.created:{MINUTE}}",
        "expires": f"{token.expires:{MINUTE}}",
        "used": None if token.used is None else f"{token.used:{MINUTE}}",
        "parent": token.parent,
    }


async def _revoke(db: Connection, args: argparse.Namespace) -> None:
    await tokens.revoke_any(db, args.id)
    print(f"revoked {args.id}; servers may still take it for some seconds")
