"""A site's own plug-ins on the way in: data archiving, events, states."""

from __future__ import annotations

import gzip
import importlib
import json
import sys
from collections.abc import AsyncIterator, Iterator
from io import BytesIO
from pathlib import Path
from types import ModuleType

import pytest
from aiohttp import ClientSession
from archive_support import (
    archive,
    command,
    edits,
    elements,
    retrieve,
    running_node,
    set_attributes,
    until,
)
from crc32c import crc32c

from pyvospace_ngas.archive import handlers
from pyvospace_ngas.archive.configuration import ConfigurationError
from pyvospace_ngas.archive.examples import fits_id
from pyvospace_ngas.archive.interfaces import Incoming

EXAMPLES = "pyvospace_ngas.archive.examples"
BIN = "application/octet-stream"


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with ClientSession() as client:
        yield client


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for Python modules of a site's own."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    return folder


def stream(plug_in: str, parameters: str = "", mime_type: str = BIN) -> str:
    return (
        f'<StorageSets><StorageSet StorageSetId="s" MainDiskSlotId="volume1"/></StorageSets>'
        f'<Streams><Stream MimeType="{mime_type}" PlugIn="{plug_in}" PlugInPars="{parameters}">'
        '<StorageSetRef StorageSetId="s"/></Stream></Streams>'
    )


def left_in_staging(root: Path) -> list[Path]:
    return list((root / "volumes/volume1/staging").iterdir())


# Data archiving


def header(*cards: str) -> bytes:
    """Return a FITS file with one header block and some data."""
    every = ["SIMPLE  =                    T", *cards, "END"]
    return "".join(f"{card:<80}" for card in every).ljust(2880).encode() + b"data" * 720


def test_a_value_is_read_as_fits_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "a.fits"
    path.write_bytes(
        header("OBJECT  = 'it''s ='  / a name", "NUMBER  =   17 / of", "HIERARCH ESO ID = 'x 1 '")
    )

    def ask(keyword: str) -> str | None:
        file = Incoming(path, "a.fits", "a.fits", "a/b", 1, f"keyword={keyword}")
        return fits_id.fits_id(file).file_id

    assert ask("OBJECT") == "it's ="
    assert ask("number") == "17"
    assert ask("ESO.ID") == "x 1"
    with pytest.raises(ValueError, match="no MISSING"):
        ask("MISSING")
    path.write_bytes(b"no FITS" * 1000)
    with pytest.raises(ValueError, match="no FITS"):
        ask("OBJECT")


async def test_an_id_comes_from_the_fits_header(tmp_path: Path, session: ClientSession) -> None:
    edit = elements(stream(f"{EXAMPLES}.fits_id", "keyword=DPID", "image/x-fits"))
    data = header("DPID    = 'SKY.2026-01-01T00:00:00'")
    async with running_node(tmp_path, edit=edit) as node:
        _, answer = await archive(session, node.url, "a.fits", data, mime_type="image/x-fits")
        found = answer.disks[0].files[0]
        assert (found.file_id, found.file_size) == ("SKY.2026-01-01T00:00:00", len(data))
        assert found.checksum == str(crc32c(data))
        assert await retrieve(session, node.url, found.file_id) == data
        status, answer = await archive(
            session, node.url, "b.fits", b"short", mime_type="image/x-fits"
        )
        assert (status, answer.status.code) == (400, 4003)
        assert "it is no FITS file" in answer.status.message
        await until(lambda: left_in_staging(tmp_path) == [])


async def test_content_that_is_modified_is_counted_and_summed_anew(
    tmp_path: Path, session: ClientSession
) -> None:
    edit = elements(stream(f"{EXAMPLES}.gzipped", "format=application/x-gz"))
    data = b"again and " * 300_000
    async with running_node(tmp_path, edit=edit) as node:
        crc = {"NGAS-File-CRC": str(crc32c(data))}  # of what is sent
        status, answer = await archive(session, node.url, "a.bin", data, crc)
        found = answer.disks[0].files[0]
        assert status == 200
        assert (found.file_id, found.file_name.rpartition("/")[2]) == ("a.bin", "a.bin.gz")
        assert (found.format, found.compression) == ("application/x-gz", "gzip")
        packed = await retrieve(session, node.url, "a.bin")
        assert gzip.decompress(packed) == data
        assert (found.file_size, found.uncompressed_file_size) == (len(packed), len(data))
        assert found.checksum == str(crc32c(packed))
        path = Path(answer.disks[0].mount_point) / found.file_name
        assert path.stat().st_mode & 0o777 == 0o444
        _, answer = await archive(session, node.url, "b.gz", packed)
        assert answer.disks[0].files[0].file_size == len(packed)  # not twice
        await until(lambda: left_in_staging(tmp_path) == [])
        status, _ = await archive(session, node.url, "a.bin", data, {"NGAS-File-CRC": "12"})
        assert status == 400


