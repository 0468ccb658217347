"""A log file handler: a compressed copy of each rotated log file.

``<Log ...><LogfileHandlerPlugIn Name="pyvospace_ngas.archive.examples.zipped_log"
PlugInPars="/var/archive/logs"/></Log>``.
"""

import gzip
import shutil
from pathlib import Path


def zipped_log(path: Path, parameters: str) -> None:
    """Compress it into the folder that the parameters name."""
    folder = Path(parameters)
    folder.mkdir(parents=True, exist_ok=True)
    name = path.name.removesuffix(".unsaved")
    with path.open("rb") as source, gzip.open(folder / f"{name}.gz", "wb") as target:
        shutil.copyfileobj(source, target)
