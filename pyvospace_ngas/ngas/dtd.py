"""The document type of status documents, which each of them names: for those who validate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from functools import cache
from typing import Final

from lxml import etree

from pyvospace_ngas.ngas.status import (
    Answer,
    Container,
    DiskStatus,
    FileStatus,
    Status,
    file_line,
    render,
)

CONTENT: Final[Mapping[str, str]] = {
    "NgamsStatus": "(Status, FileList?, DiskStatus*, Container*, NgamsCfgFile?)",
    "Status": "EMPTY",
    "FileList": "(FileStatus*)",
    "DiskStatus": "(FileStatus*)",
    "FileStatus": "EMPTY",
    "Container": "(FileStatus*, Container*)",
    "NgamsCfgFile": "EMPTY",
}
FILE_LIST: Final = ("Id", "Status")


@cache
def text() -> str:
    """Return the definitions; every attribute may be missing."""
    return "".join(_definitions())


def _definitions() -> Iterator[str]:
    attributes = _attributes()
    for element, content in CONTENT.items():
        yield f"<!ELEMENT {element} {content}>\n"
        if names := attributes.get(element):
            rows = "".join(f"\n    {name} CDATA #IMPLIED" for name in names)
            yield f"<!ATTLIST {element}{rows}>\n"


def _attributes() -> dict[str, list[str]]:
    """Return the attributes that documents have, as a document shows them that has them all."""
    root = etree.fromstring(render(_complete(), "localhost"))
    line = etree.fromstring(file_line(_file(), DiskId="d", HostId="h"))
    found: dict[str, list[str]] = {"FileList": list(FILE_LIST)}
    for element in (*root.iter(), line):
        names = found.setdefault(str(element.tag), [])
        names.extend(str(name) for name in element.attrib if name not in names)
    return found


def _complete() -> Answer:
    status = Status(**{field.name: "x" for field in fields(Status)})
    container = Container("c", "n", ingestion_date="x", files=(_file(),))
    disk = DiskStatus("d", "a", "l", "h", "s", "m", files=(_file(),))
    return Answer(status, (disk,), (container,))


def _file() -> FileStatus:
    return FileStatus("n", "i", 1, "f", 0, "c", "p")
