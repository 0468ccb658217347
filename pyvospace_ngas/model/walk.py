"""How far a job over a whole tree has come: what it needs to go on after its server died."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

MOST_FAILURES: Final = 200  # that are named; all are counted


@dataclass(frozen=True, slots=True)
class Frame:
    """A container that is being gone through, in name order: ``after`` was seen to last.

    ``leaves``: a delete takes what is no container first.
    """

    container: int
    after: str = ""
    leaves: bool = True


@dataclass(frozen=True, slots=True)
class Walk:
    """The key at which a job resumes. ``root``: the node it is about, once that is known."""

    root: int | None = None
    stack: tuple[Frame, ...] = ()
    done: int = 0
    failed: int = 0
    failures: tuple[tuple[str, str], ...] = ()  # a node's path, and why

    @property
    def is_over(self) -> bool:
        """Tell whether nothing is left to be gone through."""
        return self.root is not None and not self.stack

    def succeeded(self, count: int = 1) -> "Walk":
        """Count nodes that were done."""
        return replace(self, done=self.done + count)

    def refused(self, path: object, why: str, count: int = 1) -> "Walk":
        """Count nodes that could not be done, and say why while there is room for it."""
        named = self.failures
        if len(named) < MOST_FAILURES:
            named = (*named, (str(path), why))
        return replace(self, failed=self.failed + count, failures=named)

    def at(self, *frames: Frame) -> "Walk":
        """Put ``frames`` in place of the last one."""
        return replace(self, stack=(*self.stack[:-1], *frames))


def words(walk: Walk) -> dict[str, object]:
    """Return ``walk`` as it is stored."""
    return {
        "root": walk.root,
        "stack": [[frame.container, frame.after, frame.leaves] for frame in walk.stack],
        "done": walk.done,
        "failed": walk.failed,
        "failures": [list(failure) for failure in walk.failures],
    }


def read(stored: Mapping[str, object] | None) -> Walk:
    """Return what `words` made; a walk that has not begun when nothing is stored."""
    match stored:
        case {
            "root": int() | None as root,
            "stack": list(stack),
            "done": int(done),
            "failed": int(failed),
            "failures": list(failures),
        }:
            return Walk(
                root,
                tuple(Frame(*frame) for frame in stack),
                done,
                failed,
                tuple((path, why) for path, why in failures),
            )
        case _:
            return Walk()
