"""The pure parts of views: names, links, zip and tar as streams, the headers of FITS files."""

import io
import random
import tarfile
import zipfile
from collections.abc import AsyncIterator, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
import stack
from aiohttp import ClientSession
from stack import Caller
from views_support import endpoint, view

from pyvospace_ngas.errors import InvalidArgument, InvalidData
from pyvospace_ngas.model import views
from pyvospace_ngas.model.transfer import View
from pyvospace_ngas.model.uri import NodePath, Space
from pyvospace_ngas.model.views import Form
from pyvospace_ngas.storage.views import fits, members, tar, unzip, zip
from pyvospace_ngas.storage.views.members import Kind, Member
from pyvospace_ngas.storage.views.pieces import Source

SPACE = Space("icrar.org~ngas")
ROOT = NodePath(("home", "alice"))
THEN = datetime(2020, 2, 29, 12, 30, 58, tzinfo=UTC)


@pytest.mark.parametrize(
    ("uri", "form"),
    [
        ("ivo://icrar.org/ngas/views#tar", Form.TAR),
        ("ivo://icrar.org/ngas/views#tar.gz", Form.TAR_GZ),
        ("ivo://icrar.org/ngas/views#zip", Form.ZIP),
        ("ivo://icrar.org/ngas/views#fitsheader", Form.FITS_HEADER),
        (views.PACKAGE, Form.TAR),
        ("ivo://icrar.org/ngas/views#TAR", None),
        ("ivo://icrar.org/views#tar", None),
    ],
)
def test_which_view_a_uri_is(uri: str, form: Form | None) -> None:
    assert views.form_of(View(uri), SPACE) is form


def test_a_package_of_an_unknown_format_is_refused() -> None:
    assert views.form_of(View(views.PACKAGE, params=((views.FORMAT, "application/zip"),)), SPACE)
    with pytest.raises(InvalidArgument):
        views.form_of(View(views.PACKAGE, params=((views.FORMAT, "text/plain"),)), SPACE)


@pytest.mark.parametrize(
    ("parts", "target", "written"),
    [
        ("l", "vos://icrar.org~ngas/home/alice/f", "f"),
        ("d/l", "vos://icrar.org~ngas/home/alice/f", "../f"),
        ("d/l", "vos://icrar.org!ngas/home/alice/d/e/f%20g", "e/f g"),
        ("d/l", "vos://icrar.org~ngas/home/alice", ".."),
        ("l", "vos://icrar.org~ngas/home/alice", "."),
        ("l", "vos://icrar.org~ngas/home/alice2/f", "vos://icrar.org~ngas/home/alice2/f"),
        ("l", "vos://icrar.org~ngas/home", "vos://icrar.org~ngas/home"),
        ("l", "vos://other~x/f", "vos://other~x/f"),
        ("l", "https://example.org/", "https://example.org/"),
    ],
)
def test_links_as_an_archive_has_them_and_back(parts: str, target: str, written: str) -> None:
    name = parts.split("/")
    assert members.written_link(name, target, ROOT, SPACE) == written
    back = members.read_link(name, written, ROOT, SPACE)
    assert back == target.replace("!", "~")


@pytest.mark.parametrize(
    "target", ["", "/", "/etc", "..", "d/../../x", "http://a b", "x" * 5000, "a\0b", ".auto"]
)
def test_links_that_may_not_come_in(target: str) -> None:
    with pytest.raises(InvalidData):
        members.read_link(["l"], target, ROOT, SPACE)


def test_times_of_members_are_between_1970_and_now() -> None:
    for seconds in (float("nan"), float("inf"), 1e300, -1.0):
        assert members.moment(seconds).year in (1970, datetime.now(UTC).year)


async def contents(
    listed: Iterable[tuple[Member, bytes]],
) -> AsyncIterator[tuple[Member, AsyncIterator[bytes] | None]]:
    """Give members as a walk of the tree does."""
    for member, data in listed:
        yield member, in_pieces(data) if data else None


async def in_pieces(data: bytes, size: int = 1000) -> AsyncIterator[bytes]:
    """Give ``data`` in pieces."""
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def whole(pieces: AsyncIterator[bytes]) -> bytes:
    """Return all pieces together."""
    return b"".join([piece async for piece in pieces])


async def test_a_zip_of_more_members_than_sixteen_bits_count() -> None:
    listed = [(Member(f"f{number}", Kind.FILE, THEN), b"") for number in range(70_000)]
    with ThreadPoolExecutor(1) as threads:
        body = await whole(zip.pack(contents(listed), threads))
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        assert len(archive.infolist()) == 70_000
        assert archive.getinfo("f69999").date_time == (2020, 2, 29, 12, 30, 58)


