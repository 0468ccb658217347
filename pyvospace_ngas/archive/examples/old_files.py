"""A janitor's task: files in ``<RootDirectory>/scratch`` go when they are a week old.

In the configuration::

    <JanitorThread SuspensionTime="00T00:05:00">
      <PlugIn Name="pyvospace_ngas.archive.examples.old_files"/>
    </JanitorThread>
"""

import threading
import time
from pathlib import Path
from typing import Final

FOLDER: Final = "scratch"
WEEK: Final = 7 * 24 * 3600.0


def old_files(root: Path, stop: threading.Event) -> None:
    """Remove them, one after the other, until the node goes offline."""
    for path in (root / FOLDER).glob("*"):
        if stop.is_set():
            return
        if path.is_file() and not path.is_symlink() and path.stat().st_mtime < time.time() - WEEK:
            path.unlink(missing_ok=True)
