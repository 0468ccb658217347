"""A plugin of pytest: ``--matrix FILE`` runs what the matrix asks for and reports row by row."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Final

import pytest

from conformance.matrix import ABSENT, CLIENTS, DEVIATIONS, POINTS, ROWS, UNTRIED, Row


class Result(StrEnum):
    """What became of a row. In this order: the worst first."""

    FAILED = "failed"
    NO_TEST = "no test"
    DEVIATES = "deviates"
    ABSENT = "not offered"
    UNTRIED = "not tried"
    PASSED = "passed"


_WORST_FIRST: Final = list(Result)
_PROPERTY: Final = "rows"
_INTRODUCTION: Final = """\
# Conformance to VOSpace 2.1

Written by `python -m pytest -q --matrix test/conformance/REPORT.md`, which runs every test that
carries a row. Each was asked over HTTP of running space and storage servers before archive nodes.

Levels: M, the standard demands it; S, it advises it; O, it leaves it open; D, it is silent or
contradicts itself, and the row is our reading of it.
"""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.getgroup("conformance").addoption(
        "--matrix",
        metavar="FILE",
        type=Path,
        help="run the tests of the conformance matrix only, and write its report to FILE",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Take part when the option is given."""
    path: Path | None = config.getoption("matrix")
    if path is not None:
        config.pluginmanager.register(Reporter(path.absolute()), "conformance-matrix")


class Reporter:
    """Collects what became of each row's tests."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._outcomes: dict[str, set[str]] = {}

    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        """Keep the tests that name a row, or keep the matrix itself."""
        kept: list[pytest.Item] = []
        dropped: list[pytest.Item] = []
        for item in items:
            named = sorted({row for mark in item.iter_markers("row") for row in mark.args})
            # What a process of xdist runs it reports to another one: the rows go along.
            item.user_properties.append((_PROPERTY, named))
            (kept if named or "test_matrix" in item.nodeid else dropped).append(item)
        if dropped:
            config.hook.pytest_deselected(items=dropped)
        items[:] = kept

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note how a test went; a failure before or after it counts as its own."""
        if report.when == "call" or report.outcome != "passed":
            for name, rows in report.user_properties:
                if name == _PROPERTY and isinstance(rows, list):
                    for row in rows:
                        self._outcomes.setdefault(row, set()).add(report.outcome)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the matrix, and write it down."""
        results = {row.id: judged(row, self._outcomes.get(row.id, set())) for row in ROWS.values()}
        terminalreporter.section("conformance to VOSpace 2.1")
        for row in ROWS.values():
            terminalreporter.write_line(f"{row.id} {row.level} {results[row.id]:11} {row.text}")
        points = of_points(results)
        for point in POINTS:
            rows = " ".join(point.rows)
            terminalreporter.write_line(
                f"{point.id:3} {points[point.id]:11} {point.text} ({rows})"
            )
        terminalreporter.write_line(f"rows: {', '.join(counted(results.values()))}")
        terminalreporter.write_line(f"points: {', '.join(counted(points.values()))}")
        self._path.write_text(written(results), encoding="utf-8")


def judged(row: Row, outcomes: set[str]) -> Result:
    """Return what became of ``row`` by the outcomes of its tests."""
    if "failed" in outcomes:
        return Result.FAILED
    if "passed" in outcomes:
        return Result.DEVIATES if row.id in DEVIATIONS else Result.PASSED
    if row.id in UNTRIED:
        return Result.UNTRIED
    return Result.ABSENT if row.id in ABSENT else Result.NO_TEST


def worst(results: Iterable[Result]) -> Result:
    """Return what is to be said of several rows together."""
    return min(results, key=_WORST_FIRST.index)


def counted(results: Iterable[Result]) -> Iterator[str]:
    """Give how many there are of each result."""
    found = list(results)
    return (f"{found.count(kind)} {kind}" for kind in Result if kind in found)


def of_points(results: Mapping[str, Result]) -> dict[str, Result]:
    """Return the result of each of the standard's own points, out of its rows'."""
    return {point.id: worst(results[row] for row in point.rows) for point in POINTS}


def written(results: Mapping[str, Result]) -> str:
    """Return the report: the 65 points, what we decided otherwise, and all rows."""
    points = of_points(results)
    untold = {id_: why for id_, why in UNTRIED.items() if results[id_] is Result.UNTRIED}
    parts = [
        _INTRODUCTION,
        f"**{len(ROWS)} rows**: {', '.join(counted(results.values()))}.",
        f"**The standard's own {len(POINTS)} points**: {', '.join(counted(points.values()))}.",
        "",
        "## Where we decided otherwise",
        "",
        *(f"- **{id_}** ({ROWS[id_].text}): {why}" for id_, why in DEVIATIONS.items()),
        "",
        "## What clients in use ask for",
        "",
        *(f"- {sentence}" for sentence in CLIENTS),
        "",
        "## What is not offered, or was not tried",
        "",
        *(f"- **{id_}** ({ROWS[id_].text}): {why}" for id_, why in (ABSENT | untold).items()),
        "",
        "## The standard's own matrix (appendix B)",
        "",
        *_table(
            ("point", "what is demanded", "rows", "result"),
            ((p.id, p.text, " ".join(p.rows), points[p.id]) for p in POINTS),
        ),
    ]
    for group in dict.fromkeys(row.group for row in ROWS.values()):
        rows = [row for row in ROWS.values() if row.group == group]
        parts += ["", f"## {group}", ""]
        parts += _table(
            ("row", "level", "what has to hold", "result"),
            ((row.id, row.level, row.text, results[row.id]) for row in rows),
        )
    return "\n".join(parts) + "\n"


def _table(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield "|" + len(heads) * "---|"
    for line in lines:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |"
