"""The client against a space that fails in every way it can."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest
from aiohttp import ClientConnectorError
from aiohttp.test_utils import TestServer
from ports import free_port
from rude_space import Rude, RudeSpace, md5, stream

from pyvospace_ngas import errors
from pyvospace_ngas.client.faults import fault, of_text
from pyvospace_ngas.client.vospace import VOSpace
from pyvospace_ngas.errors import VOSpaceError
from pyvospace_ngas.model.job import Phase
from pyvospace_ngas.model.node import NodeType
from pyvospace_ngas.model.uri import NodePath

BIG = random.Random(5).randbytes(6 << 20)


@pytest.fixture
def rude() -> RudeSpace:
    return RudeSpace()


@pytest.fixture
async def url(rude: RudeSpace) -> AsyncIterator[str]:
    async with TestServer(rude.app(), host="127.0.0.1") as server:
        yield str(server.make_url("/vospace"))
        rude.over.set()


@pytest.fixture
async def space(url: str) -> AsyncIterator[VOSpace]:
    async with VOSpace(url, "alice", "pw", timeout=20, pause=0.001) as client:
        yield client


@pytest.fixture(params=["bytes", "file"])
def big(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[bytes | Path]:
    if request.param == "bytes":
        yield BIG
    else:
        file = tmp_path / "big"
        file.write_bytes(BIG)
        yield file


async def everything(space: VOSpace, path: str) -> bytes:
    async with aclosing(space.pull(path)) as chunks:
        return b"".join([chunk async for chunk in chunks])


# Sending


async def test_bytes_are_stored_under_any_name(space: VOSpace, rude: RudeSpace) -> None:
    for name in ("/a b%20c#?&+é", "/d/e.fits", "/'\"<>"):
        stored = await space.push(name, b"hello")
        assert rude.files[name] == b"hello"
        assert (stored.length, stored.md5) == (5, md5(b"hello").hex())


async def test_a_small_body_names_its_digest_and_length(space: VOSpace, rude: RudeSpace) -> None:
    await space.push("/a", b"hello")
    (put,) = rude.byte_requests("PUT")
    assert put.headers["Digest"] == "md5=XUFAKrxLKna5cZ2REBfFkg=="
    assert put.headers["Content-Length"] == "5"


async def test_an_empty_body_is_stored(space: VOSpace, rude: RudeSpace, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for source in (b"", tmp_path / "empty", stream()):
        await space.push("/a", source)
        assert rude.files.pop("/a") == b""


async def test_a_stream_is_stored_with_and_without_a_length(
    space: VOSpace, rude: RudeSpace
) -> None:
    await space.push("/a", stream(b"he", b"llo"), length=5)
    await space.push("/b", stream(b"he", b"llo"))
    assert rude.files == {"/a": b"hello", "/b": b"hello"}
    first, second = rude.byte_requests("PUT")
    assert first.headers["Content-Length"] == "5"
    assert "Content-Length" not in second.headers


@pytest.mark.parametrize(
    "moods",
    [
        [Rude.RESET],
        [Rude.RESET_HALF],
        [Rude.BUSY],
        [Rude.BROKEN],
        [Rude.DOUBTFUL],
        [Rude.GONE],
        [Rude.WRONG_DIGEST],
        [Rude.RESET_HALF, Rude.BUSY],
    ],
)
async def test_what_may_pass_is_tried_again(
    space: VOSpace, rude: RudeSpace, big: bytes | Path, moods: list[Rude]
) -> None:
    rude.bytes_next.extend(moods)
    stored = await space.push("/a", big)
    assert rude.files["/a"] == BIG
    assert stored.md5 == md5(BIG).hex()
    assert len(rude.byte_requests("PUT")) == len(moods) + 1


async def test_what_arrived_is_not_sent_again_when_only_the_answer_was_lost(
    space: VOSpace, rude: RudeSpace, big: bytes | Path
) -> None:
    rude.bytes_next.append(Rude.RESET_AFTER)
    assert (await space.push("/a", big)).length == len(BIG)
    assert len(rude.byte_requests("PUT")) == 1


@pytest.mark.parametrize(
    ("mood", "error", "attempts"),
    [
        (Rude.RESET_HALF, errors.ServiceUnavailable, 3),
        (Rude.BUSY, errors.ServiceUnavailable, 3),
        (Rude.BROKEN, errors.InternalFault, 3),
        (Rude.WRONG_DIGEST, errors.ChecksumMismatch, 3),
        (Rude.REFUSED, errors.PermissionDenied, 1),
    ],
)
async def test_attempts_end(
    space: VOSpace, rude: RudeSpace, mood: Rude, error: type[VOSpaceError], attempts: int
) -> None:
    rude.bytes_next.extend([mood] * 9)
    with pytest.raises(error):
        await space.push("/a", BIG)
    assert len(rude.byte_requests("PUT")) == attempts


async def test_a_stream_is_sent_only_once(space: VOSpace, rude: RudeSpace) -> None:
    rude.bytes_next.append(Rude.BUSY)
    with pytest.raises(errors.ServiceUnavailable):
        await space.push("/a", stream(b"a", b"b"), length=2)
    assert len(rude.byte_requests("PUT")) == 1


async def test_a_second_endpoint_serves_when_the_first_is_down(
    space: VOSpace, rude: RudeSpace
) -> None:
    rude.first_endpoints = [f"http://127.0.0.1:{free_port()}/files/down"]
    await space.push("/a", b"hello")
    assert rude.files["/a"] == b"hello"
    assert await everything(space, "/a") == b"hello"


async def test_a_stream_of_another_length_than_promised_is_a_mismatch(space: VOSpace) -> None:
    with pytest.raises(errors.LengthMismatch, match="2 bytes came where 5 were promised"):
        await space.push("/a", stream(b"he"), length=5)


async def test_the_error_of_a_source_is_the_one_that_is_raised(space: VOSpace) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"a"
        raise ZeroDivisionError("the instrument stopped")

    with pytest.raises(ZeroDivisionError, match="the instrument stopped"):
        await space.push("/a", broken())


async def test_a_missing_file_is_an_ordinary_error(space: VOSpace, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await space.push("/a", tmp_path / "none")


async def test_why_there_is_no_endpoint_is_told(space: VOSpace, rude: RudeSpace) -> None:
    rude.job_error = "ContainerNotFound vos://example.org~rude/none"
    with pytest.raises(errors.ContainerNotFound, match="/none"):
        await space.push("/missing", b"x")


# Fetching


@pytest.mark.parametrize(
    "moods",
    [
        [],
        [Rude.RESET],
        [Rude.BUSY, Rude.BUSY],
        [Rude.RESET_HALF],
        [Rude.RESET_HALF, Rude.RESET_HALF, Rude.BUSY],
        [Rude.RESET_HALF, Rude.GONE],
        [Rude.RESET_HALF, Rude.NO_RANGES],
        [Rude.RESET_HALF, Rude.RESET, Rude.NO_RANGES],
    ],
)
async def test_a_file_comes_whole_over_broken_connections(
    space: VOSpace, rude: RudeSpace, tmp_path: Path, moods: list[Rude]
) -> None:
    rude.files["/a"] = BIG
    rude.bytes_next.extend(moods)
    assert await everything(space, "/a") == BIG
    rude.bytes_next.extend(moods)
    assert await space.pull_to_file("/a", tmp_path / "a") == len(BIG)
    assert (tmp_path / "a").read_bytes() == BIG
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


async def test_a_download_goes_on_where_it_broke(space: VOSpace, rude: RudeSpace) -> None:
    rude.files["/a"] = BIG
    rude.bytes_next.append(Rude.RESET_HALF)
    await everything(space, "/a")
    first, second = rude.byte_requests("GET")
    assert "Range" not in first.headers
    start = int(second.headers["Range"].removeprefix("bytes=").removesuffix("-"))
    assert 0 < start <= len(BIG) // 2
    assert second.headers["If-Range"] == f'"{md5(BIG).hex()}"'


async def test_an_empty_file_comes(space: VOSpace, rude: RudeSpace) -> None:
    rude.files["/a"] = b""
    assert await everything(space, "/a") == b""


async def test_a_file_that_changed_is_not_mixed(
    space: VOSpace, rude: RudeSpace, tmp_path: Path
) -> None:
    rude.files["/a"] = BIG
    rude.bytes_next.append(Rude.RESET_HALF)
    async with aclosing(space.pull("/a")) as chunks:
        await anext(chunks)
        rude.files["/a"] = BIG[::-1]
        with pytest.raises(errors.TransferFailed, match="changed"):
            async for _ in chunks:
                pass


@pytest.mark.parametrize(
    ("moods", "error"),
    [
        ([Rude.WRONG_DIGEST] * 3, errors.ChecksumMismatch),
        ([Rude.SHORT] * 3, errors.ChecksumMismatch),
        ([Rude.BUSY] * 3, errors.ServiceUnavailable),
        ([Rude.REFUSED], errors.PermissionDenied),
        ([Rude.RESET] * 9, errors.ServiceUnavailable),
        ([Rude.RESET_HALF, Rude.OTHER_RANGE] * 3, errors.TransferFailed),
    ],
)
async def test_a_file_that_does_not_come_right_does_not_appear(
    space: VOSpace, rude: RudeSpace, tmp_path: Path, moods: list[Rude], error: type[VOSpaceError]
) -> None:
    rude.files["/a"] = BIG
    (tmp_path / "a").write_text("what was there before")
    rude.bytes_next.extend(moods)
    with pytest.raises(error):
        await space.pull_to_file("/a", tmp_path / "a")
    assert (tmp_path / "a").read_text() == "what was there before"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


async def test_a_wrong_sum_is_fetched_again(
    space: VOSpace, rude: RudeSpace, tmp_path: Path
) -> None:
    rude.files["/a"] = BIG
    rude.bytes_next.append(Rude.WRONG_DIGEST)
    await space.pull_to_file("/a", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == BIG


@pytest.mark.parametrize(
    ("start", "length", "expected"),
    [(0, 3, b"012"), (7, 9, b"789"), (9, 1, b"9"), (10, 1, b""), (99, 5, b""), (3, 0, b"")],
)
@pytest.mark.parametrize("mood", [None, Rude.NO_RANGES, Rude.GONE, Rude.BUSY, Rude.RESET])
async def test_a_range_is_read(
    space: VOSpace, rude: RudeSpace, start: int, length: int, expected: bytes, mood: Rude | None
) -> None:
    rude.files["/a"] = b"0123456789"
    rude.bytes_next.append(mood)
    assert await space.read_range("/a", start, length) == expected


async def test_a_reader_keeps_its_endpoint(space: VOSpace, rude: RudeSpace) -> None:
    rude.files["/a"] = BIG
    reader = await space.reader("/a")
    for start in range(0, 100, 10):
        assert await reader.read(start, 10) == BIG[start : start + 10]
    assert sum(one.path == "/vospace/synctrans" for one in rude.seen) == 1


async def test_a_server_that_hangs_is_left_for_another_try(
    rude: RudeSpace, url: str, big: bytes | Path
) -> None:
    async with VOSpace(url, timeout=0.3, pause=0.001) as client:
        rude.bytes_next.append(Rude.HANG)
        await client.push("/a", big)
        assert rude.files["/a"] == BIG
        rude.bytes_next.extend([Rude.HANG_HALF, Rude.HANG])
        assert await everything(client, "/a") == BIG


async def test_a_slow_source_is_waited_for(rude: RudeSpace, url: str) -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield b"a"
        await asyncio.sleep(0.5)  # longer than the client waits for a server
        yield b"b"

    async with VOSpace(url, timeout=0.2, pause=0.001) as client:
        await client.push("/a", slow(), length=2)
    assert rude.files["/a"] == b"ab"


async def test_negative_ranges_are_refused(space: VOSpace) -> None:
    with pytest.raises(errors.InvalidArgument):
        await space.read_range("/a", -1, 5)


# Nodes


@pytest.mark.parametrize("page", [1, 2, 3, 10, 24, 25, 26, 1000])
async def test_a_listing_gives_each_child_once(space: VOSpace, rude: RudeSpace, page: int) -> None:
    rude.children["/d"] = [f"{number:03}" for number in range(25)]
    names = [child.path.name async for child in space.list("/d", page=page)]
    assert names == rude.children["/d"]


async def test_a_child_deleted_between_pages_loses_no_other(
    space: VOSpace, rude: RudeSpace
) -> None:
    rude.children["/d"] = [f"{number:03}" for number in range(25)]

    def delete_the_last_shown() -> None:
        rude.children["/d"] = [name for name in rude.children["/d"] if name != "009"]

    await space.service()
    rude.on_page = delete_the_last_shown
    names = [child.path.name async for child in space.list("/d", page=10)]
    assert names == [f"{number:03}" for number in range(25)]


async def test_a_node_is_made_and_changed(space: VOSpace, rude: RudeSpace) -> None:
    made = await space.create("/d e", properties={"urn:a": " <&> "})
    assert (made.path, made.type) == (NodePath(("d e",)), NodeType.CONTAINER)
    assert made.properties == {"urn:a": " <&> "}
    link = await space.create("/l", NodeType.LINK, target="http://x.org/?a&b")
    assert link.target == "http://x.org/?a&b"
    changed = await space.set_properties("/l", {"urn:a": "1", "urn:b": None})
    assert changed.properties == {"urn:a": "1"}
    assert [one.method for one in rude.seen[-3:]] == ["PUT", "PUT", "POST"]


async def test_a_node_is_deleted(space: VOSpace, rude: RudeSpace) -> None:
    rude.files["/a"] = b""
    await space.delete("vos://example.org!rude/a")
    assert not rude.files
    with pytest.raises(errors.NodeNotFound):
        await space.delete("/a")


async def test_paths_that_cannot_be_are_refused_here(space: VOSpace, rude: RudeSpace) -> None:
    await space.service()
    before = len(rude.seen)
    for path in ("/a//b", "/a/../b", "vos://elsewhere.org~x/a", "/a\x00"):
        with pytest.raises(errors.InvalidURI):
            await space.get(path)
    assert len(rude.seen) == before


async def test_a_fault_comes_back_as_its_class(space: VOSpace) -> None:
    with pytest.raises(errors.NodeNotFound, match="/missing"):
        await space.get("/missing")
    with pytest.raises(VOSpaceError, match="HTTP status 418") as refusal:
        await space.get("/html")
    assert type(refusal.value) is VOSpaceError


@pytest.mark.parametrize("known", VOSpaceError.__subclasses__())
def test_every_fault_is_known_by_its_name(known: type[VOSpaceError]) -> None:
    for text in (f"{known.__name__} some detail\n", f"{known.__name__}: some detail"):
        error = of_text(text)
        assert type(error) is known
        assert str(error) == "some detail"


@pytest.mark.parametrize("text", ["", " \n", "Exception x", "VOSpaceErrors"])
def test_an_unknown_name_is_no_fault(text: str) -> None:
    assert of_text(text) is None


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, VOSpaceError),
        (401, errors.NotAuthenticated),
        (403, errors.PermissionDenied),
        (502, errors.ServiceUnavailable),
    ],
)
def test_a_strangers_refusal_is_known_by_its_status(
    status: int, expected: type[VOSpaceError]
) -> None:
    assert type(fault(status, b"<html>\xff</html>")) is expected


# Attempts


@pytest.mark.parametrize("mood", [Rude.BUSY, Rude.RESET])
async def test_a_question_is_asked_again(space: VOSpace, rude: RudeSpace, mood: Rude) -> None:
    await space.service()
    rude.space_next.extend([mood, mood])
    assert (await space.get("/d")).type is NodeType.CONTAINER


async def test_a_question_is_not_asked_for_ever(space: VOSpace, rude: RudeSpace) -> None:
    await space.service()
    before = len(rude.seen)
    rude.space_next.extend([Rude.BUSY] * 9)
    with pytest.raises(errors.ServiceUnavailable, match="come again"):
        await space.get("/d")
    assert len(rude.seen) == before + 3


async def test_a_node_is_not_made_twice(space: VOSpace, rude: RudeSpace) -> None:
    await space.service()
    before = len(rude.seen)
    rude.space_next.append(Rude.BUSY)
    with pytest.raises(errors.ServiceUnavailable):
        await space.create("/d")
    assert len(rude.seen) == before + 1


async def test_a_server_that_is_not_there_is_unavailable_and_the_cause_is_kept() -> None:
    async with VOSpace(f"http://127.0.0.1:{free_port()}/vospace", pause=0.001) as client:
        with pytest.raises(errors.ServiceUnavailable) as refusal:
            await client.get("/")
    assert isinstance(refusal.value.__cause__, ClientConnectorError)


# Jobs


async def test_a_move_waits_for_its_job(space: VOSpace, rude: RudeSpace) -> None:
    rude.job_phases.extend(["PENDING", "QUEUED", "EXECUTING", "COMPLETED"])
    assert (await space.move("/a", "/b")).phase is Phase.COMPLETED


async def test_a_copy_that_fails_says_why(space: VOSpace, rude: RudeSpace) -> None:
    rude.job_phases.extend(["PENDING", "ERROR"])
    rude.job_error = "DuplicateNode vos://example.org~rude/b"
    with pytest.raises(errors.DuplicateNode, match="rude/b"):
        await space.copy("/a", "/b")


async def test_a_lost_answer_to_run_does_not_stop_a_move(space: VOSpace, rude: RudeSpace) -> None:
    await space.service()
    rude.job_phases.extend(["EXECUTING", "EXECUTING", "COMPLETED"])  # the first RUN was heard
    rude.space_next.extend([None, Rude.RESET])
    assert (await space.move("/a", "/b")).phase is Phase.COMPLETED


async def test_an_aborted_move_is_an_error(space: VOSpace, rude: RudeSpace) -> None:
    rude.job_phases.extend(["PENDING", "ABORTED"])
    with pytest.raises(errors.TransferFailed, match="ABORTED"):
        await space.move("/a", "/b")


# Credentials


async def test_credentials_go_to_the_space_server_only(space: VOSpace, rude: RudeSpace) -> None:
    await space.push("/a", b"x")
    await everything(space, "/a")
    for one in rude.seen:
        assert ("Authorization" in one.headers) is not one.path.startswith("/files")


async def test_addresses_on_another_origin_are_asked_where_the_user_said(
    rude: RudeSpace, url: str
) -> None:
    rude.advertised = f"http://localhost:{free_port()}"
    rude.job_phases.extend(["PENDING", "COMPLETED"])
    async with VOSpace(url, "alice", "pw", pause=0.001) as client:
        await client.push("/a", b"x")
        await client.move("/a", "/b")
    assert rude.files == {"/a": b"x"}


async def test_a_session_replaces_the_password(rude: RudeSpace, url: str) -> None:
    async with VOSpace(url, pause=0.001) as client:
        await client.login("alice", "pw")
        await client.push("/a", b"x")
        await client.logout()
        await client.get("/d")
    login, *during = (one for one in rude.seen if one.path.startswith("/vospace"))
    *inside, _, after = during
    assert "Cookie" not in login.headers
    assert "Cookie" not in after.headers
    for one in inside:
        assert one.headers["Cookie"] == "session=s3cret"
        assert "Authorization" not in one.headers
    for one in rude.seen:
        assert not one.path.startswith("/files") or "Cookie" not in one.headers


async def test_a_wrong_password_is_told(url: str) -> None:
    async with VOSpace(url) as client:
        with pytest.raises(errors.NotAuthenticated, match="wrong password"):
            await client.login("alice", "no")


@pytest.mark.parametrize(
    "address", ["ftp://x/vospace", "x", "http://", "http://alice:pw@localhost/vospace"]
)
def test_an_address_that_cannot_be_used_is_refused(address: str) -> None:
    with pytest.raises(errors.InvalidArgument) as refusal:
        VOSpace(address)
    assert "alice" not in str(refusal.value)


async def test_it_must_be_opened(url: str) -> None:
    with pytest.raises(errors.InvalidArgument, match="async with"):
        await VOSpace(url).get("/")