@pytest.mark.parametrize(
    ("answer", "status", "said"),
    [
        ("raise ValueError('too dark')", 400, "too dark"),
        ("raise RuntimeError('secret')", 400, "log"),
        ("return 3", 400, "Accepted or None"),
        ("return Accepted(file_id='x' * 65)", 400, "64 characters"),
        ("return Accepted(name='../x')", 400, "name"),
        ("return Accepted(name='..')", 400, "name"),
        ("return Accepted(format='nothing')", 400, "mime type"),
    ],
)
async def test_what_a_plug_in_does_wrong_refuses_the_file(
    tmp_path: Path, session: ClientSession, site: Path, answer: str, status: int, said: str
) -> None:
    name = f"dark{abs(hash(answer))}"
    (site / f"{name}.py").write_text(
        "from pyvospace_ngas.archive.interfaces import Accepted\n"
        "def check(file):\n    (file.path.parent / f'{file.path.name}.tmp').touch()\n"
        f"    {answer}\n"
    )
    async with running_node(tmp_path, edit=elements(stream(f"{name}.check"))) as node:
        found, answer_ = await archive(session, node.url, "a.bin", b"x")
        assert (found, answer_.status.status) == (status, "FAILURE")
        assert said in answer_.status.message
        assert "secret" not in answer_.status.message
        assert left_in_staging(tmp_path) == []
        assert node.node.sub_state == "IDLE"


@pytest.mark.parametrize(
    "edit",
    [
        elements(stream("no.such.plugin")),
        elements('<Register><PlugIn Name="nowhere"><MimeType Name="a/b"/></PlugIn></Register>'),
        elements('<SystemPlugIns OnlinePlugIn="nowhere.at_all"/>'),
    ],
)
async def test_a_plug_in_that_is_not_there_keeps_the_node_from_starting(
    tmp_path: Path, edit: object
) -> None:
    with pytest.raises(ConfigurationError, match="PluginsPath"):
        async with running_node(tmp_path, edit=edit):  # type: ignore[arg-type]
            pass


async def test_plug_ins_are_found_in_the_folders_of_the_configuration(
    tmp_path: Path, session: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.path", ["", *__import__("sys").path])
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "renames.py").write_text(
        "from pyvospace_ngas.archive.interfaces import Accepted\n"
        "async def renames(file):\n    return Accepted(file_id=file.parameters)\n"
    )
    edit = edits(set_attributes("Server", PluginsPath="own"), elements(stream("renames", "new")))
    async with running_node(tmp_path, edit=edit) as node:
        _, answer = await archive(session, node.url, "a.bin", b"x")
        assert answer.disks[0].files[0].file_id == "new"


# Events


def handler_elements(*plug_ins: tuple[str, str]) -> str:
    return "".join(f'<EventHandlerPlugIn Name="{name}" PlugInPars="{p}"/>' for name, p in plug_ins)


def with_handlers(*plug_ins: tuple[str, str]) -> object:
    def edit(document: object) -> None:
        found = document.find("ArchiveHandling")  # type: ignore[attr-defined]
        elements(handler_elements(*plug_ins))(found)

    return edit


async def test_every_archived_file_is_an_event_in_its_order(
    tmp_path: Path, session: ClientSession, site: Path
) -> None:
    (site / "failing.py").write_text(
        "class Failing:\n    def __init__(self, parameters):\n        self.what = parameters\n"
        "    def handle_event(self, event):\n        raise RuntimeError(self.what)\n"
    )
    log = tmp_path / "events"
    edit = with_handlers(
        ("failing.Failing", "on purpose"), (f"{EXAMPLES}.event_log.EventLog", str(log))
    )
    async with running_node(tmp_path, edit=edit) as node:  # type: ignore[arg-type]
        for number in range(5):
            await archive(session, node.url, f"{number}.bin", b"x")
        await command(session, f"{node.url}/OFFLINE")
    events = [json.loads(line) for line in log.read_text().splitlines()]  # all, at the node's end
    assert [event["file_id"] for event in events] == [f"{number}.bin" for number in range(5)]
    assert Path(events[0]["path"]).read_bytes() == b"x"


@pytest.fixture
def slow(site: Path) -> Iterator[ModuleType]:
    """A handler that waits for its gate to be opened."""
    (site / "slow.py").write_text(
        "import threading\ngate = threading.Event()\nseen = []\n"
        "class Slow:\n    def __init__(self, parameters):\n        pass\n"
        "    def handle_event(self, event):\n"
        "        gate.wait(30)\n        seen.append(event.file_id)\n"
    )
    yield (module := importlib.import_module("slow"))
    module.gate.set()
    del sys.modules["slow"]


