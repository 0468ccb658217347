"""Waiting for what other processes do, with an end to it."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

PATIENCE: Final = 90.0  # seconds; generous, as it only matters when something is wrong


async def until(holds: Callable[[], bool], patience: float = PATIENCE) -> None:
    """Return once ``holds`` does; raise `TimeoutError` if it never does."""
    async with asyncio.timeout(patience):
        while True:
            if holds():
                return
            await asyncio.sleep(0.02)


async def until_true(holds: Callable[[], Awaitable[bool]], patience: float = PATIENCE) -> None:
    """`until` for a question that is itself asked of another process."""
    async with asyncio.timeout(patience):
        while True:
            if await holds():
                return
            await asyncio.sleep(0.05)


def alive(pid: int) -> bool:
    """Tell whether a process runs (one that ended and was not waited for does not)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
