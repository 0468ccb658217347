"""Ranges that come straight into memory, against a server that fails in every way it can."""

import asyncio
import random
import ssl
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from aiohttp.test_utils import TestServer
from authority_support import certified
from rude_space import Rude, RudeSpace, md5
from waiting_support import PATIENCE, until

from pyvospace_ngas import errors
from pyvospace_ngas.client.vospace import VOSpace
from pyvospace_ngas.client.wire import Span, Wire
from pyvospace_ngas.errors import VOSpaceError

BIG = random.Random(6).randbytes((3 << 20) + 5)
PIECE = 1 << 20
TAG = f'"{md5(BIG).hex()}"'


@pytest.fixture
def rude() -> RudeSpace:
    return RudeSpace(files={"/a": BIG})


@pytest.fixture
async def url(rude: RudeSpace) -> AsyncIterator[str]:
    async with TestServer(rude.app(), host="127.0.0.1") as server:
        yield str(server.make_url("/vospace"))
        rude.over.set()


@pytest.fixture
async def space(url: str) -> AsyncIterator[VOSpace]:
    async with VOSpace(url, timeout=PATIENCE, pause=0.001) as client:
        yield client


class Wanted:
    """A span of the file, and which pieces of it came, in their order."""

    def __init__(self, start: int = 0, end: int = len(BIG)) -> None:
        self.expected = BIG[start:end]
        sizes = [min(PIECE, end - each) for each in range(start, end, PIECE)]
        self.pieces = [bytearray(size) for size in sizes]
        self.came: list[int] = []
        self.span = Span(start, [memoryview(piece) for piece in self.pieces], self.came.append)

    def check(self) -> None:
        assert b"".join(self.pieces) == self.expected
        assert self.came == list(range(len(self.pieces)))


@pytest.mark.parametrize(("start", "end"), [(0, len(BIG)), (7, 8), (PIECE + 1, len(BIG) - 1)])
@pytest.mark.parametrize(
    "moods",
    [
        [],
        [Rude.NO_RANGES],
        [Rude.RESET, Rude.BUSY],
        [Rude.GONE],
        [Rude.RESET_HALF, Rude.RESET_HALF],
        [Rude.RESET_HALF, Rude.NO_RANGES],
    ],
)
async def test_a_span_is_filled_piece_by_piece(
    space: VOSpace, rude: RudeSpace, start: int, end: int, moods: list[Rude]
) -> None:
    rude.bytes_next.extend(moods)
    wanted = Wanted(start, end)
    await (await space.reader("/a")).fill(wanted.span, TAG)
    wanted.check()


async def test_an_attempt_goes_on_after_the_last_whole_piece(
    space: VOSpace, rude: RudeSpace
) -> None:
    rude.bytes_next.append(Rude.RESET_HALF)
    wanted = Wanted()
    await (await space.reader("/a")).fill(wanted.span, TAG)
    wanted.check()
    asked = [(one.headers["Range"], one.headers["If-Match"]) for one in rude.byte_requests("GET")]
    last = len(BIG) - 1
    assert asked == [(f"bytes=0-{last}", TAG), (f"bytes={PIECE}-{last}", TAG)]


async def test_a_server_that_hangs_is_left_for_another_try(rude: RudeSpace, url: str) -> None:
    async with VOSpace(url, timeout=0.3, pause=0.001) as client:
        rude.bytes_next.extend([Rude.HANG, Rude.HANG_HALF])
        wanted = Wanted()
        await (await client.reader("/a")).fill(wanted.span, TAG)
        wanted.check()


@pytest.mark.parametrize(
    ("moods", "error"),
    [
        ([Rude.REFUSED], errors.PermissionDenied),
        ([Rude.OTHER_RANGE], errors.TransferFailed),
        ([Rude.SHORT], errors.TransferFailed),
        ([Rude.BUSY] * 3, errors.ServiceUnavailable),
        ([Rude.BROKEN] * 3, errors.InternalFault),
        ([Rude.RESET] * 3, errors.ServiceUnavailable),
    ],
)
async def test_what_does_not_come_right_is_an_error(
    space: VOSpace, rude: RudeSpace, moods: Sequence[Rude], error: type[VOSpaceError]
) -> None:
    rude.bytes_next.extend(moods)
    wanted, reader = Wanted(), await space.reader("/a")
    with pytest.raises(error):
        await reader.fill(wanted.span, TAG)
    assert wanted.came == []
    await reader.fill(wanted.span, TAG)  # and the connection is no worse for it
    wanted.check()


async def test_a_file_that_is_shorter_is_an_error(space: VOSpace, rude: RudeSpace) -> None:
    rude.files["/a"] = BIG[:PIECE]
    tag = f'"{md5(BIG[:PIECE]).hex()}"'
    for start, error in ((5, errors.TransferFailed), (PIECE, errors.RangeNotSatisfiable)):
        with pytest.raises(error):
            await (await space.reader("/a")).fill(Wanted(start).span, tag)


async def test_two_versions_are_not_mixed(space: VOSpace, rude: RudeSpace) -> None:
    rude.bytes_next.append(Rude.HANG_HALF)
    wanted, reader = Wanted(), await space.reader("/a")
    task = asyncio.create_task(reader.fill(wanted.span, TAG))
    await until(lambda: bool(wanted.came))
    rude.files["/a"] = BIG[::-1]
    rude.over.set()
    with pytest.raises(errors.PreconditionFailed):
        await task
    assert wanted.came == [0]
    assert wanted.pieces[0] == wanted.expected[:PIECE]


async def test_who_is_cancelled_leaves_nobody_who_writes(space: VOSpace, rude: RudeSpace) -> None:
    rude.bytes_next.append(Rude.HANG_HALF)
    wanted, reader = Wanted(), await space.reader("/a")
    task = asyncio.create_task(reader.fill(wanted.span, TAG))
    await until(lambda: bool(wanted.came))
    task.cancel()
    await asyncio.wait([task], timeout=PATIENCE / 2)  # not the time that a server is given
    assert task.cancelled()
    left = wanted.came.copy()
    rude.over.set()
    other = Wanted()
    await reader.fill(other.span, TAG)
    other.check()
    assert wanted.came == left


async def test_a_server_with_a_certificate_is_asked_if_it_is_trusted(
    rude: RudeSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = certified(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.certificate, files.key)
    server = TestServer(rude.app(), host="localhost")
    await server.start_server(ssl=context)
    url = server.make_url("/files/x/a")
    wire = Wire(PATIENCE)
    with pytest.raises(ssl.SSLCertVerificationError):
        await wire.fetch(url, {}, Wanted().span)
    wire.close()
    monkeypatch.setenv("SSL_CERT_FILE", str(files.authority))
    wire = Wire(PATIENCE)
    for start in (0, 5):  # the second time on the same connection
        wanted = Wanted(start)
        await wire.fetch(url, {"If-Match": TAG}, wanted.span)
        wanted.check()
    rude.bytes_next.append(Rude.RESET_HALF)
    with pytest.raises(OSError, match="broke"):
        await wire.fetch(url, {"If-Match": TAG}, Wanted().span)
    wire.close()
    await server.close()
