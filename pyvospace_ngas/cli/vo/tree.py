"""``mkdir``, ``mv``, ``cp``, ``rm`` and ``ln``: the tree itself, without bytes."""

import argparse
from collections.abc import AsyncGenerator
from functools import partial
from typing import TYPE_CHECKING

from pyvospace_ngas import errors
from pyvospace_ngas.cli.vo import options
from pyvospace_ngas.cli.vo.paths import is_remote
from pyvospace_ngas.cli.vo.patterns import expanded
from pyvospace_ngas.cli.vo.sentences import Usage
from pyvospace_ngas.cli.vo.session import Session, Work, each, side_by_side
from pyvospace_ngas.client.trees import Outcome
from pyvospace_ngas.errors import VOSpaceError
from pyvospace_ngas.model.node import Detail, NodeType
from pyvospace_ngas.model.uri import NodePath

if TYPE_CHECKING:
    from pyvospace_ngas.cli.vo.options import Parts


def add_commands(parts: "Parts") -> None:
    """Add the commands."""
    mkdir = options.command(parts, "mkdir", _mkdir, "make folders")
    mkdir.add_argument("paths", nargs="+", metavar="PATH")
    mkdir.add_argument("-p", "--parents", action="store_true", help="and those around them")
    for name, help_ in (("mv", "move or rename"), ("cp", "copy, whole trees too, on the server")):
        parser = options.command(parts, name, _relocate, help_)
        parser.add_argument("sources", nargs="+", metavar="SOURCE")
        parser.add_argument("destination", metavar="DESTINATION")
        parser.add_argument("-f", "--force", action="store_true", help="replace a file")
        parser.set_defaults(keep=name == "cp")
        options.side_by_side(parser)
    remove = options.command(parts, "rm", _rm, "delete; `trash` brings back for some days")
    remove.add_argument("paths", nargs="+", metavar="PATH")
    remove.add_argument("-r", "--recursive", action="store_true", help="folders, with all in them")
    options.side_by_side(remove)
    link = options.command(parts, "ln", _ln, "make a link")
    link.add_argument("target", metavar="TARGET", help="a path, or any URI")
    link.add_argument("path", metavar="LINK")


async def exists(session: Session, path: NodePath) -> NodeType | None:
    """Return what is at ``path``, ``None`` for nothing."""
    try:
        return (await session.client.get(path, Detail.MIN)).type
    except (errors.NodeNotFound, errors.ContainerNotFound):
        return None


async def make_folder(session: Session, path: NodePath) -> bool:
    """Make sure that there is a folder; tell whether it is new."""
    try:
        await session.client.create(path)
    except (errors.DuplicateNode, errors.PermissionDenied):
        # Who may not make it may yet use the one that is there.
        if await exists(session, path) is not NodeType.CONTAINER:
            raise
        return False
    return True


async def make_folders(session: Session, path: NodePath) -> bool:
    """Make sure that there is a folder, and those around it; tell whether it is new."""
    try:
        return await make_folder(session, path)
    except (errors.ContainerNotFound, errors.NodeNotFound):
        if not path.parts:
            raise
    await make_folders(session, path.parent)
    return await make_folder(session, path)


async def _mkdir(session: Session, args: argparse.Namespace) -> None:
    async def make(text: str) -> None:
        path = session.path(text)
        if not args.parents:
            await session.client.create(path)
        elif not await make_folders(session, path):
            return
        session.screen.did("made", path)

    await each(session, args.paths, make)


async def _relocate(session: Session, args: argparse.Namespace) -> None:
    destination, sources = session.path(args.destination), await expanded(session, args.sources)
    inside = await exists(session, destination) is NodeType.CONTAINER
    if not inside and (len(sources) > 1 or args.destination.endswith("/")):
        raise Usage(f"{destination} is no folder to put something into: `ngas_vo mkdir` makes one")

    async def relocate(source: NodePath) -> None:
        act = session.client.copy if args.keep else session.client.move
        goal = destination / source.name if inside else destination
        await act(source, goal, overwrite=args.force)
        session.screen.did("copied" if args.keep else "moved", goal, source=str(source))

    async def things() -> AsyncGenerator[Work, None]:
        for text in sources:
            yield Work(text, partial(relocate, session.path(text)))

    await side_by_side(session, things(), args.jobs, counted=True)


async def _rm(session: Session, args: argparse.Namespace) -> None:
    async def remove(path: NodePath) -> None:
        type_ = (await session.client.get(path, Detail.MIN)).type
        if type_ is not NodeType.CONTAINER:
            await session.client.delete(path)
            session.screen.did("deleted", path)
        elif args.recursive:
            outcome = await session.client.delete_tree(path)
            tell(session, "deleted", path, outcome)
        else:
            raise errors.InvalidArgument(f"{path} is a folder: `ngas_vo rm -r` deletes it")

    async def things() -> AsyncGenerator[Work, None]:
        for text in await expanded(session, args.paths):
            yield Work(text, partial(remove, session.path(text)))

    await side_by_side(session, things(), args.jobs, counted=True)


def tell(session: Session, action: str, path: NodePath, outcome: Outcome) -> None:
    """Say how a job over a tree ended."""
    for uri, reason in outcome.failures:
        session.screen.refused(_path_of(session, uri), reason)
    for _ in range(outcome.failed - len(outcome.failures)):
        session.screen.failed += 1
    if outcome.done:
        session.screen.did(action, path, nodes=outcome.done, failed=outcome.failed)


def _path_of(session: Session, uri: str) -> str:
    try:
        return str(session.space.parse(uri))
    except VOSpaceError:
        return uri


async def _ln(session: Session, args: argparse.Namespace) -> None:
    target = args.target
    name = target.rstrip("/").rpartition("/")[2]
    if ":" not in target or is_remote(target):
        node = session.path(target)
        target, name = session.space.uri(node), node.name
    path = session.path(args.path)
    if await exists(session, path) is NodeType.CONTAINER:
        path = path / name
    await session.client.create(path, NodeType.LINK, target=target)
    session.screen.did("linked", path, target=target)
