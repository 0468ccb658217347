"""Hostile and odd requests: a right answer every time, never a 500, never a hang."""

import asyncio
import random
import string
from collections.abc import AsyncIterator, Iterator
from urllib.parse import quote

import pytest
from stack import AUTHORITY, CORE, NAMESPACES, node, properties, relocation, transfer
from yarl import URL

from conformance.world import Witness, World, endpoints, names, phase
from pyvospace_ngas.db.connect import connect

row = pytest.mark.row
DEEPEST = 200
ROOM = 60  # seconds that a whole test may take on a busy machine
SCRIPTS = (
    "x", "é", "Ω", "я", "ก", "天", "한", "🔭", "a\u0301", "\u202e", "\u00a0", "ﷺ", "\U0010ffff",
)  # fmt: skip
BODIES = {
    "createNode": ("PUT", "/nodes{home}/x"),
    "setNode": ("POST", "/nodes{home}"),
    "transfers": ("POST", "/transfers"),
    "synctrans": ("POST", "/synctrans"),
}


def documents(home: str) -> dict[str, str]:
    """Return a good document for each place that takes one."""
    return {
        "createNode": node(f"{home}/x", "DataNode", properties(title="T")),
        "setNode": node(home, "Node", properties(title="T")),
        "transfers": transfer(f"{home}/f", "pushToVoSpace", "httpput"),
        "synctrans": relocation(f"{home}/f", f"{home}/g", keep=True),
    }


async def send(alice: Witness, method: str, path: str, body: bytes | None = None) -> int:
    """Send bytes as they are; an answer or a cut connection, but no 500; return the status."""
    answer = await alice.request(method, path, body)
    assert answer.status < 500 or answer.status == 501, answer
    return answer.status


async def test_two_hundred_levels_are_a_tree_like_any(alice: Witness, home: str) -> None:
    above = home.count("/")
    path = home
    async with asyncio.timeout(ROOM):
        for level in range(DEEPEST - above):
            path += f"/{level}"
            assert (await alice.make(path)).status == 201
        assert path.count("/") == DEEPEST
        below = await alice.make(f"{path}/x", "DataNode")
        assert (below.status, below.fault) == (400, "InvalidURI")
        assert (await alice.set(path, properties(title="T"))).status == 200
        _, copied = await alice.run(relocation(f"{home}/0", f"{home}/copy", keep=True))
        assert phase(copied) == "COMPLETED"
        there = path.replace(f"{home}/0", f"{home}/copy")
        assert (await alice.get(f"/nodes{there}")).status == 200
        _, moved = await alice.run(relocation(f"{home}/copy", f"{home}/moved", keep=False))
        assert phase(moved) == "COMPLETED"
        assert (await alice.delete(f"/nodes{home}/0")).status == 204
        assert names(await alice.get(f"/nodes{home}")) == ["moved"]


async def test_what_moves_deeper_than_a_uri_may_say_comes_back(alice: Witness, home: str) -> None:
    path = f"{home}/t"
    await alice.make(path)
    for level in range(20):
        path += f"/{level}"
        await alice.make(path)
    deep = f"{home}/d"
    await alice.make(deep)
    while deep.count("/") < DEEPEST - 5:
        deep += "/d"
        await alice.make(deep)
    for keep in (True, False):
        _, job = await alice.run(relocation(f"{home}/t", deep, keep=keep))
        if phase(job) == "COMPLETED":
            _, back = await alice.run(relocation(f"{deep}/t", f"{home}/back{keep}", keep=False))
            assert phase(back) == "COMPLETED"
            assert (await alice.get(f"/nodes{path.replace('/t/', f'/back{keep}/')}")).status == 200


