"""The bytes of a large file that is read in order, from a socket into the kernel's pages.

They pass through a pipe, and never through the memory of this process: copying them in and out of
it takes more time than all the rest of a mount. Whatever does not fit (another order, a break, a
reader who takes his time) is served by blocks in memory, as all else is.
"""

import fcntl
import logging
import os
import select
import struct
import termios
import threading
import time
from concurrent.futures import CancelledError, Future
from typing import Final

from pyvospace_ngas.client.wire import Body
from pyvospace_ngas.errors import VOSpaceError
from pyvospace_ngas.ngas import splicing

log = logging.getLogger(__name__)

_GAP: Final = 2 << 20  # bytes ahead of us at which a reader still can be next
_TURN: Final = 0.05  # seconds to wait for the reader of what comes before
_SCRATCH: Final = 64 << 10
_STUCK: Final = 3  # times that nothing moves though there is something
MISSES: Final = 8  # reads in another order, after which a file is read by blocks
IDLE: Final = 2.0  # seconds without a reader: an archive answers only so many at once


class Pipes:
    """A pipe for each thread that answers the kernel, to be empty when it is needed again."""

    def __init__(self) -> None:
        self._pipes: dict[int, splicing.Pipe] = {}

    def empty(self) -> splicing.Pipe:
        """Return this thread's pipe; with anything in it, of an answer that failed, a new one."""
        me = threading.get_ident()
        pipe = self._pipes.get(me)
        if pipe is not None and _held(pipe.source):
            self.drop()
            pipe = None
        if pipe is None:
            pipe = self._pipes[me] = splicing.open_pipe(splicing.LONG)
        return pipe

    def drop(self) -> None:
        """Close this thread's pipe, with what is in it."""
        self._pipes.pop(threading.get_ident()).close()


class Flow:
    """One answer, from ``start`` to the end of a file, taken by whoever reads next."""

    def __init__(self, start: int, coming: "Future[Body]", pipes: Pipes, patience: float) -> None:
        self.start = start
        self.misses = 0  # reads of what comes here that had to go elsewhere
        self._coming = coming
        self._pipes = pipes
        self._patience = patience
        self._at = start
        self._lock = threading.Lock()
        self._moved = threading.Condition(self._lock)
        self._surplus = 0  # bytes that come next and are not wanted
        self._begun = b""
        self._body: Body | None = None
        self._used = time.monotonic()
        self.is_over = False

    def pour(self, offset: int, count: int) -> int | None:
        """Return a pipe with ``count`` bytes from ``offset`` on; ``None`` if they are not next."""
        with self._lock:
            if not self._is_next(offset):
                return None
            try:
                pipe = self._pipes.empty()
                self._fill(pipe.sink, count)
            except (OSError, EOFError, VOSpaceError, CancelledError) as error:
                log.debug("a flow has ended: %s", error)
                self._end()
                return None
            self._used = time.monotonic()
            self._at += count
            self._moved.notify_all()
            return pipe.source

    def passed(self, offset: int) -> None:
        """Take in that what comes before ``offset`` was read elsewhere, at the beginning."""
        with self._lock:
            if self._at < offset <= self._at + _GAP:
                self._pass(offset)

    def end(self) -> None:
        """Take no more; who waits for bytes is woken."""
        self.is_over = True
        self._coming.cancel()
        if self._body is not None:
            self._body.cut()
        with self._lock:
            self._end()

    def end_if_idle(self) -> bool:
        """End if nobody read for long; return whether it is over. Waits for nobody."""
        if self._lock.acquire(blocking=False):
            try:
                if time.monotonic() - self._used > IDLE:
                    self._end()
            finally:
                self._lock.release()
        return self.is_over

    def _is_next(self, offset: int) -> bool:
        """Wait for those who read what comes before: the kernel asks for several at once."""
        at, until = self._at, time.monotonic() + _TURN
        while self._at != offset and not self.is_over:
            if not self._at < offset <= self._at + _GAP:
                return False
            if self._at != at:  # somebody was served, which may have taken long
                at, until = self._at, time.monotonic() + _TURN
            left = until - time.monotonic()
            if left <= 0:
                self.misses += 1
                self._pass(offset)  # what lies before, nobody wants
            else:
                self._moved.wait(left)
        return not self.is_over

    def _pass(self, offset: int) -> None:
        self._surplus += offset - self._at
        self._at = offset
        self._moved.notify_all()

    def _fill(self, sink: int, count: int) -> None:
        """Move ``count`` bytes into a pipe, or raise: then there may be some in it."""
        if self._body is None:
            self._body = self._coming.result()
            self._begun = self._body.begun
        if self.is_over:
            raise EOFError("nobody wants more")
        while self._surplus:
            self._surplus -= self._dropped(self._body)
        if self._begun:
            done = os.write(sink, self._begun[:count])
            self._begun = self._begun[done:]
            count -= done
        self._splice(self._body.socket, sink, count)

    def _splice(self, source: int, sink: int, count: int) -> None:
        stuck = 0
        while count:
            try:
                moved = os.splice(source, sink, count, flags=_FLAGS)
            except BlockingIOError:
                # There is nothing, or no room. In between, something may have come.
                stuck = stuck + 1 if self._waited(source) else 0
                if stuck == _STUCK:
                    raise OSError("the bytes come in too many pieces") from None
                continue
            if not moved:
                raise EOFError("the bytes ended early")
            count, stuck = count - moved, 0

    def _dropped(self, body: Body) -> int:
        """Take some of the bytes that nobody wants; return how many."""
        most = min(self._surplus, _SCRATCH)
        if self._begun:
            dropped, self._begun = self._begun[:most], self._begun[most:]
            return len(dropped)
        while True:
            try:
                count = len(body.line.sock.recv(most))
            except BlockingIOError:
                self._waited(body.socket)
                continue
            if not count:
                raise EOFError("the bytes ended early")
            return count

    def _waited(self, source: int) -> bool:
        """Wait for bytes; return whether there were some at once."""
        waiting = select.poll()
        waiting.register(source, select.POLLIN)
        if waiting.poll(0):
            return True
        if not waiting.poll(self._patience * 1000):
            raise TimeoutError("no bytes came")
        return False

    def _end(self) -> None:
        self.is_over = True
        self._moved.notify_all()
        if self._body is not None:
            self._body.close()
        elif not self._coming.cancel():
            self._coming.add_done_callback(_close)


_FLAGS: Final = getattr(os, "SPLICE_F_NONBLOCK", 0) | getattr(os, "SPLICE_F_MOVE", 0)


def _close(coming: "Future[Body]") -> None:
    if not coming.cancelled() and coming.exception() is None:
        coming.result().close()


def _held(source: int) -> int:
    """Return how many bytes are in a pipe."""
    return int(struct.unpack("i", fcntl.ioctl(source, termios.FIONREAD, b"    "))[0])
