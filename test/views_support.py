"""Archives of everything that a tree can hold, and how they are sent and fetched in tests."""

import io
import random
import re
import stat
import tarfile
import zipfile
from collections.abc import Mapping
from typing import Final

from stack import AUTHORITY, Answer, Caller, transfer
from validation import valid

from pyvospace_ngas.db.connect import Database
from pyvospace_ngas.ops import trees

VIEWS: Final = "ivo://icrar.org/ngas/views#"
FORMS: Final = ("tar", "tar.gz", "zip")
PACKAGE: Final = "vos://cadc.nrc.ca~vospace/CADC/std/Pkg-1.0"
LARGE: Final = random.Random(1).randbytes(3 * 2**20 + 17)
HOME: Final = "/home/alice"
BINARY: Final = {"Content-Type": "application/octet-stream"}
MTIME: Final = 1_500_000_000
LONG: Final = "n" * 200
FILES: Final = {
    "empty": b"",
    "small.txt": b"hello\n",
    "large.bin": LARGE,
    "d/é ü 漢字 ☃.dat": b"unicode",
    f"d/{LONG}/{LONG}/{LONG}.txt": b"long",
    "d/a'b&c<d>.x": b"odd",
}
FOLDERS: Final = ("d", f"d/{LONG}", f"d/{LONG}/{LONG}", "nothing here")
LINKS: Final = {"d/up": "../small.txt", "down": "d", "d/self": "up", "out": "https://x.org/a?b"}


def view(name: str) -> str:
    """Return the element that asks for a view of ours, or for any other URI."""
    return f'<vos:view uri="{name if ":" in name else VIEWS + name}"/>'


async def endpoint(alice: Caller, path: str, direction: str, more: str) -> str:
    """Negotiate with a view; return the first endpoint."""
    protocol = "httpput" if direction == "pushToVoSpace" else "httpget"
    answer = await alice.sync(transfer(path, direction, protocol, more=more))
    details = await alice.get(answer.location)
    valid(details.body)
    assert "<vos:endpoint>" in details.text, details.text
    found: str = re.findall("<vos:endpoint>([^<]*)", details.text)[0]
    return found


async def export(alice: Caller, path: str, form: str) -> Answer:
    """Pull a container in a view."""
    return await alice.get(await endpoint(alice, path, "pullFromVoSpace", view(form)))


async def unpack(alice: Caller, path: str, form: str, body: bytes, **headers: str) -> Answer:
    """Push an archive into a container."""
    url = await endpoint(alice, path, "pushToVoSpace", view(form))
    return await alice.request("PUT", url, body, BINARY | headers)


async def refusal(alice: Caller, path: str, direction: str, more: str) -> str:
    """Return the fault that a negotiation ends in."""
    protocol = "httpput" if direction == "pushToVoSpace" else "httpget"
    url, job = await alice.run(transfer(path, direction, protocol, more=more))
    assert "<uws:phase>ERROR<" in job.text
    return (await alice.get(f"{url}/error")).fault


async def names(alice: Caller, path: str) -> list[str]:
    """Return what a container has, as it is written in URIs."""
    text = (await alice.get(f"/nodes{path}?detail=min")).text
    return re.findall(rf'uri="{re.escape(AUTHORITY + path)}/([^"/]+)"', text)


def made(form: str) -> bytes:
    """Return an archive of everything above, as Python writes it."""
    return tar(form) if form != "zip" else zipped()


def tar(form: str = "tar", kind: int = tarfile.PAX_FORMAT) -> bytes:
    """Return a tar of everything above."""
    out = io.BytesIO()
    mode = "w:gz" if form == "tar.gz" else "w"
    with tarfile.open(fileobj=out, mode=mode, format=kind) as archive:  # type: ignore[call-overload]
        for name in FOLDERS:
            archive.addfile(info(name, tarfile.DIRTYPE))
        for name, data in FILES.items():
            archive.addfile(info(name, size=len(data)), io.BytesIO(data))
        for name, target in LINKS.items():
            archive.addfile(info(name, tarfile.SYMTYPE, target))
    return out.getvalue()


def info(
    name: str, kind: bytes = tarfile.REGTYPE, target: str = "", size: int = 0
) -> tarfile.TarInfo:
    """Return the header of a member."""
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.size, member.mtime = kind, target, size, MTIME
    return member


def zipped(
    method: int = zipfile.ZIP_DEFLATED,
    out: io.RawIOBase | None = None,
    links: Mapping[str, str] = LINKS,
) -> bytes:
    """Return a zip of everything above; ``out`` may be a stream that cannot seek."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(out or buffer, "w", method) as archive:
        for name in FOLDERS:
            archive.writestr(zip_info(name + "/", stat.S_IFDIR | 0o755), b"")
        for name, data in FILES.items():
            member = zip_info(name, stat.S_IFREG | 0o644)
            member.compress_type = method
            archive.writestr(member, data)
        for name, target in links.items():
            archive.writestr(zip_info(name, stat.S_IFLNK | 0o777), target)
    return buffer.getvalue()


def zip_info(name: str, mode: int) -> zipfile.ZipInfo:
    """Return the header of a member."""
    member = zipfile.ZipInfo(name, (2017, 7, 14, 2, 40, 0))
    member.create_system, member.external_attr = 3, mode << 16
    return member


class Pipe(io.RawIOBase):
    """A stream that cannot seek, as a pipe."""

    def __init__(self) -> None:
        self.data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        self.data += bytes(data)  # type: ignore[call-overload]
        return len(bytes(data))  # type: ignore[call-overload]


def read_tar(body: bytes) -> tuple[dict[str, bytes], set[str], dict[str, str]]:
    """Return files, folders and links of a tar of any compression."""
    files, folders, links = {}, set(), {}
    with tarfile.open(fileobj=io.BytesIO(body)) as archive:
        for member in archive:
            if member.isdir():
                folders.add(member.name)
            elif member.issym():
                links[member.name] = member.linkname
            else:
                content = archive.extractfile(member)
                assert content is not None
                assert member.name not in files
                files[member.name] = content.read()
    return files, folders, links


def read_zip(body: bytes) -> tuple[dict[str, bytes], set[str], dict[str, str]]:
    """Return files, folders and links of a zip."""
    files, folders, links = {}, set(), {}
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        assert archive.testzip() is None
        for member in archive.infolist():
            data = archive.read(member)
            if member.is_dir():
                folders.add(member.filename.rstrip("/"))
            elif stat.S_ISLNK(member.external_attr >> 16):
                links[member.filename] = data.decode()
            else:
                files[member.filename] = data
    return files, folders, links


def read(form: str, body: bytes) -> tuple[dict[str, bytes], set[str], dict[str, str]]:
    """Return what an archive holds."""
    return read_zip(body) if form == "zip" else read_tar(body)


def several(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """Return a tar with these members."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for member, data in members:
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


async def nothing_is_left(dsn: str) -> None:
    """Purge as the janitor does; then neither nodes nor blobs nor open attempts are there."""
    async with Database(dsn) as database:
        while await trees.purge_abandoned(database, 0):
            pass
        async with database.acquire() as db:
            left = await db.fetchrow(
                """
                select (select count(*) from node where parent_id = -2),
                       (select count(*) from blob),
                       (select count(*) from attempt where ended is null),
                       (select count(*) from unpack),
                       (select count(*) from node where name = 'good')
                """
            )
    assert left is not None
    assert tuple(left) == (0, 0, 0, 0, 0)
