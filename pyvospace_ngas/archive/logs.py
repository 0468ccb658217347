"""Where the log goes: the terminal, a file that is rotated as NGAS does it, the system's log."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from logging.handlers import SysLogHandler, WatchedFileHandler
from pathlib import Path
from typing import Final

from pyvospace_ngas.archive import log_levels
from pyvospace_ngas.archive.configuration import ConfigurationError
from pyvospace_ngas.archive.records import stamp
from pyvospace_ngas.archive.settings.tending import Log

PREFIX: Final = "LOG-ROTATE-"
SUFFIX: Final = ".nglog"
UNSAVED: Final = ".unsaved"  # until all is done that is to be done with a rotated file
FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
SYSLOG_PORT: Final = 514


class LogFile(WatchedFileHandler):
    """A file that is put aside when it was written for long enough, and when it is opened."""

    def __init__(self, path: Path, interval: float) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        super().__init__(path, encoding="utf-8")  # opened now, so that a bad place is told
        self._path = path
        self._interval = interval
        self._rotate()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, into a new file when it is time for one."""
        try:
            self.rotate_when_due()
        except OSError:
            self.handleError(record)
        super().emit(record)

    def rotate_when_due(self) -> None:
        """Begin a new file if it is time for one."""
        self.acquire()
        try:
            if 0 < self._interval <= time.monotonic() - self._since:
                self._rotate()
        finally:
            self.release()

    def _rotate(self) -> None:
        self._since = time.monotonic()
        if self.stream is not None:
            self.stream.close()
            self.stream = None
        if self._path.exists() and self._path.stat().st_size:
            self._path.rename(_free_name(self._path.parent))


class Places:
    """Where the log goes at the moment; ``INIT`` may bring other places."""

    def __init__(self) -> None:
        self._settings: Log | None = None
        self._handlers: list[logging.Handler] = []

    @contextmanager
    def switched(self, settings: Log) -> Iterator[None]:
        """Open the places that are wanted now, and send there from the end of the block on.

        Raises `ConfigurationError` for a place that nothing can be sent to. All stays as it was
        then, and when the block fails.
        """
        if self._settings is not None and _wanted(self._settings) == _wanted(settings):
            yield
            return
        with ExitStack() as stack:
            handlers = list(_opened(settings, stack))
            yield
            stack.pop_all()
        self.close()
        self._settings, self._handlers = settings, handlers
        for each in handlers:
            logging.getLogger().addHandler(each)

    def close(self) -> None:
        """Send nothing any more."""
        for each in self._handlers:
            logging.getLogger().removeHandler(each)
            each.close()
        self._handlers.clear()


@contextmanager
def sent_on(settings: Log, level: int) -> Iterator[Places]:
    """Send what is logged where the configuration wants it, until the end of the block.

    Raises `ConfigurationError` for a place that nothing can be sent to.
    """
    root, places = logging.getLogger(), Places()
    with ExitStack() as stack:
        with places.switched(settings):
            stack.callback(places.close)
        stack.callback(root.setLevel, root.level)
        root.setLevel(log_levels.of(level))
        yield places


def rotate_when_due() -> None:
    """Put the log file aside if it is time for that."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, LogFile):
            handler.rotate_when_due()


def unsaved(folder: Path) -> Iterator[Path]:
    """Yield the rotated files that nothing was done with yet, the oldest first."""
    yield from sorted(folder.glob(f"{PREFIX}*{SUFFIX}{UNSAVED}"))


def saved(path: Path) -> Path:
    """Return what a rotated file is called when all is done with it."""
    return path.with_name(path.name.removesuffix(UNSAVED))


def keep_newest(folder: Path, count: int) -> None:
    """Remove the oldest of the rotated files that all is done with."""
    found = sorted(folder.glob(f"{PREFIX}*{SUFFIX}"), reverse=True)
    for path in found[count:]:
        path.unlink(missing_ok=True)


def _wanted(settings: Log) -> tuple[object, ...]:
    """Return what the handlers are made of."""
    system = (settings.syslog, settings.syslog_prefix, settings.syslog_address)
    return (settings.file, settings.rotation, *system)


def _opened(settings: Log, stack: ExitStack) -> Iterator[logging.Handler]:
    """Yield the handlers that are wanted; ``stack`` closes them."""
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if settings.file is not None:
        handlers.append(_log_file(settings.file, settings.rotation))
    for each in handlers:
        each.setFormatter(logging.Formatter(FORMAT))
    for each in handlers:
        stack.callback(each.close)
        yield each
    if settings.syslog:
        system = _system_log(settings)
        stack.callback(system.close)
        yield system


def _log_file(path: Path, interval: float) -> LogFile:
    try:
        return LogFile(path, interval)
    except OSError as error:
        raise ConfigurationError(
            f"Log LocalLogFile={str(path)!r} cannot be written: {error.strerror}"
        ) from error


def _system_log(settings: Log) -> logging.Handler:
    """Return the way to the system's log; it gets at most what the log file gets."""
    place = settings.syslog_address
    try:
        handler = SysLogHandler(_address(place), facility=SysLogHandler.LOG_LOCAL0)
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"Log SysLogAddress={place!r} must be a socket's path or host:port ({error})"
        ) from error
    if settings.syslog_prefix:
        handler.ident = f"{settings.syslog_prefix}: "
    handler.setLevel(log_levels.of(settings.syslog))
    handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    return handler


def _address(text: str) -> str | tuple[str, int]:
    if text.startswith("/"):
        return text
    host, _, port = text.rpartition(":")
    if not host:
        return text, SYSLOG_PORT
    if not 0 < int(port) < 2**16:
        raise ValueError("there is no such port")
    return host.strip("[]"), int(port)


def _free_name(folder: Path) -> Path:
    """Return the name for a file that is put aside now; nothing is overwritten."""
    while True:
        path = folder / f"{PREFIX}{stamp()}{SUFFIX}{UNSAVED}"
        if not path.exists() and not saved(path).exists():
            return path
        time.sleep(0.001)  # the names tell milliseconds
