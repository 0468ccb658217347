"""Bytes in and out at signed endpoints, over real sockets, a real PostgreSQL and fake nodes."""

import asyncio
import base64
import gzip
import hashlib
import logging
import random
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import storage_support
from rude_ngas import RudeNgas
from storage_support import Site

DATA = random.Random(1).randbytes(700_000)
EMPTY = "1B2M2Y8AsgTpgAmY7PhCfg=="  # the MD5 of nothing


def md5_of(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


def hex_of(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


async def trickle(data: bytes, size: int = 65536) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


@pytest.fixture
async def rude() -> AsyncIterator[RudeNgas]:
    async with RudeNgas() as node:
        yield node


@pytest.fixture
async def site(dsn: str, tmp_path: Path, rude: RudeNgas) -> AsyncIterator[Site]:
    async with storage_support.site(dsn, tmp_path, [rude.port]) as running:
        yield running


async def test_what_is_put_is_got(site: Site, rude: RudeNgas) -> None:
    node = await site.node("a b#é.fits")
    endpoint = await site.endpoint("PUT", node, size=len(DATA))
    put = await site.send("PUT", endpoint, data=DATA)
    assert (put.status, put.body) == (201, b"")
    assert put.headers["Digest"] == f"md5={md5_of(DATA)}"
    assert await site.phase(endpoint) == "COMPLETED"
    pull = await site.endpoint("GET", node)
    got = await site.send("GET", pull)
    assert (got.status, got.body) == (200, DATA)
    assert got.headers["Digest"] == f"md5={md5_of(DATA)}"
    assert got.headers["ETag"] == put.headers["ETag"]
    assert got.headers["Content-Type"] == "application/fits"
    assert got.headers["Content-Disposition"].endswith("filename*=UTF-8''a%20b%23%C3%A9.fits")
    assert got.headers["X-Content-Type-Options"] == "nosniff"
    assert got.headers["Content-Security-Policy"] == "sandbox"
    assert await site.phase(pull) == "COMPLETED"
    again = await site.send("GET", pull)
    assert again.body == DATA
    (file_id,) = rude.files
    prefix = await site.value("select value from setting where name = 'space_id'")
    assert file_id.startswith(f"{prefix}-")
    assert len(file_id) <= 64
    row = (await site.query("select length, md5, provisional from node where id = $1", node))[0]
    assert tuple(row) == (len(DATA), hex_of(DATA), False)


async def test_an_empty_file_stays_out_of_ngas(site: Site, rude: RudeNgas) -> None:
    node = await site.node()
    put = await site.push(node, b"")
    assert (put.status, put.headers["Digest"]) == (201, f"md5={EMPTY}")
    got = await site.pull(node)
    assert (got.status, got.body, got.headers["Content-Length"]) == (200, b"", "0")
    assert got.headers["Digest"] == f"md5={EMPTY}"
    assert not rude.files
    assert await site.value("select blob_id from node where id = $1", node) is None


async def test_a_body_without_a_length_is_staged(
    site: Site, rude: RudeNgas, tmp_path: Path
) -> None:
    node = await site.node()
    put = await site.push(node, trickle(DATA))
    assert (put.status, put.headers["Digest"]) == (201, f"md5={md5_of(DATA)}")
    assert (await site.pull(node)).body == DATA
    assert not list((tmp_path / "staging").iterdir())
    nothing = await site.push(node, trickle(b""))
    assert nothing.headers["Digest"] == f"md5={EMPTY}"


async def test_staging_is_bounded(dsn: str, tmp_path: Path, rude: RudeNgas) -> None:
    parameters = f'{{"staging_dir": "{tmp_path}/staging", "staging_limit": 500000}}'
    async with storage_support.site(
        dsn, tmp_path, [rude.port], {"parameters": parameters}
    ) as site:
        node = await site.node()
        endpoint = await site.endpoint("PUT", node)
        refused = await site.send("PUT", endpoint, data=trickle(DATA))
        assert (refused.status, refused.fault) == (413, "QuotaExceeded")
        assert not list((tmp_path / "staging").iterdir())
        assert not await site.busy(node)
        taken = await site.send("PUT", endpoint, data=trickle(DATA[:400_000]))
        assert taken.status == 201


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_of_another_length_is_refused(
    site: Site, rude: RudeNgas, chunked: bool
) -> None:
    node = await site.node()
    endpoint = await site.endpoint("PUT", node, size=1000)
    for wrong in (b"", DATA[:999], DATA[:1001]):
        put = await site.send("PUT", endpoint, data=trickle(wrong) if chunked else wrong)
        assert (put.status, put.fault) == (400, "LengthMismatch")
    assert not rude.files
    assert (await site.send("PUT", endpoint, data=DATA[:1000])).status == 201


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-MD5": md5_of(b"other")},
        {"Digest": f"md5={md5_of(b'other')}"},
        {"Digest": f"MD5={hex_of(b'other')}"},
        {"Digest": "sha-256=" + base64.b64encode(bytes(32)).decode()},
        {"Digest": f"unixsum=3, md5={md5_of(b'other')}"},
    ],
)
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_wrong_digest_keeps_nothing_and_the_endpoint_good(
    site: Site, rude: RudeNgas, headers: dict[str, str], chunked: bool
) -> None:
    node = await site.node()
    endpoint = await site.endpoint("PUT", node)
    data = trickle(DATA) if chunked else DATA
    put = await site.send("PUT", endpoint, data=data, headers=headers)
    assert (put.status, put.fault) == (412, "ChecksumMismatch")
    assert not rude.files
    assert not await site.busy(node)
    assert (await site.pull(node)).fault == "NodeBusy"
    right = {"Digest": f"md5={md5_of(DATA)}", "Content-MD5": md5_of(DATA)}
    assert (await site.send("PUT", endpoint, data=DATA, headers=right)).status == 201


