"""Figures of several rounds: medians with their range, ratios to a limit, goals."""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Final

MEBIBYTE: Final = 2**20


@dataclass(slots=True)
class Figures:
    """Every figure that was measured, by its name, in the order of the rounds."""

    values: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, value: float) -> None:
        self.values.setdefault(name, []).append(value)

    def middle(self, name: str) -> float:
        return median(self.values[name])

    def ratio(self, name: str, limit: str) -> float:
        """Return how a figure stands to another, by their medians."""
        return self.middle(name) / self.middle(limit)

    def text(self, name: str) -> str:
        """Return ``median [least-most]``."""
        values = self.values[name]
        return f"{number(median(values))} [{number(min(values))}-{number(max(values))}]"


@dataclass(frozen=True, slots=True)
class Goal:
    """What is to be reached, and what was."""

    text: str
    figure: float
    bound: float
    at_most: bool = False

    @property
    def is_reached(self) -> bool:
        return self.figure <= self.bound if self.at_most else self.figure >= self.bound

    def line(self) -> str:
        verdict = "reached" if self.is_reached else "NOT REACHED"
        sign = "<=" if self.at_most else ">="
        return f"{verdict:12} {self.text}: {number(self.figure)} ({sign} {number(self.bound)})"


def number(value: float) -> str:
    """Return ``value`` with three digits that count, or all of its whole ones."""
    if value >= 100 or value == 0:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def rounds(cases: Mapping[str, Callable[[], None]], count: int) -> None:
    """Run every case once in each round, in a new order each time.

    A machine that gets slower meanwhile does so to all of them.
    """
    for _ in range(count):
        names = list(cases)
        random.shuffle(names)
        for name in names:
            cases[name]()


def table(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return lines with aligned columns, the first to the left."""
    lines = [list(heads), *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    lines.insert(1, ["-" * width for width in widths])
    shown = (
        "  ".join(
            [line[0].ljust(widths[0])]
            + [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        )
        for line in lines
    )
    return "\n".join([f"\n{title}", *(line.rstrip() for line in shown)])


def goals(found: Iterable[Goal]) -> str:
    """Return the list of goals."""
    return "\n".join(["\nGoals (ratios count; quiet machine)", *(goal.line() for goal in found)])
