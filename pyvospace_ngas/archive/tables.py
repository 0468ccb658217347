"""The shapes of QUERY's answers, written page by page: JSON, Python's notation, a table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Final, Protocol

from pyvospace_ngas.archive.steps import Row


class Shape(Protocol):
    """Writes rows; ``measure`` sees all of them before, where that is wanted."""

    content_type: str
    measured: bool

    def __init__(self, columns: Sequence[str]) -> None: ...

    def measure(self, rows: Iterable[Row]) -> None:
        """Take note of rows that will be written."""

    def begin(self) -> str:
        """Return what comes before the rows."""

    def write(self, rows: Iterable[Row]) -> str:
        """Return the next rows."""

    def end(self) -> str:
        """Return what comes after the rows."""


class _List:
    """Rows with commas between them."""

    content_type = ""
    measured = False

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = columns
        self._separator = ""

    def measure(self, rows: Iterable[Row]) -> None:
        """There is nothing to take note of."""

    def begin(self) -> str:
        return "["

    def write(self, rows: Iterable[Row]) -> str:
        text = "".join(
            f"{self._separator if not number else ', '}{self._one(row)}"
            for number, row in enumerate(rows)
        )
        self._separator = ", " if text else self._separator
        return text

    def end(self) -> str:
        return "]"

    def _one(self, row: Row) -> str:
        return repr(tuple(_plain(value) for value in row))


class PythonList(_List):
    """A list of tuples."""

    content_type = "application/python-list"


class Json(_List):
    """A list of objects."""

    content_type = "application/json"

    def _one(self, row: Row) -> str:
        values = (_plain(value) for value in row)
        return json.dumps(dict(zip(self._columns, values, strict=True)))


class Table:
    """Columns that are as wide as what is in them."""

    content_type = "text/plain"
    measured = True

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = columns
        self._widths = [len(column) for column in columns]

    def measure(self, rows: Iterable[Row]) -> None:
        for row in rows:
            cells = (len(str(_plain(value))) for value in row)
            self._widths = [max(pair) for pair in zip(self._widths, cells, strict=True)]

    def begin(self) -> str:
        rule = " ".join("-" * width for width in self._widths)
        return f"{rule}\n{self._line(self._columns)}{rule}\n"

    def write(self, rows: Iterable[Row]) -> str:
        return "".join(self._line([str(_plain(value)) for value in row]) for row in rows)

    def end(self) -> str:
        return ""

    def _line(self, cells: Sequence[str]) -> str:
        padded = (cell.ljust(width) for cell, width in zip(cells, self._widths, strict=True))
        return " ".join(padded) + "\n"


def _plain(value: object) -> object:
    """Make a number of what PostgreSQL gives for numeric."""
    if not isinstance(value, Decimal):
        return value
    return int(value) if value == value.to_integral_value() else float(value)


SHAPES: Final[dict[str, type[Shape]]] = {
    "json": Json,
    "list": Table,
    "text": Table,
    "python-list": PythonList,
}
