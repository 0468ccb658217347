"""A container as one stream: a tar, or MIME parts as NGAS sends them. Its length is known."""

from __future__ import annotations

import re
import secrets
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

from pyvospace_ngas.archive.containers import Tree
from pyvospace_ngas.archive.downloads import FORMAT
from pyvospace_ngas.archive.records import Copy, File

BLOCK: Final = tarfile.BLOCKSIZE
UNPLAIN: Final = re.compile(r'[\x00-\x1f\x7f"\\/\ud800-\udfff]')

UNQUOTED: Final = " !#$&'()*+,-.:;<=>?@[]^_`{|}~"

Piece = bytes | Copy  # what is sent: some bytes, or those of a file


@dataclass(frozen=True, slots=True)
class Packed:
    """What is to be sent, one after the other."""

    pieces: tuple[Piece, ...]

    @property
    def length(self) -> int:
        return sum(len(p) if isinstance(p, bytes) else p.file.size for p in self.pieces)

    @property
    def copies(self) -> list[Copy]:
        return [each for each in self.pieces if isinstance(each, Copy)]


def as_tar(tree: Tree) -> Packed:
    """Return a container as a tar archive, with its name as the folder around it."""
    return Packed((*_tar(tree, ""), bytes(2 * BLOCK)))


def as_multipart(tree: Tree) -> Packed:
    """Return a container as a MIME message, containers below it as messages within."""
    return Packed((b"MIME-Version: 1.0\r\n", *_multipart(tree)))


def _tar(tree: Tree, above: str) -> Iterator[Piece]:
    folder = f"{above}{_plain(tree.container.name)}/"
    yield _header(folder, tarfile.DIRTYPE, 0, 0o755, tree.container.ingestion_date)
    for name, copy in _names(tree.copies):
        file = copy.file
        yield _header(f"{folder}{name}", tarfile.REGTYPE, file.size, 0o644, file.ingestion_date)
        yield copy
        if padding := -file.size % BLOCK:
            yield bytes(padding)
    for child in tree.children:
        yield from _tar(child, folder)


def _header(name: str, kind: bytes, size: int, mode: int, date: str) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.mode, info.mtime = kind, size, mode, _seconds(date)
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _multipart(tree: Tree) -> Iterator[Piece]:
    """Yield the headers and the body of one message."""
    mark = secrets.token_urlsafe(24)
    name = _plain(tree.container.name)
    yield (
        f'Content-Type: multipart/mixed; container_name="{name}"; boundary="{mark}"\r\n\r\n'
    ).encode()
    for copy in tree.copies:
        yield f"--{mark}\r\n{_part_headers(copy.file)}\r\n".encode()
        yield copy
        yield b"\r\n"
    for child in tree.children:
        yield f"--{mark}\r\n".encode()
        yield from _multipart(child)
        yield b"\r\n"
    yield f"--{mark}--\r\n".encode()


def _part_headers(file: File) -> str:
    """Return a part's headers; what is not ASCII is written as in URLs, as NGAS reads it."""
    name = quote(_plain(file.file_name.rpartition("/")[2]), safe=UNQUOTED)
    format_ = file.format if FORMAT.fullmatch(file.format) else "application/octet-stream"
    return f'Content-Type: {format_}\r\nContent-Disposition: attachment; filename="{name}"\r\n'


def _names(copies: Iterable[Copy]) -> Iterator[tuple[str, Copy]]:
    """Give each file of a container a name of its own."""
    taken: set[str] = set()
    for copy in copies:
        name = _plain(copy.file.file_name.rpartition("/")[2])
        if name in taken:
            name = f"{_plain(copy.file.file_id)}-{name}"
        taken.add(name)
        yield name, copy


def _plain(name: str) -> str:
    """Return a name that is one name wherever it is unpacked."""
    plain = UNPLAIN.sub("_", name)
    return f"_{plain}" if plain in {"", ".", ".."} else plain


def _seconds(date: str) -> int:
    try:
        return int(datetime.fromisoformat(date).replace(tzinfo=UTC).timestamp())
    except ValueError:
        return 0
