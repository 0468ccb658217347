"""Listings before they are asked for, for programs that go through directories in turn.

As with a file that is read in order: the server lists the next ones while a program and the mount
are busy with this one, and more of them the longer the walk. It costs no more requests by that,
only less waiting: a server may be far away.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from pyvospace_ngas.fuse.entries import Entry, Kind
from pyvospace_ngas.fuse.tree import Tree
from pyvospace_ngas.model.uri import NodePath

_AHEAD: Final = 2  # directories that are listed before they are asked for, at the beginning
_MOST: Final = 8  # and of a long walk: one more with each step
_SURE: Final = 4  # steps in turn after which it is a long one
_NEAR: Final = 4  # steps forward that count as the next: programs sort in ways of their own
_TURN: Final = 2.0  # seconds from one to the next, beyond which nobody walks
_WALKS: Final = 64  # directories through which somebody may walk, one below the other
_AT_ONCE: Final = 0.25  # from a directory to its first one, beyond which that is not yet a walk


@dataclass(slots=True)
class _Walk:
    """The directories of a directory, and how far somebody came, and we."""

    names: list[str]
    numbers: Mapping[str, int]
    at: float
    last: int = -1
    done: int = -1
    steps: int = 0  # in turn


class Walks:
    """Sees directories being opened. Only where the server tells what changes meanwhile."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._lock = threading.Lock()
        self._walks: OrderedDict[NodePath, _Walk] = OrderedDict()  # the latest is the last
        self._threads = ThreadPoolExecutor(_MOST, "ahead")

    def opened(self, path: NodePath, listing: Mapping[str, Entry]) -> None:
        """Take in that a directory was opened, and what is in it."""
        names = [name for name, entry in listing.items() if entry.kind is Kind.DIRECTORY]
        with self._lock:
            self._walks.pop(path, None)
            if len(names) > _AHEAD:
                numbers = {name: number for number, name in enumerate(names)}
                self._walks[path] = _Walk(names, numbers, time.monotonic())
                if len(self._walks) > _WALKS:
                    self._walks.popitem(last=False)
            ahead = self._next(path) if path.parts and self._tree.is_told else []
        for each in ahead:
            self._threads.submit(self._tree.listing, each)  # if it fails, who asks for it is told

    def end(self) -> None:
        """List no more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _next(self, path: NodePath) -> list[NodePath]:
        """Return what is to be listed now that somebody is at ``path``."""
        parent = path.parent
        walk = self._walks.get(parent)
        number = None if walk is None else walk.numbers.get(path.name)
        if walk is None or number is None:
            return []
        self._walks.move_to_end(parent)
        now, step = time.monotonic(), number - walk.last
        longest = _AT_ONCE if walk.last < 0 else _TURN
        walks = 0 < step <= _NEAR and now - walk.at < longest
        walk.at, walk.last = now, number
        walk.steps = walk.steps + 1 if walks else 0
        if not walks:
            walk.done = number
            return []
        ahead = min(max(_AHEAD, _AHEAD + walk.steps - _SURE), _MOST)
        begin, end = max(walk.done, number) + 1, number + 1 + ahead
        walk.done = max(walk.done, end - 1)
        return [parent / name for name in walk.names[begin:end]]
