"""The options of ``ngas_node``, those of NGAS's own server, and the configuration they make."""

from __future__ import annotations

import argparse
import asyncio
import logging
import ssl
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import metadata
from pathlib import Path
from typing import Final, TypeVar

from pyvospace_ngas.archive import configuration, stored_configuration
from pyvospace_ngas.archive.configuration import ConfigurationError, NodeConfig
from pyvospace_ngas.archive.data_mover import as_data_mover
from pyvospace_ngas.archive.node import VERSION
from pyvospace_ngas.archive.steps import NotThereYet

log = logging.getLogger("ngas_node")

RETRY_SECONDS: Final = 1.0

Given = TypeVar("Given", int, str)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line; NGAS's options are words after one dash, in any case."""
    return _parser().parse_args([lowered(each) for each in arguments])


async def configured(options: argparse.Namespace) -> NodeConfig:
    """Read the configuration; wait for a PostgreSQL with it that comes up late."""
    while True:
        try:
            return await read(options)
        except NotThereYet as error:
            log.warning("waiting: %s", error)
            await asyncio.sleep(RETRY_SECONDS)


async def read(options: argparse.Namespace) -> NodeConfig:
    """Read the configuration, as it is now, with what the options say instead."""
    if options.dbcfgid is None:
        config = await asyncio.to_thread(configuration.load, options.cfg)
    else:
        config = await stored_configuration.load(options.cfg, options.dbcfgid)
    log_ = replace(
        config.log,
        file=options.loclogfile or config.log.file,
        level=_first(options.locloglevel, config.log.level),
        syslog=_first(options.syslog, config.log.syslog),
        syslog_prefix=_first(options.syslogprefix, config.log.syslog_prefix),
    )
    config = replace(config, log=log_, server=replace(config.server, certificate=options.cert))
    return as_data_mover(config) if options.datamover else config


def tls(certificate: Path | None) -> ssl.SSLContext | None:
    """Return what a node that has a certificate serves with."""
    if certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate, password="")  # or it would ask at the terminal
    except OSError as error:  # a wrong one, too: ssl.SSLError is one of them
        raise ConfigurationError(
            f"-cert {certificate} must be a certificate and its plain key, in PEM: {error}"
        ) from error
    return context


def _first(given: Given | None, otherwise: Given) -> Given:
    return otherwise if given is None else given


def lowered(argument: str) -> str:
    if not argument.startswith("-"):
        return argument
    lowered = f"-{argument.lstrip('-').lower()}"
    if argument not in {lowered, "--help"}:
        print(f"ngas_node: {argument} is taken as {lowered}", file=sys.stderr)
    return lowered


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ngas_node",
        allow_abbrev=False,
        description="An archive node compatible with NGAS.",
        epilog="Other commands: ngas_node prepare-volume DIR... makes directories volumes; "
        "ngas_node hash-password makes what Authorization takes in place of a password; "
        "ngas_node store-configuration -cfg FILE NAME keeps a configuration in the index; "
        "ngas_node check -cfg FILE tells what is wrong.",
    )
    add = parser.add_argument
    add("-cfg", type=Path, required=True, metavar="FILE", help="the configuration, NGAS's XML")
    add("-dbcfgid", metavar="NAME", help="take the configuration NAME from the index of FILE")
    add("-autoonline", action="store_true", help="go online at once")
    add(
        "-force",
        action="store_true",
        help="take volumes that a node of another machine seems to hold",
    )
    add(
        "-datamover",
        action="store_true",
        help="serve and deliver the files of other nodes' volumes; never archive or remove",
    )
    add("-cert", type=Path, metavar="FILE", help="speak TLS, with this certificate and key (PEM)")
    add("-path", action="append", help="more folders for Python modules, with colons between")
    add("-v", type=int, metavar="LEVEL", help="log to the terminal, 0 (little) to 5")
    add("-loclogfile", type=Path, metavar="FILE", help="instead of Log's LocalLogFile")
    add("-locloglevel", type=int, metavar="LEVEL", help="instead of Log's LocalLogLevel")
    add("-syslog", type=int, metavar="LEVEL", help="instead of Log's SysLog")
    add("-syslogprefix", metavar="TEXT", help="instead of Log's SysLogPrefix")
    add("-noautoexit", action="store_true", help="accepted; the node never ends by itself")
    add("-version", action="version", version=VERSION)
    add("-license", action="version", version=_license(), help="show the licence and exit")
    return parser


def _license() -> str:
    package = metadata("pyvospace-ngas")
    return f"{package['Name']}: {package['License'] or package['License-Expression']}"
