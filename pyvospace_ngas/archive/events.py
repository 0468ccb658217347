"""Archiving events: who wants to know that a file was archived."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeAlias

from pyvospace_ngas.archive.interfaces import FileFacts

log = logging.getLogger(__name__)

Listener: TypeAlias = Callable[[FileFacts], None]


class Events:
    """Listeners are called on the event loop, after the file is durable; they only take note."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call a listener from now on; return what ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def fire(self, file: FileFacts) -> None:
        """Tell every listener; one that fails does not keep it from the others."""
        for listener in tuple(self._listeners):
            try:
                listener(file)
            except Exception:  # whatever it was, the file is archived and the others want to know
                log.exception("a listener did not take note of %s", file.file_id)
