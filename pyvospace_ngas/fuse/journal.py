"""What an earlier mount promised to send and did not live to: taken up again by the next one."""

import hashlib
import logging
import os

from pyvospace_ngas.errors import ContainerNotFound, NodeNotFound, VOSpaceError
from pyvospace_ngas.fuse.entries import Entry, Kind
from pyvospace_ngas.fuse.files import Means
from pyvospace_ngas.fuse.staging import Note, Staged
from pyvospace_ngas.fuse.table import Files
from pyvospace_ngas.model.uri import NodePath

log = logging.getLogger(__name__)


def replay(means: Means, files: Files) -> None:
    """Have ``files`` send what the journal says; what may not be sent any more is kept as lost."""
    for note, staged in means.staging.left():
        path = NodePath(tuple(note.path.strip("/").split("/")))
        try:
            entry = means.remote.node(path)
        except (NodeNotFound, ContainerNotFound):
            means.staging.lose(staged, note.path, "it was deleted meanwhile")
        except (VOSpaceError, OSError) as error:
            log.warning("%s is sent by a later mount: %s", note.path, error)
            os.close(staged.fd)
        else:
            _resume(means, files, path, entry, staged, note)


def _resume(
    means: Means, files: Files, path: NodePath, entry: Entry, staged: Staged, note: Note
) -> None:
    # All bytes may have arrived, but not their properties.
    if entry.kind is Kind.FILE and entry.md5 in (note.version, _md5(staged)):
        log.info("%s is still to be sent", note.path)
        files.resume(path, entry, staged, note)
    else:
        means.staging.lose(staged, note.path, "somebody else replaced it meanwhile")


def _md5(staged: Staged) -> str:
    with staged.file.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
