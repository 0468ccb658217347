"""What the commands for containers have in common: what a request names, and what is refused."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from aiohttp import web
from lxml import etree

from pyvospace_ngas.archive import containers, parameters
from pyvospace_ngas.archive.answers import Call
from pyvospace_ngas.archive.containers import (
    LONGEST_NAME,
    Container,
    ContainerConflict,
    ContainerProblem,
    NewContainer,
)
from pyvospace_ngas.archive.refusals import Refused, bad_syntax
from pyvospace_ngas.archive.volume import MEBIBYTE

LARGEST_DOCUMENT: Final = 16 * MEBIBYTE
DEEPEST: Final = 100  # containers within each other


@contextmanager
def refusals() -> Iterator[None]:
    """Make refusals of what containers do not allow."""
    try:
        yield
    except ContainerConflict as problem:
        raise Refused(str(problem), 409) from problem
    except ContainerProblem as problem:
        raise Refused(str(problem), 404) from problem


async def named(call: Call) -> Container:
    """Return the container that a request names by ``container_id`` or ``container_name``."""
    given = call.parameters
    container_id, name = given.get("container_id"), given.get("container_name")
    if container_id is None and name is None:
        raise bad_syntax(call.command, "container_id or container_name")
    with refusals():
        return await containers.find(call.node.database, container_id, name)


def parent_of(call: Call) -> str | None:
    """Return a new container's parent: a parameter or, as the real server has it, a header."""
    header = call.request.headers.get("parent_container_id", "").strip()
    return call.parameters.get("parent_container_id", header) or None


def usable_name(name: str) -> str:
    """Return the name of a container; raise where it could not be one folder's."""
    usable = name not in {"", ".", ".."} and "/" not in name
    if not usable or len(name) > LONGEST_NAME or parameters.CONTROL.search(name):
        raise Refused(
            f"A container's name has 1 to {LONGEST_NAME} characters, no slash and no controls"
        )
    return name


def new_container(name: str, *children: NewContainer) -> NewContainer:
    """Return a container to be made, with an id of its own."""
    return NewContainer(str(uuid.uuid4()), usable_name(name), children)


async def file_ids(call: Call) -> list[str]:
    """Return the files that a request names: ``file_id``, or a document with ``FileId``s."""
    if call.request.method != "POST":
        file_id = call.parameters.get("file_id")
        if not file_id:
            raise bad_syntax(call.command, "file_id")
        return [file_id]
    root = await document(call.request)
    found = [str(element.get("FileId", "")) for element in root.iter("File")]
    if not found or not all(found):
        raise bad_syntax(call.command, "a document of <File FileId=.../> elements")
    return list(dict.fromkeys(found))


async def document(request: web.Request) -> etree._Element:
    """Read a small XML document that declares nothing."""
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > LARGEST_DOCUMENT:
            raise Refused("the document is too large", 413, close=True)
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    try:
        root = etree.fromstring(bytes(body), parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise Refused("the body is no well-formed XML document") from error
    if root.getroottree().docinfo.doctype:
        raise Refused("the document must not have a document type")
    return root
