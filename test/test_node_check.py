"""``ngas_node check``: what is wrong is found, and nothing is changed."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from aiohttp import ClientSession
from archive_support import archive, elements, prepare, running_node, set_attributes, write_config
from lxml import etree

from pyvospace_ngas.archive import stored_configuration
from pyvospace_ngas.archive.data_mover import as_data_mover
from pyvospace_ngas.cli.node import main

NAMES = ("a.bin", "b.bin", "c.bin")


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> str:
    """The path or the DSN of an index; "" is a file of SQLite."""
    if request.param == "sqlite":
        return ""
    return str(request.getfixturevalue("empty_dsn"))


@pytest.fixture
async def files(tmp_path: Path, database: str) -> dict[str, Path]:
    """The files of a node that has stopped, by name."""
    async with running_node(tmp_path, database) as node, ClientSession() as session:
        port = node.port
        for name in NAMES:
            status, _ = await archive(session, node.url, name, name.encode() * 100)
            assert status == 200
    write_config(tmp_path, database, port=port)
    return {name: next((tmp_path / "volumes").rglob(f"*{name}")) for name in NAMES}


async def check(root: Path, *more: str) -> int:
    return await asyncio.to_thread(main, ["check", "-cfg", str(root / "node.xml"), *more])


def photograph(root: Path) -> dict[str, tuple[int, int]]:
    found = ((str(path), path.lstat()) for path in root.rglob("*"))
    return {name: (stat.st_size, stat.st_mtime_ns) for name, stat in found}


async def test_a_sound_node_is_left_as_it_is(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = photograph(tmp_path)
    assert await check(tmp_path, "-checksums") == 0, capsys.readouterr().out
    assert "3 files on 1 volumes" in capsys.readouterr().out
    assert photograph(tmp_path) == before


async def test_what_is_missing_short_damaged_or_unknown_is_told(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files["a.bin"].unlink()
    files["b.bin"].chmod(0o644)
    os.truncate(files["b.bin"], 7)
    files["c.bin"].chmod(0o644)
    files["c.bin"].write_bytes(b"x" * 500)
    stranger = files["c.bin"].with_name("stranger")
    stranger.touch()
    before = photograph(tmp_path)
    assert await check(tmp_path) == 1
    said = capsys.readouterr().out
    assert f"missing       {files['a.bin']}" in said
    assert "has 7 bytes, not 500" in said
    assert f"unregistered  {stranger}" in said
    assert str(files["c.bin"]) not in said.replace(str(stranger), "")
    assert await check(tmp_path, "-CHECKSUMS") == 1
    assert "crc32c is" in capsys.readouterr().out
    assert photograph(tmp_path) == before


async def test_a_running_node_can_be_checked(tmp_path: Path) -> None:
    async with running_node(tmp_path) as node, ClientSession() as session:
        await archive(session, node.url, "a.bin", b"a" * 100)
        write_config(tmp_path, port=node.port)
        assert await check(tmp_path) == 0


async def test_a_volume_that_is_gone_is_told(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "volumes" / "volume1").rename(tmp_path / "elsewhere")
    prepare(tmp_path)
    assert await check(tmp_path) == 1
    assert "this node's in the index, and not there" in capsys.readouterr().out


async def test_a_configuration_in_the_index_is_checked_without_changing_the_index(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "node.xml"
    await stored_configuration.store(config, "site")
    document = etree.fromstring(config.read_bytes())
    for element in document:
        if element.tag != "Db":
            document.remove(element)
    config.write_bytes(etree.tostring(document))
    before = photograph(tmp_path)
    assert await check(tmp_path, "-dbCfgId", "site") == 0, capsys.readouterr().out
    assert "3 files on 1 volumes" in capsys.readouterr().out
    assert await check(tmp_path, "-dbcfgid", "other") == 1
    assert "there is no configuration 'other' in the index" in capsys.readouterr().out
    assert photograph(tmp_path) == before


async def test_an_index_that_does_not_have_the_configuration_to_check_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_config(tmp_path, "postgresql://u:geheim@127.0.0.1:1/d")
    assert await check(tmp_path, "-dbcfgid", "site") == 1
    said = capsys.readouterr()
    assert "cannot be read" in said.out
    assert "geheim" not in said.out + said.err


async def test_a_data_mover_needs_no_volume_and_those_that_it_reads_are_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database, mover = str(tmp_path / "shared.sqlite"), tmp_path / "mover"
    async with running_node(tmp_path / "main", database) as main, ClientSession() as session:
        await archive(session, main.url, "a.bin", b"a" * 100)
        async with running_node(mover, database, volumes=0, change=as_data_mover):
            assert await check(mover, "-datamover") == 0, capsys.readouterr().out
            assert "1 files on 1 volumes" in capsys.readouterr().out
            assert await check(mover) == 1
            [file] = (tmp_path / "main" / "volumes").rglob("a.bin")
            file.unlink()
            assert await check(mover, "-datamover") == 1
            assert f"missing  {file}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (set_attributes("Server", PortNo="99999"), "PortNo"),
        (elements('<Commands><Command Name="X" Module="no.such"/></Commands>'), "no.such"),
        (set_attributes("Db", database="/nowhere/index.sqlite"), "cannot be read"),
        (set_attributes("Server", VolumeDirectory="nowhere"), "nowhere"),
    ],
    ids=["configuration", "plug-in", "index", "volumes"],
)
async def test_what_the_node_would_not_start_with_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], edit: object, said: str
) -> None:
    prepare(tmp_path)
    write_config(tmp_path, edit=edit)  # type: ignore[arg-type]
    assert await check(tmp_path) == 1
    assert said in capsys.readouterr().out


async def test_no_password_of_the_index_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(tmp_path)
    write_config(tmp_path, "postgresql://u:geheim@127.0.0.1:1/d")
    assert await check(tmp_path) == 1
    said = capsys.readouterr()
    assert "index" in said.out
    assert "geheim" not in said.out + said.err
