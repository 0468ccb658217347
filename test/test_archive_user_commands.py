"""A site's own commands: found when the node starts, or the node does not start."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from aiohttp import ClientSession
from archive_support import Edit, command, prepare, running_node, write_config
from lxml import etree

from pyvospace_ngas.cli.node import main

ROOM = "pyvospace_ngas.archive.examples.room"


def own(name: str, module: str, folder: str = "") -> Edit:
    def edit(document: etree._Element) -> None:
        server = document.find("Server")
        assert server is not None
        if folder:
            server.set("PluginsPath", folder)
        commands = etree.SubElement(document, "Commands")
        etree.SubElement(commands, "Command", Name=name, Module=module)

    return edit


async def test_a_command_of_ones_own_is_served_in_the_state_that_it_needs(tmp_path: Path) -> None:
    async with (
        running_node(tmp_path, volumes=2, edit=own("ROOM", ROOM)) as node,
        ClientSession() as session,
    ):
        async with session.get(f"{node.url}/ROOM") as response:
            assert sorted(await response.json()) == ["volume1", "volume2"]
        status, answer = await command(session, f"{node.url}/ROOM", reload="1")
        assert status == 400
        assert "start it again" in answer.status.message
        await command(session, f"{node.url}/OFFLINE")
        status, answer = await command(session, f"{node.url}/ROOM")
        assert (status, answer.status.code) == (400, 4015)


async def test_a_module_is_found_in_the_plug_ins_folder_and_its_failure_is_only_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "clumsy_command.py").write_text(
        "async def handle(call):\n    raise ZeroDivisionError(call.parameters['secret'])\n"
    )
    edit = own("CLUMSY", "clumsy_command", "site")
    async with running_node(tmp_path, edit=edit) as node, ClientSession() as session:
        status, answer = await command(session, f"{node.url}/CLUMSY", secret="hush")
        assert status == 500
        assert "hush" not in answer.status.message
        assert (await command(session, f"{node.url}/STATUS"))[0] == 200


@pytest.mark.parametrize(
    ("name", "module", "said"),
    [
        ("MINE", "no.such.module", "no.such.module"),
        ("MINE", "pyvospace_ngas.archive.plugins", "handle"),
        ("STATUS", ROOM, "STATUS"),
    ],
)
def test_a_bad_command_keeps_the_node_from_starting(
    tmp_path: Path, name: str, module: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(tmp_path)
    path = write_config(tmp_path, edit=own(name, module))
    assert main(["-cfg", str(path)]) == 1
    assert said in capsys.readouterr().err


async def test_init_takes_new_commands_and_keeps_the_old_when_a_new_one_is_bad(
    tmp_path: Path,
) -> None:
    async with (
        running_node(tmp_path) as node,
        ClientSession() as session,
    ):
        assert (await command(session, f"{node.url}/ROOM"))[0] == 404
        write_config(tmp_path, edit=own("ROOM", ROOM))
        assert (await command(session, f"{node.url}/INIT"))[0] == 200
        write_config(tmp_path, edit=own("ROOM", "no.such"))
        status, answer = await command(session, f"{node.url}/INIT")
        assert status == 400
        assert "no.such" in answer.status.message
        await command(session, f"{node.url}/ONLINE")
        async with session.get(f"{node.url}/ROOM") as response:
            assert response.status == 200