async def test_a_wrong_digest_of_an_empty_file_is_refused(site: Site) -> None:
    node = await site.node()
    put = await site.push(node, b"", headers={"Content-MD5": md5_of(b"x")})
    assert put.status == 412


@pytest.mark.parametrize(
    "headers", [{"Digest": "md5=short"}, {"Content-MD5": "!"}, {"Content-Range": "bytes 0-1/2"}]
)
async def test_what_cannot_be_understood_is_refused(site: Site, headers: dict[str, str]) -> None:
    put = await site.push(await site.node(), b"ab", headers=headers)
    assert (put.status, put.fault) == (400, "InvalidArgument")


async def test_a_spent_endpoint_knows_what_it_did(site: Site, rude: RudeNgas) -> None:
    node = await site.node()
    endpoint = await site.endpoint("PUT", node)
    before = await site.send("HEAD", endpoint)
    assert before.status == 200
    assert "Digest" not in before.headers
    assert (await site.send("PUT", endpoint, data=DATA)).status == 201
    after = await site.send("HEAD", endpoint)
    assert (after.status, after.headers["Digest"]) == (200, f"md5={md5_of(DATA)}")
    for repeated in (DATA, trickle(DATA)):
        assert (await site.send("PUT", endpoint, data=repeated)).status == 201
    for other in (DATA[:-1] + b"?", DATA[:-1], b""):
        put = await site.send("PUT", endpoint, data=other)
        assert (put.status, put.fault) == (409, "EndpointSpent")
    claimed = {"Digest": f"md5={md5_of(b'other')}"}
    assert (await site.send("PUT", endpoint, data=DATA, headers=claimed)).status == 409
    assert len(rude.files) == 1
    await site.push(node, b"newer")
    assert (await site.send("HEAD", endpoint)).headers["Digest"] == f"md5={md5_of(DATA)}"
    assert (await site.send("PUT", endpoint, data=DATA)).status == 201
    assert (await site.pull(node)).body == b"newer"


async def test_asking_for_a_transaction_stores_nothing(site: Site) -> None:
    node = await site.node()
    endpoint = await site.endpoint("PUT", node, size=len(DATA))
    asked = {"x-put-txn-op": "start", "x-total-length": str(len(DATA))}
    opened = await site.send("PUT", endpoint, data=b"", headers=asked)
    assert opened.status == 200
    assert "x-put-txn-id" not in opened.headers
    whole = await site.send("PUT", endpoint, data=DATA, headers={"x-put-txn-op": "start"})
    assert (whole.status, await site.phase(endpoint)) == (201, "COMPLETED")


