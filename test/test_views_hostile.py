"""Archives that are meant to do harm, or are broken: refused, and nothing of them is left."""

import gzip
import io
import stat
import tarfile
import zipfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

import pytest
import stack
from aiohttp import ClientSession
from stack import Caller
from views_support import (
    FORMS,
    HOME,
    info,
    names,
    nothing_is_left,
    several,
    tar,
    unpack,
    zip_info,
    zipped,
)


@pytest.fixture
async def alice(dsn: str, tmp_path: Path) -> AsyncIterator[Caller]:
    """Alice, before two archive nodes; bob exists too."""
    await stack.add_user(dsn, "alice")
    await stack.add_user(dsn, "bob")
    async with stack.whole_stack(dsn, tmp_path) as running, ClientSession() as http:
        yield Caller(http, running.url, "alice")


def one(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> bytes:
    """Return a tar with a good file and then one member."""
    return several((info("good", size=4), b"good"), (info(name, kind, target), b""))


def zip_of(change: Callable[[zipfile.ZipFile], None]) -> bytes:
    """Return a zip with a good file and what ``change`` adds."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("good", b"good")
        change(archive)
    return out.getvalue()


def zip_with(name: str, mode: int = stat.S_IFREG | 0o644, data: bytes = b"x") -> bytes:
    """Return a zip with a good file and one more member."""
    return zip_of(lambda archive: archive.writestr(zip_info(name, mode), data))


def gzipped(body: bytes) -> bytes:
    """Return ``body`` as gzip has it."""
    return gzip.compress(body)


def sparse() -> bytes:
    """Return a tar whose member is said to have holes."""
    member = info("s")
    member.pax_headers = {"GNU.sparse.map": "0"}
    return several((member, b""))


BOMB: Final = gzipped(several((info("bomb", size=100 * 2**20), bytes(100 * 2**20))))
HOSTILE: Final = {
    "up": ("tar", one("../up")),
    "up in the middle": ("tar", one("a/../../up")),
    "absolute": ("tar", one("/etc/passwd")),
    "link up": ("tar", one("l", tarfile.SYMTYPE, "../x")),
    "link up from below": ("tar", one("a/l", tarfile.SYMTYPE, "../../x")),
    "absolute link": ("tar", one("l", tarfile.SYMTYPE, "/etc/passwd")),
    "no target": ("tar", one("l", tarfile.SYMTYPE, "")),
    "hard link out": ("tar", one("l", tarfile.LNKTYPE, "../good")),
    "hard link to nothing": ("tar", one("l", tarfile.LNKTYPE, "none")),
    "device": ("tar", one("dev", tarfile.CHRTYPE)),
    "block device": ("tar", one("dev", tarfile.BLKTYPE)),
    "pipe": ("tar", one("fifo", tarfile.FIFOTYPE)),
    "sparse": ("tar", sparse()),
    "twice": ("tar", one("good")),
    "file as folder": ("tar", one("good/below")),
    "folder as file": (
        "tar",
        several((info("a", tarfile.DIRTYPE), b""), (info("a", size=1), b"x")),
    ),
    "below a link": (
        "tar",
        several((info("a", tarfile.SYMTYPE, "b"), b""), (info("a/x", size=1), b"x")),
    ),
    "control character": ("tar", one("a\nb")),
    "long name": ("tar", one("n" * 256)),
    "deep": ("tar", one("d/" * 250 + "x")),
    "reserved": ("tar", one(".null")),
    "nothing": ("tar", b""),
    "text": ("tar", b"this is no archive" * 100),
    "cut in a file": ("tar", tar()[: 2 * 2**20]),
    "cut before the end": ("tar", one("fine")[:1024]),
    "cut gzip": ("tar.gz", gzipped(tar())[:-9]),
    "no gzip": ("tar.gz", tar()),
    "damaged gzip": ("tar.gz", gzipped(one("fine"))[:-8] + bytes(8)),
    "bomb": ("tar.gz", BOMB),
    "zip up": ("zip", zip_with("../up")),
    "zip absolute": ("zip", zip_with("/up")),
    "zip link up": ("zip", zip_with("l", stat.S_IFLNK | 0o777, b"../up")),
    "zip link far": ("zip", zip_with("l", stat.S_IFLNK | 0o777, b"x" * 5000)),
    "zip device": ("zip", zip_with("dev", stat.S_IFCHR | 0o644)),
    "zip cut": ("zip", zipped()[:-100]),
    "zip with a tail": ("zip", zipped() + b"PK"),
    "zip in text": ("zip", b"#!/bin/sh\n" + zipped()),
    "zip damaged": ("zip", zip_with("a").replace(b"good", b"evil", 1)),
    "zip other names": ("zip", zip_with("fine").replace(b"fine", b"evil", 1)),
    "zip bomb": ("zip", zip_of(lambda archive: archive.writestr("bomb", bytes(100 * 2**20)))),
}


@pytest.mark.parametrize("form", FORMS)
async def test_a_hostile_archive_is_refused_and_leaves_nothing(
    alice: Caller, dsn: str, form: str
) -> None:
    for name, (kind, body) in HOSTILE.items():
        if kind == form:
            put = await unpack(alice, HOME, form, body)
            assert (put.status, put.fault) == (400, "InvalidData"), (name, put.text)
            assert await names(alice, HOME) == [], name
    await nothing_is_left(dsn)
