"""Errors become answers: the table, the words, and what happens when it is too late for words."""

import logging
from collections.abc import AsyncIterator, Iterator

import pytest
from aiohttp import ClientError, ClientSession, web
from aiohttp.test_utils import TestServer

from pyvospace_ngas import errors
from pyvospace_ngas.errors import VOSpaceError
from pyvospace_ngas.http import safety
from pyvospace_ngas.http.faults import STATUS, describe, faults
from pyvospace_ngas.http.keys import IDENTITY, SPACE
from pyvospace_ngas.model.access import ANONYMOUS, Identity
from pyvospace_ngas.model.uri import NodePath, Space

SPACE_HERE = Space("icrar.org~ngas")
RAISED: dict[str, Exception] = {
    "node": errors.NodeNotFound(NodePath(("a b", "c"))),
    "lines": errors.InvalidArgument("one\r\nX-Evil: yes\x00two"),
    "surrogate": errors.InvalidURI("\udce4"),
    "denied": errors.PermissionDenied("not you"),
    "wrong": errors.NotAuthenticated("wrong"),
    "often": errors.TooManyRequests("slowly", 7),
    "range": errors.RangeNotSatisfiable("too far", 42),
    "away": errors.ArchiveUnreachable("no node"),
    "bare": errors.NodeBusy(),
    "bug": ValueError("the secret s3cret"),
    "teapot": web.HTTPConflict(text="<b>no</b>", content_type="text/html"),
    "elsewhere": web.HTTPSeeOther("/else"),
}


def every_error(of: type[VOSpaceError]) -> Iterator[type[VOSpaceError]]:
    for kind in of.__subclasses__():
        yield kind
        yield from every_error(kind)


def test_every_error_has_a_status() -> None:
    here = {kind for kind in every_error(VOSpaceError) if kind.__module__ == errors.__name__}
    assert set(STATUS) == here


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (errors.NodeNotFound(NodePath(("a b",))), "vos://icrar.org~ngas/a%20b"),
        (errors.NodeNotFound(NodePath()), "vos://icrar.org~ngas"),
        (errors.InvalidArgument("a\n b\t c"), "a b c"),
        (errors.NodeBusy(), ""),
    ],
)
def test_a_detail_is_one_line_and_a_node_is_its_uri(error: VOSpaceError, text: str) -> None:
    assert describe(error, SPACE_HERE) == text


def test_the_detail_of_a_link_is_its_uri_and_its_document() -> None:
    text = describe(errors.LinkFound(NodePath(("l",)), "vos://x~y/\nz"), SPACE_HERE)
    assert text.startswith("vos://icrar.org~ngas/l <vos:node ")
    assert "vos:LinkNode" in text
    assert "<vos:target>" in text
    assert "\n" not in text


async def raise_it(request: web.Request) -> web.Response:
    who = {"a": ANONYMOUS, "u": Identity("ann")}.get(request.query.get("as", ""))
    if who is not None:
        request[IDENTITY] = who
    raise RAISED[request.match_info["what"]]


async def read_it(request: web.Request) -> web.Response:
    return web.Response(text=str(len(await request.read())))


async def break_off(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b"half of it")
    raise errors.NodeNotFound("too late")


@pytest.fixture
async def url() -> AsyncIterator[str]:
    app = web.Application(middlewares=[faults], client_max_size=1000)
    safety.install(app)
    app[SPACE] = SPACE_HERE
    app.router.add_get("/raise/{what}", raise_it)
    app.router.add_put("/read", read_it)
    app.router.add_get("/files/{token}", break_off)
    async with TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/")


@pytest.fixture
async def http() -> AsyncIterator[ClientSession]:
    async with ClientSession() as session:
        yield session


