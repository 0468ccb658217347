"""``put``, ``get`` and ``cat``: bytes into the space and out of it."""

import argparse
import asyncio
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Final

from pyvospace_ngas import errors
from pyvospace_ngas.cli.vo import options
from pyvospace_ngas.cli.vo.copies import followed, get_file, get_tree, put_one, put_tree
from pyvospace_ngas.cli.vo.paths import local
from pyvospace_ngas.cli.vo.patterns import expanded
from pyvospace_ngas.cli.vo.quotas import warn_when_short
from pyvospace_ngas.cli.vo.sentences import Usage
from pyvospace_ngas.cli.vo.session import Session, Work, each, side_by_side
from pyvospace_ngas.cli.vo.tree import exists
from pyvospace_ngas.model.node import NodeType
from pyvospace_ngas.model.uri import NodePath, check_name

if TYPE_CHECKING:
    from pyvospace_ngas.cli.vo.options import Parts

STDIN: Final = "-"
_CHUNK: Final = 256 << 10
_LAST_WORD: Final = 0.1  # seconds
WORDS: Final = {"put": "sent", "get": "fetched", "same": "the same already", "deleted": "deleted"}


def add_commands(parts: "Parts") -> None:
    """Add the commands."""
    for name, run, help_ in (
        ("put", _put, "send files and folders; what is there already is not sent again"),
        ("get", _get, "fetch files and folders; what was begun before is continued"),
    ):
        parser = options.command(parts, name, run, help_)
        there = "FOLDER" if name == "get" else "- for stdin"
        parser.add_argument("sources", nargs="+", metavar="SOURCE", help=f"and where to ({there})")
        parser.add_argument("-r", "--recursive", action="store_true", help="folders, too")
        options.side_by_side(parser)
    cat = options.command(parts, "cat", _cat, "write files to stdout")
    cat.add_argument("paths", nargs="+", metavar="PATH")


def _split(given: list[str], usual: str) -> tuple[list[str], str]:
    """Return the sources, and where they go: the last word, or what is usual for one alone."""
    return (given, usual) if len(given) == 1 else (given[:-1], given[-1])


async def _put(session: Session, args: argparse.Namespace) -> None:
    sources, goal = _split(args.sources, ".")
    place = session.path(goal)
    inside = await exists(session, place) is NodeType.CONTAINER
    if not inside and (len(sources) > 1 or goal.endswith("/")):
        raise Usage(f"{place} is no folder to put something into: `ngas_vo mkdir -p` makes one")

    async def things() -> AsyncGenerator[Work, None]:
        for text in sources:
            async with aclosing(_sent(session, text, place, inside, args)) as works:
                async for work in works:
                    yield work

    await side_by_side(session, things(), args.jobs, counted=True)
    session.screen.summary(WORDS)
    await warn_when_short(session, place)


async def _sent(
    session: Session, text: str, place: NodePath, inside: bool, args: argparse.Namespace
) -> AsyncGenerator[Work, None]:
    """Give the work of sending one of the sources."""
    if text == STDIN:
        if inside:
            raise Usage(f"say what stdin shall be called in {place}")
        yield Work("stdin", partial(_put_stdin, session, place))
        return
    source = local(text)
    name = source.name or source.resolve().name
    check_name(name, text)
    there = place / name if inside else place
    if not source.is_dir():
        yield Work(text, partial(put_one, session, source, there))
    elif not args.recursive:
        raise Usage(f"{text} is a folder: `ngas_vo put -r` sends it")
    else:
        async with aclosing(put_tree(session, source, there)) as works:
            async for work in works:
                yield work


async def _put_stdin(session: Session, place: NodePath) -> None:
    chunks = _stdin(sys.stdin.fileno())
    stored = await session.client.push(place, chunks, report=session.screen.progress.add)
    session.screen.did("put", place, bytes=stored.length, md5=stored.md5)


async def _stdin(descriptor: int) -> AsyncIterator[bytes]:
    while True:
        await _readable(descriptor)
        chunk = await asyncio.to_thread(os.read, descriptor, _CHUNK)
        if not chunk:
            break
        yield chunk
    # Ctrl-C ends the program before the pipe as well: what came is not all, and we are told, too.
    await asyncio.sleep(_LAST_WORD)


async def _readable(descriptor: int) -> None:
    """Wait until there is something to read: no thread can be called back from reading."""
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    try:
        loop.add_reader(descriptor, ready.set)
    except PermissionError:  # a file, which always is
        return
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)


async def _get(session: Session, args: argparse.Namespace) -> None:
    given, goal = _split(args.sources, ".")
    sources, place = await expanded(session, given), local(goal)
    inside = place.is_dir()
    if not inside and (len(sources) > 1 or goal.endswith("/")):
        raise Usage(f"{goal} is no folder to put something into: `mkdir` makes one")

    async def things() -> AsyncGenerator[Work, None]:
        for text in sources:
            path = session.path(text)
            here = place / path.name if inside else place
            try:
                node = await followed(session, path)
            except (errors.NodeNotFound, errors.PermissionDenied) as error:
                session.screen.fail(text, error)
                continue
            if node.type is not NodeType.CONTAINER:
                yield Work(text, partial(get_file, session, node, here))
            elif not args.recursive:
                raise Usage(f"{path} is a folder: `ngas_vo get -r` fetches it")
            else:
                async with aclosing(get_tree(session, node.path, here)) as works:
                    async for work in works:
                        yield work

    await side_by_side(session, things(), args.jobs, counted=True)
    session.screen.summary(WORDS)


async def _cat(session: Session, args: argparse.Namespace) -> None:
    async def show(text: str) -> None:
        node = await followed(session, session.path(text))
        if node.type is NodeType.CONTAINER:
            raise errors.InvalidArgument(f"{node.path} is a folder, and has no bytes of its own")
        async with aclosing(session.client.pull(node.path)) as chunks:
            async for chunk in chunks:
                await asyncio.to_thread(sys.stdout.buffer.write, chunk)
        sys.stdout.buffer.flush()

    await each(session, await expanded(session, args.paths), show)
