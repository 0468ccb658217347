"""A node as a data mover: it serves and delivers, and changes nothing (``-datamover``).

It may run beside the node whose volumes these are, on the same index: it takes no volume, and
reads the files where the index says that they are.
"""

from dataclasses import replace

from pyvospace_ngas.archive.configuration import NodeConfig
from pyvospace_ngas.archive.records import Disk


def as_data_mover(config: NodeConfig) -> NodeConfig:
    """Return the configuration without anything that would archive or remove a file."""
    return replace(
        config,
        permissions=replace(config.permissions, archive=False, remove=False),
        data_mover=replace(config.data_mover, enabled=True),
        caching=replace(config.caching, enabled=False),
        data_check=replace(config.data_check, active=False),  # the results are the main node's
        log=replace(config.log, archive_rotated=False),
    )


def reads(config: NodeConfig, disk: Disk) -> bool:
    """Whether a node, a data mover or not, reads the files of a disk itself."""
    mover, host_id = config.data_mover, config.server.host_id
    if not mover.enabled:
        return disk.host_id == host_id
    if mover.hosts:
        return disk.host_id in mover.hosts
    return disk.host_id.rpartition(":")[0] == host_id.rpartition(":")[0]
