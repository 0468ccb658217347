"""NGAS's log levels, 0 (little) to 5, as those of Python."""

from __future__ import annotations

import logging
from typing import Final

LEVELS: Final = (
    *(logging.CRITICAL, logging.ERROR, logging.WARNING, logging.INFO, logging.INFO),
    logging.DEBUG,
)


def of(level: int) -> int:
    """Return Python's level for one of NGAS's; what is beyond counts as the last."""
    return LEVELS[min(max(level, 0), len(LEVELS) - 1)]


def apply(level: int) -> None:
    """Log as much as a level says, from now on."""
    logging.getLogger().setLevel(of(level))
