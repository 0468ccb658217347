"""Processing at RETRIEVE: the file, compressed by gzip while it is sent.

In the configuration::

    <Permissions AllowProcessingReq="1" .../>
    <Processing>
      <PlugIn Name="pyvospace_ngas.archive.examples.compressed" PlugInPars="level=6"/>
    </Processing>

and in a request: ``RETRIEVE?file_id=...&processing=pyvospace_ngas.archive.examples.compressed``.
"""

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pyvospace_ngas.archive import plugins
from pyvospace_ngas.archive.interfaces import FileFacts, Processed

STEP: Final = 1024 * 1024
GZIP: Final = 31  # zlib's number for gzip's header with the largest window


def compressed(file: FileFacts, _folder: Path, parameters: str) -> Processed:
    """Return the file's bytes as gzip; ``level=1`` to ``9`` says how small."""
    level = int(plugins.pairs(parameters).get("level", "6"))
    if not 1 <= level <= 9:
        raise ValueError(f"level={level} is not from 1 to 9")
    return Processed("application/gzip", f"{file.path.name}.gz", _deflated(file.path, level))


def _deflated(path: Path, level: int) -> Iterator[bytes]:
    deflate = zlib.compressobj(level, wbits=GZIP)
    with path.open("rb") as source:
        while data := source.read(STEP):
            yield deflate.compress(data)
    yield deflate.flush()
