"""A service of a site's own: a file whose time of change says that the node is online.

``<SystemPlugIns UserServicePlugIn="pyvospace_ngas.archive.examples.heartbeat"
UserServicePlugInPars="/run/ngas/alive" UserServicePlugInPeriod="00T00:00:10"/>``.
"""

from pathlib import Path


def heartbeat(host_id: str, parameters: str) -> None:
    """Write the node's name into the file that the parameters name."""
    Path(parameters).write_text(f"{host_id}\n", encoding="utf-8")
