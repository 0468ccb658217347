"""One run of the command: the space, who calls, what is said, and work done side by side."""

import argparse
import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Final

from pyvospace_ngas import errors
from pyvospace_ngas.cli.vo import credentials, paths
from pyvospace_ngas.cli.vo.progress import Progress, drawing, is_terminal
from pyvospace_ngas.cli.vo.screen import Screen
from pyvospace_ngas.cli.vo.sentences import Usage
from pyvospace_ngas.client.vospace import VOSpace
from pyvospace_ngas.errors import VOSpaceError
from pyvospace_ngas.model.uri import NodePath, Space

MOST_AWAY: Final = 8  # files in a row that the service was away for, until all is given up
_HOPELESS: Final = (errors.NotAuthenticated, errors.TooManyRequests)
_AWAY: Final = (errors.ServiceUnavailable, errors.ArchiveUnreachable)
_NO_SERVICE: Final = (errors.InvalidArgument, errors.InvalidURI, errors.DocumentTooLarge)


@dataclass(frozen=True, slots=True)
class Session:
    """What every command gets."""

    client: VOSpace
    space: Space
    user: str | None
    screen: Screen
    url: str

    def path(self, text: str) -> NodePath:
        """Return the node that a person means."""
        return paths.remote(text, self.space, self.user)


@dataclass(frozen=True, slots=True)
class Work:
    """Something to do, by the name that a failure is listed under."""

    name: str
    do: Callable[[], Awaitable[None]]


def screen_of(args: argparse.Namespace) -> Screen:
    """Return what to speak through."""
    drawn = is_terminal() and not args.quiet and not args.json
    return Screen(args.json, args.quiet, Progress(drawn))


@asynccontextmanager
async def opened(args: argparse.Namespace, screen: Screen) -> AsyncIterator[Session]:
    """Find the service and who is calling, and speak to it."""
    kept = credentials.load()
    url = credentials.address(args.url, kept)
    if url is None:
        raise Usage("which server? run `ngas_vo login`, or give --url or NGAS_VO_URL")
    login = credentials.find(url, args.token_file, kept)
    screen.anonymous = login.is_anonymous
    try:
        closed = VOSpace(url, login.user, login.password, token=login.token)
    except errors.InvalidArgument as error:
        raise Usage(str(error)) from None
    async with closed as client:
        space = await found(client, url)
        yield Session(client, space, client.user or login.user, screen, url)


async def found(client: VOSpace, url: str) -> Space:
    """Return the space at ``url``, or say that there is none."""
    try:
        return (await client.service()).space
    except _NO_SERVICE:
        reason = "what answers there is none"
    except VOSpaceError as error:
        if type(error) is not VOSpaceError:
            raise
        reason = str(error)
    raise Usage(f"{url} is no VOSpace ({reason}); an address is such as http://HOST:8082/vospace")


async def side_by_side(
    session: Session, things: AsyncGenerator[Work, None], jobs: int, *, counted: bool = False
) -> None:
    """Do ``things``, so many at a time as ``jobs`` says; failures are listed at the end.

    What comes is taken only as it is done, so that a large tree needs no memory. ``counted`` when
    the bar shall show them.
    """
    pool = _Pool(session.screen, jobs, counted, asyncio.Queue(2 * jobs))
    async with drawing(session.screen.progress), asyncio.TaskGroup() as group:
        group.create_task(pool.fill(things))
        for _ in range(jobs):
            group.create_task(pool.work())
    if failure := pool.hopeless or pool.broken:
        raise failure


@dataclass(slots=True)
class _Pool:
    """Work that waits, and why nothing more is begun: it would fail too, or finding it did."""

    screen: Screen
    jobs: int
    counted: bool
    queue: asyncio.Queue[Work | None]
    hopeless: Exception | None = None
    broken: Exception | None = None
    away: int = 0

    async def fill(self, things: AsyncGenerator[Work, None]) -> None:
        """Find what is to be done."""
        try:
            async with aclosing(things):
                async for work in things:
                    if self.hopeless is not None:
                        break
                    self.screen.progress.all_files += self.counted
                    await self.queue.put(work)
        except (VOSpaceError, OSError) as error:
            self.broken = error
        self.screen.progress.found = True
        for _ in range(self.jobs):
            await self.queue.put(None)

    async def work(self) -> None:
        """Do one thing after the other."""
        while (work := await self.queue.get()) is not None:
            if self.hopeless is None:
                await self._attempt(work)
                self.screen.progress.files += self.counted

    async def _attempt(self, work: Work) -> None:
        try:
            await work.do()
        except (*_HOPELESS, BrokenPipeError) as error:  # a pipe: nobody reads what we print
            self.hopeless = error
        except (VOSpaceError, OSError) as error:
            self.screen.fail(work.name, error)
            self.away = self.away + 1 if isinstance(error, _AWAY) else 0
            if self.away >= MOST_AWAY:
                self.hopeless = error
        else:
            self.away = 0


async def each(session: Session, names: list[str], do: Callable[[str], Awaitable[None]]) -> None:
    """Do the same to one after the other of what was named."""
    for name in names:
        try:
            await do(name)
        except (*_HOPELESS, BrokenPipeError):
            raise
        except (VOSpaceError, OSError) as error:
            session.screen.fail(name, error)
