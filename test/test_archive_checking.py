"""The data check: every file is read again, what is not sound is marked and told."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession
from archive_support import (
    Edit,
    RunningNode,
    archive,
    retrieve,
    running_node,
    set_attributes,
    until,
)

from pyvospace_ngas.archive import checking, reading
from pyvospace_ngas.archive.index import locate


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with ClientSession() as client:
        yield client


@pytest.fixture(params=["sqlite3", "asyncpg"])
def database(request: pytest.FixtureRequest) -> str:
    """Both databases, one after the other; "" means a file of SQLite."""
    return str(request.getfixturevalue("empty_dsn")) if request.param == "asyncpg" else ""


def checks(**values: str) -> Edit:
    return set_attributes("DataCheckThread", **{"Active": "1", "MinCycle": "01T00:00:00"} | values)


async def filled(tmp_path: Path, session: ClientSession, database: str = "") -> list[Path]:
    """Archive some files without any check; return where they are."""
    async with running_node(tmp_path, database, volumes=2) as running:
        for number in range(40):
            await archive(session, running.url, f"file{number:02}", b"content")
        found = [await locate(running.node.database, f"file{n:02}") for n in range(40)]
    return [each[0].path for each in found]


async def until_checked(tmp_path: Path) -> None:
    path = tmp_path / checking.FILE
    await until(lambda: path.exists() and bool(json.loads(path.read_bytes())["ended"]))


async def status_of(running: RunningNode, file_id: str) -> str:
    return (await locate(running.node.database, file_id))[0].file.file_status


async def host(running: RunningNode) -> tuple[object, ...]:
    rows = await running.node.database.fetch(
        "select srv_data_checking, srv_check_files, srv_check_count, srv_check_end is null "
        "from ngas_hosts where host_id = $1",
        running.host_id,
    )
    return tuple(int(value) for value in rows[0])


async def test_bad_missing_and_unknown_files_are_told_and_marked(
    tmp_path: Path, session: ClientSession, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    paths = await filled(tmp_path, session, database)
    paths[3].write_bytes(b"CONTENT")
    paths[5].unlink()
    stranger = paths[0].parent / "stranger"
    stranger.write_text("who is this?")
    edit = checks(MaxProcs="3")
    async with running_node(tmp_path, database, volumes=2, edit=edit) as running:
        await until_checked(tmp_path)
        assert await status_of(running, "file03") == "10000000"
        assert await status_of(running, "file04") == "00000000"
        await until(lambda: "DataCheckNotification" in caplog.text)
        assert await host(running) == (0, 40, 40, 0)
        rows = await running.node.database.fetch("select last_check from ngas_disks")
        assert all(row[0] for row in rows)
    assert "3 problems" in caplog.text
    assert "Files that are not sound: 2" in caplog.text
    assert f"{paths[5]} (file05, version 1): it cannot be read" in caplog.text
    assert f"they stay as they are: 1\n{stranger}" in caplog.text
    assert stranger.read_text() == "who is this?"


async def test_a_file_that_is_sound_again_is_marked_so(
    tmp_path: Path, session: ClientSession
) -> None:
    paths = await filled(tmp_path, session)
    paths[3].write_bytes(b"CONTENT")
    async with running_node(tmp_path, volumes=2, edit=checks()) as running:
        await until_checked(tmp_path)
        assert await status_of(running, "file03") == "10000000"
        first = json.loads((tmp_path / checking.FILE).read_bytes())
    paths[3].write_bytes(b"content")
    async with running_node(tmp_path, volumes=2, edit=checks(MinCycle="0")) as running:
        await until(lambda: json.loads((tmp_path / checking.FILE).read_bytes()) != first)
        await until_checked(tmp_path)
        assert await status_of(running, "file03") == "00000000"


async def test_a_scan_looks_only_for_presence_and_size(
    tmp_path: Path, session: ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    paths = await filled(tmp_path, session)
    paths[3].write_bytes(b"CONTENT")
    paths[4].write_bytes(b"content and more")
    async with running_node(tmp_path, volumes=2, edit=checks(Scan="1")):
        await until_checked(tmp_path)
        await until(lambda: "DataCheckNotification" in caplog.text)
    assert "Files that are not sound: 1" in caplog.text
    assert "it has 16 bytes, not 7" in caplog.text


async def test_nothing_is_told_when_all_is_well_unless_that_is_wanted(
    tmp_path: Path, session: ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    await filled(tmp_path, session)
    async with running_node(tmp_path, volumes=2, edit=checks()):
        await until_checked(tmp_path)
    assert "DataCheckNotification" not in caplog.text
    (tmp_path / checking.FILE).unlink()
    async with running_node(tmp_path, volumes=2, edit=checks(ForceNotif="1")):
        await until(lambda: "0 problems" in caplog.text)


async def test_a_check_goes_on_after_a_restart_and_does_not_begin_anew(
    tmp_path: Path, session: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(tmp_path, session)
    monkeypatch.setattr(checking, "PAGE", 5)
    path = tmp_path / checking.FILE
    looked: list[str] = []
    real = checking._flaw

    async def counted(work: object, copy: object) -> str:
        looked.append(copy.file.file_id)  # type: ignore[attr-defined]
        if len(looked) == 12:
            running.node.requests = 1  # as if one was being served: the check pauses
        return await real(work, copy)  # type: ignore[arg-type]

    monkeypatch.setattr(checking, "_flaw", counted)
    async with running_node(tmp_path, volumes=2, edit=checks()) as running:
        await until(lambda: len(looked) == 12)
    begun = json.loads(path.read_bytes())
    assert not begun["ended"]
    assert 0 < begun["files"] <= 12
    async with running_node(tmp_path, volumes=2, edit=checks()) as running:
        await until_checked(tmp_path)
        assert await retrieve(session, running.url, "file00") == b"content"
    ended = json.loads(path.read_bytes())
    assert (ended["started"], ended["files"]) == (begun["started"], 40)
    assert len(looked) < 40 + 12
    before = len(looked)
    async with running_node(tmp_path, volumes=2, edit=checks()):
        pass  # MinCycle is not over
    assert len(looked) == before


async def test_the_reading_of_a_large_file_gives_way_and_ends_with_the_node(
    tmp_path: Path, session: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_node(tmp_path) as running:
        await archive(session, running.url, "large", b"x" * 1000)
    monkeypatch.setattr(reading, "PIECE", 10)
    pieces: list[int] = []
    real = checking._Work.give_way

    def counted(work: checking._Work) -> None:
        pieces.append(1)
        if len(pieces) == 5:
            work.node.requests = 1  # as if one was being served
        real(work)
        pieces.append(1)

    monkeypatch.setattr(checking._Work, "give_way", counted)
    async with running_node(tmp_path, edit=checks()) as running:
        await until(lambda: running.node.requests == 1)
    assert len(pieces) == 5  # the thread ended where it waited