@pytest.mark.parametrize(
    ("asked", "span"),
    [
        ("bytes=0-", (0, 700_000)),
        ("bytes=500-", (500, 700_000)),
        ("bytes=500-600", (500, 601)),
        ("bytes=-100", (699_900, 700_000)),
        ("bytes=699999-800000", (699_999, 700_000)),
    ],
)
async def test_a_part_is_a_part(site: Site, asked: str, span: tuple[int, int]) -> None:
    node = await site.node()
    await site.push(node, DATA)
    part = await site.pull(node, headers={"Range": asked})
    start, end = span
    assert (part.status, part.body) == (206, DATA[start:end])
    assert part.headers["Content-Range"] == f"bytes {start}-{end - 1}/{len(DATA)}"


async def test_ranges_and_conditions(site: Site) -> None:
    node = await site.node()
    await site.push(node, DATA)
    endpoint = await site.endpoint("GET", node)

    async def get(**headers: str) -> storage_support.Answer:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        return await site.send("GET", endpoint, headers=fields)

    tag = (await site.send("HEAD", endpoint)).headers["ETag"]
    beyond = await get(Range="bytes=700000-")
    assert (beyond.status, beyond.headers["Content-Range"]) == (416, "bytes */700000")
    assert (await get(Range="bytes=0-1,5-6")).body == DATA
    assert (await get(Range="bytes=0-1", If_Range=tag)).body == DATA[:2]
    assert (await get(Range="bytes=0-1", If_Range='"old"')).body == DATA
    unchanged = await get(If_None_Match=tag)
    assert (unchanged.status, unchanged.body) == (304, b"")
    assert unchanged.headers["ETag"] == tag
    assert (await get(If_Match='"old"')).status == 412


async def test_head_tells_all_and_sends_nothing(site: Site) -> None:
    node = await site.node("page.html")
    await site.push(node, DATA)
    endpoint = await site.endpoint("GET", node)
    head = await site.send("HEAD", endpoint, headers={"Range": "bytes=0-1"})
    assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", "700000")
    assert head.headers["Accept-Ranges"] == "bytes"
    assert head.headers["Content-Type"] == "text/html"
    assert head.headers["Content-Disposition"].startswith("attachment;")
    assert "sandbox" in head.headers["Content-Security-Policy"]
    assert head.headers["Referrer-Policy"] == "no-referrer"
    assert await site.phase(endpoint) == "EXECUTING"


async def test_the_owner_says_what_the_file_is(site: Site) -> None:
    node = await site.node()
    await site.push(node, DATA)
    kind = '{"ivo://ivoa.net/vospace/core#type": "image/svg+xml"}'
    await site.query("update node set props = $2::text::jsonb where id = $1", node, kind)
    got = await site.pull(node)
    assert got.headers["Content-Type"] == "image/svg+xml"
    assert got.headers["Content-Disposition"].startswith("attachment;")


async def test_encoded_bytes_are_kept_as_they_were_sent(site: Site) -> None:
    node = await site.node()
    packed = gzip.compress(b"hello")
    await site.push(node, packed, headers={"Content-Encoding": "gzip"})
    assert (await site.pull(node)).body == packed


async def test_null_takes_all_and_gives_nothing(site: Site, rude: RudeNgas) -> None:
    endpoint = await site.endpoint("PUT", -3)
    put = await site.send("PUT", endpoint, data=DATA)
    assert (put.status, put.headers["Digest"]) == (201, f"md5={md5_of(DATA)}")
    assert await site.phase(endpoint) == "COMPLETED"
    assert not rude.files
    pull = await site.endpoint("GET", -3)
    got = await site.send("GET", pull)
    assert (got.status, got.body) == (200, b"")
    assert await site.phase(pull) == "COMPLETED"


@pytest.mark.parametrize("method", ["PUT", "GET", "HEAD"])
async def test_only_a_good_token_opens_anything(site: Site, method: str) -> None:
    node = await site.node()
    kind = "PUT" if method == "PUT" else "GET"
    late = await site.endpoint(kind, node, expires=timedelta(seconds=-1))
    aborted = await site.endpoint(kind, node, phase="ABORTED")
    forged = (await site.endpoint(kind, node)).replace("/files/", "/files/x")
    for url in (late, aborted, forged, f"{site.url}/files/a/b"):
        answer = await site.send(method, url)
        assert answer.status == 404
        assert method == "HEAD" or answer.fault == "EndpointNotFound"


