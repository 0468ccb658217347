"""``ngas_node``: start an archive node, or prepare volumes for one."""

from __future__ import annotations

import argparse
import asyncio
import functools
import getpass
import logging
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from aiohttp import web

from pyvospace_ngas.archive import (
    authorization,
    configuration,
    logs,
    stored_configuration,
    volume,
)
from pyvospace_ngas.archive.app import LONGEST_LINE, NODE, READ_BUFFER, create_app
from pyvospace_ngas.archive.configuration import ConfigurationError, NodeConfig
from pyvospace_ngas.archive.index import VolumeElsewhere
from pyvospace_ngas.archive.steps import DatabaseError, NotThereYet
from pyvospace_ngas.archive.volume import VolumeError
from pyvospace_ngas.cli import node_check, node_options
from pyvospace_ngas.cli.process import allow_many_files

log = logging.getLogger("ngas_node")

PATIENCE_SECONDS: Final = 10.0  # for requests under way at the end
RETRY_SECONDS: Final = 1.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        if arguments and (tool := _tools().get(arguments[0])):
            return tool(arguments[1:])
        return _start(node_options.parse(arguments))
    except (ConfigurationError, VolumeError, VolumeElsewhere, DatabaseError) as error:
        for line in str(error).splitlines():
            print(f"ngas_node: {line}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"ngas_node: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _tools() -> dict[str, Callable[[Sequence[str]], int]]:
    """Return what a first word without a dash stands for."""
    return {
        "prepare-volume": _prepare,
        "check": node_check.main,
        "hash-password": _hash_password,
        "store-configuration": _store,
    }


def _prepare(paths: Sequence[str]) -> int:
    if not paths or any(path.startswith("-") for path in paths):
        print("usage: ngas_node prepare-volume DIR...", file=sys.stderr)
        return 0 if paths in (["-h"], ["--help"]) else 2
    for path in paths:
        identity = volume.prepare(Path(path))
        print(f"{path} is a volume now, with the disk id {identity.disk_id}")
    return 0


def _store(arguments: Sequence[str]) -> int:
    """Keep a configuration in the index that it names itself."""
    parser = argparse.ArgumentParser(prog="ngas_node store-configuration", allow_abbrev=False)
    parser.add_argument("-cfg", type=Path, required=True, metavar="FILE")
    parser.add_argument("name", metavar="NAME", help="for -dbcfgid")
    options = parser.parse_args(arguments)
    count = asyncio.run(stored_configuration.store(options.cfg, options.name))
    print(f"{options.name} is in the index now, with {count} parameters")
    return 0


def _hash_password(rest: Sequence[str]) -> int:
    """Print what may stand for a password in ``Authorization/User``."""
    if rest:
        print("usage: ngas_node hash-password < FILE (or type it when asked)", file=sys.stderr)
        return 0 if rest in (["-h"], ["--help"]) else 2
    asked = sys.stdin.isatty()
    password = getpass.getpass() if asked else sys.stdin.readline().rstrip("\r\n")
    if not password:
        print("ngas_node: there is no password on the standard input", file=sys.stderr)
        return 1
    print(authorization.hashed(password))
    return 0


def _start(options: argparse.Namespace) -> int:
    allow_many_files()
    for folders in options.path or []:
        sys.path[:0] = folders.split(":")
    config = asyncio.run(node_options.configured(options))
    level = config.log.level if options.v is None else options.v
    with logs.sent_on(config.log, level) as places:
        if not config.db.durable:
            log.warning("Durable=0: an archived file can be lost in a power cut. For measuring.")
        asyncio.run(_serve(config, options, places))
    return 0


async def _serve(config: NodeConfig, options: argparse.Namespace, places: logs.Places) -> None:
    context = node_options.tls(config.server.certificate)
    with _listening(config.server.host, config.server.port) as listener:
        config = configuration.on_port(config, listener.getsockname()[1])
        ending = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ending.set)
        runner = await _set_up(config, options, places, ending)
        if runner is None:
            return
        try:
            await web.SockSite(runner, listener, ssl_context=context).start()
            node = runner.app[NODE]
            print(f"ngas_node: {node.state} as {node.host_id} at {config.server.url}", flush=True)
            await _first_of(ending, node.exiting)
        finally:
            await runner.cleanup()
        print("ngas_node: stopped", flush=True)


async def _set_up(
    config: NodeConfig,
    options: argparse.Namespace,
    places: logs.Places,
    ending: asyncio.Event,
) -> web.AppRunner | None:
    """Start the node; wait for a PostgreSQL that comes up late. None: told to end meanwhile."""
    while True:
        runner = web.AppRunner(
            create_app(
                config,
                online=options.autoonline,
                force=options.force,
                read_again=functools.partial(node_options.read, options),
                log_switched=places.switched,
            ),
            access_log=None,
            shutdown_timeout=PATIENCE_SECONDS,
            read_bufsize=READ_BUFFER,
            max_line_size=LONGEST_LINE,
        )
        try:
            await runner.setup()
        except NotThereYet as error:
            await runner.cleanup()
            log.warning("waiting: %s", error)
        else:
            return runner
        try:
            async with asyncio.timeout(RETRY_SECONDS):
                await ending.wait()
        except TimeoutError:
            continue
        return None


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise OSError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    return listener


async def _first_of(*events: asyncio.Event) -> None:
    tasks = [asyncio.create_task(event.wait()) for event in events]
    _, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)


if __name__ == "__main__":
    sys.exit(main())
