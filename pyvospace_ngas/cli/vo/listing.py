"""``ls`` and ``stat``: what is there."""

import argparse
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from pyvospace_ngas.cli.vo import options
from pyvospace_ngas.cli.vo.patterns import expanded
from pyvospace_ngas.cli.vo.progress import human
from pyvospace_ngas.cli.vo.session import Session, each
from pyvospace_ngas.client.vospace import BY_NAME
from pyvospace_ngas.errors import VOSpaceError
from pyvospace_ngas.model import standard
from pyvospace_ngas.model.documents import NodeDocument
from pyvospace_ngas.model.node import Detail, NodeType, Order, Sort
from pyvospace_ngas.model.uri import NodePath

if TYPE_CHECKING:
    from pyvospace_ngas.cli.vo.options import Parts

SORTS: Final = {"name": Sort.NAME, "size": Sort.LENGTH, "date": Sort.DATE}
_LETTERS: Final = {NodeType.CONTAINER: "d", NodeType.LINK: "l"}


def add_commands(parts: "Parts") -> None:
    """Add ``ls`` and ``stat``."""
    ls = options.command(parts, "ls", _ls, "list folders, your home if none is named")
    ls.add_argument("paths", nargs="*", default=["."], metavar="PATH")
    ls.add_argument("-l", action="store_true", dest="long", help="with owner, size and date")
    ls.add_argument("-R", "--recursive", action="store_true", help="and all that is below")
    ls.add_argument("-H", "--human", action="store_true", help="sizes as people say them")
    ls.add_argument("--sort", choices=SORTS, default="name")
    ls.add_argument("--order", choices=("asc", "desc"), default="asc")
    stat = options.command(parts, "stat", _stat, "show all that is known of a node")
    stat.add_argument("paths", nargs="+", metavar="PATH")


async def walk(
    session: Session, top: NodePath, order: Order = BY_NAME
) -> AsyncGenerator[NodeDocument, None]:
    """Give all that is below ``top``, each folder before what it holds.

    A folder below that cannot be listed is remembered as a failure.
    """
    async with aclosing(session.client.list(top, order=order)) as children:
        async for child in children:
            yield child
            if child.type is not NodeType.CONTAINER:
                continue
            try:
                async with aclosing(walk(session, child.path, order)) as below:
                    async for node in below:
                        yield node
            except VOSpaceError as error:
                session.screen.fail(child.path, error)


def record(node: NodeDocument) -> dict[str, object]:
    """Return a node as the JSON of the commands has it."""
    return {
        "path": str(node.path),
        "uri": node.uri,
        "type": node.type.qname,
        "length": node.length,
        "md5": node.md5,
        "modified": node.modified,
        "owner": node.properties.get(standard.CREATOR),
        "target": node.target,
    }


async def _ls(session: Session, args: argparse.Namespace) -> None:
    order = Order(SORTS[args.sort], args.order == "desc")
    paths = await expanded(session, args.paths)

    async def list_one(text: str) -> None:
        path = session.path(text)
        top = await session.client.get(path, Detail.PROPERTIES)
        if top.type is not NodeType.CONTAINER:
            _show(session, args, top, str(path))
            return
        if len(paths) > 1 and not args.json and not args.recursive:
            session.screen.print(f"{path}:")
        children = (
            walk(session, path, order)
            if args.recursive
            else session.client.list(path, order=order)
        )
        async with aclosing(children):
            async for child in children:
                name = str(child.path) if args.recursive else child.path.name
                _show(session, args, child, name)

    await each(session, paths, list_one)


def _show(session: Session, args: argparse.Namespace, node: NodeDocument, name: str) -> None:
    if args.json:
        session.screen.record(record(node))
        return
    if node.type is NodeType.CONTAINER and sys.stdout.isatty():
        name += "/"
    if not args.long:
        session.screen.print(name)
        return
    size = human(node.length or 0) if args.human else str(node.length or 0)
    moment = "" if node.modified is None else f"{node.modified:%Y-%m-%d %H:%M}"
    owner = node.properties.get(standard.CREATOR, "")
    target = "" if node.target is None else f" -> {node.target}"
    letter = _LETTERS.get(node.type, "-")
    line = f"{letter} {sharing(node):7} {owner:10} {size:>12} {moment:16} {name}{target}"
    session.screen.print(line)


def sharing(node: NodeDocument) -> str:
    """Return in a word who else may read: everybody, groups, or nobody."""
    if node.properties.get(standard.PUBLIC_READ) == "true":
        return "public"
    groups = (standard.GROUP_READ, standard.GROUP_WRITE)
    return "groups" if any(node.properties.get(uri, "").strip() for uri in groups) else "private"


async def _stat(session: Session, args: argparse.Namespace) -> None:
    async def show_one(text: str) -> None:
        node = await session.client.get(session.path(text))
        if args.json:
            session.screen.record(
                record(node) | {"busy": node.busy, "properties": dict(node.properties)}
            )
            return
        session.screen.print(f"{node.path}  {node.type.qname}")
        if node.target is not None:
            session.screen.print(f"  target  {node.target}")
        if node.busy:
            session.screen.print("  busy: somebody writes it right now")
        for uri, value in sorted(node.properties.items()):
            session.screen.print(f"  {uri.removeprefix(standard.CORE)}  {value}")

    await each(session, await expanded(session, args.paths), show_one)
