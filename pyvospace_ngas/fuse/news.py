"""What others change, as the server tells it: for the mount's picture of the tree, and the kernel.

Without it (a server that does not tell, or is away) the mount asks as if there were none.
"""

import asyncio
import logging
import queue
import threading
from concurrent.futures import Future
from contextlib import aclosing
from typing import Final

from pyvospace_ngas.client.changes import Began, Changed, Current, Event
from pyvospace_ngas.errors import VOSpaceError
from pyvospace_ngas.fuse.binding import Kernel
from pyvospace_ngas.fuse.remote import Remote
from pyvospace_ngas.fuse.table import Files
from pyvospace_ngas.fuse.tree import Tree
from pyvospace_ngas.model.uri import NodePath

log = logging.getLogger(__name__)

_LATER: Final = 60.0  # seconds after which a server that refused is asked again
_MOST: Final = 10_000  # names that the kernel is still to drop; more time out by themselves


class News:
    """The stream of changes of one mount. ``heard`` counts what the server said."""

    def __init__(
        self, remote: Remote, tree: Tree, kernel: Kernel, files: Files, root: NodePath
    ) -> None:
        self._remote = remote
        self._tree = tree
        self._kernel = kernel
        self._files = files
        self._root = root
        self._following: Future[None] | None = None
        self._dropped: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        # A thread of its own: the kernel may wait for an operation, which waits for the loop.
        self._dropping = threading.Thread(target=self._drop, name="kernel", daemon=True)
        self.heard = 0

    def begin(self) -> None:
        """Begin to listen; to be called from the operation ``init``."""
        self._dropping.start()
        self._following = self._remote.spawn(self._follow())
        self._following.add_done_callback(_tell_of_failure)

    def end(self) -> None:
        """Listen no more."""
        if self._following is not None:
            self._following.cancel()
        self._dropped.put(None)

    async def _follow(self) -> None:
        while True:
            try:
                async with aclosing(self._remote.changes()) as events:
                    async for event in events:
                        self._take(event)
            except VOSpaceError as error:
                log.info("the server does not tell of changes, it is asked for them: %s", error)
            await asyncio.sleep(_LATER)

    def _take(self, event: Event) -> None:
        self.heard += 1
        match event:
            case Began():
                self._tree.begin()
            case Current():
                self._tree.current(event.lag)
            case Changed():
                if self._tree.changed(event):
                    self._to_be_dropped(event.path)

    def _to_be_dropped(self, path: NodePath) -> None:
        # Who has a file open reads on in the version that was opened, as far as it is here.
        is_free = path.is_below(self._root) and self._files.find(path) is None
        if is_free and self._dropped.qsize() < _MOST:
            self._dropped.put("/" + "/".join(path.parts[len(self._root.parts) :]))

    def _drop(self) -> None:
        while (path := self._dropped.get()) is not None:
            self._kernel.drop(path)


def _tell_of_failure(following: "Future[None]") -> None:
    if not following.cancelled() and (error := following.exception()) is not None:
        log.error("changes are heard no more, the server is asked for them", exc_info=error)
