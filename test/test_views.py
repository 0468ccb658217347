"""Containers as tar, tar.gz and zip, both ways, over real sockets to archive nodes and back."""

import asyncio
import hashlib
import os
import random
import re
import resource
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import stack
from aiohttp import ClientError, ClientSession
from stack import AUTHORITY, CORE, Caller, properties, transfer
from validation import valid
from views_support import (
    BINARY,
    FILES,
    FOLDERS,
    FORMS,
    HOME,
    LARGE,
    LINKS,
    MTIME,
    PACKAGE,
    VIEWS,
    Pipe,
    endpoint,
    export,
    info,
    made,
    names,
    nothing_is_left,
    read,
    read_tar,
    read_zip,
    refusal,
    several,
    tar,
    unpack,
    view,
    zipped,
)
from waiting_support import until_true

from pyvospace_ngas.db import attempts, nodes
from pyvospace_ngas.db import trees as rows
from pyvospace_ngas.db.connect import Connection, Database
from pyvospace_ngas.model.tree import Growth
from pyvospace_ngas.model.uri import NodePath
from pyvospace_ngas.ops import quotas, trees


@pytest.fixture
async def alice(dsn: str, tmp_path: Path) -> AsyncIterator[Caller]:
    """Alice, before two archive nodes; bob exists too."""
    await stack.add_user(dsn, "alice")
    await stack.add_user(dsn, "bob")
    async with stack.whole_stack(dsn, tmp_path) as running, ClientSession() as http:
        yield Caller(http, running.url, "alice")


@pytest.mark.row("PSH-10", "PUL-13")
@pytest.mark.parametrize("form", FORMS)
async def test_what_is_unpacked_is_packed_again_the_same(alice: Caller, form: str) -> None:
    await alice.make(f"{HOME}/t")
    put = await unpack(alice, f"{HOME}/t", form, made(form))
    assert put.status == 201, put.text
    assert put.headers["ETag"] == f'"{hashlib.md5(made(form)).hexdigest()}"' or form != "tar"
    shown = await alice.get(f"/nodes{HOME}/t/small.txt")
    assert hashlib.md5(FILES["small.txt"]).hexdigest() in shown.text
    assert f"{datetime.fromtimestamp(MTIME, UTC):%Y-%m-%dT%H:%M:%S}" in shown.text or form == "zip"
    assert (await alice.pull(f"{HOME}/t/large.bin")).body == LARGE
    assert (await alice.pull(f"{HOME}/t/d/up")).body == b"hello\n"
    for packed in FORMS:
        got = await export(alice, f"{HOME}/t", packed)
        assert got.status == 200
        assert read(packed, got.body) == (FILES, set(FOLDERS), LINKS)


@pytest.mark.row("PUL-14")
@pytest.mark.parametrize(
    ("form", "media_type"),
    [("tar", "application/x-tar"), ("tar.gz", "application/gzip"), ("zip", "application/zip")],
)
async def test_an_archive_says_what_it_is_and_has_a_name(
    alice: Caller, form: str, media_type: str
) -> None:
    await alice.make(f"{HOME}/%C3%A9")
    url = await endpoint(alice, f"{HOME}/%C3%A9", "pullFromVoSpace", view(form))
    assert url.endswith(f"/%C3%A9.{form}")
    head = await alice.request("HEAD", url)
    got = await alice.get(url)
    for answer in (head, got):
        assert (answer.status, answer.headers["Content-Type"]) == (200, media_type)
        assert f"filename*=UTF-8''%C3%A9.{form}" in answer.headers["Content-Disposition"]
        assert answer.headers["Content-Disposition"].startswith("attachment")
    assert read(form, got.body) == ({}, set(), {})


