"""Which node next."""

from __future__ import annotations

import random

import pytest

from pyvospace_ngas.ngas.placement import (
    Entry,
    Room,
    Standing,
    backoff,
    below_cap,
    distinct,
    read_order,
    write_order,
)

A, B, C = Entry("a", 1), Entry("b", 1), Entry("c", 1)
WELL, ILL, NEW = Standing(healthy=True), Standing(healthy=False), Standing()


def test_one_address_is_one_entry_with_the_host_id_of_any_line() -> None:
    entries = distinct([A, Entry("a", 1), Entry("a", 1, "vm:1"), Entry("a", 2)])
    assert entries == (A, Entry("a", 2))
    assert entries[0].host_id == "vm:1"


@pytest.mark.parametrize(
    ("standings", "length", "tried", "first", "left_out"),
    [
        ({A: ILL, B: WELL, C: ILL}, 1, [], {B}, set()),
        ({A: ILL, B: WELL, C: NEW}, 1, [], {B, C}, set()),
        ({A: WELL, B: WELL, C: ILL}, 1, [A], {B}, {A}),
        ({A: WELL, B: Standing(True, room=Room(0, 9)), C: ILL}, 10, [], {A}, {B}),
        ({A: Standing(True, room=Room(9, 99)), B: WELL, C: WELL}, 10, [C], {B}, {C}),
        ({A: Standing(True, reluctant=True), B: WELL, C: ILL}, 1, [], {B}, set()),
        ({A: Standing(True, reluctant=True), B: ILL, C: ILL}, 1, [], {A}, set()),
    ],
)
def test_a_write_goes_first_to_a_node_in_good_standing(
    standings: dict[Entry, Standing],
    length: int,
    tried: list[Entry],
    first: set[Entry],
    left_out: set[Entry],
) -> None:
    orders = [
        write_order([A, B, C], standings, length, tried, random.Random(seed)) for seed in range(50)
    ]
    assert {order[0] for order in orders} == first
    assert all(set(order) == {A, B, C} - left_out for order in orders)


def test_writes_spread_over_equal_nodes() -> None:
    rng = random.Random(7)
    firsts = [write_order([A, B, C], {}, 1, [], rng)[0] for _ in range(300)]
    assert all(firsts.count(entry) > 60 for entry in (A, B, C))


def test_a_read_asks_the_holders_as_recorded_then_the_others() -> None:
    rng = random.Random(1)
    assert read_order([A, B, C], {}, [C], rng)[0] == C
    assert read_order([A, B, C], {}, [C, A, C], rng) == [C, A, B]
    assert read_order([A, B, C], {C: ILL}, [C, A], rng) == [A, C, B]
    assert read_order([A, B, C], {A: ILL}, [C], rng) == [C, B, A]
    assert set(read_order([A, B], {}, [Entry("stranger", 1)], rng)) == {A, B}


@pytest.mark.parametrize(
    ("standings", "chosen"),
    [
        ({A: WELL}, A),
        ({A: Standing(True, in_flight=2)}, B),
        ({A: Standing(True, in_flight=2), B: Standing(True, in_flight=1)}, B),
        ({A: Standing(True, in_flight=2), B: ILL}, None),
        ({A: Standing(True, in_flight=2), B: Standing(True, in_flight=2)}, None),
        ({A: ILL, B: ILL}, A),
    ],
)
def test_no_node_gets_more_than_its_cap(
    standings: dict[Entry, Standing], chosen: Entry | None
) -> None:
    assert below_cap([A, B], standings, cap=2) == chosen


def test_the_backoff_grows_to_a_limit() -> None:
    assert [backoff(failures) for failures in (0, 1, 2, 3, 7, 1000)] == [1, 1, 2, 4, 60, 60]
