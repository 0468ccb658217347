"""How fast the tree is: nodes made, read and listed; next to what aiohttp and PostgreSQL can do.

``python test/bench/tree.py`` starts all it needs by itself, on free ports of this machine.
"""

import argparse
import itertools
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import gauges
import limits
import load
import report
import rig
import stack
from report import Figures, Goal
from rig import AUTHORIZATION, Rig

AT_ONCE: Final = (1, 16)
FIELDS: Final = {"Content-Type": "text/xml", **AUTHORIZATION}
INNER: Final = stack.properties(title="A node to be read", description="It has two properties")


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    rounds: int
    seconds: float  # of one case in one round
    children: int
    below: int  # containers of the tree that is moved; each has as many children
    few: int  # nodes that are read, and children of the container that is listed all the time


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the tables; return 1 when a goal is not reached and that was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of a case in a round")
    parser.add_argument("--children", type=int, default=10_000, help="of the long listing")
    parser.add_argument("--quick", action="store_true", help="small counts, to see that it works")
    parser.add_argument("--dir", type=Path, help="where the temporary folder is made")
    parser.add_argument("--strict", action="store_true", help="exit code 1 for a missed goal")
    args = parser.parse_args(argv)
    plan = Plan(args.rounds, args.seconds, args.children, 100, 1000)
    if args.quick:
        seconds = min(args.seconds, 0.2)
        plan = Plan(min(args.rounds, 2), seconds, min(args.children, 1200), 10, 100)
    with ExitStack() as ending:
        site = ending.enter_context(rig.running(args.dir))
        goals = _measure(site, ending, plan)
    print(report.goals(goals))
    return int(args.strict and not all(goal.is_reached for goal in goals))


def _measure(site: Rig, ending: ExitStack, plan: Plan) -> list[Goal]:
    constant = limits.start_constant(site, ending)
    _prepare(site, plan)
    figures = Figures()
    cases = _rates(site, constant, figures, plan)
    report.rounds(cases, plan.rounds)
    print(_rates_table(figures, plan))
    report.rounds(_structure(site, figures, plan), plan.rounds)
    print(_structure_table(figures, plan))
    return [
        Goal("getNode at 16 / constant", figures.ratio("getNode 16", "constant 16"), 1 / 5),
        Goal("createNode at 16 / constant", figures.ratio("createNode 16", "constant 16"), 1 / 12),
        Goal(
            f"{plan.children} children listed (minimal), ms",
            figures.middle("long ms"),
            100,
            at_most=True,
        ),
        Goal(
            f"memory that listing {plan.children} children takes, MiB",
            figures.middle("long growth"),
            8,
            at_most=True,
        ),
    ]


def _create(path: str, kind: str = "UnstructuredDataNode", inner: str = INNER) -> bytes:
    document = stack.node(path, kind, inner).encode()
    return load.request("PUT", f"/vospace/nodes{path}", document, FIELDS)


def _prepare(site: Rig, plan: Plan) -> None:
    """Make what is read: depth 3 with two properties, a long listing, a tree."""
    site.make("/bench")
    for name in ("read", "made", "listed", "long"):
        site.make(f"/bench/{name}")
    sizes = {"read": plan.few, "listed": plan.few, "long": plan.children}
    for name, size in sizes.items():
        requests = (_create(f"/bench/{name}/node-{n:06}") for n in range(size))
        load.drive(site.space, requests, 16)
    _grow(site, "/bench/tree", plan.below)


def _grow(site: Rig, path: str, size: int) -> None:
    """Make a tree of ``size`` containers with ``size`` nodes each."""
    site.make(path)
    containers = (_create(f"{path}/{n}", "ContainerNode", "") for n in range(size))
    load.drive(site.space, containers, 16)
    nodes = (_create(f"{path}/{n}/{m}") for n in range(size) for m in range(size))
    load.drive(site.space, nodes, 16)


