"""Whom the matrix is asked: people at running servers, who look at every answer they get."""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final

import stack
from aiohttp import ClientSession, encode_basic_auth
from stack import Answer, Caller
from validation import valid

from pyvospace_ngas import errors

NUMBERS: Final = count(1)
FAULTS: Final = frozenset(kind.fault() for kind in errors.VOSpaceError.__subclasses__())
LEAKS: Final = re.compile(
    r"Traceback|asyncpg|File \"|\bselect\b.*\bfrom\b|site-packages", re.IGNORECASE | re.DOTALL
)
NO_BODY: Final = frozenset({204, 303, 304})


@dataclass(frozen=True, slots=True)
class Witness(Caller):
    """A `Caller` that asserts what holds of every answer: XML-02, FLT-01, FLT-05."""

    def __call__(self, user: str | None) -> "Witness":
        return Witness(self.http, self.base, user)

    async def request(
        self,
        method: str,
        path: str,
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        answer = await Caller.request(self, method, path, body, headers)
        if not path.startswith("http") or path.startswith(self.base):
            check(method, answer)
        return answer


def check(method: str, answer: Answer) -> None:
    """Assert what holds of every answer of the space server."""
    kind = answer.headers.get("Content-Type", "").partition(";")[0]
    if method == "HEAD" or answer.status in NO_BODY:
        assert answer.body == b"", answer
    elif kind == "text/xml":
        valid(answer.body)
    else:
        assert kind == "text/plain", answer
        assert not LEAKS.search(answer.text), answer
    if answer.status >= 400 and "X-VO-Fault" in answer.headers and method != "HEAD":
        assert answer.fault == answer.headers["X-VO-Fault"]
        assert answer.fault in FAULTS, answer
    assert answer.status != 500, answer


@dataclass(frozen=True, slots=True)
class World:
    """Running servers with a root, alice and carol of the group stars, bob and many of none."""

    stack: stack.Stack
    dsn: str
    http: ClientSession

    @staticmethod
    def basic(user: str) -> str:
        """Return what a user sends as credentials."""
        return encode_basic_auth(user, stack.PASSWORD)

    def person(self, name: str | None) -> Witness:
        """Return somebody with a client."""
        return Witness(self.http, self.stack.url, name)


@asynccontextmanager
async def world(
    dsn: str,
    folder: Path,
    *,
    space: Mapping[str, str] | None = None,
    storage: Mapping[str, str] | None = None,
) -> AsyncIterator[World]:
    """Run all servers, with everybody in them; third-party transfers may call the loopback."""
    await stack.add_user(dsn, "root", admin=True)
    await stack.add_user(dsn, "alice", "stars")
    await stack.add_user(dsn, "bob")
    await stack.add_user(dsn, "carol", "stars")
    await stack.add_user(dsn, "many")
    calls = {"allow_hosts": "127.0.0.1:*", **(storage or {})}
    async with (
        stack.whole_stack(dsn, folder, space=space, storage=calls) as running,
        ClientSession(auto_decompress=False) as http,
    ):
        alice = Caller(http, running.url, "alice")
        opened = await alice.set("/home/alice", stack.properties(publicread="true"))
        assert opened.status == 200, opened
        yield World(running, dsn, http)


async def new_container(person: Caller, prefix: str = "t") -> str:
    """Make a container of a test's own in the person's home; return its path."""
    path = f"/home/{person.user}/{prefix}{next(NUMBERS)}"
    # Private whatever the container around says, so that who may do what is the test's own affair.
    made = await person.make(path, inner=stack.properties(publicread="false"))
    assert made.status == 201, made
    return path


def phase(job: Answer) -> str:
    """Return the phase out of a job document."""
    return job.text.partition("<uws:phase>")[2].partition("<")[0]


def message(job: Answer) -> str:
    """Return the message of a failed job."""
    return job.text.partition("<uws:message>")[2].partition("<")[0]


def names(answer: Answer) -> list[str]:
    """Return the last parts of the children's URIs, in order."""
    listed = answer.text.partition("<vos:nodes>")[2]
    return [uri.rpartition("/")[2] for uri in re.findall(r'<vos:node [^>]*uri="([^"]*)"', listed)]


def endpoints(details: Answer) -> list[str]:
    """Return the endpoints of a transfer."""
    found = re.findall("<vos:endpoint>([^<]*)", details.text)
    return [endpoint.replace("&amp;", "&") for endpoint in found]


def of_uri(answer: Answer, name: str) -> str | None:
    """Return the text of the standard property ``name`` of the first node."""
    head = answer.text.partition("<vos:nodes>")[0]
    found = re.search(
        rf'<vos:property uri="{re.escape(stack.CORE + name)}"[^>]*?(?:/>|>([^<]*)<)', head
    )
    return None if found is None else found[1] or ""


def kind_of(answer: Answer) -> str:
    """Return the type of the first node."""
    found = re.search(r'xsi:type="vos:(\w+)"', answer.text)
    assert found, answer
    return found[1]


def job_of(synchronous: Answer) -> str:
    """Return the URL of the job that a synchronous transfer was."""
    assert synchronous.status == 303, synchronous
    return synchronous.location.removesuffix("/results/transferDetails")


async def begun(person: Caller, document: str) -> tuple[str, Answer]:
    """Make a push or pull at /transfers and run it; return the job's URL and the job."""
    made = await person.request("POST", "/transfers", document)
    assert made.status == 303, made
    started = await person.form(f"{made.location}/phase", "PHASE=RUN")
    assert (started.status, started.location) == (303, made.location)
    return made.location, await person.get(made.location)


async def ended(person: Caller, job: str) -> Answer:
    """Wait for the end of a job that a server works at; return it as it is then."""
    await person.get(f"{job}?WAIT=30&PHASE=QUEUED")
    return await person.get(f"{job}?WAIT=30&PHASE=EXECUTING")


async def details(person: Caller, job: str) -> Answer:
    """Return the transfer with its endpoints."""
    answer = await person.get(f"{job}/results/transferDetails")
    assert answer.status == 200, answer
    return answer


async def refusal(person: Caller, document: str) -> tuple[str, str, str]:
    """Run a transfer that is refused; return its job's message, and the name and detail at /error.

    FLT-04: the same three for every fault, with a 2.1 transfer without protocols as details.
    """
    url, job = await person.run(document)
    assert phase(job) == "ERROR", job
    assert re.search('<uws:errorSummary type="(transient|fatal)" hasDetail="true">', job.text)
    error = await person.get(f"{url}/error")
    assert (error.status, error.headers["Content-Type"].partition(";")[0]) == (200, "text/plain")
    assert "<vos:protocol" not in (await details(person, url)).text
    name, _, detail = error.text.partition(" ")
    assert name in FAULTS
    return message(job), name, detail


def result_of(document: Answer, name: str) -> str | None:
    """Return what the result ``name`` of a job, or of its results, refers to."""
    found = re.search(f'<uws:result id="{name}"[^>]* xlink:href="([^"]*)"', document.text)
    return None if found is None else found[1]
