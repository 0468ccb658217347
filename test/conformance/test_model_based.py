"""Random operations over HTTP, held to a model of the tree: on one server, and on two at once."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import pytest
import pytest_asyncio
import stack
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from ports import free_port
from stack import AUTHORITY, Answer, properties, relocation, transfer

from conformance.tree_model import Path, Refused, Thing, Tree
from conformance.world import (
    Witness,
    World,
    details,
    endpoints,
    job_of,
    kind_of,
    names,
    new_container,
    of_uri,
    result_of,
)

T = TypeVar("T")
LARGEST = 150
PLAIN = settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
LARGE = settings(PLAIN, max_examples=LARGEST)


@dataclass(frozen=True, slots=True)
class Operation:
    """What is to be done, to which node, by which of the servers."""

    kind: str
    path: Path
    other: Path
    value: str
    server: int


KINDS = (
    "container", "container", "file", "link", "set", "blank", "delete", "move", "move", "copy",
    "copy", "overmove", "overcopy", "push", "push", "pull", "list", "get",
)  # fmt: skip
OVERWRITE = '<vos:param uri="ivo://icrar.org/ngas#overwrite">true</vos:param>'
A, B, E = "a", "b", "é"
# Every tree begins with these, so that most operations meet something.
BEGINNING = (
    ("container", (A,), ()),
    ("container", (A, B), ()),
    ("container", (B,), ()),
    ("file", (A, E), ()),
    ("push", (E,), ()),
    ("set", (E,), ()),
    ("link", (B, E), (E,)),
)
PATHS = st.one_of(
    st.sampled_from([(A,), (B,), (E,), (A, A), (A, B), (A, E), (B, A), (B, B), (B, E)]),
    st.lists(st.sampled_from([A, B, E]), min_size=1, max_size=3).map(tuple),
)
OPERATIONS = st.lists(
    st.builds(
        Operation,
        kind=st.sampled_from(KINDS),
        path=PATHS,
        other=PATHS,
        value=st.sampled_from(["", "x", "y" * 100]),
        server=st.integers(0, 1),
    ),
    min_size=8,
    max_size=24,
)


def of(act: Callable[[], T]) -> tuple[str, T | None]:
    """Do something to the model; return the fault that it ends with, or what it gives."""
    try:
        return "", act()
    except Refused as fault:
        return str(fault), None


def agree(answer: Answer, status: int, fault: str) -> None:
    """Assert that the answer is what the model says."""
    assert (answer.fault == fault) if fault else (answer.status == status), (answer, fault)


@dataclass(frozen=True, slots=True)
class Bench:
    """One container, its model, and the servers that it is spoken to through."""

    servers: Sequence[Witness]
    home: str
    tree: Tree

    def full(self, path: Path) -> str:
        """Return the path of a node in URIs."""
        return self.home + "".join(f"/{name.replace('é', '%C3%A9')}" for name in path)

    async def apply(self, todo: Operation) -> None:
        """Do it here and there, and compare."""
        person = self.servers[todo.server % len(self.servers)]
        match todo.kind:
            case "container" | "file" | "link":
                await self._create(person, todo)
            case "set" | "blank":
                title = None if todo.kind == "blank" else todo.value
                done = await person.set(self.full(todo.path), properties(title=title))
                fault, _ = of(lambda: self.tree.set_title(todo.path, title))
                agree(done, 200, fault)
            case "delete":
                gone = await person.delete(f"/nodes{self.full(todo.path)}")
                fault, _ = of(lambda: self.tree.delete(todo.path))
                agree(gone, 204, fault)
            case "move" | "copy" | "overmove" | "overcopy":
                await self._relocate(person, todo)
            case "push":
                await self._push(person, todo)
            case "pull":
                await self._pull(person, todo)
            case _:
                await self._look(person, todo.path)

    async def _create(self, person: Witness, todo: Operation) -> None:
        kind, inner, thing = {
            "container": ("ContainerNode", "", Thing(below={})),
            "file": ("UnstructuredDataNode", "", Thing(data=b"")),
            "link": (
                "LinkNode",
                f"<vos:target>{AUTHORITY}{self.full(todo.other)}</vos:target>",
                Thing(target=todo.other),
            ),
        }[todo.kind]
        made = await person.make(self.full(todo.path), kind, inner)
        fault, _ = of(lambda: self.tree.create(todo.path, thing))
        agree(made, 201, fault)

    async def _relocate(self, person: Witness, todo: Operation) -> None:
        keep, over = todo.kind.endswith("copy"), todo.kind.startswith("over")
        document = relocation(self.full(todo.path), self.full(todo.other), keep=keep)
        if over:
            document = document.replace("</vos:transfer>", OVERWRITE + "</vos:transfer>")
        answer = await person.sync(document)
        expected, _ = of(lambda: self.tree.relocate(todo.path, todo.other, keep=keep, over=over))
        assert await self._fault(person, answer) == expected

    async def _push(self, person: Witness, todo: Operation) -> None:
        data = (todo.value * 3).encode()
        answer = await person.sync(transfer(self.full(todo.path), "pushToVoSpace", "httpput"))
        where = result_of(await person.get(job_of(answer)), "dataNode") or ""
        name = where.rpartition("/")[2]
        expected, path = of(lambda: self.tree.push(todo.path, data, name))
        assert await self._fault(person, answer) == expected
        if path is not None:
            assert where == AUTHORITY + self.full(path)
            place = endpoints(await details(person, job_of(answer)))[0]
            assert (await person.request("PUT", place, data)).status == 201

    async def _pull(self, person: Witness, todo: Operation) -> None:
        answer = await person.sync(transfer(self.full(todo.path), "pullFromVoSpace", "httpget"))
        expected, data = of(lambda: self.tree.pull(todo.path))
        assert await self._fault(person, answer) == expected
        if data is not None:
            place = endpoints(await details(person, job_of(answer)))[0]
            assert (await person.get(place)).body == data

    async def _look(self, person: Witness, path: Path) -> None:
        answer = await person.get(f"/nodes{self.full(path)}")
        fault, thing = of(lambda: self.tree.reach(path))
        agree(answer, 200, fault)
        if thing is not None:
            self._same(answer, thing)

    def _same(self, answer: Answer, thing: Thing) -> None:
        assert (answer.status, of_uri(answer, "title")) == (200, thing.title)
        below = [name.replace("é", "%C3%A9") for name in sorted(thing.below or {})]
        assert names(answer) == below
        if thing.target is not None:
            assert f"<vos:target>{AUTHORITY}{self.full(thing.target)}</vos:target>" in answer.text
        elif thing.data is not None:
            assert of_uri(answer, "length") == str(len(thing.data))
        else:
            assert kind_of(answer) == "ContainerNode"

    @staticmethod
    async def _fault(person: Witness, answer: Answer) -> str:
        """Return the fault that a synchronous job ended with, empty for none."""
        error = await person.get(f"{job_of(answer)}/error")
        return error.fault if error.status == 200 else ""

    async def compare(self) -> None:
        """Compare every node, by every server, and the bytes by one of them."""
        for path, thing in self.tree.everything():
            for person in self.servers:
                self._same(await person.get(f"/nodes{self.full(path)}"), thing)
            if thing.data is not None:
                assert (await self.servers[0].pull(self.full(path))).body == thing.data


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def servers(running: World) -> AsyncIterator[list[Witness]]:
    """Two space servers of one database, each with alice at it."""
    config = running.stack.config
    port = free_port()
    other = replace(
        config.space,
        listen=replace(config.space.listen, port=port, public_url=f"http://127.0.0.1:{port}"),
    )
    async with stack.space_server(replace(config, space=other)) as url:
        yield [running.person("alice"), Witness(running.http, url, "alice")]


async def drive(
    servers: Sequence[Witness], plans: Sequence[Sequence[Operation]], *, count: int
) -> None:
    """Follow each plan in a container of its own, all at once, each operation at its server."""
    benches = [
        Bench(servers[:count], await new_container(servers[0], "model"), Tree()) for _ in plans
    ]

    async def follow(bench: Bench, plan: Sequence[Operation]) -> None:
        for kind, path, other in BEGINNING:
            await bench.apply(Operation(kind, path, other, "T", 0))
        for todo in plan:
            await bench.apply(todo)
        await bench.compare()

    async with asyncio.TaskGroup() as group:
        for bench, plan in zip(benches, plans, strict=True):
            group.create_task(follow(bench, plan))
    for bench in benches:
        assert (await servers[0].delete(f"/nodes{bench.home}")).status == 204


@PLAIN
@given(plan=OPERATIONS)
async def test_one_server_does_what_the_model_does(
    servers: list[Witness], plan: list[Operation]
) -> None:
    await drive(servers, [plan], count=1)


@settings(PLAIN, max_examples=10)
@given(plans=st.tuples(OPERATIONS, OPERATIONS))
async def test_two_servers_at_once_do_what_the_model_does(
    servers: list[Witness], plans: tuple[list[Operation], list[Operation]]
) -> None:
    await drive(servers, plans, count=2)


@pytest.mark.scale
@LARGE
@given(plan=OPERATIONS)
async def test_one_server_does_what_the_model_does_for_long(
    servers: list[Witness], plan: list[Operation]
) -> None:
    await drive(servers, [plan], count=1)


@pytest.mark.scale
@LARGE
@given(plans=st.tuples(OPERATIONS, OPERATIONS, OPERATIONS))
async def test_two_servers_at_once_do_what_the_model_does_for_long(
    servers: list[Witness], plans: tuple[list[Operation], ...]
) -> None:
    await drive(servers, plans, count=2)
