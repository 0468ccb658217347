"""The command ``ngas_vo``: a space from the shell."""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from typing import Final

from pyvospace_ngas.cli.vo import (
    completion,
    listing,
    login,
    options,
    properties,
    quotas,
    sync,
    transfer,
    tree,
    work,
)
from pyvospace_ngas.cli.vo.screen import Screen
from pyvospace_ngas.cli.vo.sentences import Exit, code_of
from pyvospace_ngas.cli.vo.session import opened, screen_of
from pyvospace_ngas.errors import VOSpaceError

NOBODY_READS: Final = 141  # as a shell says it of what died of a closed pipe
_GROUPS: Final = (login, listing, transfer, sync, tree, properties, quotas, work, completion)
_EPILOG: Final = """\
Paths are /whole/paths, vos:/whole/paths, vos://AUTHORITY/escaped/paths, or below your home;
for ls, stat, get, cat, mv, cp, rm and share their last name may be a pattern ('survey/*.fits').
Credentials, the first of: --token-file, NGAS_VO_TOKEN, what `login` keeps, ~/.netrc; else none.

exit codes: 0 all done; 1 some of it failed, the list says what and why; 2 the command line or the
address is wrong; 3 not logged in, or no longer; 4 it does not exist; 5 not permitted or in the
way; 6 no room; 7 the service does not answer; 130 stopped. Where several things failed for
different reasons, or something was done: 1.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says; return the exit code."""
    args = parser().parse_args(argv)
    screen = screen_of(args)
    try:
        asyncio.run(_run(args, screen))
    except KeyboardInterrupt:
        screen.warn("stopped; the same command again goes on from here")
        return Exit.STOPPED
    except BrokenPipeError:
        # Nothing more can be printed, not even at the end of the process.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NOBODY_READS
    except (VOSpaceError, OSError) as error:
        screen.finish()
        screen.stop(error)
        return code_of(error)
    except Exception as error:  # people are not to see a traceback
        if os.environ.get("NGAS_VO_DEBUG"):
            raise
        screen.warn(
            f"a fault of this program ({type(error).__name__}): please report it, with what"
            " NGAS_VO_DEBUG=1 in the environment makes it print"
        )
        return Exit.SOME_FAILED
    return screen.finish()


async def _run(args: argparse.Namespace, screen: Screen) -> None:
    if "local" in args:
        await args.local(screen, args)
        return
    async with opened(args, screen) as session:
        await args.run(session, args)


def parser() -> argparse.ArgumentParser:
    """Return the whole command line."""
    whole = argparse.ArgumentParser(
        prog="ngas_vo",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[options.everywhere(None)],
    )
    parts = whole.add_subparsers(required=True, metavar="COMMAND", title="commands")
    for group in _GROUPS:
        group.add_commands(parts)
    return whole


if __name__ == "__main__":
    sys.exit(main())
