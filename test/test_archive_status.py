"""The rest of STATUS, CONFIG, HELP and QUERY: what operators and scripts ask a node."""

from __future__ import annotations

import ast
import gzip
import io
import logging
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from aiohttp import ClientSession
from archive_support import (
    RunningNode,
    archive,
    command,
    running_node,
    set_attributes,
    write_config,
)
from lxml import etree

from pyvospace_ngas.archive import file_lists
from pyvospace_ngas.archive.records import FILE_COLUMNS
from pyvospace_ngas.archive.steps import Script, Statement


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[RunningNode]:
    async with running_node(tmp_path) as running:
        yield running


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with ClientSession() as client:
        yield client


@pytest.fixture(params=["sqlite3", "asyncpg"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite3":
        return str(tmp_path / "shared.sqlite")
    return str(request.getfixturevalue("empty_dsn"))


@pytest.fixture(autouse=True)
def _level() -> Iterator[None]:
    root = logging.getLogger()
    level = root.level
    yield
    root.setLevel(level)


class Page:
    """A page of a list, read as the real server's own clients read it."""

    def __init__(self, packed: bytes) -> None:
        text = gzip.decompress(packed).decode("ascii")
        found = re.search(
            r'^<FileList Id="(\w+)" Status="REMAINING_DATA_OBJECTS: (\d+)">$', text, re.M
        )
        assert found is not None
        self.id, self.remaining = found[1], int(found[2])
        root = etree.fromstring(text.encode())
        assert root.xpath("string(Status/@Status)") == "SUCCESS"
        self.files = [
            {str(name): str(value) for name, value in each.items()}
            for each in root.iterfind("FileList/FileStatus")
        ]

    def names(self) -> list[tuple[str, str]]:
        return [(each["FileId"], each["FileVersion"]) for each in self.files]


async def page(session: ClientSession, node: RunningNode, **parameters: str) -> Page:
    query = {"file_list": "1"} | parameters
    async with session.get(f"{node.url}/STATUS", params=query) as response:
        assert response.status == 200
        assert response.content_type == "application/x-gxml"
        assert "attachment" in response.headers["Content-Disposition"]
        return Page(await response.read())


async def test_all_files_are_listed_page_by_page(
    tmp_path: Path, session: ClientSession, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_lists, "BATCH", 2)
    async with AsyncExitStack() as stack:
        nodes = [
            await stack.enter_async_context(running_node(tmp_path / name, database))
            for name in ("one", "two")
        ]
        expected = []
        for number in range(5):
            name = f"<é>&{number}.bin"
            for version in ("1", "2"):
                await archive(session, nodes[number % 2].url, name, b"x" * number)
                expected.append((name, version))
        whole = await page(session, nodes[0])
        assert (whole.names(), whole.remaining) == (expected, 0)
        assert {each["HostId"] for each in whole.files} == {each.host_id for each in nodes}
        first = await page(session, nodes[0], max_elements="3")
        seen, last = first.names(), first
        while last.remaining:
            last = await page(session, nodes[0], max_elements="3", file_list_id=first.id)
            assert last.id == first.id
            seen += last.names()
        assert seen == expected
        late = whole.files[-1]["IngestionDate"]
        assert (await page(session, nodes[0], from_ingestion_date=late)).names() == expected[-1:]
        assert (await page(session, nodes[0], from_ingestion_date="2100-01-01")).names() == []


async def test_a_file_with_two_copies_is_listed_once_where_that_is_asked(
    tmp_path: Path, session: ClientSession
) -> None:
    async with running_node(tmp_path, volumes=2) as node:
        _, answer = await archive(session, node.url, "a.bin", b"abc")
        [here] = answer.disks
        [other] = [each.disk_id for each in node.node.volumes if each.disk_id != here.disk_id]
        await node.node.database.run(copied(here.disk_id, other))
        assert len((await page(session, node)).files) == 2
        assert len((await page(session, node, unique="1")).files) == 1


def copied(disk_id: str, to: str) -> Script[None]:
    columns = ", ".join((*FILE_COLUMNS, "uncompressed_file_size"))
    values = columns.replace("disk_id", "$2", 1)
    yield Statement(
        f"insert into ngas_files ({columns}) select {values} from ngas_files where disk_id = $1",
        (disk_id, to),
    )


async def test_a_list_that_cannot_be_had_is_refused(
    node: RunningNode, session: ClientSession
) -> None:
    for parameters in (
        {"file_list_id": "nope"},
        {"from_ingestion_date": "yesterday"},
        {"max_elements": "-1"},
    ):
        status, answer = await command(session, f"{node.url}/STATUS", file_list="1", **parameters)
        assert (status, answer.status.status) == (400, "FAILURE")


async def test_the_lists_that_are_remembered_are_bounded() -> None:
    lists = file_lists.FileLists()
    first, second = lists.begin("", unique=False), lists.begin("", unique=False)
    assert lists.find(first.id) is first
    for _ in range(file_lists.MOST - 1):
        lists.begin("", unique=False)
    assert lists.find(first.id) is first
    assert lists.find(second.id) is None


async def test_an_operator_learns_of_configuration_and_database(
    node: RunningNode, session: ClientSession, tmp_path: Path
) -> None:
    url = f"{node.url}/STATUS"
    _, answer = await command(session, url, configuration_file="1")
    assert answer.status.config_file_name == str(tmp_path / "node.xml")
    async with session.get(url, params={"configuration_file": "1"}) as response:
        root = etree.fromstring(await response.read())
    assert root.xpath("string(NgamsCfgFile/@ConfigFileName)") == str(tmp_path / "node.xml")
    _, answer = await command(session, url, db_time="1")
    assert re.fullmatch(r"Total DB time: \d+\.\d{6}s", answer.status.message)
    assert not answer.status.message.endswith(" 0.000000s")
    node.node.database.seconds += 1000  # far more than the node uses by itself meanwhile
    assert (await command(session, url, db_time_reset="1"))[0] == 200
    _, answer = await command(session, url, db_time="1")
    assert re.fullmatch(r"Total DB time: \d{1,2}\.\d{6}s", answer.status.message)
    assert (await command(session, url, flush_log="1"))[0] == 200


async def test_nothing_is_written_where_a_client_says(
    node: RunningNode, session: ClientSession, tmp_path: Path
) -> None:
    target = tmp_path / "dumped"
    status, _ = await command(session, f"{node.url}/STATUS", dump_object_info=str(target))
    assert status == 400
    assert not target.exists()


# CONFIG and INIT


async def test_the_log_level_changes_at_once_and_by_init(
    node: RunningNode, session: ClientSession, tmp_path: Path
) -> None:
    async def config(**parameters: str) -> tuple[int, str]:
        status, answer = await command(session, f"{node.url}/CONFIG", **parameters)
        return status, answer.status.message

    root = logging.getLogger()
    assert await config() == (200, "Handled CONFIG command")
    assert await config(log_local_log_level="5") == (200, "Handled CONFIG command")
    assert root.level == logging.DEBUG
    assert await config(log_local_log_level="1") == (200, "Handled CONFIG command")
    assert root.level == logging.ERROR
    for value in ("6", "-1", "much"):
        assert (await config(log_local_log_level=value))[0] == 400
    status, message = await config(log_sys_log="3")
    assert status == 400
    assert "log_sys_log" in message
    assert root.level == logging.ERROR
    write_config(tmp_path, edit=set_attributes("Log", LocalLogLevel="2"))
    assert (await command(session, f"{node.url}/INIT"))[0] == 200
    assert root.level == logging.WARNING


async def test_a_bad_configuration_leaves_a_node_online_as_it_was(
    node: RunningNode, session: ClientSession, tmp_path: Path
) -> None:
    (tmp_path / "node.xml").write_text("<NgamsCfg/>")
    status, answer = await command(session, f"{node.url}/INIT")
    assert (status, answer.status.state) == (400, "ONLINE")
    assert (await archive(session, node.url, "a.bin", b"x"))[0] == 200


# HELP and those who come by


@pytest.mark.parametrize(
    ("asked", "end"),
    [
        ("", "ngas.readthedocs.io"),
        ("?command=REMDISK", "/commands/storage.html#remdisk"),
        ("?command=clist", "/commands/containers.html#clist"),
        ("?command=QUERY", "/commands-index.html"),
        ("?command=%0d%0aX", "/commands-index.html"),
    ],
)
async def test_help_leads_to_the_page_of_a_command(
    node: RunningNode, session: ClientSession, asked: str, end: str
) -> None:
    async with session.get(f"{node.url}/HELP{asked}", allow_redirects=False) as response:
        assert response.status == 308
        assert response.headers["Location"].endswith(end)


async def test_browsers_and_robots_do_no_harm(node: RunningNode, session: ClientSession) -> None:
    for name in ("favicon.ico", "robots.txt"):
        async with session.get(f"{node.url}/{name}") as response:
            assert response.status == 200


# QUERY


async def test_every_query_answers_in_every_format(
    node: RunningNode, session: ClientSession
) -> None:
    await archive(session, node.url, "a.bin", b"x")
    status, answer = await command(session, f"{node.url}/QUERY", query="select 1")
    assert status == 400
    names = answer.status.message.partition(": ")[2].split(", ")
    assert set(names) == {
        *("files_list", "files_like", "files_between", "files_greater", "files_location"),
        *("lastver_location", "files_stats", "files_list_recent", "disks_list", "hosts_list"),
        *("subscribers_list", "subscribers_like"),
    }
    for name in names:
        found = {}
        for shape in ("json", "list", "text", "python-list"):
            params = {"query": name, "format": shape}
            async with session.get(f"{node.url}/QUERY", params=params) as response:
                assert response.status == 200
                found[shape] = await response.text()
        rows = ast.literal_eval(found["python-list"])
        async with session.get(f"{node.url}/QUERY?query={name}&format=json") as response:
            assert [tuple(each.values()) for each in await response.json()] == rows
        assert len(found["list"].splitlines()) == len(rows) + 3
        assert len(rows) == (0 if "subscribers" in name else 1)


async def test_files_after_a_moment_are_found_and_a_pickle_is_not_made(
    node: RunningNode, session: ClientSession
) -> None:
    await archive(session, node.url, "a.bin", b"x")
    async with session.get(
        f"{node.url}/QUERY?query=files_greater&start=2100-01-01&format=json"
    ) as response:
        assert await response.json() == []
    status, answer = await command(
        session, f"{node.url}/QUERY", query="files_list", format="pickle"
    )
    assert status == 400
    assert "json" in answer.status.message


async def test_the_others_see_what_a_node_permits(tmp_path: Path, session: ClientSession) -> None:
    edit = set_attributes("Permissions", AllowProcessingReq="1", AllowRemoveReq="0")
    async with running_node(tmp_path, edit=edit) as node:
        url = f"{node.url}/QUERY?query=hosts_list&format=json"
        async with session.get(url) as response:
            [host] = await response.json()
        assert (host["srv_process"], host["srv_remove"], host["srv_retrieve"]) == (1, 0, 1)
        write_config(tmp_path)
        assert (await command(session, f"{node.url}/INIT"))[0] == 200
        async with session.get(url) as response:
            [host] = await response.json()
        assert (host["srv_process"], host["srv_remove"], host["srv_retrieve"]) == (0, 1, 1)


async def test_every_answer_is_valid_by_the_document_type_that_it_names(
    node: RunningNode, session: ClientSession
) -> None:
    await archive(session, node.url, "a.bin", b"x")
    documents = []
    for query in ("", "?file_id=a.bin", "?configuration_file=1", "?file_id=none"):
        async with session.get(f"{node.url}/STATUS{query}") as response:
            documents.append(await response.read())
    async with session.get(f"{node.url}/STATUS?file_list=1") as response:
        listed = gzip.decompress(await response.read())
    place = re.search(rb'SYSTEM "([^"]+)"', documents[0])
    assert place is not None
    async with session.get(place[1].decode()) as response:
        assert response.status == 200
        dtd = etree.DTD(io.StringIO(await response.text()))
    for document in (*documents, listed):
        assert dtd.validate(etree.fromstring(document)), dtd.error_log
    status, answer = await command(session, f"{node.url}/RETRIEVE", internal="../../etc/passwd")
    assert (status, answer.status.code) == (400, 4018)