def _rates(
    site: Rig, constant: int, figures: Figures, plan: Plan
) -> dict[str, Callable[[], None]]:
    """Return the cases that give requests a second."""
    names = itertools.count()
    pgbench = limits.Pgbench(site)

    def get(path: str) -> bytes:
        return load.request("GET", f"/vospace/nodes{path}", headers=FIELDS)

    read = [get(f"/bench/read/node-{n:06}") for n in range(plan.few)]
    listing = [get("/bench/listed?detail=min")]
    answered = [load.request("GET", "/", headers=FIELDS)]
    requests: dict[str, tuple[int, Callable[[], Iterator[bytes]]]] = {
        "constant": (constant, lambda: itertools.cycle(answered)),
        "getNode": (site.space, lambda: itertools.cycle(read)),
        "createNode": (site.space, lambda: (_create(f"/bench/made/{n}") for n in names)),
        "list": (site.space, lambda: itertools.cycle(listing)),
    }

    def drive(name: str, at_once: int) -> None:
        port, stream = requests[name]
        before = gauges.read(site.programs)
        outcome = load.drive(port, stream(), at_once, plan.seconds)
        spent = gauges.spent(before, gauges.read(site.programs))
        figures.add(f"{name} {at_once}", outcome.rate)
        figures.add(f"{name} {at_once} client", outcome.own_cpu / outcome.seconds)
        serving = "constant" if port == constant else "space"
        for what, program in {"server": serving, "postgres": "postgres"}.items():
            figures.add(f"{name} {at_once} {what}", 1e6 * spent[program] / outcome.answers)

    def ask(script: str, at_once: int) -> None:
        figures.add(f"pgbench {script} {at_once}", pgbench.rate(script, at_once, plan.seconds))

    cases: dict[str, Callable[[], None]] = {}
    cases |= {f"{n} {c}": partial(drive, n, c) for n in requests for c in AT_ONCE}
    if pgbench.exists:
        cases |= {f"{s} {c}": partial(ask, s, c) for s in ("read", "insert") for c in AT_ONCE}
    return cases


def _rates_table(figures: Figures, plan: Plan) -> str:
    limit = {"getNode": "pgbench read", "createNode": "pgbench insert"}
    rows = []
    for name in ("constant", "getNode", "createNode", "list", *limit.values()):
        for at_once in AT_ONCE:
            case = f"{name} {at_once}"
            if case not in figures.values:
                continue
            peer = f"{limit.get(name)} {at_once}"
            row = [name, str(at_once), figures.text(case)]
            row.append(report.number(figures.ratio(case, f"constant {at_once}")))
            row.append(report.number(figures.ratio(case, peer)) if peer in figures.values else "")
            row += [
                report.number(figures.middle(key)) if key in figures.values else ""
                for key in (f"{case} server", f"{case} postgres", f"{case} client")
            ]
            rows.append(row)
    return report.table(
        f"Requests a second: median [least-most] of {plan.rounds} rounds of {plan.seconds} s;"
        f" a list has {plan.few} children in minimal detail",
        ("", "at once", "/s", "/constant", "/pgbench", "server us", "postgres us", "client CPU"),
        rows,
    )


def _structure(site: Rig, figures: Figures, plan: Plan) -> dict[str, Callable[[], None]]:
    """Return the cases that give milliseconds."""
    space = site.pick("space")

    def timed(name: str, act: Callable[[], object]) -> None:
        began = time.perf_counter()
        act()
        figures.add(f"{name} ms", 1000 * (time.perf_counter() - began))

    def long() -> None:
        def listing() -> None:
            found = site.ask("GET", "/nodes/bench/long?detail=min").body
            if found.count(b"<vos:node ") != plan.children + 1:
                raise load.Failed("a listing is not complete")

        listing()
        gauges.reset_peaks(space)
        before = gauges.read(space)["space"].resident
        timed("long", listing)
        growth = gauges.read(space)["space"].peak - before
        figures.add("long growth", growth / report.MEBIBYTE)
        figures.add("long peak", gauges.read(space)["space"].peak / report.MEBIBYTE)

    def structure() -> None:
        move = partial(site.relocate, "/bench/tree", "/bench/moved", keep=False)
        back = partial(site.relocate, "/bench/moved", "/bench/tree", keep=False)
        copy = partial(site.relocate, "/bench/tree", "/bench/copy", keep=True)
        timed("move", move)
        timed("move", back)
        timed("copy", copy)
        timed("delete", partial(site.ask, "DELETE", "/nodes/bench/copy"))
        timed("one get", partial(site.ask, "GET", "/nodes/bench/read/node-000000"))

    return {"long": long, "structure": structure}


def _structure_table(figures: Figures, plan: Plan) -> str:
    nodes = plan.below * (plan.below + 1) + 1
    rows = [
        (text, figures.text(f"{name} ms"))
        for name, text in {
            "one get": "read one node (a new connection; for comparison)",
            "long": f"list {plan.children} children, minimal detail",
            "move": f"move a tree of {nodes} nodes (three requests)",
            "copy": f"copy a tree of {nodes} nodes (three requests)",
            "delete": f"delete a tree of {nodes} nodes",
        }.items()
    ]
    rows += [
        ("space server while it lists: peak, MiB", figures.text("long peak")),
        ("  above what it had before, MiB", figures.text("long growth")),
    ]
    return report.table("Whole trees", ("", "ms: median [least-most]"), rows)


if __name__ == "__main__":
    sys.exit(main())
