"""What the commands print: tables for people, JSON for programs."""

import json
from collections.abc import Sequence
from typing import Final

MINUTE: Final = "%Y-%m-%d %H:%M"  # UTC


def print_json(values: object) -> None:
    """Print ``values``; times and the like as text."""
    print(json.dumps(values, indent=2, ensure_ascii=False, default=str))


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print columns that are as wide as they need be."""
    lines = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(map(str.ljust, line, widths)).rstrip())
