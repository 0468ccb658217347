"""Child processes that are kept running: logged with a prefix, restarted, stopped in order."""

import asyncio
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE, STDOUT, Process
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pyvospace_ngas.cli.binaries import Account, PostgresError
from pyvospace_ngas.cli.orphans import guarded

LAST_LINES: Final = 5  # of a part's log go into the message that it did not start
LONGEST_LINE: Final = 16_384
PIPE_SECONDS: Final = 2.0  # for what a dead part's own children still write


class PartFailed(Exception):
    """A part did not start; the text says which, and the last of what it said."""


@dataclass(frozen=True, slots=True)
class Part:
    """One program to keep running."""

    name: str
    command: Sequence[str]
    ready: Callable[[], Awaitable[bool]]
    before: Callable[[], None] | None = None  # runs before every start
    stop: Sequence[tuple[signal.Signals, float]] = ((signal.SIGTERM, 20.0),)  # then SIGKILL
    account: Account | None = None
    cwd: Path | None = None
    environment: Mapping[str, str] | None = None
    lock: Sequence[int] = ()  # descriptors that it inherits

    @property
    def orphaned(self) -> signal.Signals:
        """The signal that the kernel sends it when we are killed."""
        return self.stop[0][0]


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before a part is started again."""

    first: float = 1.0
    longest: float = 30.0
    healthy: float = 60.0  # a part that lived as long starts again after the first pause

    def after(self, pause: float, lived: float) -> float:
        """Return the pause that follows ``pause`` when a part lived for ``lived`` seconds."""
        if pause == 0 or lived >= self.healthy:
            return self.first
        return min(pause * 2, self.longest)


def say(text: str, name: str = "ngas_up") -> None:
    """Print a line with its prefix; a terminal that went away does not stop anything."""
    with suppress(OSError):
        sys.stdout.write(f"{name:<10} | {text}\n")
        sys.stdout.flush()


@dataclass(slots=True)
class _Running:
    part: Part
    process: Process
    log: "asyncio.Task[None]"
    last: deque[str]


class Supervisor:
    """Runs parts in the order in which they are started, until they are stopped in reverse."""

    def __init__(self, backoff: Backoff = Backoff()) -> None:
        self._backoff = backoff
        self._running: dict[str, _Running] = {}
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self._started: list[Part] = []
        self.hurry = asyncio.Event()  # set: stop without patience

    async def start(self, part: Part, patience: float = 60.0) -> None:
        """Start ``part`` and return once it is ready; raise `PartFailed` if it never is."""
        self._started.append(part)
        running = await self._launch(part)
        try:
            async with asyncio.timeout(patience):
                await self._until_ready(running)
        except TimeoutError:
            raise PartFailed(
                f"{part.name} was not ready after {patience:.0f} seconds{_said(running)}"
            ) from None
        self._keepers[part.name] = asyncio.create_task(self._keep(running), name=part.name)

    async def watch(self) -> None:
        """Raise what ends a keeper; none ends while parts can still be started again."""
        # An event that nobody sets: there may be no part to keep, when all ran already.
        waiting = asyncio.create_task(asyncio.Event().wait())
        watched = {waiting, *self._keepers.values()}
        try:
            done, _ = await asyncio.wait(watched, return_when="FIRST_COMPLETED")
        finally:
            waiting.cancel()
        for keeper in done:
            await keeper

    async def stop(self) -> None:
        """Stop all parts, the last one first."""
        for keeper in self._keepers.values():
            keeper.cancel()
        if self._keepers:
            await asyncio.wait(self._keepers.values())
        for part in reversed(self._started):
            if (running := self._running.get(part.name)) is not None:
                await self._end(running)

    async def _launch(self, part: Part) -> _Running:
        if part.before is not None:
            part.before()
        user = part.account.ids if part.account else None
        process = await asyncio.create_subprocess_exec(
            *guarded(part.command, part.orphaned, user),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=PIPE,
            stderr=STDOUT,
            cwd=part.cwd,
            env=part.environment,
            pass_fds=part.lock,
            start_new_session=True,  # Ctrl-C comes to us, and we stop the parts in order
        )
        last: deque[str] = deque(maxlen=LAST_LINES)
        log = asyncio.create_task(_relay(process, part.name, last), name=f"log of {part.name}")
        running = _Running(part, process, log, last)
        self._running[part.name] = running
        return running

    async def _until_ready(self, running: _Running) -> None:
        part, process = running.part, running.process
        while not await part.ready():
            if process.returncode is not None:
                await _drain(running)
                raise PartFailed(f"{part.name} {_how(process.returncode)}{_said(running)}")
            await asyncio.sleep(0.1)

    async def _keep(self, running: _Running) -> None:
        """Start the part again whenever it ends."""
        pause = 0.0
        while True:
            part, since = running.part, time.monotonic()
            code = await running.process.wait()
            await _drain(running)
            pause = self._backoff.after(pause, time.monotonic() - since)
            say(f"{part.name} {_how(code)}; it starts again in {pause:.0f} s")
            await asyncio.sleep(pause)
            running = await self._again(running)

    async def _again(self, running: _Running) -> _Running:
        """Launch the part of ``running`` anew; a failure to do so counts as another death."""
        try:
            return await self._launch(running.part)
        except (OSError, PostgresError) as error:
            say(f"{running.part.name} cannot start: {error}")
            return running

    async def _end(self, running: _Running) -> None:
        process = running.process
        for number, patience in running.part.stop:
            if process.returncode is not None:
                break
            _signal(process, number)
            await self._wait(process, patience)
        if process.returncode is None:
            say(f"{running.part.name} does not stop and is killed")
            _kill_group(process)
            await process.wait()
        await _drain(running)

    async def _wait(self, process: Process, patience: float) -> None:
        ended = asyncio.create_task(process.wait())
        hurried = asyncio.create_task(self.hurry.wait())
        await asyncio.wait({ended, hurried}, timeout=patience, return_when="FIRST_COMPLETED")
        for task in (ended, hurried):
            task.cancel()
        await asyncio.wait({ended, hurried})


def _signal(process: Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # it ended between the look and the signal
        process.send_signal(number)


def _kill_group(process: Process) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # it is the leader of a session of its own


async def _relay(process: Process, name: str, last: deque[str]) -> None:
    """Print each line that the part writes, however long, behind its name."""
    assert process.stdout is not None  # noqa: S101 - asked for at its start
    rest = b""
    while data := await process.stdout.read(65_536):
        *lines, rest = (rest + data).split(b"\n")
        if len(rest) > LONGEST_LINE:
            lines.append(rest)
            rest = b""
        for line in lines:
            _print(line, name, last)
    if rest:
        _print(rest, name, last)


def _print(line: bytes, name: str, last: deque[str]) -> None:
    text = line.decode("utf-8", "replace").rstrip()
    last.append(text)
    say(text, name)


async def _drain(running: _Running) -> None:
    """Let the last lines of a dead part through."""
    await asyncio.wait({running.log}, timeout=PIPE_SECONDS)
    running.log.cancel()
    await asyncio.wait({running.log})


def _how(code: int) -> str:
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


def _said(running: _Running) -> str:
    said = [line for line in running.last if line]
    return f": {said[-1]}" if said else ""
