"""``ngas_node check``: what is wrong with a node, found without changing anything."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from pyvospace_ngas.archive import configuration, stored_configuration
from pyvospace_ngas.archive.configuration import ConfigurationError, NodeConfig
from pyvospace_ngas.archive.data_mover import as_data_mover
from pyvospace_ngas.archive.inspection import Finding, Inspection
from pyvospace_ngas.archive.steps import DatabaseError
from pyvospace_ngas.cli.node_options import lowered
from pyvospace_ngas.cli.tables import print_table
from pyvospace_ngas.cli.vo.paths import shown


def main(argv: Sequence[str]) -> int:
    """Print a table of what is wrong; return 1 where anything is."""
    options = _options().parse_args([lowered(each) for each in argv])
    for folders in options.path or []:
        sys.path[:0] = folders.split(":")
    try:
        inspection = Inspection(_configured(options), options.checksums)
    except ConfigurationError as error:
        lines = str(error).splitlines()
        return _report([Finding("configuration", str(options.cfg), line) for line in lines])
    except DatabaseError as error:
        return _report([Finding("index", str(options.cfg), str(error))])
    code = _report(asyncio.run(_all(inspection)))
    many = f"{inspection.files} files on {len(inspection.volumes)} volumes"
    print(f"{many} were looked at" if code else f"{many} are as the index has them")
    return code


def _configured(options: argparse.Namespace) -> NodeConfig:
    """Read what the node would start with; its index is looked at, too, and not changed."""
    if options.dbcfgid is None:
        config = configuration.load(options.cfg)
    else:
        config = asyncio.run(stored_configuration.look_at(options.cfg, options.dbcfgid))
    return as_data_mover(config) if options.datamover else config


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ngas_node check",
        allow_abbrev=False,
        description="Look at configuration, plug-ins, index and volumes; change nothing.",
    )
    add = parser.add_argument
    add("-cfg", type=Path, required=True, metavar="FILE", help="the node's configuration")
    add("-dbcfgid", metavar="NAME", help="take the configuration NAME from the index of FILE")
    add("-datamover", action="store_true", help="the node is started as a data mover")
    add("-path", action="append", help="more folders for Python modules, with colons between")
    add("-checksums", action="store_true", help="read every file; this takes its time")
    return parser


async def _all(inspection: Inspection) -> list[Finding]:
    return [finding async for finding in inspection.findings()]


def _report(findings: Sequence[Finding]) -> int:
    if not findings:
        return 0
    rows = [[shown(each) for each in (one.kind, one.place, one.detail)] for one in findings]
    print_table(("WRONG", "WHERE", "WHAT"), rows)
    return 1
