"""Files that were closed before the server has their bytes: threads that send them."""

import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import Final

from pyvospace_ngas.fuse.files import File
from pyvospace_ngas.fuse.remote import away

log = logging.getLogger(__name__)

MOST: Final = 256  # files that may wait; each one holds a descriptor
_THREADS: Final = 4
_PAUSE: Final = 0.5  # seconds before a server that is away is asked again


class Sender:
    """Sends files a few at a time. ``done`` is told of each that is sent, or was given up."""

    def __init__(self, done: Callable[[File], None]) -> None:
        self._done = done
        self._queue: queue.SimpleQueue[File] = queue.SimpleQueue()
        self._change = threading.Condition()
        self._waiting: set[File] = set()
        self._threads: list[threading.Thread] = []
        self._is_ending = self._is_over = False

    @property
    def is_full(self) -> bool:
        return len(self._waiting) >= MOST

    def put(self, file: File) -> None:
        """Have ``file`` sent; one that is written to meanwhile is, when it is put again."""
        with self._change:
            if file in self._waiting:
                return
            self._waiting.add(file)
            if len(self._threads) < _THREADS:
                thread = threading.Thread(target=self._run, name="sender", daemon=True)
                self._threads.append(thread)
                thread.start()
        self._queue.put(file)

    def end(self, seconds: float) -> bool:
        """Return once all is sent, or the time is over; say which. Who still writes is no more."""
        until = time.monotonic() + seconds
        with self._change:
            self._is_ending = True
            while self._waiting and (left := until - time.monotonic()) > 0:
                self._change.wait(left)
            self._is_over = True
            return not self._waiting

    def _run(self) -> None:
        while not self._is_over:
            file = self._queue.get()
            if self._send(file):
                with self._change:
                    self._waiting.discard(file)
                    self._change.notify_all()
                self._done(file)
                if file.is_promised and not file.writers:  # closed once more meanwhile
                    self.put(file)
            else:
                time.sleep(_PAUSE)
                self._queue.put(file)

    def _send(self, file: File) -> bool:
        """Send one file; ``False`` if that is to be tried again."""
        if file.writers and not self._is_ending:
            return True
        try:
            file.flush()
        except Exception as error:  # noqa: BLE001  there is nobody to be told; the bytes are kept
            if away(error):
                return False
            log.warning("%s could not be stored: %s", file.path, error)
        return True
