"""Processing at RETRIEVE: what a site's own code makes of a file on its way out."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientPayloadError, ClientSession
from archive_support import Edit, RunningNode, archive, command, running_node, until
from lxml import etree

from pyvospace_ngas.archive.settings.reader import ConfigurationError

OWN_NAMES = ("upper", "outside", "fails", "fails_late", "nothing")
COMPRESSED = "pyvospace_ngas.archive.examples.compressed"
OWN = """
from pathlib import Path
from pyvospace_ngas.archive.interfaces import Processed

def upper(file, folder, parameters):
    target = folder / "result"
    target.write_bytes(file.path.read_bytes().upper() + parameters.encode())
    return Processed("text/plain", "up é.txt", target)

def outside(file, folder, parameters):
    return Processed("text/plain", "x", Path("/etc/passwd"))

def fails(file, folder, parameters):
    raise RuntimeError("geheim")

def fails_late(file, folder, parameters):
    def pieces():
        yield bytes(300_000)
        raise RuntimeError("geheim")
    return Processed("text/plain", "x", pieces())

def nothing(file, folder, parameters):
    return None
"""


def configured(folder: Path, *names: str, allowed: bool = True) -> Edit:
    def edit(document: etree._Element) -> None:
        found = document.find("Permissions")
        assert found is not None
        found.set("AllowProcessingReq", str(int(allowed)))
        server = document.find("Server")
        assert server is not None
        server.set("PluginsPath", str(folder))
        processing = etree.SubElement(document, "Processing")
        for name in names:
            plug_in = etree.SubElement(processing, "PlugIn", Name=name, PlugInPars="level=9")
            if name == COMPRESSED:
                etree.SubElement(plug_in, "MimeType", Name="application/octet-stream")

    return edit


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[RunningNode]:
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "site_processing.py").write_text(OWN)
    names = (f"site_processing.{name}" for name in OWN_NAMES)
    edit = configured(folder, COMPRESSED, *names)
    async with running_node(tmp_path / "node", edit=edit) as running:
        yield running


@pytest.fixture
async def http(node: RunningNode) -> AsyncIterator[ClientSession]:
    async with ClientSession() as session:
        await archive(session, node.url, "a.bin", b"some text " * 100_000)
        await archive(session, node.url, "a.txt", b"some text", mime_type="text/plain")
        yield session


async def test_a_file_is_processed_while_it_is_sent(
    node: RunningNode, http: ClientSession
) -> None:
    query = {"file_id": "a.bin", "processing": COMPRESSED, "processing_pars": "level=1"}
    async with http.get(f"{node.url}/RETRIEVE", params=query) as response:
        assert response.content_type == "application/gzip"
        assert response.headers["Content-Disposition"] == 'attachment; filename="a.bin.gz"'
        assert gzip.decompress(await response.read()) == b"some text " * 100_000


async def test_a_result_in_a_file_is_sent_and_removed(
    node: RunningNode, http: ClientSession
) -> None:
    query = {"file_id": "a.txt", "processing": "site_processing.upper"}
    async with http.get(f"{node.url}/RETRIEVE", params=query) as response:
        assert response.headers["Content-Length"] == "16"
        assert await response.read() == b"SOME TEXTlevel=9"
    await until(lambda: list((node.node.config.server.root / "processing").iterdir()) == [])


@pytest.mark.parametrize("name", ["outside", "fails", "nothing"])
async def test_a_failure_is_told_without_its_details(
    node: RunningNode, http: ClientSession, name: str
) -> None:
    query = {"file_id": "a.txt", "processing": f"site_processing.{name}"}
    status, answer = await command(http, f"{node.url}/RETRIEVE", **query)
    assert (status, answer.status.status) == (500, "FAILURE")
    assert "geheim" not in answer.status.message
    assert list((node.node.config.server.root / "processing").iterdir()) == []
    assert node.node.sub_state == "IDLE"


async def test_a_failure_in_the_middle_cuts_the_connection(
    node: RunningNode, http: ClientSession
) -> None:
    query = {"file_id": "a.txt", "processing": "site_processing.fails_late"}
    async with http.get(f"{node.url}/RETRIEVE", params=query) as response:
        with pytest.raises(ClientPayloadError):
            await response.read()


async def test_what_is_not_configured_for_it_is_refused(
    node: RunningNode, http: ClientSession
) -> None:
    for file_id, name in (("a.bin", "os.system"), ("a.txt", COMPRESSED)):
        query = {"file_id": file_id, "processing": name}
        status, answer = await command(http, f"{node.url}/RETRIEVE", **query)
        assert (status, answer.status.code) == (400, 4034)


async def test_processing_can_be_switched_off(tmp_path: Path) -> None:
    edit = configured(tmp_path, COMPRESSED, allowed=False)
    async with (
        running_node(tmp_path, edit=edit) as node,
        ClientSession() as http,
    ):
        await archive(http, node.url, "a.bin", b"x")
        query = {"file_id": "a.bin", "processing": COMPRESSED}
        status, answer = await command(http, f"{node.url}/RETRIEVE", **query)
        assert (status, answer.status.code) == (400, 4017)


async def test_a_plug_in_that_is_not_there_is_named_at_the_start(tmp_path: Path) -> None:
    edit = configured(tmp_path, "site.gone")
    with pytest.raises(ConfigurationError, match=r"site\.gone"):
        async with running_node(tmp_path, edit=edit):
            pass
