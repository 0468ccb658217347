"""``sync``: making a folder here and one in the space the same, one way or the other."""

import argparse
import asyncio
import os
import shutil
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pyvospace_ngas.cli.vo import options
from pyvospace_ngas.cli.vo.copies import get_tree, is_part, put_tree
from pyvospace_ngas.cli.vo.login import ask
from pyvospace_ngas.cli.vo.paths import is_remote
from pyvospace_ngas.cli.vo.quotas import warn_when_short
from pyvospace_ngas.cli.vo.sentences import Usage
from pyvospace_ngas.cli.vo.session import Session, Work, side_by_side
from pyvospace_ngas.cli.vo.transfer import WORDS
from pyvospace_ngas.cli.vo.tree import exists, make_folders, tell
from pyvospace_ngas.model.node import Detail, NodeType
from pyvospace_ngas.model.uri import NodePath

if TYPE_CHECKING:
    from pyvospace_ngas.cli.vo.options import Parts

MOST_SHOWN: Final = 20


def add_commands(parts: "Parts") -> None:
    """Add ``sync``."""
    help_ = "make a folder like another, here and in the space (that one begins with vos:)"
    sync = options.command(parts, "sync", _sync, help_)
    sync.add_argument("source", metavar="SOURCE")
    sync.add_argument("destination", metavar="DESTINATION")
    sync.add_argument("--delete", action="store_true", help="what is not in the source")
    sync.add_argument("--yes", action="store_true", help="delete without asking")
    sync.add_argument("--dry-run", action="store_true", help="say what would be done")
    options.side_by_side(sync)


async def _sync(session: Session, args: argparse.Namespace) -> None:
    if is_remote(args.source) == is_remote(args.destination):
        raise Usage("one of the two folders begins with vos:, such as vos:/home/alice/data")
    if is_remote(args.destination):
        await _up(session, args, Path(args.source), session.path(args.destination))
    else:
        await _down(session, args, session.path(args.source), Path(args.destination))


async def _up(session: Session, args: argparse.Namespace, here: Path, there: NodePath) -> None:
    if not await asyncio.to_thread(here.is_dir):
        raise Usage(f"{here} is no folder; `ngas_vo put` sends files")
    if not args.dry_run:
        await make_folders(session, there.parent)
    things = put_tree(session, here, there, dry=args.dry_run)
    await side_by_side(session, things, args.jobs, counted=True)
    if args.delete and await exists(session, there) is NodeType.CONTAINER:
        await _delete(
            session, args, [str(path) async for path in _gone_here(session, here, there)]
        )
    session.screen.summary(WORDS)
    if not args.dry_run:
        await warn_when_short(session, there)


async def _down(session: Session, args: argparse.Namespace, there: NodePath, here: Path) -> None:
    if (await session.client.get(there, Detail.MIN)).type is not NodeType.CONTAINER:
        raise Usage(f"{there} is no folder; `ngas_vo get` fetches files")
    if not args.dry_run:
        await asyncio.to_thread(here.mkdir, parents=True, exist_ok=True)
    things = get_tree(session, there, here, dry=args.dry_run)
    await side_by_side(session, things, args.jobs, counted=True)
    if args.delete and await asyncio.to_thread(here.is_dir):
        await _delete(
            session, args, [str(path) async for path in _gone_there(session, there, here)]
        )
    session.screen.summary(WORDS)


async def _gone_here(
    session: Session, here: Path, there: NodePath
) -> AsyncGenerator[NodePath, None]:
    """Give the nodes that stand for nothing here; a folder instead of all that it holds."""
    async with aclosing(session.client.list(there)) as children:
        async for child in children:
            place = here / child.path.name
            if not await asyncio.to_thread(os.path.lexists, place):
                yield child.path
            elif child.type is NodeType.CONTAINER and _is_folder(place):
                async with aclosing(_gone_here(session, place, child.path)) as below:
                    async for path in below:
                        yield path


async def _gone_there(session: Session, there: NodePath, here: Path) -> AsyncGenerator[Path, None]:
    """Give the files here that are no nodes; a folder instead of all that it holds."""
    left = set(await asyncio.to_thread(os.listdir, here))
    async with aclosing(session.client.list(there)) as children:
        async for child in children:
            name = child.path.name
            left.discard(name)
            place = here / name
            if child.type is NodeType.CONTAINER and _is_folder(place):
                async with aclosing(_gone_there(session, child.path, place)) as below:
                    async for path in below:
                        yield path
    for name in sorted(left):
        if not is_part(name):
            yield here / name


async def _delete(session: Session, args: argparse.Namespace, gone: list[str]) -> None:
    screen = session.screen
    if args.dry_run:
        for path in gone:
            screen.did("delete", path, dry_run=True)
        return
    if gone and screen.failed:
        screen.warn(f"{len(gone)} are not deleted, as something failed before")
    elif gone and (args.yes or _agreed(session, gone)):
        remove = _delete_there if is_remote(args.destination) else _delete_here

        async def things() -> AsyncGenerator[Work, None]:
            for path in gone:
                yield Work(path, partial(remove, session, path))

        await side_by_side(session, things(), args.jobs)


def _agreed(session: Session, gone: list[str]) -> bool:
    """Ask before anything is deleted."""
    for path in gone[:MOST_SHOWN]:
        session.screen.warn(f"to be deleted: {path}")
    if ask(f"delete these {len(gone)} (--yes)? [y/N] ").lower() in ("y", "yes"):
        return True
    session.screen.warn("nothing was deleted")
    return False


async def _delete_there(session: Session, path: str) -> None:
    node = session.path(path)
    if (await session.client.get(node, Detail.MIN)).type is NodeType.CONTAINER:
        tell(session, "deleted", node, await session.client.delete_tree(node))
    else:
        await session.client.delete(node)
        session.screen.did("deleted", node)


async def _delete_here(session: Session, text: str) -> None:
    await asyncio.to_thread(_remove, Path(text))
    session.screen.did("deleted", text)


def _remove(path: Path) -> None:
    if _is_folder(path):
        shutil.rmtree(path)
    else:
        path.unlink()


def _is_folder(path: Path) -> bool:
    """Tell whether there is a folder, and not just a link to one."""
    return path.is_dir() and not path.is_symlink()
