"""``status``, ``query``, ``clone``, ``subscribe``, ``unsubscribe``, and any other command."""

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Final

from pyvospace_ngas.cli.ngas.options import Parts, Session, command, pair
from pyvospace_ngas.cli.ngas.peer import understood
from pyvospace_ngas.ngas.errors import NgasError, Refused
from pyvospace_ngas.ngas.status import Answer
from pyvospace_ngas.ngas.wire import READ, Connection, Head

LONGEST_PAUSE: Final = 5.0
STATUS_OPTIONS: Final = ("file_id", "file_version", "disk_id", "request_id")
CLONE_OPTIONS: Final = ("file_id", "file_version", "disk_id", "target_disk_id")
SUBSCRIBE_OPTIONS: Final = (
    *("url", "subscr_id", "priority", "start_date"),
    *("filter_plug_in", "plug_in_pars", "concurrent_threads"),
)


def add_commands(parts: Parts) -> None:
    """Add the commands."""
    status = command(parts, "status", _status, "show the node, a file, a disk or a request")
    _add_options(status, STATUS_OPTIONS)
    query = command(parts, "query", _query, "ask the node's index: files_list, disks_list, ...")
    query.add_argument("name", metavar="NAME")
    query.add_argument("--format", choices=("list", "text", "json"), default="list")
    query.add_argument("parameters", nargs="*", type=pair, metavar="KEY=VALUE")
    clone = command(parts, "clone", _clone, "make another copy of files")
    _add_options(clone, CLONE_OPTIONS)
    clone.add_argument(
        "--async", action="store_true", dest="detached", help="do not wait; show the request's id"
    )
    clone.add_argument("--wait", action="store_true", help="as a job, however long it takes")
    subscribe = command(parts, "subscribe", _subscribe, "have new files sent to an address")
    subscribe.add_argument("address", metavar="URL", help="such as http://HOST:7777/QARCHIVE")
    _add_options(subscribe, SUBSCRIBE_OPTIONS[1:])
    unsubscribe = command(parts, "unsubscribe", _unsubscribe, "end a subscription")
    unsubscribe.add_argument("subscr_id", metavar="ID")
    other = command(parts, "command", _command, "any command, as NGAS knows it")
    other.add_argument("name", metavar="NAME", help="such as CHECKFILE")
    other.add_argument("parameters", nargs="*", type=pair, metavar="KEY=VALUE")
    other.add_argument("--body", type=Path, metavar="FILE", help="send this along (POST)")


def _add_options(parser: argparse.ArgumentParser, names: tuple[str, ...]) -> None:
    for name in names:
        parser.add_argument(f"--{name.replace('_', '-')}", metavar="X")


def _given(args: argparse.Namespace, names: tuple[str, ...]) -> dict[str, str]:
    values = vars(args)
    return {name: values[name] for name in names if values.get(name) is not None and name != "url"}


async def _status(session: Session, args: argparse.Namespace) -> None:
    session.screen.answer(await session.peer.ask("STATUS", _given(args, STATUS_OPTIONS)))


async def _query(session: Session, args: argparse.Namespace) -> None:
    form = "json" if session.screen.json else args.format
    await _show(session, "QUERY", {**dict(args.parameters), "query": args.name, "format": form})


async def _clone(session: Session, args: argparse.Namespace) -> None:
    parameters = _given(args, CLONE_OPTIONS)
    if args.detached or args.wait:
        parameters["async"] = "1"
    answer = await session.peer.ask("CLONE", parameters, repeatable=False)
    if args.wait:
        answer = await _finished(session, answer)
    session.screen.answer(answer)


async def _finished(session: Session, accepted: Answer) -> Answer:
    """Ask for a job until it is done."""
    parameters, pause = {"request_id": accepted.status.request_id}, 0.05
    while True:
        answer = await session.peer.ask("STATUS", parameters)
        if answer.status.completion_time:
            return _succeeded(answer)
        await asyncio.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE)


def _succeeded(answer: Answer) -> Answer:
    status = answer.status
    if status.actual_count and status.expected_count not in ("", status.actual_count):
        done = f"{status.actual_count} of {status.expected_count} files were cloned"
        raise Refused(f"{done}; the node's log says why not all")
    return answer


async def _subscribe(session: Session, args: argparse.Namespace) -> None:
    parameters = {"url": args.address, **_given(args, SUBSCRIBE_OPTIONS)}
    answer = await session.peer.ask("SUBSCRIBE", parameters, repeatable=False)
    session.screen.answer(answer)


async def _unsubscribe(session: Session, args: argparse.Namespace) -> None:
    parameters = {"subscr_id": args.subscr_id}
    answer = await session.peer.ask("UNSUBSCRIBE", parameters, repeatable=False)
    session.screen.answer(answer)


async def _command(session: Session, args: argparse.Namespace) -> None:
    if args.body is None:
        await _show(session, args.name, dict(args.parameters))
        return
    length = args.body.stat().st_size
    fields = {"Content-Type": "application/octet-stream"}
    answer = await session.peer.push(
        args.name, dict(args.parameters), fields, length, _pieces(args.body)
    )
    session.screen.answer(answer)


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while piece := await asyncio.to_thread(file.read, READ):
            yield piece


async def _show(session: Session, name: str, parameters: Mapping[str, str]) -> None:
    """Print what a command answers: a status document as such, anything else as it comes."""
    async with session.peer.opened(name, parameters) as (connection, head):
        if head.status not in (200, 206) or _is_document(head):
            body = await connection.document(head)
            try:
                session.screen.answer(understood(connection.entry, head, body))
            except NgasError:
                if head.status == 200 and b"<NgamsStatus" not in body:
                    _print(body)
                    return
                raise
            return
        await _print_all(connection, head)


def _is_document(head: Head) -> bool:
    return head.fields.get("content-type", "").partition(";")[0].strip() == "text/xml"


async def _print_all(connection: Connection, head: Head) -> None:
    left = head.length
    while left != 0:
        piece = await connection.read(READ if left is None else min(READ, left))
        if not piece:
            break
        _print(piece)
        left = None if left is None else left - len(piece)
    if left:
        raise Refused(f"{connection.entry.address} closed in the middle of its answer")


def _print(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