@pytest.mark.parametrize("letter", SCRIPTS)
async def test_names_of_255_bytes_in_any_script(alice: Witness, home: str, letter: str) -> None:
    size = len(letter.encode())
    name = letter * (255 // size) + "y" * (255 % size)
    path = f"{home}/{quote(name)}"
    assert (await alice.push(path, name.encode())).status == 201
    assert (await alice.pull(path)).body == name.encode()
    (listed,) = names(await alice.get(f"/nodes{home}"))
    assert (await alice.get(f"/nodes{home}/{listed}")).status == 200
    _, job = await alice.run(relocation(path, f"{home}/{quote(name[:-1])}", keep=False))
    assert phase(job) == "COMPLETED"
    longer = await alice.make(f"{home}/{quote(name + 'z')}")
    assert (longer.status, longer.fault) == (400, "InvalidURI")


@pytest.mark.parametrize("place", BODIES)
async def test_ten_mebibytes_are_refused_everywhere(alice: Witness, home: str, place: str) -> None:
    method, path = BODIES[place]
    good = documents(home)[place]
    rng = random.Random(10)
    async with asyncio.timeout(ROOM):
        for body in (
            rng.randbytes(10 << 20),
            good.encode() + b"<!-- " + b"x" * (10 << 20) + b" -->",
            b"<a b='" + b"x" * (10 << 20) + b"'/>",
            good.replace("</", "<vos:x/>" * 500_000 + "</", 1).encode(),
        ):
            assert await send(alice, method, path.format(home=home), body) == 413


@pytest.mark.parametrize("place", BODIES)
async def test_a_chunked_body_without_end_is_refused(
    alice: Witness, home: str, place: str, running: World
) -> None:
    method, path = BODIES[place]
    sent = 0

    async def forever() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 64 << 20:
            sent += 1 << 16
            yield b"<" * (1 << 16)

    url = URL(alice.base + path.format(home=home), encoded=True)
    login = {"Authorization": running.basic("alice")}
    async with asyncio.timeout(ROOM):
        try:
            async with running.http.request(method, url, data=forever(), headers=login) as answer:
                assert answer.status == 413
        except ConnectionError:
            pass  # closed while we were still sending, which is an answer, too
    assert (await alice.get(f"/nodes{home}")).status == 200


def mutants(good: str, rng: random.Random, count: int) -> Iterator[bytes]:
    """Give documents that are nearly right, and bytes that are not."""
    whole = good.encode()
    for _ in range(count):
        match rng.randrange(6):
            case 0:
                yield rng.randbytes(rng.randrange(200))
            case 1:
                yield whole[: rng.randrange(len(whole))]
            case 2:
                place = rng.randrange(len(whole))
                yield whole[:place] + rng.randbytes(rng.randrange(1, 4)) + whole[place + 1 :]
            case 3:
                start, end = sorted(rng.sample(range(len(whole)), 2))
                yield whole[:start] + whole[end:]
            case 4:
                start, end = sorted(rng.sample(range(len(whole)), 2))
                yield whole[:end] + whole[start:]
            case _:
                words = rng.choice(
                    ["\0", "&#0;", "&#xD800;", "﷐", "]]>", "%00", "{}", "\x1b", "'--"]
                )
                place = rng.choice([i for i, c in enumerate(good) if c in '>"/:']) + 1
                yield (good[:place] + words + good[place:]).encode()


@pytest.mark.parametrize("place", BODIES)
async def test_random_bodies_are_never_a_500(alice: Witness, home: str, place: str) -> None:
    method, path = BODIES[place]
    await alice.make(f"{home}/f", "DataNode")
    async with asyncio.timeout(ROOM):
        for body in mutants(documents(home)[place], random.Random(place), 80):
            await send(alice, method, path.format(home=home), body)
    assert (await alice.get(f"/nodes{home}")).status == 200


@pytest.mark.parametrize("seed", range(4))
async def test_random_paths_and_queries_are_never_a_500(
    alice: Witness, home: str, seed: int
) -> None:
    rng = random.Random(seed)
    words = [
        "nodes", "transfers", "synctrans", "views", home.strip("/"), "..", ".", "", ".auto",
        ".null", "%00", "%2F", "%ff", "%F0%9F%94%AD", "%zz", "~", "!", "%", "a" * 300, "results",
        "phase", "%0d%0aX-A:b", "'", '"', "<", "{id}", "\\", ";x", "%C0%AF", "%ED%A0%80",
        "auth", "*",
    ]  # fmt: skip
    keys = [
        "uri", "limit", "detail", "view", "sort", "order", "PHASE", "LAST", "AFTER", "WAIT",
        "RUNID", "TARGET", "DIRECTION", "PROTOCOL", "VIEW", "SECURITYMETHOD", "REQUEST", "x",
    ]  # fmt: skip
    values = [
        "", "0", "-1", "1e9", "%00", "%ff", "min", "max", "data", "RUN", "2026-01-01T00:00:00Z",
        "0001-01-01T00:00:00%2B23:00", "9999-12-31T23:59:59-23:00", "urn:x", "pullFromVoSpace",
        f"{AUTHORITY}{home}/f", f"{AUTHORITY}/%2500", "redirect", "length", "asc", "9" * 400,
        "%EF%BC%91", f"{CORE}httpget".replace("#", "%23"),
        f"{CORE}defaultview".replace("#", "%23"),
    ]  # fmt: skip
    async with asyncio.timeout(ROOM):
        for _ in range(120):
            path = "/" + "/".join(rng.choices(words, k=rng.randrange(1, 5)))
            if rng.random() < 0.5:
                path = rng.choice([f"/nodes{home}", f"/nodes{home}/f", "/transfers", "/synctrans"])
            pairs = [f"{rng.choice(keys)}={rng.choice(values)}" for _ in range(rng.randrange(4))]
            method = rng.choice(["GET", "GET", "HEAD", "PUT", "POST", "DELETE"])
            if path == f"/nodes{home}" and method == "DELETE":
                continue
            if "WAIT=-1" in pairs or "WAIT=9" in "".join(pairs):
                continue
            body = (
                None if method in ("GET", "HEAD") else rng.choice([b"", b"PHASE=RUN", b"%00=%00"])
            )
            await send(alice, method, f"{path}?{'&'.join(pairs)}", body)
    assert (await alice.get(f"/nodes{home}")).status == 200


@pytest.mark.parametrize("value", ["%00", "%FF", "%ED%A0%80", "%1b", "a" * 5000])
async def test_strange_words_in_parameters_and_forms(
    alice: Witness, home: str, value: str
) -> None:
    await alice.make(f"{home}/f", "DataNode")
    core = CORE.replace("#", "%23")
    whole = f"TARGET={AUTHORITY}{home}/f&DIRECTION=pullFromVoSpace&PROTOCOL={core}httpget"
    document = transfer(f"{home}/f", "pullFromVoSpace", "httpget").encode()
    made = await alice.request("POST", "/transfers", document)
    for method, path, body in (
        ("POST", f"/transfers?RUNID={value}", document),
        ("POST", f"/transfers?PHASE={value}", document),
        ("GET", f"/synctrans?{whole}&VIEW={value}", None),
        ("GET", f"/synctrans?{whole}&SECURITYMETHOD={value}", None),
        ("GET", f"/synctrans?{whole}&REQUEST={value}", None),
        ("GET", f"/synctrans?{whole}{value}", None),
        ("GET", f"/synctrans?{whole.replace('/f&', f'/{value}&')}", None),
        ("POST", "/synctrans", whole.encode() + f"&VIEW={value}".encode()),
        ("POST", f"{made.location}/phase", f"PHASE={value}".encode()),
        ("POST", f"{made.location}/destruction", f"DESTRUCTION={value}".encode()),
        ("POST", f"{made.location}/executionduration", f"EXECUTIONDURATION={value}".encode()),
        ("GET", f"{made.location}/results/{value}", None),
        ("GET", f"/nodes{home}/f?view={value}", None),
        ("GET", f"/nodes{home}?uri={AUTHORITY}{home}/{value}", None),
        ("GET", f"/nodes{home}?uri={value}", None),
        ("GET", f"/nodes{home}?sort={value}", None),
        ("GET", f"/transfers?AFTER={value}", None),
        ("DELETE", f"/transfers/{value}", None),
    ):
        await send(alice, method, path, body)


@pytest.mark.parametrize("name", ["Authorization", "Cookie", "If-Match", "If-None-Match", "Range"])
async def test_strange_headers_are_never_a_500(alice: Witness, home: str, name: str) -> None:
    rng = random.Random(name)
    await alice.push(f"{home}/f", b"1")
    get = await alice.endpoint(f"{home}/f", "pullFromVoSpace", "httpget")
    words = string.ascii_letters + string.digits + "\"'=,;:/ -*\xe9\t%W/"
    for _ in range(25):
        value = rng.choice(["Basic ", "Bearer ", "bytes=", '"', "ngas_session=", ""])
        value += "".join(rng.choices(words, k=rng.randrange(40)))
        for path in (f"/nodes{home}/f", "/transfers", get):
            answer = await alice.get(path, **{name: value.strip()})
            assert answer.status < 500, (value, answer)


async def test_strange_tokens_and_bytes_at_the_storage_server(alice: Witness, home: str) -> None:
    rng = random.Random(5)
    put = await alice.endpoint(f"{home}/f", "pushToVoSpace", "httpput")
    start, token, end = put.partition("/files/")[0] + "/files/", put.split("/")[-2], "/f"
    for _ in range(40):
        place = rng.randrange(len(token))
        wrong = token[:place] + rng.choice('A%é~=.,\\"{') + token[place + 1 :]
        wrong = rng.choice([wrong, token[:place], quote(rng.randbytes(20)), "%00", token * 20])
        if wrong == token:
            continue
        for method in ("GET", "HEAD", "PUT", "DELETE", "POST"):
            body = b"x" if method in ("PUT", "POST") else None
            status = (await alice.request(method, start + wrong + end, body)).status
            assert 400 <= status < 500, (wrong, status)
    for name in ("Content-Range", "Digest", "Content-MD5", "Content-Type", "Content-Encoding"):
        for value in ("x", "bytes 5-4/3", "md5=!!!", "\xe9", "gzip", "a" * 4000):
            answer = await alice.request("PUT", put, b"bytes", {name: value})
            assert answer.status < 500 or answer.status == 501, (name, value, answer)
    assert (await alice.get(f"/nodes{home}")).status == 200


@row("XML-12")
async def test_a_document_full_of_children_properties_and_protocols(
    alice: Witness, home: str
) -> None:
    many = "".join(f'<vos:property uri="urn:p{n}">v</vos:property>' for n in range(1000))
    full = await alice.set(home, f"<vos:properties>{many}</vos:properties>")
    assert (full.status, full.text.count('"urn:p')) == (200, 1000)
    one = await alice.set(
        home, '<vos:properties><vos:property uri="urn:q">v</vos:property></vos:properties>'
    )
    assert (one.status, one.fault) == (400, "InvalidArgument")
    protocols = "".join(f'<vos:protocol uri="urn:p{n}"/>' for n in range(1000))
    answer = await alice.sync(transfer(f"{home}/f", "pushToVoSpace", "httpput", more=protocols))
    assert len(endpoints(await alice.get(answer.location))) == 1
    nested = "<vos:nodes>" * 500 + "</vos:nodes>" * 500
    assert (await alice.make(f"{home}/x", inner=nested)).status == 400
    attributes = " ".join(f'a{n}="1"' for n in range(5000))
    strange = f'<vos:node {NAMESPACES} {attributes} uri="{AUTHORITY}{home}/y"/>'
    assert (await alice.request("PUT", f"/nodes{home}/y", strange)).status in (201, 400)


async def many_jobs(running: World, alice: Witness, count: int) -> None:
    """List ``count`` jobs of one person, whole and filtered."""
    document = transfer("/home/many/f", "pullFromVoSpace", "httpget")
    db = await connect(running.dsn)
    made = (await alice.request("POST", "/transfers", document)).location.rpartition("/")[2]
    columns = ", ".join(
        record["column_name"]
        for record in await db.fetch(
            "select column_name from information_schema.columns where table_name = 'job'"
            " and column_name not in ('id', 'owner', 'created') and is_generated = 'NEVER'"
        )
    )
    await db.execute(
        f"""
        insert into job (id, owner, created, {columns})
        select 'many' || i, 'many', now() - i * interval '1 s', {columns}
          from job, generate_series(1, $2::int) i where id = $1
        """,
        made,
        count,
    )
    many = running.person("many")
    try:
        whole = await many.get("/transfers")
        assert (whole.status, whole.text.count("<uws:jobref ")) == (200, count)
        last = await many.get("/transfers?PHASE=PENDING&LAST=3")
        assert [f'id="many{n}"' in last.text for n in (1, 2, 3, 4)] == [True, True, True, False]
        assert (await many.get("/transfers?PHASE=ERROR")).text.count("<uws:jobref ") == 0
        assert (await many.form("/transfers/many7/phase", "PHASE=ABORT")).status == 303
        async with asyncio.timeout(ROOM):
            assert (await many.get("/transfers?LAST=1&PHASE=ABORTED")).text.count("many7") >= 1
    finally:
        await db.execute("delete from job where owner = 'many'")
        await db.close()


async def test_a_thousand_jobs_are_listed(running: World, alice: Witness) -> None:
    await many_jobs(running, alice, 1000)


@pytest.mark.scale
async def test_ten_thousand_jobs_are_listed(running: World, alice: Witness) -> None:
    await many_jobs(running, alice, 10_000)