async def zip_of(size: int, path: Path) -> None:
    """Write a zip whose first member has ``size`` zeros, as a stream."""

    async def zeros() -> AsyncIterator[bytes]:
        for _ in range(size // 2**20):
            yield bytes(2**20)

    async def listed() -> AsyncIterator[tuple[Member, AsyncIterator[bytes] | None]]:
        yield Member("large", Kind.FILE, THEN, size), zeros()
        yield Member("small", Kind.FILE, THEN, 3), in_pieces(b"abc")

    with ThreadPoolExecutor(1) as threads, path.open("wb") as file:
        async for piece in zip.pack(listed(), threads):
            file.write(piece)


@pytest.mark.scale
async def test_a_zip_of_a_member_beyond_four_gigabytes(tmp_path: Path) -> None:
    await zip_of(5 * 2**30, tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.getinfo("large").file_size == 5 * 2**30
        assert archive.testzip() is None


async def test_a_zip_that_needs_wide_sizes_is_read_as_it_arrives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zip, "LARGE", 2**20)
    await zip_of(2 * 2**20, tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.testzip() is None
    with ThreadPoolExecutor(1) as threads:
        source = Source(in_pieces((tmp_path / "a.zip").read_bytes(), 7))
        sizes = {}
        async for member in unzip.unpack(source, threads, Unlimited()):
            assert member.body is not None
            sizes[member.name] = len(await whole(member.body))
    assert sizes == {"large": 2 * 2**20, "small": 3}


class Unlimited:
    """An allowance without an end."""

    def take(self, size: int) -> None:
        """Take anything."""


async def test_a_tar_with_a_member_beyond_eight_gigabytes_says_its_length() -> None:
    head = tar.header(Member("large", Kind.FILE, THEN, 9 * 2**30))
    with tarfile.open(fileobj=io.BytesIO(head)) as archive:
        said = archive.next()
    assert said is not None
    assert said.size == 9 * 2**30
    read = [member async for member in first(tar.unpack(Source(in_pieces(head))))]
    assert (read[0].name, read[0].length, read[0].mtime) == ("large", 9 * 2**30, THEN)


async def first(found: AsyncIterator[members.Incoming]) -> AsyncIterator[members.Incoming]:
    """Give the first only."""
    async for member in found:
        yield member
        return


async def test_broken_archives_of_any_bytes_are_refused_in_words() -> None:
    """Flip bytes all over: whatever comes of it is `InvalidData` or an archive."""
    rng = random.Random(5)
    good_tar = await whole(tar.pack(contents(SMALL_TREE)))
    with ThreadPoolExecutor(1) as threads:
        good_zip = await whole(zip.pack(contents(SMALL_TREE), threads))
        for _ in range(1500):
            for good in (good_tar, good_zip):
                bad = bytearray(good)
                for _ in range(rng.randint(1, 4)):
                    bad[rng.randrange(len(bad))] = rng.randrange(256)
                source = Source(in_pieces(bytes(bad[: rng.randint(1, len(bad))]), 333))
                found = (
                    tar.unpack(source)
                    if good is good_tar
                    else unzip.unpack(source, threads, Unlimited())
                )
                await read_through(found)


async def read_through(found: AsyncIterator[members.Incoming]) -> None:
    try:
        async for member in found:
            if member.body is not None:
                await whole(member.body)
    except InvalidData:
        pass


SMALL_TREE = [
    (Member("d", Kind.FOLDER, THEN), b""),
    (Member("d/f", Kind.FILE, THEN, 3000), b"abc" * 1000),
    (Member("d/" + "é" * 90, Kind.FILE, THEN, 2), b"xy"),
    (Member("l", Kind.LINK, THEN, target="d/f"), b""),
]


def unit(*cards: str) -> bytes:
    """Return a FITS header."""
    text = "".join(card.ljust(80) for card in (*cards, "END"))
    return text.ljust(len(text) + -len(text) % 2880).encode()


PRIMARY = unit("SIMPLE  =                    T", "BITPIX  =                  -32", "NAXIS   = 2",
               "NAXIS1  = 100", "NAXIS2  = 30 / rows", "OBJECT  = 'M 31'")  # fmt: skip
TABLE = unit("XTENSION= 'BINTABLE'", "BITPIX  = 8", "NAXIS   = 2", "NAXIS1  = 10", "NAXIS2  = 5",
             "PCOUNT  = 4000", "GCOUNT  = 1", *[f"COMMENT {n}" for n in range(300)])  # fmt: skip
GROUPS = unit("SIMPLE  = T", "BITPIX  = 16", "NAXIS   = 2", "NAXIS1  = 0", "NAXIS2  = 3",
              "GROUPS  = T", "PCOUNT  = 2", "GCOUNT  = 1000")  # fmt: skip
EMPTY = unit("XTENSION= 'IMAGE'", "BITPIX  = 8", "NAXIS   = 0")


def padded(size: int) -> bytes:
    """Return so many bytes of data and what fills their last block."""
    return bytes(size + -size % 2880)


FITS = PRIMARY + padded(12000) + TABLE + padded(4050) + EMPTY + GROUPS.replace(
    b"SIMPLE  = T", b"XTENSION= T"
) + padded(10000) + unit("XTENSION= 'LAST'", "NAXIS   = 0")  # fmt: skip


async def headers_of(data: bytes) -> tuple[str, int]:
    """Return the headers and how many bytes were read for them."""
    read = 0

    async def fetch(start: int, end: int) -> bytes:
        nonlocal read
        assert 0 <= start < end <= len(data)
        read += end - start
        return data[start:end]

    return await fits.headers(fetch, len(data)), read


async def test_all_headers_of_a_fits_file_are_found_without_its_data() -> None:
    text, _ = await headers_of(FITS)
    units = text.split("\n\n")
    assert len(units) == 5
    assert units[0].splitlines()[-2:] == ["OBJECT  = 'M 31'", "END"]
    assert "COMMENT 299" in units[1]
    assert "'LAST'" in units[4]
    large = unit("SIMPLE  = T", "BITPIX  = 8", "NAXIS   = 1", f"NAXIS1  = {20 * 2**20}")
    text, read = await headers_of(large + padded(20 * 2**20) + EMPTY)
    assert text.count("END") == 2
    assert read < 100_000


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"SIMPLE",
        b"<html>" * 1000,
        unit("SIMPLE  = T")[:-1],
        (b"SIMPLE  = T".ljust(80) * 36) * 5,
        unit("SIMPLE  = T", "NAXIS   = 99999"),
        unit("SIMPLE  = T", "BITPIX  = 8", "NAXIS   = 1", "NAXIS1  = -5", "PCOUNT  = -9"),
    ],
)
async def test_what_is_no_fits_file_is_said_so(data: bytes) -> None:
    with pytest.raises(InvalidData):
        await headers_of(data)