async def test_a_slow_handler_holds_nobody_up_and_misses_nothing(
    tmp_path: Path, session: ClientSession, slow: ModuleType
) -> None:
    edit = with_handlers(("slow.Slow", ""))
    async with running_node(tmp_path, edit=edit) as node:  # type: ignore[arg-type]
        for number in range(3):
            status, _ = await archive(session, node.url, f"{number}.bin", b"x")
            assert status == 200
        assert slow.seen == []
        await command(session, f"{node.url}/OFFLINE")
        slow.gate.set()
    assert slow.seen == ["0.bin", "1.bin", "2.bin"]


async def test_events_that_are_not_handled_in_time_are_named_at_the_end(
    tmp_path: Path,
    session: ClientSession,
    slow: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(handlers, "PATIENCE_SECONDS", 0.01)
    edit = with_handlers(("slow.Slow", ""))
    async with running_node(tmp_path, edit=edit) as node:  # type: ignore[arg-type]
        for number in range(2):
            await archive(session, node.url, f"{number}.bin", b"x")
    assert "2 archiving events were not handled: 0.bin, 1.bin" in caplog.text


async def test_a_handler_that_can_not_be_made_is_named(tmp_path: Path) -> None:
    edit = with_handlers((f"{EXAMPLES}.event_log.EventLog", str(tmp_path / "none" / "log")))
    with pytest.raises(ConfigurationError, match="EventLog"):
        async with running_node(tmp_path, edit=edit):  # type: ignore[arg-type]
            pass


# States


@pytest.fixture
def system(site: Path) -> Path:
    """A module that notes its calls, and fails where a file says so."""
    (site / "system_tasks.py").write_text(
        "from pathlib import Path\n"
        "def note(host_id, parameters):\n"
        "    folder, _, what = parameters.partition(';')\n"
        "    with (Path(folder) / 'calls').open('a') as file:\n"
        "        file.write(what + '\\n')\n"
        "    if (Path(folder) / 'fail').exists():\n        raise RuntimeError(what)\n"
    )
    return site


def calls(folder: Path) -> list[str]:
    return (folder / "calls").read_text().splitlines()


async def test_the_sites_own_is_called_with_the_states(
    tmp_path: Path, session: ClientSession, system: Path
) -> None:
    edit = set_attributes(
        "SystemPlugIns",
        OnlinePlugIn="system_tasks.note",
        OnlinePlugInPars=f"{system};online",
        OfflinePlugIn="system_tasks.note",
        OfflinePlugInPars=f"{system};offline",
    )
    async with running_node(tmp_path, edit=edit) as node:
        assert calls(system) == ["online"]
        await command(session, f"{node.url}/INIT")
        assert calls(system) == ["online", "offline", "online"]
        (system / "fail").touch()
        status, _ = await command(session, f"{node.url}/OFFLINE")
        assert status == 200
        status, answer = await command(session, f"{node.url}/ONLINE")
        assert (status, answer.status.code) == (500, 3008)
        assert node.node.state == "OFFLINE"
        (system / "fail").unlink()
        status, _ = await command(session, f"{node.url}/ONLINE")
        assert status == 200


async def test_the_sites_own_service_is_called_again_and_again(
    tmp_path: Path, system: Path
) -> None:
    edit = set_attributes(
        "SystemPlugIns",
        UserServicePlugIn="system_tasks.note",
        UserServicePlugInPars=f"{system};at work",
        UserServicePlugInPeriod="0.01",
    )
    (system / "fail").touch()
    async with running_node(tmp_path, edit=edit):
        await until(lambda: (system / "calls").exists() and len(calls(system)) > 2)
    assert set(calls(system)) == {"at work"}


async def test_disks_are_synchronized_before_the_answer(
    tmp_path: Path, session: ClientSession, system: Path
) -> None:
    edit = edits(
        elements(
            '<StorageSets><StorageSet StorageSetId="s" MainDiskSlotId="volume1" Synchronize="1"/>'
            f'</StorageSets><Streams><Stream MimeType="{BIN}">'
            '<StorageSetRef StorageSetId="s"/></Stream></Streams>'
        ),
        set_attributes(
            "SystemPlugIns",
            DiskSyncPlugIn="system_tasks.note",
            DiskSyncPlugInPars=f"{system};sync",
        ),
    )
    async with running_node(tmp_path, edit=edit) as node:
        for _ in range(2):
            query = {"filename": "a.bin", "mime_type": BIN}
            async with session.post(f"{node.url}/ARCHIVE", params=query, data=BytesIO(b"x")) as r:
                assert r.status == 200
            (system / "fail").touch()  # the file is durable all the same
        assert calls(system) == ["sync", "sync"]
