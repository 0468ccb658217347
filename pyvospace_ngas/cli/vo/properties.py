"""``set`` and ``share``: properties, and who may read and write."""

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from pyvospace_ngas import errors
from pyvospace_ngas.cli.vo import options
from pyvospace_ngas.cli.vo.patterns import expanded
from pyvospace_ngas.cli.vo.sentences import Usage
from pyvospace_ngas.cli.vo.session import Session, each
from pyvospace_ngas.cli.vo.tree import tell
from pyvospace_ngas.model.node import Detail
from pyvospace_ngas.model.standard import (
    CORE,
    GROUP_READ,
    GROUP_WRITE,
    IS_LOCKED,
    PUBLIC_READ,
    READ_ONLY,
    SETTABLE,
)
from pyvospace_ngas.model.uri import NodePath

if TYPE_CHECKING:
    from pyvospace_ngas.cli.vo.options import Parts

_SHORT: Final = {uri.removeprefix(CORE): uri for uri in (*SETTABLE, *READ_ONLY)} | {
    "islocked": IS_LOCKED
}


def add_commands(parts: "Parts") -> None:
    """Add the commands."""
    help_ = "set properties, such as title='First survey' or URI=VALUE"
    change = options.command(parts, "set", _set, help_)
    change.add_argument("path", metavar="PATH")
    change.add_argument("values", nargs="*", metavar="PROPERTY=VALUE", help="PROPERTY= is blank")
    change.add_argument("--delete", action="append", default=[], metavar="PROPERTY")
    share = options.command(parts, "share", _share, "say who may read and write")
    share.add_argument("paths", nargs="+", metavar="PATH")
    public = share.add_mutually_exclusive_group()
    public.add_argument("--public", action="store_const", const="true", help="all may read")
    public.add_argument("--private", action="store_const", const="false", dest="public")
    for verb in ("read", "write"):
        one = share.add_mutually_exclusive_group()
        help_ = f"exactly these groups may {verb} (repeatable)"
        one.add_argument(f"--{verb}", action="append", metavar="GROUP", help=help_)
        help_ = f"no group may {verb}"
        one.add_argument(f"--no-{verb}", action="store_const", const=[], dest=verb, help=help_)
    for parser in (change, share):
        help_ = "and all that is below, as a job of the server's"
        parser.add_argument("-R", "--recursive", action="store_true", help=help_)


def property_uri(name: str) -> str:
    """Return the URI of a property that is named in a word of the standard, or as it is."""
    return _SHORT.get(name, name)


async def _set(session: Session, args: argparse.Namespace) -> None:
    changes: dict[str, str | None] = {property_uri(name): None for name in args.delete}
    for text in args.values:
        # A URI may have an = of its own in its query; what is set hardly begins with a scheme.
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise Usage(f"{text!r} is no PROPERTY=VALUE")
        changes[property_uri(name)] = value
    if not changes:
        raise Usage("nothing to set: say PROPERTY=VALUE, or --delete PROPERTY")
    await _change(session, session.path(args.path), changes, args.recursive)


async def _share(session: Session, args: argparse.Namespace) -> None:
    changes: dict[str, str | None] = {}
    if args.public is not None:
        changes[PUBLIC_READ] = args.public
    for uri, groups in ((GROUP_READ, args.read), (GROUP_WRITE, args.write)):
        if groups is not None:
            changes[uri] = " ".join(groups)
    if not changes:
        raise Usage(
            "say whom to share with: --public, --read GROUP, --write GROUP, --private, ..."
        )

    async def share(text: str) -> None:
        path = session.path(text)
        await _change(session, path, changes, args.recursive)
        if args.public == "true" or args.read:
            await _warn_of_closed_doors(session, path, changes)

    await each(session, await expanded(session, args.paths), share)


async def _change(
    session: Session, path: NodePath, changes: Mapping[str, str | None], recursive: bool
) -> None:
    if recursive:
        tell(session, "set", path, await session.client.set_tree(path, changes))
    else:
        await session.client.set_properties(path, changes)
        session.screen.did("set", path)


async def _warn_of_closed_doors(
    session: Session, path: NodePath, changes: Mapping[str, str | None]
) -> None:
    """Name the folder around ``path`` that keeps out those whom it was opened to."""
    wanted = set((changes.get(GROUP_READ) or "").split())
    while path.parts:
        path = path.parent
        try:
            found = (await session.client.get(path, Detail.PROPERTIES)).properties
        except errors.PermissionDenied:
            return
        if found.get(PUBLIC_READ) == "true":
            continue
        let_in = set(f"{found.get(GROUP_READ, '')} {found.get(GROUP_WRITE, '')}".split())
        if changes.get(PUBLIC_READ) == "true" or not wanted <= let_in:
            session.screen.say(
                f"nobody gets there yet, as {path} is not open to them:"
                f" `ngas_vo share {'--public' if not wanted else '--read GROUP'} {path}` opens it"
            )
            return
