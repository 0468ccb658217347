"""What the server commands share: arguments, log, TLS, sockets, running until a signal."""

import argparse
import asyncio
import errno
import logging
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import asyncpg
from aiohttp import web

from pyvospace_ngas import config
from pyvospace_ngas.cli.process import allow_many_files, spare_what_stays
from pyvospace_ngas.config import Config, ConfigError, Listener
from pyvospace_ngas.db.migrate import SchemaTooNew
from pyvospace_ngas.errors import VOSpaceError

log = logging.getLogger(__name__)

FINISH_SECONDS: Final = 10.0  # for requests under way when the server is told to stop
BACKLOG: Final = 1024
_NOT_HERE: Final = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


class CannotServe(Exception):
    """The server cannot be reached where it should be; the text says what to do."""


def main(
    argv: Sequence[str] | None,
    section: str,
    create_app: Callable[[Config], web.Application],
    listener: Callable[[Config], Listener],
) -> int:
    """Run the server of the ini file's ``section`` until a signal; return the exit code."""
    name = f"ngas_{section.lower()}"
    args = _parser(name, section).parse_args(argv)
    set_up_log(args.verbose)
    allow_many_files()
    try:
        settings = _overridden(config.load(args.cfg), args)
        warn_of_sample_key(settings)
        listen = listener(settings)
        sockets = bind(f"[{section}] port", listen.host, listen.port)
        asyncio.run(serve(create_app(settings), sockets, listen, section))
    except (ConfigError, CannotServe, SchemaTooNew, VOSpaceError, OSError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    except asyncpg.PostgresError as error:
        print(f"{name}: the database of the dsn refuses: {error}", file=sys.stderr)
        return 1
    return 0


def _parser(name: str, section: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=name, description=f"Run the {section.lower()} server.")
    parser.add_argument("--cfg", required=True, metavar="FILE", help="the ini file")
    parser.add_argument("-v", "--verbose", action="store_true", help="log more")
    if section == "Storage":
        parser.add_argument(
            "--staging-dir", type=Path, metavar="DIR", help="in place of the configuration's"
        )
    return parser


def _overridden(settings: Config, args: argparse.Namespace) -> Config:
    """Return the configuration with what the command line says otherwise."""
    staging: Path | None = getattr(args, "staging_dir", None)
    if staging is None:
        return settings
    return replace(settings, storage=replace(settings.storage, staging_dir=staging.absolute()))


def set_up_log(verbose: bool) -> None:
    """Log to standard error, a line for each event."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        force=True,
    )
    # Its debug lines carry request URLs, and a signed endpoint's URL is a key.
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    logging.getLogger("asyncio").setLevel(logging.WARNING)


def warn_of_sample_key(settings: Config) -> None:
    """Say that the sample's secret_key, which is public, keeps the servers on loopback."""
    if config.loopback_only(settings.space):
        log.warning(
            "[Space] secret_key is the sample's, which everybody knows: listening on this machine"
            " only. Anybody with an account here can forge a session: put in a key of your own."
        )


def tls(section: str, listener: Listener) -> ssl.SSLContext | None:
    """Return the TLS context that ``use_ssl`` asks for, None for plain HTTP."""
    if not listener.use_ssl or listener.cert_file is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(listener.cert_file, listener.key_file, password=_no_password)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"[{section}] cert_file and key_file: {error.strerror or error}"
            f" ({listener.cert_file}, {listener.key_file})"
        ) from error
    return context


def _no_password() -> str:
    raise ConfigError("the key in key_file is encrypted: a server needs it without a password")


def bind(key: str, host: str, port: int) -> list[socket.socket]:
    """Return bound sockets for every address of ``host``.

    Raises `CannotServe` with ``key``, the one of the configuration that names the port.
    """
    where = f"{key} = {port} at {host}"
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise CannotServe(f"{where}: the host is unknown ({error.strerror})") from error
    sockets: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            if (bound := _bound(family, kind, protocol, address)) is not None:
                sockets.append(bound)
    except OSError as error:
        for made in sockets:
            made.close()
        raise CannotServe(f"{where}: {_reason(error)}") from error
    if not sockets:
        raise CannotServe(f"{where}: this is no address of this machine")
    return sockets


def _bound(
    family: int, kind: int, protocol: int, address: tuple[str | int | bytes, ...]
) -> socket.socket | None:
    """Return a bound socket; None when this machine does not have the address or its family."""
    made = None
    try:
        made = socket.socket(family, kind, protocol)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:  # "::" must not take the IPv4 port that is bound as well
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)
    except OSError as error:
        if made is not None:
            made.close()
        if error.errno in _NOT_HERE:
            return None
        raise
    return made


def _reason(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "the port is in use by another program; stop it, or change the port"
    if error.errno == errno.EACCES:
        return "ports below 1024 need root; choose another"
    return error.strerror or str(error)


async def serve(
    app: web.Application, sockets: Sequence[socket.socket], listener: Listener, section: str
) -> None:
    """Serve ``app`` until SIGTERM or SIGINT, then let requests under way finish."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    context = tls(section, listener)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=FINISH_SECONDS)
    try:
        if await _finishes_before(stop, runner.setup()):
            await _open(runner, sockets, context, section)
            spare_what_stays()
            log.info("ready at %s", listener.public_url)
            await stop.wait()
            log.info("stopping")
    finally:
        await runner.cleanup()
        for bound in sockets:
            bound.close()


async def _open(
    runner: web.AppRunner,
    sockets: Sequence[socket.socket],
    context: ssl.SSLContext | None,
    section: str,
) -> None:
    try:
        for bound in sockets:
            await web.SockSite(runner, bound, ssl_context=context, backlog=BACKLOG).start()
    except OSError as error:  # another program began to listen since we bound
        raise CannotServe(f"[{section}] port: {_reason(error)}") from error


async def _finishes_before(stop: asyncio.Event, work: Coroutine[None, None, None]) -> bool:
    """Do ``work`` to its end, or give it up when ``stop`` is set: it may wait for a database."""
    working = asyncio.create_task(work)
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not working.done():
        working.cancel()
        await asyncio.wait({working})
        return False
    await working
    return True
