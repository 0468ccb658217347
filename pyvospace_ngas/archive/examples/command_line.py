"""Suspension or wake-up by a command line of the configuration; no shell is involved.

``<HostSuspension SuspensionPlugIn="pyvospace_ngas.archive.examples.command_line"
SuspensionPlugInPars="systemctl suspend"/>``. A word ``{host}`` stands for the host id.
"""

import shlex
import subprocess
from typing import Final

PATIENCE_SECONDS: Final = 60.0


def command_line(host_id: str, parameters: str) -> None:
    """Run it, and raise what it did not do."""
    words = [host_id if word == "{host}" else word for word in shlex.split(parameters)]
    subprocess.run(words, check=True, timeout=PATIENCE_SECONDS, stdin=subprocess.DEVNULL)  # noqa: S603 - the configuration's own words
