"""The command line of a node, and configurations that are kept in its index."""

from __future__ import annotations

import asyncio
import signal
import ssl
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from aiohttp import ClientSession, TCPConnector
from archive_support import (
    archive,
    command,
    prepare,
    retrieve,
    running_node,
    set_attributes,
    write_config,
)
from authority_support import certified
from lxml import etree

from pyvospace_ngas.archive import configuration, stored_configuration
from pyvospace_ngas.archive.configuration import ConfigurationError, NodeConfig
from pyvospace_ngas.archive.database import opened
from pyvospace_ngas.archive.steps import Script, Statement
from pyvospace_ngas.cli import node_options
from pyvospace_ngas.cli.node import main


@pytest.fixture(params=["sqlite3", "asyncpg"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite3":
        return str(tmp_path / "shared.sqlite")
    return str(request.getfixturevalue("empty_dsn"))


async def test_options_stand_instead_of_what_the_file_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_config(tmp_path, edit=set_attributes("Log", SysLog="1", SysLogPrefix="old"))
    plain = await node_options.read(node_options.parse(["-cfg", str(path)]))
    assert plain == configuration.load(path)
    assert capsys.readouterr().err == ""
    words = f"-cfg {path} -autoOnline -syslog 4 -SysLogPrefix NEW -datamover -noAutoExit"
    more = "-loclogfile /x/y -locloglevel 0"
    options = node_options.parse(f"{words} {more}".split())
    assert "-autoOnline is taken as -autoonline" in capsys.readouterr().err
    config = await node_options.read(options)
    assert options.autoonline
    assert (config.log.syslog, config.log.syslog_prefix) == (4, "NEW")
    assert (config.log.file, config.log.level) == (Path("/x/y"), 0)
    assert config.data_mover.enabled
    assert not config.permissions.archive
    assert not config.permissions.remove


@pytest.mark.parametrize("option", ["-version", "-license"])
def test_a_node_says_what_it_is(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([option])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("pyvospace-ngas")


def test_a_certificate_that_is_none_is_a_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_config(tmp_path)
    assert main(["-cfg", str(path), "-cert", str(path)]) == 1
    assert "-cert" in capsys.readouterr().err


# In the index


def rich(document: etree._Element) -> None:
    """Everything that is repeated, nested or easily lost."""
    set_attributes("Authorization", Enable="1")(document)
    users = document.find("Authorization")
    assert users is not None
    for name in ("ann", "bob"):
        etree.SubElement(users, "User", Name=name, Password="cA==", Commands="*")
    sets = etree.SubElement(document, "StorageSets")
    streams = etree.SubElement(document, "Streams")
    for number in range(1, 12):  # more than nine: numbers are not letters
        etree.SubElement(
            sets, "StorageSet", StorageSetId=f"s{number}", MainDiskSlotId=f"volume{number}"
        )
        stream = etree.SubElement(streams, "Stream", MimeType=f"a/{number}", PlugIn="")
        etree.SubElement(stream, "StorageSetRef", StorageSetId=f"s{number}")
    notification = etree.SubElement(document, "Notification", Active="1", Sender="a@b")
    alert = etree.SubElement(notification, "AlertNotification")
    etree.SubElement(alert, "EmailRecipient", Address="a&b@c")
    set_attributes("Log", SysLogPrefix="é&<")(document)
    document.append(etree.Comment("no parameter"))


def minimal(folder: Path, full: Path) -> Path:
    """Write a file that tells only where the index is."""
    place = etree.fromstring(full.read_bytes()).find("Db")
    assert place is not None
    document = etree.Element("NgamsCfg")
    document.append(place)
    path = folder / "minimal.xml"
    path.write_bytes(etree.tostring(document))
    return path


def same(config: NodeConfig) -> NodeConfig:
    return replace(config, source=None, stored_as="")


async def test_a_configuration_comes_back_from_the_index_as_it_was(
    tmp_path: Path, database: str
) -> None:
    full = write_config(tmp_path, database, edit=rich)
    await stored_configuration.store(full, "site")
    options = node_options.parse(["-cfg", str(minimal(tmp_path, full)), "-dbcfgid", "site"])
    config = await node_options.configured(options)
    assert same(config) == same(configuration.load(full))
    assert config.name.startswith("site in the index of ")
    again = write_config(tmp_path, database)
    await stored_configuration.store(again, "site")
    assert same(await node_options.configured(options)) == same(configuration.load(again))


async def test_nodes_may_share_a_group_and_have_one_each(tmp_path: Path, database: str) -> None:
    full = write_config(tmp_path, database)
    await stored_configuration.store(full, "common")
    async with opened(configuration.load(full).db) as index:
        await index.run(own_port("one", "4711"))
        await index.run(own_port("odd", "4711", "NgamsCfg.Server.PortNo"))
    config = await stored_configuration.load(full, "one")
    assert config.server.port == 4711
    assert config.server.root == tmp_path
    with pytest.raises(ConfigurationError, match=r"NgamsCfg\.Server\.PortNo"):
        await stored_configuration.load(full, "odd")
    with pytest.raises(ConfigurationError, match="store-configuration"):
        await stored_configuration.load(full, "none")


def own_port(name: str, port: str, parameter: str = "NgamsCfg.Server[1].PortNo") -> Script[None]:
    yield Statement(
        "insert into ngas_cfg (cfg_name, cfg_par_group_ids) values ($1, $2)",
        (name, f"common, {name}"),
    )
    yield Statement(
        "insert into ngas_cfg_pars (cfg_group_id, cfg_par, cfg_val) values ($1, $2, $3)",
        (name, parameter, port),
    )


def test_what_cannot_be_kept_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = write_config(tmp_path, edit=set_attributes("Server", PluginsPath="x" * 256))
    assert main(["store-configuration", "-cfg", str(long), "site"]) == 1
    assert "PluginsPath" in capsys.readouterr().err
    good = write_config(tmp_path)
    assert main(["store-configuration", "-cfg", str(good), "n" * 33]) == 1
    assert main(["store-configuration", "-cfg", str(good), "site"]) == 0
    assert "site is in the index now" in capsys.readouterr().out
    good.write_text("<NgamsCfg/>")
    assert main(["store-configuration", "-cfg", str(good), "site"]) == 1


# As a process, with TLS


@dataclass(frozen=True, slots=True)
class Secure:
    """A node as a process that speaks TLS."""

    url: str
    config: Path  # what it has in the index
    pem: Path
    trusting: ssl.SSLContext  # what a client needs


@pytest.fixture
async def secure(tmp_path: Path) -> AsyncIterator[Secure]:
    files = certified(tmp_path / "tls")
    pem = tmp_path / "tls" / "node.pem"
    pem.write_bytes(files.certificate.read_bytes() + files.key.read_bytes())
    root = tmp_path / "secure"
    prepare(root)
    full = write_config(root, str(tmp_path / "shared.sqlite"))
    await stored_configuration.store(full, "site")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pyvospace_ngas.cli.node", "-autoonline"),
        *("-cfg", str(minimal(root, full)), "-dbcfgid", "site", "-cert", str(pem)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            line = (await process.stdout.readline()).decode()
        yield Secure(line.rsplit(" ", 1)[1].strip(), full, pem, files.trusting())
    finally:
        process.send_signal(signal.SIGTERM)
        await process.communicate()
    assert process.returncode == 0


async def test_nodes_speak_tls_with_clients_and_each_other(secure: Secure, tmp_path: Path) -> None:
    url = secure.url
    assert url.startswith("https://")
    async with ClientSession(connector=TCPConnector(ssl=secure.trusting)) as session:
        large = bytes(range(256)) * 4000
        assert (await archive(session, url, "a.bin", large))[0] == 200
        assert await retrieve(session, url, "a.bin") == large
        edit = set_attributes("Server", ProxyMode="1")

        def change(config: NodeConfig) -> NodeConfig:
            return replace(config, server=replace(config.server, certificate=secure.pem))

        database = str(tmp_path / "shared.sqlite")
        async with running_node(tmp_path / "two", database, edit=edit, change=change) as proxy:
            assert await retrieve(session, f"http://127.0.0.1:{proxy.port}", "a.bin") == large
        changed = write_config(
            secure.config.parent,
            database,
            edit=set_attributes("Permissions", AllowRetrieveReq="0"),
        )
        await stored_configuration.store(changed, "site")
        assert (await command(session, f"{url}/INIT"))[0] == 200
        _, answer = await command(session, f"{url}/RETRIEVE", file_id="a.bin")
        assert answer.status.code == 4017
        _, answer = await command(session, f"{url}/STATUS", configuration_file="1")
        assert answer.status.config_file_name.startswith("site in the index of ")
