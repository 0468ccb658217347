"""A bar on the terminal, drawn over and over; nothing where there is none."""

import asyncio
import os
import shutil
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

PERIOD: Final = 0.1
_CLEAR: Final = "\r\x1b[K"
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def human(number: float) -> str:
    """Return a number of bytes as people say it."""
    unit = 0
    while number >= 1000 and unit < len(_UNITS) - 1:
        number /= 1024
        unit += 1
    return f"{number:.0f} B" if unit == 0 else f"{number:.3g} {_UNITS[unit]}"


@dataclass(slots=True)
class Progress:
    """How far the work is; totals are known once everything has been ``found``."""

    drawn: bool
    files: int = 0
    bytes: int = 0
    all_files: int = 0
    all_bytes: int = 0
    found: bool = False
    began: float = field(default_factory=time.monotonic)
    _visible: bool = False

    def add(self, number: int) -> None:
        """Count bytes, also those that are taken back."""
        self.bytes += number

    def text(self, width: int, now: float) -> str:
        """Return the line as it is to be drawn."""
        rate = self.bytes / max(now - self.began, 0.001)
        files = f"{self.files}/{self.all_files}{'' if self.found else '+'} files"
        line = f"{files}  {human(self.bytes)}"
        if self.found and self.all_bytes:
            share = min(self.bytes / self.all_bytes, 1.0)
            left = (self.all_bytes - self.bytes) / rate if rate else 0
            line += f" of {human(self.all_bytes)}  {human(rate)}/s  {_duration(left)} left"
            room = width - len(line) - 9
            if room >= 10:
                full = int(room * share)
                line = f"{share:4.0%} [{'#' * full}{'-' * (room - full)}] {line}"
        else:
            line += f"  {human(rate)}/s"
        return line[: max(width - 1, 1)]

    def draw(self) -> None:
        """Draw the line anew."""
        width = shutil.get_terminal_size().columns
        sys.stderr.write(_CLEAR + self.text(width, time.monotonic()))
        sys.stderr.flush()
        self._visible = True

    def hide(self) -> None:
        """Take the line away, so that another can be written."""
        if self._visible:
            sys.stderr.write(_CLEAR)
            sys.stderr.flush()
            self._visible = False


def is_terminal() -> bool:
    """Tell whether somebody looks at stderr."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


@asynccontextmanager
async def drawing(progress: Progress) -> AsyncIterator[None]:
    """Keep the line of ``progress`` up to date for as long as the context lasts."""

    async def again() -> None:
        while True:
            progress.draw()
            await asyncio.sleep(PERIOD)

    if not progress.drawn:
        yield
        return
    task = asyncio.create_task(again())
    try:
        yield
        progress.draw()
    finally:
        task.cancel()
        await asyncio.wait([task])
        progress.hide()


def _duration(seconds: float) -> str:
    whole = int(seconds)
    if whole >= 3600:
        return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
    return f"{whole // 60}:{whole % 60:02}"