@pytest.mark.parametrize(
    ("what", "status", "body"),
    [
        ("node", 404, "NodeNotFound vos://icrar.org~ngas/a%20b/c"),
        ("lines", 400, "InvalidArgument one X-Evil: yes two"),
        ("surrogate", 400, "InvalidURI ?"),
        ("bare", 409, "NodeBusy"),
        ("denied", 403, "PermissionDenied not you"),
        ("bug", 500, "InternalFault"),
    ],
)
async def test_a_fault_is_its_exact_name_a_space_and_the_detail(
    http: ClientSession, url: str, what: str, status: int, body: str
) -> None:
    async with http.get(f"{url}/raise/{what}") as answer:
        assert (answer.status, await answer.text()) == (status, body)
        assert answer.headers["X-VO-Fault"] == body.partition(" ")[0]
        assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert answer.headers["Server"] == "pyvospace-ngas"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("what", "header", "value"),
    [
        ("wrong", "WWW-Authenticate", 'Basic realm="icrar.org~ngas", charset="UTF-8"'),
        ("denied?as=a", "WWW-Authenticate", 'Basic realm="icrar.org~ngas", charset="UTF-8"'),
        ("denied?as=u", "WWW-Authenticate", None),
        ("denied", "WWW-Authenticate", None),  # where nobody can log in nobody is asked to
        ("often", "Retry-After", "7"),
        ("away", "Retry-After", "5"),
        ("range", "Content-Range", "bytes */42"),
    ],
)
async def test_a_fault_has_the_headers_that_belong_to_it(
    http: ClientSession, url: str, what: str, header: str, value: str | None
) -> None:
    async with http.get(f"{url}/raise/{what}") as answer:
        assert answer.headers.get(header) == value


async def test_what_is_unexpected_is_logged_once_and_without_the_path(
    http: ClientSession, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "pyvospace_ngas"):
        async with http.get(f"{url}/raise/bug?token=t0ken") as answer:
            assert "s3cret" not in await answer.text()
    records = [record for record in caplog.records if record.name.startswith("pyvospace_ngas")]
    assert [record.getMessage() for record in records] == ["GET /raise/{what} failed"]
    assert records[0].exc_info is not None


async def test_unknown_paths_and_methods_get_plain_answers(http: ClientSession, url: str) -> None:
    async with http.get(f"{url}/nothing") as answer:
        assert (answer.status, answer.content_type) == (404, "text/plain")
    async with http.patch(f"{url}/read") as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "PUT")
        assert answer.content_type == "text/plain"
    async with http.get(f"{url}/raise/teapot") as answer:
        assert (answer.status, await answer.text()) == (409, "Conflict\n")
    async with http.get(f"{url}/raise/elsewhere", allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, "/else")


async def test_a_document_above_the_limit_is_too_large(http: ClientSession, url: str) -> None:
    async with http.put(f"{url}/read", data=b"x" * 1000) as answer:
        assert answer.status == 200
    async with http.put(f"{url}/read", data=b"x" * 1001) as answer:
        assert answer.status == 413
        assert (await answer.text()).startswith("DocumentTooLarge ")


async def test_after_the_head_was_sent_an_error_only_cuts_the_connection(
    http: ClientSession, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with http.get(f"{url}/files/t0ken") as answer:
        assert answer.status == 200
        with pytest.raises(ClientError):
            await answer.read()
    ours = [r.getMessage() for r in caplog.records if r.name.startswith("pyvospace_ngas")]
    assert ours == ["GET /files/{token} broke off after its answer had begun"]


@pytest.mark.parametrize(
    ("content_type", "sandboxed"),
    [
        ("text/html; charset=utf-8", True),
        ("image/svg+xml", True),
        ("APPLICATION/XHTML+XML", True),
        ("application/fits", False),
        ("image/png", False),
    ],
)
def test_bytes_that_could_act_as_a_page_are_sandboxed(content_type: str, sandboxed: bool) -> None:
    headers = safety.headers_for_bytes(content_type)
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert ("Content-Security-Policy" in headers) == sandboxed
