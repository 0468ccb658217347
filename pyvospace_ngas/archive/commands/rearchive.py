"""REARCHIVE: archive a file that was archived before, as what it was."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import replace
from typing import Final

from aiohttp import web

from pyvospace_ngas.archive import archiving, parameters
from pyvospace_ngas.archive.answers import Call
from pyvospace_ngas.archive.records import stamp
from pyvospace_ngas.archive.refusals import Refused, bad_syntax
from pyvospace_ngas.archive.upload import History
from pyvospace_ngas.archive.wishes import LONGEST_FORMAT, Wish, check_id, check_name, read_wish
from pyvospace_ngas.ngas import checksum
from pyvospace_ngas.ngas.checksum import Variant
from pyvospace_ngas.ngas.status import FileStatus, MalformedAnswer, parse_file

HEADER: Final = "NGAS-File-Info"
DATE: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,3})?")
FLAGS: Final = re.compile(r"[01]{8}")


async def handle(call: Call) -> web.StreamResponse:
    """Archive the file with the id, version and dates that it had.

    They come in the header, as the base64 of its FileStatus. A version that is there already is
    not replaced, unless no_versioning=1 asks for it.
    """
    archiving.may_archive(call.node)
    file = _file_info(call)
    name = parameters.base_name(file.file_name)
    given = {"mime_type": file.format} | dict(call.parameters)
    if call.request.method != "GET" and "file_uri" not in given:
        given.setdefault("filename", name)
    wish = _as_it_was(read_wish(replace(call, parameters=given)), file, name)
    async with archiving.source_of(call, wish.uri) as source:
        return await archiving.archive_from(call, wish, source, archiving.by_free_space)


def _file_info(call: Call) -> FileStatus:
    try:
        text = base64.b64decode(call.request.headers[HEADER])
        file = parse_file(text)
    except (KeyError, binascii.Error, ValueError, MalformedAnswer) as error:
        wanted = f"the header {HEADER} with the base64 of a FileStatus"
        raise bad_syntax(call.command, wanted) from error
    if not file.file_id or not 0 < file.file_version <= parameters.LARGEST_VERSION:
        raise bad_syntax(call.command, f"FileId and FileVersion in {HEADER}")
    return file


def _as_it_was(wish: Wish, file: FileStatus, name: str) -> Wish:
    variant, crc = _checksum(file)
    overwrites = wish.overwrite is not None
    now = stamp()
    return replace(
        wish,
        file_id=check_id(file.file_id),
        name=check_name(name) if name else wish.name,
        variant=variant or wish.variant,
        checksum=crc or wish.checksum,
        checksum_name=file.checksum_plugin if variant else "",
        overwrite=file.file_version if overwrites else None,
        exact=None if overwrites else file.file_version,
        history=History(
            ingestion_date=_date(file.ingestion_date) or now,
            creation_date=_date(file.creation_date) or now,
            file_status=found[0] if (found := FLAGS.fullmatch(file.file_status)) else "00000000",
        ),
        compression=(file.compression or "NONE")[:LONGEST_FORMAT],
        uncompressed_size=file.uncompressed_file_size,
        size=file.file_size if file.file_size >= 0 else None,
        untouched=True,
    )


def _checksum(file: FileStatus) -> tuple[Variant | None, str]:
    """Return the checksum that the file had, where it had one."""
    try:
        variant = checksum.named(file.checksum_plugin)
    except checksum.UnknownVariant as error:
        raise Refused(f"Invalid ChecksumPlugIn: {error}") from error
    return (
        (variant, file.checksum) if variant is not Variant.NONE and file.checksum else (None, "")
    )


def _date(text: str) -> str:
    return text if DATE.fullmatch(text) else ""