async def test_hostile_fits_files_are_read_to_a_bound() -> None:
    huge = unit("SIMPLE  = T", "NAXIS   = 2", "NAXIS1  = 999999999999999999", "NAXIS2  = 999999")
    assert (await headers_of(huge))[0].count("END") == 1
    text, _ = await headers_of(PRIMARY + padded(12000) + EMPTY * 2000)
    assert text.count("END") == fits.MOST_UNITS
    endless = b"SIMPLE  = T".ljust(80) + b"COMMENT".ljust(80) * 36 * 4000
    with pytest.raises(InvalidData):
        await headers_of(endless)


@pytest.mark.row("PUL-05", "PUL-14")
async def test_the_header_view_of_a_fits_file(dsn: str, tmp_path: Path) -> None:
    await stack.add_user(dsn, "alice")
    async with stack.whole_stack(dsn, tmp_path) as running, ClientSession() as http:
        alice = Caller(http, running.url, "alice")
        await alice.push("/home/alice/m31.fits", FITS)
        await alice.push("/home/alice/no.fits", b"no FITS file at all")
        await alice.push("/home/alice/image", FITS)
        kind = stack.properties(type="image/fits")
        assert (await alice.set("/home/alice/image", kind)).status == 200
        for path in ("/home/alice/m31.fits", "/home/alice/image"):
            url = await endpoint(alice, path, "pullFromVoSpace", view("fitsheader"))
            assert url.endswith(".txt")
            got = await alice.get(url)
            assert (got.status, got.text) == (200, (await headers_of(FITS))[0])
            assert got.headers["Content-Type"] == "text/plain; charset=utf-8"
            assert (await alice.request("HEAD", url)).headers["Content-Length"] == str(
                len(got.body)
            )
        url = await endpoint(alice, "/home/alice/no.fits", "pullFromVoSpace", view("fitsheader"))
        assert (await alice.get(url)).fault == "InvalidData"
