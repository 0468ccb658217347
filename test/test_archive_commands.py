"""The other commands of a node: states, permissions, STATUS, DISCARD, QUERY."""

from __future__ import annotations

import ast
import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession
from archive_support import (
    NodeProcess,
    RunningNode,
    archive,
    command,
    prepare,
    push,
    retrieve,
    running_node,
    set_attributes,
    until,
    write_config,
)
from lxml import etree

from pyvospace_ngas.archive.steps import PAGE, Many, Script
from pyvospace_ngas.cli.node import main
from pyvospace_ngas.ngas.status import parse


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[RunningNode]:
    async with running_node(tmp_path) as running:
        yield running


@pytest.fixture(params=["sqlite3", "asyncpg"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite3":
        return str(tmp_path / "index.sqlite")
    return str(request.getfixturevalue("empty_dsn"))


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with ClientSession() as client:
        yield client


async def test_unknown_commands_are_404_with_a_document(
    node: RunningNode, session: ClientSession
) -> None:
    for path in ("/FOO", "/", "/status", "/%00"):
        status, answer = await command(session, f"{node.url}{path}")
        assert (status, answer.status.message) == (404, "Command not found")
        assert answer.status.status == "FAILURE"


async def test_other_methods_are_refused_with_a_document(
    node: RunningNode, session: ClientSession
) -> None:
    for method in ("DELETE", "OPTIONS", "PATCH"):
        async with session.request(method, f"{node.url}/STATUS") as response:
            assert response.status == 405
            assert parse(await response.read()).status.status == "FAILURE"


async def test_help_leads_to_the_documentation(node: RunningNode, session: ClientSession) -> None:
    async with session.get(f"{node.url}/HELP", allow_redirects=False) as response:
        assert response.status == 308
        assert response.headers["Location"].startswith("https://")


# States


async def test_states_follow_each_other(node: RunningNode, session: ClientSession) -> None:
    await archive(session, node.url, "a.bin", b"x")

    async def ask(name: str) -> tuple[int, int | None, str]:
        status, answer = await command(session, f"{node.url}/{name}")
        assert answer.status.sub_state == "IDLE"
        return status, answer.status.code, answer.status.state

    assert await ask("ONLINE") == (400, 4015, "ONLINE")
    assert await ask("EXIT") == (400, 4015, "ONLINE")
    assert await ask("OFFLINE") == (200, None, "OFFLINE")
    assert await ask("OFFLINE") == (400, 4015, "OFFLINE")
    assert await ask("STATUS") == (200, None, "OFFLINE")
    assert await ask("STATUS?file_id=a.bin") == (400, 4019, "OFFLINE")
    assert await ask("RETRIEVE?file_id=a.bin") == (400, 4015, "OFFLINE")
    status, answer = await archive(session, node.url, "b.bin", b"x")
    assert (status, answer.status.code) == (400, 4015)
    async with session.get(f"{node.url}/QUERY?query=files_stats&format=json") as response:
        assert (await response.json())[0]["Number of files"] == 1
    assert await ask("INIT") == (200, None, "ONLINE")
    assert await ask("INIT") == (200, None, "ONLINE")
    assert await retrieve(session, node.url, "a.bin") == b"x"


async def test_init_reads_the_configuration_again(
    node: RunningNode, session: ClientSession, tmp_path: Path
) -> None:
    write_config(tmp_path, edit=set_attributes("Permissions", AllowRetrieveReq="0"))
    assert (await command(session, f"{node.url}/INIT"))[0] == 200
    status, answer = await command(session, f"{node.url}/RETRIEVE", file_id="a")
    assert (status, answer.status.code) == (400, 4017)
    write_config(tmp_path, str(tmp_path / "another.sqlite"))
    status, answer = await command(session, f"{node.url}/INIT")
    assert status == 400
    (tmp_path / "node.xml").write_text("<NgamsCfg/>")
    status, answer = await command(session, f"{node.url}/INIT")
    assert status == 400
    assert "RootDirectory" in answer.status.message


async def test_a_node_starts_offline_unless_told(tmp_path: Path, session: ClientSession) -> None:
    async with running_node(tmp_path, online=False) as node:
        _, answer = await command(session, f"{node.url}/STATUS")
        assert answer.status.state == "OFFLINE"
        assert (await command(session, f"{node.url}/ONLINE"))[0] == 200
        assert (await archive(session, node.url, "a.bin", b"x"))[0] == 200


async def uploading(node: RunningNode) -> asyncio.StreamWriter:
    _, writer = await asyncio.open_connection("127.0.0.1", node.port)
    writer.write(
        b"POST /QARCHIVE?filename=a.bin&mime_type=a/b HTTP/1.1\r\nHost: x\r\n"
        b"Content-Length: 5000000\r\n\r\n" + bytes(2_000_000)
    )
    await until(lambda: node.node.sub_state == "BUSY")
    return writer


async def test_a_busy_node_goes_offline_only_by_force_and_forgets_nothing(
    node: RunningNode, session: ClientSession, tmp_path: Path
) -> None:
    writer = await uploading(node)
    status, answer = await command(session, f"{node.url}/OFFLINE")
    assert (status, answer.status.code) == (400, 4015)
    assert (answer.status.state, answer.status.sub_state) == ("ONLINE", "BUSY")
    status, answer = await command(session, f"{node.url}/OFFLINE?force")
    assert (status, answer.status.state) == (200, "OFFLINE")
    await until(lambda: node.node.sub_state == "IDLE")
    assert list((tmp_path / "volumes").glob("*/staging/*")) == []
    assert (await command(session, f"{node.url}/ONLINE"))[0] == 200
    writer.transport.abort()


async def test_failures_do_not_leave_a_node_busy(
    node: RunningNode, session: ClientSession
) -> None:
    await push(session, node.url, {}, b"x")
    await archive(session, node.url, "a.bin", b"x", crc_variant="md5")
    await archive(session, node.url, "a.bin", b"x", headers={"NGAS-File-CRC": "1"})
    await archive(session, node.url, "a.bin", b"x", no_versioning="1")
    status, answer = await command(session, f"{node.url}/OFFLINE")
    assert (status, answer.status.sub_state) == (200, "IDLE")


async def test_a_process_ends_by_exit_and_by_signal(
    tmp_path: Path, session: ClientSession
) -> None:
    prepare(tmp_path)
    node = NodeProcess(tmp_path)
    await node.start()
    assert (await archive(session, node.url, "a.bin", b"x"))[0] == 200
    assert await node.stop() == 0
    await node.start()
    assert await retrieve(session, node.url, "a.bin") == b"x"
    assert (await command(session, f"{node.url}/OFFLINE"))[0] == 200
    assert (await command(session, f"{node.url}/EXIT"))[0] == 200
    assert await node.ended() == 0


# Permissions


async def test_what_is_not_permitted_is_refused_before_anything_else(
    tmp_path: Path, session: ClientSession
) -> None:
    edit = set_attributes(
        "Permissions", AllowArchiveReq="0", AllowRetrieveReq="0", AllowRemoveReq="0"
    )
    async with running_node(tmp_path, edit=edit) as node:
        requests = {
            "ARCHIVE": {},
            "RETRIEVE": {},
            "DISCARD": {"disk_id": "x", "file_id": "y", "file_version": "1", "execute": "1"},
        }
        for name, parameters in requests.items():
            status, answer = await command(session, f"{node.url}/{name}", **parameters)
            assert (status, answer.status.code) == (400, 4017)
            assert answer.status.message.startswith("NGAMS_ER_ILL_REQ:4017:ERROR: ")
        status, answer = await archive(session, node.url, "a.bin", b"x")
        assert (status, answer.status.code) == (400, 4017)
        assert (await command(session, f"{node.url}/STATUS"))[0] == 200  # it still lives


# DISCARD


async def test_a_discard_is_granted_done_and_done_once(
    node: RunningNode, session: ClientSession
) -> None:
    _, answer = await archive(session, node.url, "a.bin", b"abc")
    disk = answer.disks[0]
    path = Path(disk.mount_point) / disk.files[0].file_name
    which = {"disk_id": disk.disk_id, "file_id": "a.bin", "file_version": "1"}

    async def discard(**more: str) -> tuple[int, str, int | None]:
        status, answer = await command(session, f"{node.url}/DISCARD", **which, **more)
        return status, answer.status.status, answer.status.code

    assert await discard() == (200, "SUCCESS", 4065)
    assert await discard(execute="0") == (200, "SUCCESS", 4065)
    assert path.exists()
    assert await discard(execute="1") == (200, "SUCCESS", 4066)
    assert not path.exists()
    assert await discard(execute="1") == (200, "FAILURE", 4063)
    status, answer = await command(session, f"{node.url}/STATUS", file_id="a.bin")
    assert (status, answer.status.code) == (400, 4019)
    _, answer = await command(session, f"{node.url}/STATUS", disk_id=disk.disk_id)
    assert (answer.disks[0].number_of_files, answer.disks[0].bytes_stored) == (0, 0)


async def test_racing_discards_remove_once(node: RunningNode, session: ClientSession) -> None:
    _, answer = await archive(session, node.url, "a.bin", b"abc")
    which = {"disk_id": answer.disks[0].disk_id, "file_id": "a.bin", "file_version": "1"}
    answers = await asyncio.gather(
        *(command(session, f"{node.url}/DISCARD", **which, execute="1") for _ in range(8))
    )
    codes = sorted(answer.status.code or 0 for _, answer in answers)
    assert codes == [4063] * 7 + [4066]


@pytest.mark.parametrize("missing", ["disk_id", "file_id", "file_version"])
async def test_a_discard_needs_all_three(
    node: RunningNode, session: ClientSession, missing: str
) -> None:
    which = {"disk_id": "d", "file_id": "f", "file_version": "1", "execute": "1"}
    del which[missing]
    status, answer = await command(session, f"{node.url}/DISCARD", **which)
    assert (status, answer.status.code) == (400, 4035)


async def test_no_path_is_ever_discarded(
    node: RunningNode, session: ClientSession, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("x")
    status, answer = await command(session, f"{node.url}/DISCARD", path=str(victim), execute="1")
    assert (status, answer.status.code) == (400, 4035)
    assert victim.exists()


async def test_an_offline_node_discards_nothing(node: RunningNode, session: ClientSession) -> None:
    _, answer = await archive(session, node.url, "a.bin", b"abc")
    which = {"disk_id": answer.disks[0].disk_id, "file_id": "a.bin", "file_version": "1"}
    await command(session, f"{node.url}/OFFLINE")
    status, answer = await command(session, f"{node.url}/DISCARD", **which, execute="1")
    assert (status, answer.status.code) == (400, 4015)
    status, answer = await command(
        session, f"{node.url}/DISCARD", disk_id="y", file_id="x", file_version="1"
    )
    assert (status, answer.status.status, answer.status.code) == (200, "FAILURE", 4063)


# STATUS and QUERY

# What the real server's answers carry, in its order.
STATUS = "Date Version HostId Message Status State SubState RequestId RequestTime"
DISK = (
    "DiskId Archive InstallationDate Type Manufacturer LogicalName HostId SlotId Mounted "
    "MountPoint NumberOfFiles AvailableMb BytesStored Completed CompletionDate Checksum "
    "TotalDiskWriteTime LastCheck"
)
FILE = (
    "FileName FileId FileVersion Format FileSize UncompressedFileSize Compression IngestionDate "
    "Ignore Checksum ChecksumPlugIn FileStatus CreationDate Tag Permissions Owner Group "
    "ModificationDate AccessDate TotalIoTime IngestionRate ContainerId"
)


async def test_answers_have_the_attributes_of_the_real_server(
    node: RunningNode, session: ClientSession
) -> None:
    params = {"filename": "a.bin", "mime_type": "a/b"}
    async with session.post(f"{node.url}/QARCHIVE", params=params, data=b"x") as response:
        root = etree.fromstring(await response.read())
    for path, names in (
        ("Status", STATUS),
        ("DiskStatus", DISK),
        ("DiskStatus/FileStatus", FILE),
    ):
        found = root.find(path)
        assert found is not None
        assert list(found.attrib) == names.split()
    async with session.get(f"{node.url}/STATUS") as response:
        status = etree.fromstring(await response.read()).find("Status")
    assert status is not None
    assert list(status.attrib) == STATUS.split()[:7]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}", str(status.get("Date")))


async def test_status_tells_of_versions_disks_and_access(
    node: RunningNode, session: ClientSession
) -> None:
    for data in (b"a", b"bb"):
        await archive(session, node.url, "a.bin", data)
    url = f"{node.url}/STATUS"
    _, answer = await command(session, url, file_id="a.bin")
    assert answer.disks[0].files[0].file_version == 2
    assert answer.status.request_id
    assert answer.status.completion_time
    _, answer = await command(session, url, file_id="a.bin", file_version="1")
    assert answer.disks[0].files[0].file_size == 1
    _, answer = await command(session, url, disk_id=answer.disks[0].disk_id)
    assert (answer.disks[0].number_of_files, answer.disks[0].files) == (2, ())
    _, answer = await command(session, url, file_access="a.bin")
    assert answer.status.code == 4029
    assert answer.status.message.endswith(f"Host ID: {node.host_id}.")
    _, answer = await command(session, url, host_id=node.host_id)
    assert answer.status.succeeded
    for parameters, code in (
        ({"disk_id": "nope"}, 4020),
        ({"file_access": "nope"}, 4019),
        ({"request_id": "1"}, 4059),
        ({"host_id": "nope:1"}, None),
        ({"dump_object_info": "/tmp/x"}, 4035),
    ):
        status, answer = await command(session, url, **parameters)
        assert (status, answer.status.code) == (400, code)
    status, answer = await command(session, f"{url}?help&flush_log=1")
    assert (status, answer.status.status) == (200, "SUCCESS")


async def test_queries_answer_in_every_shape(node: RunningNode, session: ClientSession) -> None:
    await archive(session, node.url, "a.bin", b"a")
    await archive(session, node.url, "b_.bin", b"bb")

    async def query(**parameters: str) -> tuple[int, str, str]:
        async with session.get(f"{node.url}/QUERY", params=parameters) as response:
            return response.status, response.content_type, await response.text()

    async with session.get(f"{node.url}/QUERY?query=disks_list&format=json") as response:
        [disk] = await response.json()
    assert disk["host_id"] == node.host_id
    assert (disk["mounted"], disk["completed"], disk["number_of_files"]) == (1, 0, 2)
    assert disk["available_mb"] > 0
    async with session.get(
        f"{node.url}/QUERY", params={"query": "files_like", "like": "a%", "format": "json"}
    ) as response:
        assert [row["file_id"] for row in await response.json()] == ["a.bin"]
    async with session.get(f"{node.url}/QUERY?query=hosts_list&format=json") as response:
        [host] = await response.json()
    assert (host["srv_state"], host["srv_port"]) == ("ONLINE", node.port)
    for name in ("files_list", "files_location", "lastver_location", "files_list_recent"):
        for shape, kind in (
            ("json", "application/json"),
            ("list", "text/plain"),
            ("text", "text/plain"),
            ("python-list", "application/python-list"),
        ):
            status, content_type, text = await query(query=name, format=shape)
            assert (status, content_type) == (200, kind)
            assert "a.bin" in text
    for parameters in (
        {"query": "select 1"},
        {},
        {"query": "files_list", "format": "pickle"},
    ):
        assert (await query(**parameters))[0] == 400


# ARCHIVE by streams


def streams(document: etree._Element) -> None:
    document.append(
        etree.fromstring(
            '<StorageSets><StorageSet StorageSetId="s" MainDiskSlotId="volume2"/></StorageSets>'
        )
    )
    document.append(
        etree.fromstring(
            """<Streams><Stream MimeType="image/x-fits"><StorageSetRef StorageSetId="s"/></Stream>
            <Stream MimeType="text/plain"/></Streams>"""
        )
    )


async def test_archive_obeys_streams_and_both_refuse_other_types(
    tmp_path: Path, session: ClientSession
) -> None:
    async with running_node(tmp_path, volumes=3, edit=streams) as node:
        url = f"{node.url}/ARCHIVE"
        for number in range(8):
            async with session.post(url, params={"filename": f"{number}.fits"}, data=b"x") as r:
                # aiohttp says application/octet-stream, which is no stream here
                assert r.status == 400
            params = {"filename": f"{number}.fits", "mime_type": "image/x-fits"}
            async with session.post(url, params=params, data=b"x") as response:
                assert parse(await response.read()).disks[0].slot_id == "volume2"
        status, answer = await archive(session, node.url, "a.png", b"x", mime_type="image/png")
        assert status == 400
        assert "Unknown mime type" in answer.status.message
        for mime_type, code in (("image/x-fits", 4068), ("text/plain", 4069), ("x/y", 4069)):
            status, answer = await command(session, url, probe="1", mime_type=mime_type)
            assert (status, answer.status.status, answer.status.code) == (200, "SUCCESS", code)


# The command


@pytest.mark.parametrize("shape", ["json", "list", "python-list"])
async def test_a_long_answer_to_a_query_comes_page_by_page(
    tmp_path: Path, database: str, session: ClientSession, shape: str
) -> None:
    async with running_node(tmp_path, database) as node:
        count = 2 * PAGE + 1

        def script() -> Script[None]:
            yield Many(
                "insert into ngas_subscribers (host_id, srv_port, subscr_prio, subscr_id, "
                "subscr_url) values ('h:1', 1, 1, $1, $2)",
                [(f"{number:05d}", "u" * (number % 7)) for number in range(count)],
            )

        await node.node.database.run(script())
        query = {"query": "subscribers_list", "format": shape}
        async with session.get(f"{node.url}/QUERY", params=query) as response:
            text = await response.text()
            assert response.status == 200
    match shape:
        case "json":
            found = [row["subscr_id"] for row in json.loads(text)]
        case "python-list":
            found = [row[3] for row in ast.literal_eval(text)]
        case _:
            lines = text.splitlines()
            assert len({len(line) for line in lines}) == 1
            found = [line.split()[3] for line in lines[3:]]
    assert sorted(found) == [f"{number:05d}" for number in range(count)]


def test_the_command_says_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_config(tmp_path, edit=set_attributes("Caching", Shape="1", Colour="red"))
    assert main(["-cfg", str(path)]) == 1
    text = capsys.readouterr().err
    assert text.count("ngas_node: NgamsCfg/Caching") == 2
    assert main(["-cfg", str(tmp_path / "none.xml")]) == 1
    assert "none.xml" in capsys.readouterr().err
    assert main(["prepare-volume"]) == 2
    with pytest.raises(SystemExit) as caught:
        main(["-cfg", str(path), "-nonsense"])
    assert caught.value.code == 2


def test_volumes_are_prepared_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [str(tmp_path / "v1"), str(tmp_path / "deep" / "v2")]
    assert main(["prepare-volume", *folders]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    before = (tmp_path / "v1" / ".ngas_volume_info").read_bytes()
    assert main(["prepare-volume", folders[0]]) == 1
    assert (tmp_path / "v1" / ".ngas_volume_info").read_bytes() == before


async def test_a_port_in_use_is_a_message(node: RunningNode, tmp_path: Path) -> None:
    prepare(tmp_path / "other")
    path = write_config(tmp_path / "other", port=node.port)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pyvospace_ngas.cli.node", "-CFG", str(path), "-AutoOnline"),
        stderr=asyncio.subprocess.PIPE,
    )
    _, text = await process.communicate()
    assert process.returncode == 1
    assert f"cannot listen on 127.0.0.1:{node.port}" in text.decode()
    assert "Traceback" not in text.decode()
