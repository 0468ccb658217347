"""What a node does by itself, again and again: room, old folders, tasks of the site's own."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from archive_support import edits, elements, running_node, set_attributes, until

from pyvospace_ngas.archive import workfolders
from pyvospace_ngas.archive.configuration import ConfigurationError
from pyvospace_ngas.archive.examples.old_files import FOLDER
from pyvospace_ngas.archive.node import State

EXAMPLES = "pyvospace_ngas.archive.examples"
OLD = time.time() - 30 * 24 * 3600
OFTEN = set_attributes("JanitorThread", SuspensionTime="0.05")


def aged(path: Path) -> Path:
    os.utime(path, (OLD, OLD))
    return path


async def test_a_node_without_room_for_its_own_files_goes_offline(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    edit = edits(OFTEN, set_attributes("JanitorThread", MinSpaceSysDirMb="999999999999"))
    async with running_node(tmp_path, edit=edit) as running:
        await until(lambda: running.node.state is State.OFFLINE and not running.node.volumes)
    assert "AlertNotification" in caplog.text
    assert "MinSpaceSysDirMb=999999999999" in caplog.text


async def test_old_folders_of_processing_go_but_not_those_in_use_and_nothing_else(
    tmp_path: Path,
) -> None:
    base = tmp_path / "processing"
    for name in ("retrieve-old", "retrieve-new", "else-old"):
        (base / name).mkdir(parents=True)
        (base / name / "result").touch()
    target = tmp_path / "kept"
    target.mkdir()
    (base / "retrieve-link").symlink_to(target)
    aged(base / "retrieve-old")
    aged(base / "else-old")
    with workfolders.made(base) as used:
        aged(used)
        async with running_node(tmp_path, edit=OFTEN):
            await until(lambda: not (base / "retrieve-old").exists())
        left = {path.name for path in base.iterdir()}
        assert left == {"retrieve-new", "else-old", "retrieve-link", used.name}
    assert target.exists()
    assert not used.exists()


async def test_the_site_has_tasks_of_its_own_done(tmp_path: Path) -> None:
    old = tmp_path / FOLDER / "old"
    old.parent.mkdir()
    old.touch()
    aged(old)
    (new := old.with_name("new")).touch()
    alive = tmp_path / "alive"
    system = set_attributes(
        "SystemPlugIns",
        UserServicePlugIn=f"{EXAMPLES}.heartbeat",
        UserServicePlugInPars=str(alive),
        UserServicePlugInPeriod="0.05",
    )
    task = elements(
        f'<JanitorThread SuspensionTime="0.05"><PlugIn Name="{EXAMPLES}.old_files"/>'
        "</JanitorThread>"
    )
    async with running_node(tmp_path, edit=edits(system, task)) as running:
        await until(lambda: not old.exists() and alive.exists())
        alive.unlink()
        await until(lambda: alive.exists() and bool(alive.read_text()))
        assert alive.read_text() == f"{running.host_id}\n"
    assert new.exists()


async def test_a_task_that_fails_keeps_nothing_else_from_being_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "janitor_that_fails.py").write_text(
        "def janitor_that_fails(root, stop):\n"
        "    with open(root / 'called', 'a') as file:\n        file.write('x')\n"
        "    raise ValueError\n"
    )
    monkeypatch.syspath_prepend(tmp_path / "site")
    task = elements(
        '<JanitorThread SuspensionTime="0.02"><PlugIn Name="janitor_that_fails"/></JanitorThread>'
    )
    called = tmp_path / "called"
    async with running_node(tmp_path, edit=task) as running:
        await until(lambda: called.exists() and len(called.read_text()) > 2)
        assert running.node.state is State.ONLINE


async def test_a_task_that_is_not_there_keeps_the_node_from_starting(tmp_path: Path) -> None:
    task = elements('<JanitorThread><PlugIn Name="no.such.task"/></JanitorThread>')
    with pytest.raises(ConfigurationError, match=r"no\.such\.task"):
        async with running_node(tmp_path, edit=task):
            pass
