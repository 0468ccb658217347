"""The command ``ngas_client``: an NGAS node from the shell."""

import argparse
import asyncio
import os
import ssl
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pyvospace_ngas.cli.ngas import asking, credentials, fetching, options, sending
from pyvospace_ngas.cli.ngas.options import Session
from pyvospace_ngas.cli.ngas.peer import Peer, address
from pyvospace_ngas.cli.ngas.screen import Screen
from pyvospace_ngas.cli.ngas.sentences import Exit, Usage
from pyvospace_ngas.cli.vo.progress import Progress, is_terminal
from pyvospace_ngas.ngas.errors import NgasError
from pyvospace_ngas.ngas.wire import Patience, Pool

NOBODY_READS: Final = 141  # as a shell says it of what died of a closed pipe
_GROUPS: Final = (sending, fetching, asking)
_EPILOG: Final = """\
The node is --url or NGAS_URL. Credentials, the first of: --credentials FILE (one line
USER:PASSWORD, mode 0600), NGAS_USER with NGAS_PASSWORD; else none. A node with https must show
a certificate of an authority that this machine trusts, or that --cacert FILE holds.

exit codes: 0 all done; 1 some of it failed; 2 the command line or the address is wrong; 3 the
node wants other credentials; 4 it does not exist; 5 not permitted; 7 the node does not answer;
130 stopped.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says; return the exit code."""
    args = parser().parse_args(argv)
    drawn = is_terminal() and not args.quiet and not args.json
    screen = Screen(args.json, args.quiet, Progress(drawn))
    try:
        asyncio.run(_run(args, screen))
    except KeyboardInterrupt:
        screen.warn("stopped")
        return Exit.STOPPED
    except BrokenPipeError:
        # Nothing more can be printed, not even at the end of the process.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NOBODY_READS
    except (NgasError, OSError) as error:
        screen.fail(error)
    return screen.finish()


async def _run(args: argparse.Namespace, screen: Screen) -> None:
    url = args.url or os.environ.get("NGAS_URL")
    if not url:
        raise Usage("which node? give --url http://HOST:7777, or NGAS_URL")
    scheme, entry = address(url)
    tls = await asyncio.to_thread(_trusting, args.cacert) if scheme == "https" else None
    pool = Pool(Patience(ask=args.timeout, answer=args.timeout, idle=args.timeout), tls)
    try:
        await args.run(
            Session(Peer(pool, entry, credentials.find(args.credentials)), screen), args
        )
    finally:
        pool.close()


def _trusting(authorities: Path | None) -> ssl.SSLContext:
    """Trust the authorities in a file, or those that this machine trusts."""
    try:
        return ssl.create_default_context(cafile=authorities)
    except OSError as error:  # a file that holds no certificate, too
        raise Usage(f"--cacert {authorities} must hold certificates, in PEM: {error}") from error


def parser() -> argparse.ArgumentParser:
    """Return the whole command line."""
    whole = argparse.ArgumentParser(
        prog="ngas_client",
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
