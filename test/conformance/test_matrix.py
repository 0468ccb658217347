"""The matrix itself: every row has a test or a reason, and the report says what happened."""

import ast
from collections.abc import Iterator
from pathlib import Path

from conformance.matrix import ABSENT, DEVIATIONS, POINTS, ROWS, UNTRIED
from conformance.report import Result, judged, worst, written

TESTS = Path(__file__).resolve().parent.parent


def marked() -> Iterator[tuple[str, Path]]:
    """Give each row that a marker in our tests names, and the file."""
    for path in TESTS.rglob("test_*.py"):
        for element in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match element:
                case ast.Call(ast.Attribute(attr="row") | ast.Name("row"), arguments):
                    for argument in arguments:
                        assert isinstance(argument, ast.Constant), f"{path} hides a row"
                        yield str(argument.value), path
                case _:
                    pass


def test_the_matrix_has_312_rows_and_65_points() -> None:
    assert (len(ROWS), len(POINTS)) == (312, 65)
    assert {row for point in POINTS for row in point.rows} <= ROWS.keys()
    assert all(row.text for row in ROWS.values())


def test_every_row_has_a_test_or_a_reason() -> None:
    named = {row for row, _ in marked()}
    assert sorted(ROWS.keys() - named - ABSENT.keys() - UNTRIED.keys()) == []
    # A deviation is a decision that a test shows to hold.
    assert sorted(DEVIATIONS.keys() - named) == []
    assert sorted(named & ABSENT.keys()) == []


def test_tests_name_rows_that_there_are() -> None:
    assert [(row, path.name) for row, path in marked() if row not in ROWS] == []
    assert (DEVIATIONS.keys() | ABSENT.keys() | UNTRIED.keys()) <= ROWS.keys()


def test_a_row_is_judged_by_its_tests() -> None:
    row, deviating, absent = ROWS["ID-01"], ROWS["PUL-10"], ROWS["PSH-26"]
    assert judged(row, {"passed", "failed"}) is Result.FAILED
    assert judged(row, {"passed", "skipped"}) is Result.PASSED
    assert judged(row, {"skipped"}) is judged(row, set()) is Result.NO_TEST
    assert judged(deviating, {"passed"}) is Result.DEVIATES
    assert judged(deviating, {"failed"}) is Result.FAILED
    assert judged(absent, set()) is Result.ABSENT
    assert judged(ROWS["VOS-08"], set()) is Result.UNTRIED
    assert worst([Result.PASSED, Result.DEVIATES]) is Result.DEVIATES


def test_the_report_names_every_row_and_every_decision() -> None:
    text = written({id_: judged(row, {"skipped"}) for id_, row in ROWS.items()})
    for row in ROWS.values():
        assert f"| {row.id} | {row.level} | {row.text} |" in text
    for why in (*DEVIATIONS.values(), *ABSENT.values(), *UNTRIED.values()):
        assert why in text
