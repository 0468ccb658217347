"""What a request wants archived: everything that is read before the bytes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from pyvospace_ngas.archive import parameters
from pyvospace_ngas.archive.answers import Call
from pyvospace_ngas.archive.configuration import NodeConfig
from pyvospace_ngas.archive.receiving import Received
from pyvospace_ngas.archive.refusals import Refused, coded
from pyvospace_ngas.archive.transactions import LATEST
from pyvospace_ngas.archive.upload import History
from pyvospace_ngas.ngas import checksum
from pyvospace_ngas.ngas.checksum import Variant

LONGEST_ID: Final = 64  # ngas_files.file_id
LONGEST_FORMAT: Final = 32  # ngas_files.format
LONGEST_NAME: Final = 150  # what ngas_files.file_name leaves for it
MIME_TYPE: Final = re.compile(r"[a-z0-9][a-z0-9.+_-]*/[a-z0-9][a-z0-9.+_-]*")
# What the real server's ARCHIVE writes as ChecksumPlugIn, where its other commands write crc32.
ARCHIVE_CRC32: Final = "ngamsGenCrc32"


@dataclass(frozen=True, slots=True)
class Wish:
    """A file as it is wanted in the archive."""

    uri: str
    file_id: str
    name: str
    format: str
    variant: Variant
    checksum: str | None  # that the bytes must have as they arrive
    overwrite: int | None = None
    checksum_name: str = ""  # of the variant, as it is recorded; "" means its own name
    exact: int | None = None  # the version that it had before
    history: History | None = None
    uncompressed_size: int | None = None
    compression: str = "NONE"
    size: int | None = None  # that the bytes must have
    untouched: bool = False  # no plug-in sees it


def read_wish(call: Call) -> Wish:
    """Read everything but the body."""
    given = call.parameters
    uri = given.get("filename", given.get("file_uri", ""))
    if not uri:
        raise Refused(coded("NGAMS_ER_MISSING_URI", "The request names no file (filename=...)."))
    pulls = call.request.method == "GET"
    name = check_name(source_name(uri) if pulls else parameters.base_name(uri))
    format_ = _format(call, name)
    variant = _variant(call)
    return Wish(
        uri=uri,
        file_id=check_id(given.get("file_id", name)),
        name=_with_extension(call.node.config, name, format_) if "file_id" in given else name,
        format=format_,
        variant=variant,
        checksum=call.request.headers.get("NGAS-File-CRC"),
        overwrite=_overwrite(call),
        checksum_name=ARCHIVE_CRC32 if _is_archive_crc32(call, variant) else "",
    )


def compare(wish: Wish, received: Received) -> None:
    """Refuse a file that did not arrive as it is wanted."""
    if wish.size not in {None, received.size}:
        raise Refused(f"The file {wish.name} has {received.size} bytes, not {wish.size}")
    if wish.checksum is not None and not checksum.same(
        wish.variant, wish.checksum, received.checksum
    ):
        raise Refused(
            f"Checksum error for file {wish.name}, local crc = {received.checksum or None}, "
            f"but remote crc = {wish.checksum}"
        )


def source_name(uri: str) -> str:
    """Return the name of a file that is fetched: the file_id in its URL, or its last part."""
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise _bad_name("the URL cannot be read") from error
    if not parts.scheme:
        return parameters.base_name(uri)
    return parameters.base_name(parse_qs(parts.query).get("file_id", [unquote(parts.path)])[-1])


def check_name(name: str) -> str:
    """Return a name that a file can have on disk, or refuse it."""
    if not name or "/" in name or len(name.encode()) > LONGEST_NAME:
        raise _bad_name(f"it needs a name of {LONGEST_NAME} bytes at most without controls")
    if parameters.base_name(name) != name:
        raise _bad_name("it begins or ends with what a name cannot have, or has controls")
    return name


def check_id(file_id: str) -> str:
    """Return an id that the index has room for, or refuse it."""
    if not file_id or len(file_id) > LONGEST_ID or parameters.CONTROL.search(file_id):
        raise _bad_name(f"a file_id has {LONGEST_ID} characters at most and no controls")
    return file_id


def check_format(format_: str) -> str:
    """Return a mime type that the index has room for, or refuse it."""
    if not MIME_TYPE.fullmatch(format_) or len(format_) > LONGEST_FORMAT:
        raise Refused(f"Unknown mime type: {format_[:80]}")
    return format_


def by_extension(mime_types: Mapping[str, str], name: str) -> str:
    """Return the mime type of a name, "" for an unknown one."""
    return mime_types.get(name.rpartition(".")[2], "")


def _bad_name(text: str) -> Refused:
    return Refused(coded("NGAMS_ER_ILL_URI", f"The name cannot be used: {text}."))


def _format(call: Call, name: str) -> str:
    """Return the mime type: as given, or by the name's extension."""
    config = call.node.config
    header = call.request.headers.get("Content-Type", "")
    given = call.parameters.get("mime_type", header).partition(";")[0].strip().lower()
    found = given or by_extension(config.mime_types, name)
    if not found:
        raise Refused(
            coded("NGAMS_ER_UNKNOWN_MIME_TYPE1", f"The mime-type of {name} is not known.")
        )
    check_format(found)
    if config.streams and found not in config.streams:
        raise Refused(f"Unknown mime type: {found}")
    return found


def _with_extension(config: NodeConfig, name: str, format_: str) -> str:
    if "." in name:
        return name
    extensions = (ext for ext, mime in config.mime_types.items() if mime == format_)
    extension = next(extensions, "")
    return f"{name}.{extension}" if extension else name


def _variant(call: Call) -> Variant:
    name = call.parameters.get("crc_variant")
    if name is None:
        return call.node.config.handling.crc
    try:
        return checksum.named(name)
    except checksum.UnknownVariant as error:
        raise Refused(f"Invalid crc_variant: {error}") from error


def _is_archive_crc32(call: Call, variant: Variant) -> bool:
    return call.command == "ARCHIVE" and variant is Variant.CRC32


def _overwrite(call: Call) -> int | None:
    given = call.parameters
    overwrites = parameters.flag(given, "no_versioning") or given.get("versioning") == "0"
    if not overwrites:
        return None
    return parameters.version(given, call.command) or LATEST
