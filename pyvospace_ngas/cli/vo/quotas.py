"""``quota``: what there is room for; and the warning that there soon is none."""

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pyvospace_ngas.cli.vo import options
from pyvospace_ngas.cli.vo.progress import human
from pyvospace_ngas.cli.vo.session import Session, each
from pyvospace_ngas.errors import VOSpaceError
from pyvospace_ngas.model.standard import AVAILABLE_SPACE, QUOTA
from pyvospace_ngas.model.uri import NodePath

if TYPE_CHECKING:
    from pyvospace_ngas.cli.vo.options import Parts

SHORT: Final = 0.9  # used part of a quota from which on people are warned


@dataclass(frozen=True, slots=True)
class Room:
    """The nearest quota around a path. ``left`` may be less than what is unused: an outer one."""

    path: NodePath
    quota: int
    left: int

    @property
    def used(self) -> int:
        """Return how much of it there is no room for any more."""
        return max(self.quota - self.left, 0)


def add_commands(parts: "Parts") -> None:
    """Add ``quota``."""
    quota = options.command(parts, "quota", _quota, "show what there is room for, and used")
    quota.add_argument("paths", nargs="*", default=["."], metavar="PATH")


async def room(session: Session, path: NodePath) -> Room | None:
    """Return the quota that what goes to ``path`` comes under, ``None`` without one."""
    while True:
        try:
            found = (await session.client.get(path)).properties
        except VOSpaceError:
            if not path.parts:
                return None
            found = {}
        quota, left = found.get(QUOTA, ""), found.get(AVAILABLE_SPACE, "")
        if quota.isdigit() and left.isdigit():
            return Room(path, int(quota), int(left))
        if not path.parts:
            return None
        path = path.parent


async def warn_when_short(session: Session, path: NodePath) -> None:
    """Warn of a quota that is nearly used up."""
    if session.screen.quiet:
        return
    found = await room(session, path)
    if found is not None and found.used >= SHORT * found.quota:
        session.screen.warn(
            f"{found.path} has {human(found.left)} left of {human(found.quota)}:"
            " make room with `ngas_vo rm`, or ask for more"
        )


async def _quota(session: Session, args: argparse.Namespace) -> None:
    async def show(text: str) -> None:
        path = session.path(text)
        await session.client.get(path)  # or say that there is none
        found = await room(session, path)
        if args.json:
            session.screen.record(
                {
                    "path": str(path),
                    "quota_of": None if found is None else str(found.path),
                    "quota": None if found is None else found.quota,
                    "used": None if found is None else found.used,
                    "available": None if found is None else found.left,
                }
            )
            return
        if found is None:
            session.screen.print(f"{path} has no quota")
            return
        share = found.used / found.quota if found.quota else 1.0
        session.screen.print(
            f"{path}: the quota of {found.path} is {human(found.quota)}, {human(found.used)}"
            f" or {share:.0%} used, {human(found.left)} left"
        )

    await each(session, args.paths, show)
