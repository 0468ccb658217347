"""The node's log: rotated, kept, archived, and sent to the system's log."""

from __future__ import annotations

import gzip
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from aiohttp import ClientSession
from archive_support import (
    NodeProcess,
    command,
    edits,
    elements,
    prepare,
    retrieve,
    running_node,
    set_attributes,
    until,
    write_config,
)

from pyvospace_ngas.archive import logs
from pyvospace_ngas.archive.configuration import ConfigurationError
from pyvospace_ngas.archive.settings.tending import Log

Send = Callable[[Log, int], object]

log = logging.getLogger("test")


@pytest.fixture
def sent_on() -> Iterator[Send]:
    """Send the log on until the test is over; all is as before then."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    with ExitStack() as stack:
        yield lambda settings, level: stack.enter_context(logs.sent_on(settings, level))
    assert (root.handlers, root.level) == (before, level)


def rotated(folder: Path, suffix: str = ".unsaved") -> list[Path]:
    return sorted(folder.glob(f"LOG-ROTATE-*.nglog{suffix}"))


def test_what_an_earlier_run_logged_is_put_aside_at_start(tmp_path: Path, sent_on: Send) -> None:
    file = tmp_path / "log" / "node.nglog"
    file.parent.mkdir()
    file.write_text("of an earlier run\n")
    sent_on(Log(file=file), 3)
    log.info("of this run")
    assert [path.read_text() for path in rotated(file.parent)] == ["of an earlier run\n"]
    assert file.read_text().endswith("INFO test: of this run\n")


def test_a_log_file_is_put_aside_when_its_time_is_over_and_no_line_is_lost(
    tmp_path: Path, sent_on: Send
) -> None:
    file = tmp_path / "node.nglog"
    sent_on(Log(file=file, rotation=1e-9), 3)
    for number in range(20):
        log.info("line %d", number)
    text = "".join(path.read_text() for path in [*rotated(tmp_path), file])
    assert [line.split()[-1] for line in text.splitlines()] == [str(n) for n in range(20)]
    assert len(rotated(tmp_path)) == 19


def test_levels_are_those_of_ngas(tmp_path: Path, sent_on: Send) -> None:
    file = tmp_path / "node.nglog"
    sent_on(Log(file=file), 1)
    log.warning("not this")
    log.error("but this")
    assert "not this" not in file.read_text()
    assert "but this" in file.read_text()


def test_the_system_log_gets_what_its_level_says_with_a_prefix(
    tmp_path: Path, sent_on: Send
) -> None:
    place = tmp_path / "socket"
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as system:
        system.bind(str(place))
        system.settimeout(10)
        settings = Log(syslog=1, syslog_prefix="ngas-here", syslog_address=str(place))
        sent_on(settings, 4)
        log.warning("not this")
        log.error("but this")
        assert b"ngas-here: test: but this" in system.recv(4096)


def test_the_system_log_may_be_elsewhere(sent_on: Send) -> None:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as system:
        system.bind(("127.0.0.1", 0))
        system.settimeout(10)
        place = f"127.0.0.1:{system.getsockname()[1]}"
        sent_on(Log(syslog=3, syslog_address=place), 3)
        log.info("hello")
        assert b"test: hello" in system.recv(4096)


def test_a_log_file_with_a_bad_place_is_told_at_start(tmp_path: Path, sent_on: Send) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="LocalLogFile"):
        sent_on(Log(file=tmp_path / "file" / "node.nglog"), 3)


@pytest.mark.parametrize("place", ["host:port", "127.0.0.1:99999999"])
def test_a_system_log_with_a_bad_address_is_told_at_start(place: str, sent_on: Send) -> None:
    with pytest.raises(ConfigurationError, match="SysLogAddress"):
        sent_on(Log(syslog=3, syslog_address=place), 3)


async def test_rotated_logs_are_archived_shown_to_the_site_and_the_newest_kept(
    tmp_path: Path,
) -> None:
    folder, zipped = tmp_path / "log", tmp_path / "zipped"
    folder.mkdir()
    names = [f"LOG-ROTATE-2020-01-0{day}T00:00:00.000.nglog" for day in range(1, 5)]
    for name in names:
        (folder / f"{name}.unsaved").write_text(name)
    handler = "pyvospace_ngas.archive.examples.zipped_log"
    edit = edits(
        elements(f'<Log><LogfileHandlerPlugIn Name="{handler}" PlugInPars="{zipped}"/></Log>'),
        set_attributes("Log", LocalLogFile="log/node.nglog", LogRotateCache="2"),
        set_attributes("Log", ArchiveRotatedLogfiles="1"),
    )
    async with running_node(tmp_path, edit=edit) as running, ClientSession() as session:
        await until(lambda: rotated(folder, "") == [folder / name for name in names[2:]])
        for name in names:
            assert await retrieve(session, running.url, name) == name.encode()
            assert gzip.decompress((zipped / f"{name}.gz").read_bytes()) == name.encode()
        rows = await running.node.database.fetch("select distinct format from ngas_files")
        assert [row[0] for row in rows] == ["ngas/nglog"]
    assert not rotated(folder)


async def test_a_log_that_finds_no_room_waits(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    waiting = tmp_path / "LOG-ROTATE-2020-01-01T00:00:00.000.nglog.unsaved"
    waiting.write_text("some lines")
    (tmp_path / "volumes").mkdir()
    edit = edits(
        set_attributes("Log", LocalLogFile="node.nglog", ArchiveRotatedLogfiles="1"),
        set_attributes("JanitorThread", SuspensionTime="0.05"),
    )
    async with running_node(tmp_path, volumes=0, edit=edit):
        await until(lambda: "is not archived yet" in caplog.text)
    assert waiting.exists()
    async with running_node(tmp_path, volumes=1, edit=edit):
        await until(lambda: not waiting.exists())


async def test_a_node_puts_its_own_log_aside_and_archives_it(tmp_path: Path) -> None:
    edit = edits(
        set_attributes("Log", LocalLogFile="node.nglog", ArchiveRotatedLogfiles="1"),
        set_attributes("Log", LogRotateInt="0.2"),
        set_attributes("JanitorThread", SuspensionTime="0.1"),
    )
    prepare(tmp_path)
    process = NodeProcess(tmp_path, edit=edit)
    await process.start()
    try:
        await until(lambda: bool(rotated(tmp_path, "")))
        first = rotated(tmp_path, "")[0]
        async with ClientSession() as session:
            content = await retrieve(session, process.url, first.name)
        assert content == first.read_bytes()
        assert b"is online" in content
    finally:
        await process.stop()


async def test_init_takes_the_log_to_its_new_places_and_leaves_it_where_a_new_one_is_bad(
    tmp_path: Path,
) -> None:
    prepare(tmp_path)
    process = NodeProcess(tmp_path, edit=set_attributes("Log", LocalLogFile="one.nglog"))
    one, two, system = tmp_path / "one.nglog", tmp_path / "log" / "two.nglog", tmp_path / "system"
    await process.start()
    try:
        async with ClientSession() as session:
            with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as syslog:
                syslog.bind(str(system))
                syslog.settimeout(10)
                new = {"LocalLogFile": "log/two.nglog", "SysLogPrefix": "here", "SysLog": "3"}
                edit = set_attributes("Log", SysLogAddress=str(system), **new)
                write_config(tmp_path, edit=edit)
                assert (await command(session, f"{process.url}/INIT"))[0] == 200
                assert syslog.recv(4096).startswith(b"<134>here: pyvospace_ngas.archive")
            assert "is online" in two.read_text()
            before = one.read_text()
            assert before.count("is online") == 1
            for bad in ({"LocalLogFile": "node.xml/a"}, {"SysLog": "3", "SysLogAddress": "a:b"}):
                write_config(tmp_path, edit=set_attributes("Log", **bad))
                status, answer = await command(session, f"{process.url}/INIT")
                assert status == 400
                assert next(reversed(bad)) in answer.status.message
                assert answer.status.state == "ONLINE"
            said = two.read_text()
            for path in ("OFFLINE", "ONLINE"):
                assert (await command(session, f"{process.url}/{path}"))[0] == 200
            assert len(two.read_text()) > len(said)
            assert one.read_text() == before
    finally:
        assert await process.stop() == 0
