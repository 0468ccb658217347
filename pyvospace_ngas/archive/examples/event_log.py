"""An archiving event handler: a line of JSON for each archived file.

``<EventHandlerPlugIn Name="pyvospace_ngas.archive.examples.event_log.EventLog"
PlugInPars="/var/log/archived.jsonl"/>``.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from pyvospace_ngas.archive.interfaces import FileFacts


class EventLog:
    """Appends to a file that it makes where it is missing."""

    def __init__(self, parameters: str) -> None:
        self._path = Path(parameters)
        self._path.touch()  # a path that cannot be written is known when the node starts

    def handle_event(self, event: FileFacts) -> None:
        """Write what is known of the file."""
        line = json.dumps(asdict(event) | {"path": str(event.path)})
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")
