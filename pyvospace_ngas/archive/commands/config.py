"""CONFIG: change how much is logged, until the configuration is read again."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Final

from aiohttp import web

from pyvospace_ngas.archive import log_levels, parameters
from pyvospace_ngas.archive.answers import Call, success
from pyvospace_ngas.archive.refusals import Refused, bad_syntax

log = logging.getLogger(__name__)

LEVEL: Final = "log_local_log_level"
PREFIX: Final = "log_"


async def handle(call: Call) -> web.StreamResponse:
    """Set the level; everything else of the log belongs into the configuration."""
    others = [name for name in call.parameters if name.startswith(PREFIX) and name != LEVEL]
    if others:
        raise Refused(
            f"CONFIG changes {LEVEL} only; set what {others[0]} stands for in the configuration, "
            "and send INIT."
        )
    if LEVEL in call.parameters:
        _set_level(call)
    return success(call, "Handled CONFIG command")


def _set_level(call: Call) -> None:
    level = parameters.whole(call.parameters, LEVEL, 0)
    if level >= len(log_levels.LEVELS):
        raise bad_syntax(call.command, f"{LEVEL} from 0 to {len(log_levels.LEVELS) - 1}")
    node = call.node
    node.config = replace(node.config, log=replace(node.config.log, level=level))
    log.info("the log level becomes %d", level)
    log_levels.apply(level)