async def test_a_token_is_good_for_its_method_only(site: Site) -> None:
    node = await site.node()
    assert (await site.send("PUT", await site.endpoint("GET", node), data=b"")).status == 405
    assert (await site.send("GET", await site.endpoint("PUT", node))).status == 405


async def test_who_lost_the_right_to_write_does_not(site: Site, rude: RudeNgas) -> None:
    node = await site.node(owner="bob")
    refused = await site.push(node, DATA)
    assert (refused.status, refused.fault) == (403, "PermissionDenied")
    await site.query("update node set group_write = 'g' where id = $1", node)
    await site.query("update account set groups = '{g}'")
    assert (await site.push(node, DATA)).status == 201


async def test_a_deleted_node_takes_and_gives_nothing(site: Site) -> None:
    node = await site.node()
    await site.push(node, DATA)
    push, pull = await site.endpoint("PUT", node), await site.endpoint("GET", node)
    await site.query("update node set parent_id = -1 where id = $1", node)
    for answer in (await site.send("PUT", push, data=DATA), await site.send("GET", pull)):
        assert (answer.status, answer.fault) == (404, "NodeNotFound")
    assert not await site.busy(node)


async def test_thirty_uploads_at_once_do_not_mix(site: Site) -> None:
    files = {}
    for number in range(30):
        data = random.Random(number).randbytes(random.Random(number).randrange(1, 900_000))
        files[await site.node()] = data
    puts = await asyncio.gather(
        *[
            site.push(node, trickle(data) if node % 3 == 0 else data)
            for node, data in files.items()
        ]
    )
    assert [put.headers.get("Digest") for put in puts] == [
        f"md5={md5_of(data)}" for data in files.values()
    ]
    got = await asyncio.gather(*[site.pull(node) for node in files])
    assert [one.body for one in got] == list(files.values())


async def test_expect_is_answered_after_the_checks(site: Site) -> None:
    node = await site.node()
    good = await site.endpoint("PUT", node)
    bad = await site.endpoint("PUT", node, phase="ABORTED")
    for endpoint, first in ((bad, b"HTTP/1.1 404"), (good, b"HTTP/1.1 100 Continue\r\n\r\n")):
        host, _, path = endpoint.removeprefix("http://").partition("/")
        reader, writer = await asyncio.open_connection(*host.split(":"))
        writer.write(
            f"PUT /{path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 5\r\n"
            "Expect: 100-continue\r\n\r\n".encode()
        )
        assert (await reader.readexactly(len(first))) == first
        if first.endswith(b"\r\n\r\n"):
            writer.write(b"hello")
            assert (await reader.readline()).startswith(b"HTTP/1.1 201")
        writer.close()
        await writer.wait_closed()
    assert (await site.pull(node)).body == b"hello"


async def test_health_tells_of_the_database_and_the_nodes(site: Site, rude: RudeNgas) -> None:
    health = await site.send("GET", f"{site.url}/health")
    assert health.status == 200
    assert health.body.startswith(b'{"database": true, "nodes": {"127.0.0.1:%d": ' % rude.port)
    assert await site.value("select count(*) from storage_server") == 1


async def test_a_stopped_server_is_not_offered(dsn: str, tmp_path: Path, rude: RudeNgas) -> None:
    async with storage_support.site(dsn, tmp_path, [rude.port]) as site:
        assert await site.value("select public_url from storage_server") == site.url
    assert await site.value("select count(*) from storage_server") == 0


async def test_no_log_tells_a_token(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    node = await site.node("secret name")
    push, pull = await site.endpoint("PUT", node), await site.endpoint("GET", node)
    await site.send("PUT", push, data=DATA, headers={"Digest": "md5=!"})
    await site.send("PUT", push, data=DATA)
    await site.send("GET", pull)
    await site.send("GET", pull + "x" * 9000)
    await site.send("POST", pull)
    tokens = [url.split("/")[4] for url in (push, pull)]
    assert not any(token in record.getMessage() for token in tokens for record in caplog.records)
