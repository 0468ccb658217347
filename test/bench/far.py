"""A way to a server that is far off: ``far.py MILLISECONDS PORT SERVER``, both on loopback.

What comes at PORT goes on to the port SERVER, and back, half of that time later each way. The
first word of a connection waits for as long as it takes to open one. There is no other limit.
"""

import asyncio
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, cast

sys.path.append(str(Path(__file__).resolve().parent.parent))

import peers
from ports import free_port

_HELD: Final = 256 << 20  # bytes on their way, of one connection and direction


class End(asyncio.Protocol):
    """One end of a connection: what is said there is heard at the other end, later.

    On its way are bytes, none of them for the end of what is said, and ``None`` for its loss.
    """

    def __init__(self, delay: float, opening: float = 0.0) -> None:
        self.other: End | None = None
        self.transport: asyncio.Transport | None = None
        self._delay = delay
        self._loop = asyncio.get_running_loop()
        self._not_before = self._loop.time() + opening
        self._way: deque[tuple[float, bytes | None]] = deque()
        self._held = 0
        self._timer: asyncio.TimerHandle | None = None
        self._is_full = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(_HELD)

    def data_received(self, data: bytes) -> None:
        self._held += len(data)
        if self._held > _HELD and self.transport is not None:
            self.transport.pause_reading()
        self._send(data)

    def eof_received(self) -> bool:
        self._send(b"")
        return True  # the other end may have more to say

    def connection_lost(self, _error: Exception | None) -> None:
        self._send(None)

    def pause_writing(self) -> None:
        if self.other is not None:
            self.other.hold(full=True)

    def resume_writing(self) -> None:
        if self.other is not None:
            self.other.hold(full=False)

    def meet(self, other: "End") -> None:
        """Send what has come already, and whatever comes."""
        self.other = other
        self._go_on()

    def give_up(self) -> None:
        """End what leads nowhere."""
        if self.transport is not None:
            self.transport.abort()

    def hear(self, data: bytes | None) -> None:
        """Pass on what was said at the other end."""
        if self.transport is None or self.transport.is_closing():
            return
        if data is None:
            self.transport.close()
        elif data:
            self.transport.write(data)
        else:
            with suppress(OSError):  # lost, which nobody has noticed yet
                self.transport.write_eof()

    def hold(self, *, full: bool) -> None:
        """Wait for the other end to take more, or go on."""
        self._is_full = full
        if not full:
            self._go_on()

    def _send(self, data: bytes | None) -> None:
        self._way.append((max(self._loop.time(), self._not_before) + self._delay, data))
        self._go_on()

    def _go_on(self) -> None:
        """Hand over all that has arrived, and wait for the next."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.other is None:
            return
        while self._way and self._way[0][0] <= self._loop.time() and not self._is_full:
            data = self._way.popleft()[1]
            self._held -= len(data or b"")
            self.other.hear(data)
        if self._held <= _HELD // 2 and self.transport is not None:
            self.transport.resume_reading()
        if self._way and not self._is_full:
            self._timer = self._loop.call_at(self._way[0][0], self._go_on)


async def relay(port: int, server: int, delay: float) -> asyncio.Server:
    """Begin to take connections at ``port``, for ``server``; ``delay`` is one way, in seconds."""
    loop = asyncio.get_running_loop()
    opening: set[asyncio.Task[None]] = set()

    async def join(near: End) -> None:
        far = End(delay)
        try:
            await loop.create_connection(lambda: far, "127.0.0.1", server)
        except OSError:
            near.give_up()
            return
        near.meet(far)
        far.meet(near)

    def taken() -> End:
        near = End(delay, 2 * delay)
        task = loop.create_task(join(near))
        opening.add(task)
        task.add_done_callback(opening.discard)
        return near

    return await loop.create_server(taken, "127.0.0.1", port)


@contextmanager
def way(milliseconds: float, server: int) -> Iterator[int]:
    """Give a port by which a server is so far off, in a process of its own; 0 is here."""
    if not milliseconds:
        yield server
        return
    port = free_port()
    words = [sys.executable, __file__, str(milliseconds), str(port), str(server)]
    process = subprocess.Popen(words)
    try:
        peers.until(lambda: peers.answers(port))
        yield port
    finally:
        process.terminate()
        process.wait()


async def main(milliseconds: float, port: int, server: int) -> None:
    """Relay until this is ended."""
    async with await relay(port, server, milliseconds / 2000) as listener:
        await listener.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
