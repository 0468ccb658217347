"""What the commands have in common on the command line, and what each of them gets."""

import argparse
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pyvospace_ngas.cli.ngas.peer import Peer
from pyvospace_ngas.cli.ngas.screen import Screen

if TYPE_CHECKING:
    Parts = argparse._SubParsersAction[argparse.ArgumentParser]
else:
    Parts = object

MOST_JOBS: Final = 16  # a real node serves about 20 requests at a time
ANSWER_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Session:
    """What every command gets."""

    peer: Peer
    screen: Screen


Command = Callable[[Session, argparse.Namespace], Awaitable[None]]


def everywhere(default: object) -> argparse.ArgumentParser:
    """Return the options that are good before and after the command's name."""
    parser = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    add = parser.add_argument
    add("--url", metavar="URL", help="the node, such as http://HOST:7777 (or NGAS_URL)")
    add("--credentials", type=Path, metavar="FILE", help="one line USER:PASSWORD, mode 0600")
    add("--cacert", type=Path, metavar="FILE", help="authorities to trust, PEM; for https")
    add("--timeout", type=_seconds, metavar="S", help="seconds for an answer (60)")
    add("--json", action="store_true", help="one JSON document a line")
    add("-q", "--quiet", action="store_true", help="say only what failed")
    if default is not argparse.SUPPRESS:
        parser.set_defaults(
            url=None,
            credentials=None,
            cacert=None,
            timeout=ANSWER_SECONDS,
            json=False,
            quiet=False,
        )
    return parser


def command(parts: Parts, name: str, run: Command, help_: str) -> argparse.ArgumentParser:
    """Add a command."""
    parents = [everywhere(argparse.SUPPRESS)]
    parser = parts.add_parser(name, help=help_, description=help_, parents=parents)
    parser.set_defaults(run=run)
    return parser


def side_by_side(parser: argparse.ArgumentParser) -> None:
    """Add -j."""
    parser.add_argument(
        "-j", type=_jobs, default=4, dest="jobs", metavar="N", help="so many at a time (4)"
    )


def pair(text: str) -> tuple[str, str]:
    """Read ``key=value``."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is no key=value")
    return key, value


def _jobs(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MOST_JOBS):
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to {MOST_JOBS}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not (value > 0 and math.isfinite(value)):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return value
