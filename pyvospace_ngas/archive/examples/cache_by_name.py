"""Cache control: files with certain names leave the cache as soon as they may.

In the configuration::

    <Caching Enable="1" Period="00T00:01:00"
             CacheControlPlugIn="pyvospace_ngas.archive.examples.cache_by_name"
             CacheControlPlugInPars="names=preview-*,least=1000000"/>

``names`` is a pattern for file ids as shells know it, ``least`` a number of bytes below which a
file stays.
"""

from fnmatch import fnmatchcase

from pyvospace_ngas.archive import plugins
from pyvospace_ngas.archive.interfaces import FileFacts


def cache_by_name(file: FileFacts, parameters: str) -> bool:
    """Whether the file may be removed from the cache now."""
    given = plugins.pairs(parameters)
    return fnmatchcase(file.file_id, given.get("names", "")) and file.size >= int(
        given.get("least", "0")
    )
