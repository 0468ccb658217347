"""What the command says, and what it remembers of what failed."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from pyvospace_ngas.cli.vo.paths import shown
from pyvospace_ngas.cli.vo.progress import Progress, human
from pyvospace_ngas.cli.vo.sentences import Exit, code_of, sentence

MOST_LISTED: Final = 1000  # failures kept for the list at the end; more are counted
MOST_SHOWN: Final = 50


@dataclass(slots=True)
class Screen:
    """stdout for what was asked for, stderr for the rest."""

    json: bool
    quiet: bool
    progress: Progress
    anonymous: bool = False
    done: dict[str, int] = field(default_factory=dict)
    failures: list[tuple[str, str]] = field(default_factory=list)
    failed: int = 0
    codes: set[Exit] = field(default_factory=set)

    def print(self, text: str) -> None:
        """Print a line that was asked for."""
        self.progress.hide()
        print(shown(text) if sys.stdout.isatty() else _writable(text), flush=True)

    def record(self, values: Mapping[str, object] | list[Mapping[str, object]]) -> None:
        """Print one JSON document in a line."""
        self.progress.hide()
        print(json.dumps(values, ensure_ascii=True, default=_json), flush=True)

    def say(self, text: str) -> None:
        """Tell a person something that no program waits for."""
        if not self.quiet:
            self.warn(text)

    def warn(self, text: str) -> None:
        """Tell a person something that they must know."""
        self.progress.hide()
        print("ngas_vo:", " ".join(shown(text).split()), file=sys.stderr, flush=True)

    def did(self, action: str, path: object, **more: object) -> None:
        """Count something that is done, and say so unless a bar shows it."""
        self.done[action] = self.done.get(action, 0) + 1
        if self.json:
            self.record({"action": action, "path": str(path), **more})
        elif not self.quiet and not self.progress.drawn:
            self.print(f"{action:7} {path}")

    def fail(self, path: object, error: Exception) -> None:
        """Remember something that failed for the list at the end."""
        self.failed += 1
        self.codes.add(code_of(error))
        said = " ".join(sentence(error, anonymous=self.anonymous).split())
        if self.json:
            name = type(error).__name__
            self.record({"action": "failed", "path": str(path), "error": name, "text": said})
        if len(self.failures) < MOST_LISTED:
            self.failures.append((str(path), said))

    def stop(self, error: Exception) -> None:
        """Say why nothing more is done."""
        said = sentence(error, anonymous=self.anonymous)
        if self.json:
            self.record({"action": "stopped", "error": type(error).__name__, "text": said})
        self.warn(said)

    def refused(self, path: str, reason: str) -> None:
        """Remember something that a job of the server's could not do."""
        self.failed += 1
        self.codes.add(Exit.SOME_FAILED)
        if self.json:
            self.record({"action": "failed", "path": path, "text": reason})
        if len(self.failures) < MOST_LISTED:
            self.failures.append((path, reason))

    def finish(self) -> Exit:
        """List what failed; return the exit code."""
        if not self.failed:
            return Exit.DONE
        alone = self.failed == 1 and not self.done
        for path, said in self.failures[:MOST_SHOWN]:
            known = path in said
            self.warn(said if known else f"{path}: {said}")
        if self.failed > MOST_SHOWN:
            self.warn(f"... and {self.failed - MOST_SHOWN} more")
        if not alone:
            self.warn(f"{self.failed} failed, {sum(self.done.values())} done")
        return self.codes.pop() if len(self.codes) == 1 and not self.done else Exit.SOME_FAILED

    def summary(self, words: Mapping[str, str]) -> None:
        """Say on a terminal how much of each action was done."""
        if not self.progress.drawn:
            return
        parts = [f"{self.done[key]} {word}" for key, word in words.items() if self.done.get(key)]
        if parts:
            self.say(f"{', '.join(parts)}; {human(self.progress.bytes)}")


def table(
    screen: Screen, head: tuple[str, ...], rows: Sequence[tuple[str, ...]], right: str = ""
) -> None:
    """Print columns that are as wide as they need be; those named in ``right`` to the right."""
    cells = [tuple(shown(cell) for cell in row) for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    sides: list[Callable[[str, int], str]] = [
        str.rjust if name in right.split() else str.ljust for name in head
    ]
    for row in cells:
        line = (side(cell, width) for side, cell, width in zip(sides, row, widths, strict=True))
        screen.print("  ".join(line).rstrip())


def _writable(text: str) -> str:
    """Return ``text`` so that stdout can take it, whatever its encoding is."""
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _json(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
