"""For how long what the server said is believed: for moments, or while it tells of changes."""

import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from pyvospace_ngas.client.changes import Changed
from pyvospace_ngas.model.uri import NodePath

_LONGEST: Final = 60.0  # seconds for which anything is believed that the server was asked for
_SILENCE: Final = 2.5  # seconds without a word of the server's, after which it may have changed
_BEHIND: Final = 0.5  # seconds by which a server may be late: behind that it is asked instead
_HEARD: Final = 4096  # names of which it is remembered when the server told of them


@dataclass(frozen=True, slots=True)
class _Heard:
    at: float
    etag: str | None
    exists: bool


class Trust:
    """What the server has told, and when. Not for several threads at once."""

    def __init__(self, fresh: float) -> None:
        self._fresh = fresh
        self._heard: OrderedDict[NodePath, _Heard] = OrderedDict()  # the latest is the last
        self._forgotten = -float("inf")  # of what was heard until then not all is remembered
        self._from = float("inf")  # what was asked for from here on, until there, is as it was,
        self._until = -float("inf")  # but for what was heard

    @property
    def is_told(self) -> bool:
        """Tell whether the server tells of changes."""
        return time.monotonic() - self._until < _SILENCE

    def begin(self) -> None:
        """Take in that from now on the server tells of changes."""
        self._from = time.monotonic()

    def current(self, lag: float) -> None:
        """Take in that all has been told that happened until ``lag`` seconds ago."""
        self._until = time.monotonic() - lag if lag < _BEHIND else -float("inf")

    def hear(self, news: Changed) -> None:
        """Take in what was told of one name."""
        self._heard[news.path] = _Heard(time.monotonic(), news.etag, news.type is not None)
        self._heard.move_to_end(news.path)
        if len(self._heard) > _HEARD:
            _, oldest = self._heard.popitem(last=False)
            self._forgotten = oldest.at

    def believes(self, at: float) -> bool:
        """Tell whether what was asked for at a time still holds, as far as nothing was heard."""
        now = time.monotonic()
        if now - at < self._fresh:
            return True
        return self._from <= at and now - at < _LONGEST and self.is_told

    def is_overtaken(self, path: NodePath, at: float, etag: str | None) -> bool:
        """Tell whether an answer is not the last word on ``path``, which was asked for at a time.

        Without an ``etag`` the answer is that nothing is there.
        """
        if at <= self._forgotten or at < self._from <= time.monotonic():
            return True
        heard = self._heard.get(path)
        return heard is not None and heard.at > at and heard.etag != etag

    def told_since(self, container: NodePath, at: float) -> dict[str, bool] | None:
        """Return what was told of names in a container, and whether they exist; ``None``: all."""
        if at <= self._forgotten:
            return None
        found: dict[str, bool] = {}
        for path, heard in reversed(self._heard.items()):
            if heard.at <= at:
                break
            if path.parent == container:
                found[path.name] = heard.exists
        return found