async def test_the_programs_of_the_system_read_and_write_them(
    alice: Caller, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    for name, data in FILES.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(data)
    (source / "nothing here").mkdir()
    for name, target in LINKS.items():
        (source / name).symlink_to(target)
    os.link(source / "large.bin", source / "twin")
    for number, options in enumerate((["-cf"], ["-czf"], ["--format=gnu", "-cf"])):
        subprocess.run(["tar", *options, tmp_path / "a", "-C", source, "."], check=True)
        await alice.make(f"{HOME}/t{number}")
        form = "tar.gz" if options == ["-czf"] else "tar"
        put = await unpack(alice, f"{HOME}/t{number}", form, (tmp_path / "a").read_bytes())
        assert put.status == 201, put.text
        (tmp_path / "b").write_bytes((await export(alice, f"{HOME}/t{number}", form)).body)
        unpacked = tmp_path / f"target{number}"
        unpacked.mkdir()
        subprocess.run(["tar", "-xf", tmp_path / "b", "-C", unpacked], check=True)
        for name, data in (FILES | {"twin": LARGE}).items():
            assert (unpacked / name).read_bytes() == data
        assert (unpacked / "d/up").readlink() == Path("../small.txt")
    if shutil.which("unzip"):
        (tmp_path / "c.zip").write_bytes((await export(alice, f"{HOME}/t0", "zip")).body)
        subprocess.run(["unzip", "-tq", tmp_path / "c.zip"], check=True)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
async def test_zips_with_their_lengths_in_front_or_behind(alice: Caller, method: int) -> None:
    await alice.make(f"{HOME}/t")
    assert (await unpack(alice, f"{HOME}/t", "zip", zipped(method))).status == 201
    got = await export(alice, f"{HOME}/t", "tar")
    assert read_tar(got.body) == (FILES, set(FOLDERS), LINKS)
    pipe = Pipe()
    zipped(method, pipe, {})  # links are stored by Python, which cannot go through a pipe
    await alice.make(f"{HOME}/u")
    put = await unpack(alice, f"{HOME}/u", "zip", bytes(pipe.data))
    if method == zipfile.ZIP_STORED:
        assert (put.status, put.fault) == (400, "InvalidData")
        assert "deflate it" in put.text
    else:
        assert put.status == 201
        assert read_tar((await export(alice, f"{HOME}/u", "tar")).body)[:2] == (
            FILES,
            set(FOLDERS),
        )


async def test_the_package_view_of_the_cadc_is_understood(alice: Caller) -> None:
    await alice.push(f"{HOME}/f", b"x")

    def package(kind: str) -> str:
        param = f'<vos:param uri="{CORE}format">{kind}</vos:param>'
        return f'<vos:view uri="{PACKAGE}">{param}</vos:view>'

    for kind, form in (("application/x-tar", "tar"), ("application/zip", "zip")):
        url = await endpoint(alice, HOME, "pullFromVoSpace", package(kind))
        assert read(form, (await alice.get(url)).body)[0] == {"f": b"x"}
    assert await refusal(alice, HOME, "pullFromVoSpace", package("a/b")) == "InvalidArgument"


async def test_a_view_in_the_url_of_a_node_leads_to_it(alice: Caller) -> None:
    await alice.push(f"{HOME}/f", b"x")
    seen = await alice.get(f"/nodes{HOME}?view={VIEWS.replace('#', '%23')}zip")
    assert seen.status == 303
    assert read_zip((await alice.get(seen.location)).body)[0] == {"f": b"x"}
    assert (await alice.get(f"/nodes{HOME}?view=urn:x")).fault == "ViewNotSupported"


@pytest.mark.row("MET-04", "MET-05")
async def test_views_are_listed_where_they_apply(alice: Caller) -> None:
    await alice.push(f"{HOME}/f", b"x")
    await alice.push(f"{HOME}/F.FITS", b"x")
    lists = {}
    for path in (HOME, f"{HOME}/f", f"{HOME}/F.FITS"):
        answer = await alice.get(f"/nodes{path}?limit=0")
        valid(answer.body)
        accepts, _, provides = answer.text.partition("</vos:accepts>")
        lists[path] = tuple(
            {form for form in (*FORMS, "fitsheader") if f'"{VIEWS}{form}"' in part}
            for part in (accepts, provides)
        )
    assert lists == {
        HOME: (set(FORMS), set(FORMS)),
        f"{HOME}/f": (set(), set()),
        f"{HOME}/F.FITS": (set(), {"fitsheader"}),
    }
    views = await alice.get("/views")
    valid(views.body)
    assert views.text.count(f"{VIEWS}tar.gz") == 2
    assert views.text.count(PACKAGE) == 2


@pytest.mark.row("NOD-10", "PUL-05", "PSH-15")
async def test_a_view_that_a_node_has_not_is_refused(alice: Caller) -> None:
    await alice.push(f"{HOME}/f", b"x")
    pull, push = "pullFromVoSpace", "pushToVoSpace"
    for path, direction, name in (
        (HOME, pull, f"{CORE}defaultview"),
        (HOME, pull, f"{CORE}anyview"),
        (HOME, pull, "fitsheader"),
        (HOME, push, "fitsheader"),
        (HOME, push, f"{CORE}defaultview"),
        (f"{HOME}/f", pull, "tar"),
        (f"{HOME}/f", pull, "fitsheader"),
        (f"{HOME}/f", push, "zip"),
        (HOME, pull, "ivo://icrar.org/other/views#tar"),
        (HOME, pull, "rar"),
    ):
        assert await refusal(alice, path, direction, view(name)) == "ViewNotSupported"
    assert await refusal(alice, HOME, pull, "") == "ViewNotSupported"
    assert await refusal(alice, f"{HOME}/new", push, view("tar")) == "ContainerNotFound"
    assert await refusal(alice, "/home/bob", push, view("tar")) == "PermissionDenied"


async def test_a_tree_is_given_whole_or_not_at_all(alice: Caller) -> None:
    await alice.make("/home/alice/pub", inner=properties(publicread="true"))
    await alice.make("/home/alice/pub/private", inner=properties(publicread="false"))
    await alice.set(HOME, properties(publicread="true"))
    bob = alice("bob")
    assert await refusal(bob, "/home/alice/pub", "pullFromVoSpace", view("tar")) == (
        "PermissionDenied"
    )
    await alice.set("/home/alice/pub/private", properties(publicread="true"))
    url = await endpoint(bob, "/home/alice/pub", "pullFromVoSpace", view("tar"))
    assert read_tar((await alice.get(url)).body)[1] == {"private"}
    await alice.set("/home/alice/pub/private", properties(publicread="false"))
    assert (await alice.get(url)).status == 403


async def test_a_link_leads_to_the_container_that_is_packed(alice: Caller) -> None:
    await alice.make(f"{HOME}/d")
    await alice.push(f"{HOME}/d/f", b"x")
    target = f"<vos:target>{AUTHORITY}{HOME}/d</vos:target>"
    await alice.make(f"{HOME}/l", "LinkNode", target)
    assert read_tar((await export(alice, f"{HOME}/l", "tar")).body)[0] == {"f": b"x"}
    assert (await unpack(alice, f"{HOME}/l", "tar", tar())).status == 201
    assert "small.txt" in await names(alice, f"{HOME}/d")


async def test_links_out_of_the_tree_are_kept_as_uris(alice: Caller) -> None:
    await alice.make(f"{HOME}/d1")
    await alice.make(f"{HOME}/d10")
    target = f"<vos:target>{AUTHORITY}{HOME}/d10/x</vos:target>"
    await alice.make(f"{HOME}/d1/l", "LinkNode", target)
    links = read_tar((await export(alice, f"{HOME}/d1", "tar")).body)[2]
    assert links == {"l": f"{AUTHORITY}{HOME}/d10/x"}


async def test_the_job_is_complete_once_the_archive_is_in_place(alice: Caller) -> None:
    await alice.make(f"{HOME}/t")
    made_ = await alice.sync(transfer(f"{HOME}/t", "pushToVoSpace", "httpput", more=view("tar")))
    job = made_.location.removesuffix("/results/transferDetails")
    url = re.findall("<vos:endpoint>([^<]*)", (await alice.get(made_.location)).text)[0]
    assert (await alice.request("PUT", url, b"no tar" * 1000, BINARY)).fault == "InvalidData"
    assert (await alice.get(f"{job}/phase")).text == "EXECUTING"
    body = tar()
    assert (await alice.request("PUT", url, body, BINARY)).status == 201
    assert (await alice.get(f"{job}/phase")).text == "COMPLETED"
    assert (await alice.request("PUT", url, body, BINARY)).status == 201  # the same once more
    assert (await alice.request("PUT", url, body + bytes(512), BINARY)).status == 409
    assert sorted(await names(alice, f"{HOME}/t")) == sorted(
        {name.partition("/")[0].replace(" ", "%20") for name in (*FILES, *LINKS, *FOLDERS)}
    )


async def test_what_is_there_already_is_not_touched(alice: Caller) -> None:
    await alice.push(f"{HOME}/small.txt", b"mine")
    put = await unpack(alice, HOME, "tar", tar())
    assert (put.status, put.fault) == (409, "DuplicateNode")
    assert "small.txt" in put.text
    assert await names(alice, HOME) == ["small.txt"]
    assert (await alice.pull(f"{HOME}/small.txt")).body == b"mine"


async def test_an_upload_that_breaks_off_leaves_nothing_and_can_be_repeated(
    alice: Caller, dsn: str
) -> None:
    url = await endpoint(alice, HOME, "pushToVoSpace", view("tar"))
    body = tar()
    told = asyncio.Event()

    async def half() -> AsyncIterator[bytes]:
        yield body[: len(body) // 2]
        async with Database(dsn) as database, database.acquire() as db:
            # Of two uploads the one that claims last wins: this one must not be it.
            await until_true(lambda: db.fetchval("select exists (select 1 from unpack)"))
        told.set()
        raise OSError("the client breaks off")

    with pytest.raises((ClientError, OSError)):
        await alice.http.put(url, data=half(), headers={"Content-Length": str(len(body))})
    assert told.is_set()
    put = await alice.request("PUT", url, body, BINARY)
    assert put.status == 201, put.text
    async with Database(dsn) as database:
        while await trees.purge_abandoned(database, 0):
            pass
        async with database.acquire() as db:
            assert await db.fetchval("select count(*) from node where parent_id = -2") == 0
            assert await db.fetchval("select count(*) from blob") == len(FILES) - 1
    got = await export(alice, HOME, "tar")
    assert read_tar(got.body) == (FILES, set(FOLDERS), LINKS)


async def test_who_takes_over_from_an_archive_and_its_members_do_not_wait_for_each_other(
    alice: Caller, dsn: str
) -> None:
    await endpoint(alice, HOME, "pushToVoSpace", view("tar"))
    async with (
        Database(dsn) as database, database.acquire() as one, database.acquire() as two,
        database.acquire() as looking,
    ):  # fmt: skip
        found = await one.fetchrow("select id, node_id from job")
        assert found is not None
        job, node_id = found.values()
        like = await nodes.by_id(one, node_id)
        assert like is not None
        claimed = (job, node_id, like.version, "test", 60.0)
        first = await attempts.claim(one, *claimed)
        root = await rows.start(one, first.id, "alice", like)
        async with one.transaction():
            assert await attempts.hold(one, first.id)
            over = asyncio.create_task(attempts.claim(two, *claimed))
            await until_true(
                lambda: looking.fetchval(
                    "select exists (select 1 from pg_stat_activity"
                    " where datname = current_database() and wait_event_type = 'Lock')"
                )
            )
            growth = Growth(job, first.id, root, "alice", like)
            members = await rows.reserve(one, growth, 5, "test", 60.0)
            members += await rows.reserve(one, growth, 5, "test", 60.0)
        second = await over
        assert (len(members), first.number, second.number) == (10, 1, 2)
        assert not await attempts.hold(one, first.id)


async def test_a_container_that_was_changed_meanwhile_gets_nothing_on_condition(
    alice: Caller, dsn: str
) -> None:
    document = transfer(HOME, "pushToVoSpace", "httpput", more=view("tar"))
    read = {"If-Match": (await alice.get(f"/nodes{HOME}")).headers["ETag"]}
    made_ = await alice.request("POST", "/synctrans", document, read)
    url = re.findall("<vos:endpoint>([^<]*)", (await alice.get(made_.location)).text)[0]
    await alice.set(HOME, properties(title="T"))
    refused = await alice.request("PUT", url, tar(), BINARY)
    assert (refused.status, refused.fault) == (412, "PreconditionFailed")
    assert await names(alice, HOME) == []
    await nothing_is_left(dsn)


async def test_an_aborted_job_puts_nothing_in_place(alice: Caller, dsn: str) -> None:
    made_ = await alice.sync(transfer(HOME, "pushToVoSpace", "httpput", more=view("tar")))
    job = made_.location.removesuffix("/results/transferDetails")
    url = re.findall("<vos:endpoint>([^<]*)", (await alice.get(made_.location)).text)[0]
    body = tar()

    async def slowly() -> AsyncIterator[bytes]:
        yield body[: len(body) // 2]
        assert (await alice.form(f"{job}/phase", "PHASE=ABORT")).status == 303
        yield body[len(body) // 2 :]

    async with alice.http.put(url, data=slowly()) as answer:
        assert answer.status in (404, 409)
    assert await names(alice, HOME) == []
    await nothing_is_left(dsn)


async def test_a_container_that_is_moved_meanwhile_gets_nothing(alice: Caller, dsn: str) -> None:
    await alice.make(f"{HOME}/t")
    url = await endpoint(alice, f"{HOME}/t", "pushToVoSpace", view("tar"))
    body = tar()

    async def slowly() -> AsyncIterator[bytes]:
        yield body[: len(body) // 2]
        async with Database(dsn) as database, database.acquire() as db:
            await until_true(lambda: has_nodes(db))
        moved = stack.relocation(f"{HOME}/t", f"{HOME}/u", keep=False)
        assert (await alice.sync(moved)).status == 303
        yield body[len(body) // 2 :]

    async with alice.http.put(url, data=slowly()) as answer:
        assert answer.status == 404, await answer.text()
    assert await names(alice, f"{HOME}/u") == []
    await nothing_is_left(dsn)


async def test_quotas_hold_for_what_is_unpacked(alice: Caller, dsn: str) -> None:
    size = sum(len(data) for data in FILES.values())
    async with Database(dsn) as database, database.transaction() as db:
        await quotas.limit(db, NodePath(("home", "alice")), size + 10)
    too_much = several((info("x", size=size), bytes(size)), (info("y", size=11), bytes(11)))
    put = await unpack(alice, HOME, "tar", too_much)
    assert (put.status, put.fault) == (413, "QuotaExceeded")
    await nothing_is_left(dsn)
    assert (await unpack(alice, HOME, "zip", made("zip"))).status == 201
    assert f'availableSpace" readOnly="true">{10}<' in (await alice.get(f"/nodes{HOME}")).text


async def test_nothing_is_seen_before_all_is_there(alice: Caller) -> None:
    url = await endpoint(alice, HOME, "pushToVoSpace", view("tar"))
    body = tar()

    async def slowly() -> AsyncIterator[bytes]:
        yield body[:-512]
        assert await names(alice, HOME) == []
        yield body[-512:]

    async with alice.http.put(url, data=slowly()) as answer:
        assert answer.status == 201
    assert "small.txt" in await names(alice, HOME)


@pytest.mark.parametrize("form", FORMS)
async def test_a_member_that_cannot_be_read_cuts_the_archive(
    alice: Caller, tmp_path: Path, form: str
) -> None:
    await alice.push(f"{HOME}/a", LARGE)
    await alice.push(f"{HOME}/b", LARGE[::-1])
    files = [path for path in tmp_path.rglob("*.bin") if path.read_bytes() == LARGE[::-1]]
    assert len(files) == 1
    files[0].unlink()
    url = await endpoint(alice, HOME, "pullFromVoSpace", view(form))
    with pytest.raises(ClientError):
        await alice.get(url)


async def test_a_first_member_that_cannot_be_read_is_said_so(
    alice: Caller, tmp_path: Path
) -> None:
    await alice.push(f"{HOME}/a", b"gone")
    for path in tmp_path.rglob("*.bin"):
        path.unlink()
    got = await export(alice, HOME, "tar")
    assert (got.status, got.fault) == (503, "ArchiveUnreachable")


async def test_a_server_that_was_taken_for_dead_puts_nothing_in_place(
    alice: Caller, dsn: str
) -> None:
    url = await endpoint(alice, HOME, "pushToVoSpace", view("tar"))
    body = tar()

    async def slowly() -> AsyncIterator[bytes]:
        yield body[:-2048]
        async with Database(dsn) as database:
            async with database.acquire() as db:
                await until_true(lambda: has_nodes(db))
                async with db.transaction():  # no heartbeat in between
                    await db.execute("update attempt set lease = now() - interval '1 minute'")
                    await attempts.expire(db)
            await trees.purge_abandoned(database, 0)
        yield body[-2048:]

    async with alice.http.put(url, data=slowly()) as answer:
        assert answer.status == 409
    await nothing_is_left(dsn)
    assert (await alice.request("PUT", url, body, BINARY)).status == 201


async def has_nodes(db: Connection) -> bool:
    """Tell whether something was unpacked already."""
    return bool(
        await db.fetchval(
            "select exists (select 1 from unpack u join node n on n.parent_id = u.node_id)"
        )
    )


async def test_a_tree_that_goes_away_while_it_is_packed_cuts_the_archive(alice: Caller) -> None:
    await alice.make(f"{HOME}/t")
    files = [(info(f"{number:02}", size=2**20), LARGE[: 2**20]) for number in range(40)]
    put = await unpack(alice, f"{HOME}/t", "tar", several(*files, (info("z/f"), b"")))
    assert put.status == 201
    url = await endpoint(alice, f"{HOME}/t", "pullFromVoSpace", view("tar"))
    async with alice.http.get(url) as answer:
        await answer.content.readexactly(1000)
        assert (await alice.delete(f"/nodes{HOME}/t")).status == 204
        with pytest.raises(ClientError):
            await answer.content.read()


async def many(alice: Caller, count: int) -> None:
    """Send ``count`` small files in and fetch them back."""
    files = {f"d{number % 7}/f{number:06}": b"%d" % number for number in range(count)}
    body = several(*[(info(name, size=len(data)), data) for name, data in files.items()])
    assert (await unpack(alice, HOME, "tar", body)).status == 201
    for form in FORMS:
        assert read(form, (await export(alice, HOME, form)).body)[0] == files


async def test_hundreds_of_members_go_in_and_out(alice: Caller) -> None:
    await many(alice, 300)


@pytest.mark.scale
async def test_thousands_of_members_go_in_and_out(alice: Caller) -> None:
    await many(alice, 20_000)


async def large(alice: Caller, size: int, most: int) -> None:
    """Send a tar with one file of ``size`` bytes in and out; memory grows by ``most`` at most."""
    head = info("large", size=size).tobuf(tarfile.PAX_FORMAT)
    piece = random.Random(2).randbytes(2**20)
    url = await endpoint(alice, HOME, "pushToVoSpace", view("tar"))

    async def body() -> AsyncIterator[bytes]:
        yield head
        for _ in range(size // len(piece)):
            yield piece
        yield bytes(1024)

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with alice.http.put(url, data=body()) as put:
        assert put.status == 201
    for form in FORMS:
        read_ = 0
        url = await endpoint(alice, HOME, "pullFromVoSpace", view(form))
        async with alice.http.get(url) as got:
            async for part in got.content.iter_chunked(2**18):
                read_ += len(part)
        assert read_ > size
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < most


async def test_a_large_member_flows_through_little_memory(alice: Caller) -> None:
    await large(alice, 40 * 2**20, 32 * 2**20)


@pytest.mark.scale
async def test_a_member_of_several_gigabytes_flows_through_little_memory(alice: Caller) -> None:
    await large(alice, 5 * 2**30, 64 * 2**20)
