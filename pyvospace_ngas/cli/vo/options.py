"""What the groups of commands have in common on the command line."""

import argparse
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from pyvospace_ngas.cli.vo.screen import Screen
from pyvospace_ngas.cli.vo.session import Session

if TYPE_CHECKING:
    Parts = argparse._SubParsersAction[argparse.ArgumentParser]

Command = Callable[[Session, argparse.Namespace], Awaitable[None]]
Local = Callable[[Screen, argparse.Namespace], Awaitable[None]]  # opens what it needs itself

MOST_JOBS: Final = 64


def everywhere(default: object) -> argparse.ArgumentParser:
    """Return the options that are good before and after the command's name."""
    parser = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    parser.add_argument("--url", metavar="URL", help="the service, such as http://HOST/vospace")
    parser.add_argument("--token-file", metavar="FILE", help="log in with the token in FILE")
    parser.add_argument("--json", action="store_true", help="one JSON document a line")
    parser.add_argument("-q", "--quiet", action="store_true", help="say only what failed")
    if default is not argparse.SUPPRESS:
        parser.set_defaults(url=None, token_file=None, json=False, quiet=False)
    return parser


def command(parts: "Parts", name: str, run: Command, help_: str) -> argparse.ArgumentParser:
    """Add a command that needs the space."""
    parser = _parser(parts, name, help_)
    parser.set_defaults(run=run)
    return parser


def local(parts: "Parts", name: str, run: Local, help_: str) -> argparse.ArgumentParser:
    """Add a command that can do without."""
    parser = _parser(parts, name, help_)
    parser.set_defaults(local=run)
    return parser


def group(parts: "Parts", name: str, run: Command, help_: str, **usual: object) -> "Parts":
    """Add a word that commands stand behind; alone it means ``run``, with ``usual`` arguments."""
    parser = _parser(parts, name, help_)
    parser.set_defaults(run=run, **usual)
    return parser.add_subparsers(metavar="COMMAND")


def side_by_side(parser: argparse.ArgumentParser) -> None:
    """Add -j."""
    parser.add_argument(
        "-j", type=_jobs, default=4, dest="jobs", metavar="N", help="so many at a time (4)"
    )


def _parser(parts: "Parts", name: str, help_: str) -> argparse.ArgumentParser:
    parents = [everywhere(argparse.SUPPRESS)]
    return parts.add_parser(name, help=help_, description=help_, parents=parents)


def _jobs(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MOST_JOBS):
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to {MOST_JOBS}")
    return int(text)
