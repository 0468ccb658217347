"""``ngas_client``: an archive node from the shell, ours and one like the real one at its worst."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from archive_support import RunningNode, elements, running_node, set_attributes
from authority_support import Certified, certified
from crc32c import crc32c
from rude_ngas import RudeNgas

from pyvospace_ngas.archive.authorization import hashed
from pyvospace_ngas.cli import node_options
from pyvospace_ngas.cli.ngas.main import main
from pyvospace_ngas.cli.ngas.sentences import Exit

DATA = os.urandom(300_000)
USERS = f'<Authorization Enable="1"><User Name="me" Password="{hashed("pass")}" Commands="*"/>'


class Tool:
    """The command in this process, with what it printed."""

    def __init__(self, url: str, captured: pytest.CaptureFixture[bytes]) -> None:
        self.url = url
        self._captured = captured
        self.out = b""
        self.err = ""

    async def __call__(self, *words: object) -> int:
        arguments = ["--url", self.url, *map(str, words)]
        code = await asyncio.to_thread(main, arguments)
        self.out, err = self._captured.readouterr()
        self.err = err.decode()
        return code

    @property
    def records(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NGAS_USER", "NGAS_PASSWORD", "NGAS_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[RunningNode]:
    edit = set_attributes("Server", RequestDbBackend="memory")
    async with running_node(tmp_path / "node", edit=edit, volumes=2) as running:
        yield running


@pytest.fixture
async def rude() -> AsyncIterator[RudeNgas]:
    async with RudeNgas() as running:
        yield running


@pytest.fixture
def tool(node: RunningNode, capsysbinary: pytest.CaptureFixture[bytes]) -> Tool:
    return Tool(node.url, capsysbinary)


@pytest.fixture
def rude_tool(rude: RudeNgas, capsysbinary: pytest.CaptureFixture[bytes]) -> Tool:
    return Tool(f"http://127.0.0.1:{rude.port}", capsysbinary)


def files(folder: Path, count: int) -> list[Path]:
    paths = [folder / f"file {number}.bin" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_bytes(DATA[number:])
    return paths


async def test_several_files_are_archived_at_once_and_come_back(
    tool: Tool, tmp_path: Path
) -> None:
    paths = files(tmp_path, 6)
    assert await tool("archive", "--json", "-j", 3, *paths) == Exit.DONE, tool.err
    assert {str(each["file_id"]) for each in tool.records} == {path.name for path in paths}
    assert all(each["checksum_plugin"] == "crc32c" for each in tool.records)
    assert await tool("retrieve", paths[2].name, "-o", tmp_path / "back") == Exit.DONE
    assert (tmp_path / "back").read_bytes() == paths[2].read_bytes()
    assert await tool("retrieve", paths[3].name, "-o", "-") == Exit.DONE
    assert tool.out == paths[3].read_bytes()


async def test_one_file_that_fails_leaves_the_others(tool: Tool, tmp_path: Path) -> None:
    good = files(tmp_path, 2)
    strange = tmp_path / "x.unheard"
    strange.write_bytes(b"x")
    assert await tool("archive", good[0], strange, tmp_path / "none", good[1]) == Exit.FAILED
    assert tool.out.count(b"version 1") == 2
    assert "--mime-type" in tool.err
    assert "No such file" in tool.err
    assert await tool("archive", strange, "--mime-type", "text/plain", "--file-id", "ours") == 0
    assert await tool("status", "--file-id", "ours") == 0


@pytest.mark.parametrize("ranges", ["start", "full", "none"])
async def test_a_retrieval_goes_on_where_it_was_cut(
    rude: RudeNgas, rude_tool: Tool, tmp_path: Path, ranges: str
) -> None:
    (path,) = files(tmp_path, 1)
    assert await rude_tool("archive", path) == Exit.DONE, rude_tool.err
    rude.faults.ranges = ranges
    rude.faults.cut_download = 50_000
    target = tmp_path / "back"
    assert await rude_tool("retrieve", path.name, "-o", target) == Exit.UNAVAILABLE
    assert not target.exists()
    rude.faults.cut_download = None
    assert await rude_tool("retrieve", path.name, "-o", target) == Exit.DONE
    assert target.read_bytes() == DATA
    asked = [each.headers.get("range", "") for each in rude.requests if each.command == "RETRIEVE"]
    assert asked[0] == ""
    assert asked[1].startswith("bytes=")
    assert not list(tmp_path.glob(".*.part"))


async def test_damaged_bytes_are_not_kept(tool: Tool, node: RunningNode, tmp_path: Path) -> None:
    (path,) = files(tmp_path, 1)
    assert await tool("archive", path) == Exit.DONE
    (stored,) = (tmp_path / "node" / "volumes").glob(f"*/arch/**/*{path.name}")
    stored.chmod(0o644)
    stored.write_bytes(b"y" * len(DATA))
    target = tmp_path / "back"
    assert await tool("retrieve", path.name, "-o", target) == Exit.FAILED
    assert "not what was archived" in tool.err
    assert not target.exists()
    assert not list(tmp_path.glob(".*.part"))


async def test_what_the_node_stored_is_compared(
    rude: RudeNgas, rude_tool: Tool, tmp_path: Path
) -> None:
    (path,) = files(tmp_path, 1)
    rude.faults.wrong_checksum = True
    assert await rude_tool("archive", path) == Exit.FAILED
    assert "the node stored" in rude_tool.err
    (sent,) = rude.requests
    assert sent.headers["ngas-file-crc"] == str(crc32c(DATA))
    assert sent.parameters["crc_variant"] == "1"


async def test_a_failure_with_200_is_a_failure(
    rude: RudeNgas, rude_tool: Tool, tmp_path: Path
) -> None:
    (path,) = files(tmp_path, 1)
    rude.faults.failure_with_200 = True
    assert await rude_tool("archive", path) == Exit.FAILED
    words = ("disk_id=none", "file_id=none", "file_version=1")
    assert await rude_tool("command", "DISCARD", *words) == Exit.NOT_FOUND
    assert "4063" in rude_tool.err


async def test_a_lost_answer_is_told_as_such(
    rude: RudeNgas, rude_tool: Tool, tmp_path: Path
) -> None:
    (path,) = files(tmp_path, 1)
    rude.faults.lose_answer = True
    assert await rude_tool("archive", path) == Exit.UNAVAILABLE
    assert "it may be stored or not" in rude_tool.err


async def test_a_busy_node_is_asked_again(rude: RudeNgas, rude_tool: Tool) -> None:
    rude.faults.busy = True
    rude.faults.once = {"busy"}
    assert await rude_tool("status") == Exit.DONE


@pytest.mark.parametrize(
    ("words", "times"),
    [(("status",), 3), (("clone", "--file-id", "x"), 1)],
    ids=["status", "clone"],
)
async def test_what_may_have_been_done_is_not_asked_again(
    words: tuple[str, ...], times: int, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    asked = []

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        tool = Tool(f"http://127.0.0.1:{port}", capsysbinary)
        assert await tool(*words) == Exit.UNAVAILABLE
    assert len(asked) == times


async def test_a_redirect_is_followed(rude: RudeNgas, rude_tool: Tool, tmp_path: Path) -> None:
    (path,) = files(tmp_path, 1)
    assert await rude_tool("archive", path) == Exit.DONE
    async with RudeNgas() as holder:
        holder.files = rude.files
        rude.faults.redirect = f"127.0.0.1:{holder.port}"
        target = tmp_path / "back"
        assert await rude_tool("retrieve", path.name, "-o", target) == Exit.DONE
        assert target.read_bytes() == DATA


async def test_status_query_and_any_command(tool: Tool, tmp_path: Path) -> None:
    (path,) = files(tmp_path, 1)
    assert await tool("archive", path) == 0
    assert await tool("status") == 0
    assert b"State: ONLINE" in tool.out
    assert await tool("status", "--file-id", path.name, "--json") == 0
    (document,) = tool.records
    assert "disks" in document
    assert await tool("query", "files_list", "--format", "json") == 0
    assert path.name in str(json.loads(tool.out))
    assert await tool("command", "CHECKFILE", f"file_id={path.name}") == 0
    assert b"4056" in tool.out
    assert await tool("status", "--file-id", "nothing") == Exit.NOT_FOUND
    assert await tool("command", "NONSENSE") == Exit.FAILED


async def test_clone_waits_for_its_job(tool: Tool, node: RunningNode, tmp_path: Path) -> None:
    (path,) = files(tmp_path, 1)
    assert await tool("archive", path) == 0
    assert await tool("clone", "--file-id", path.name, "--wait", "--json") == 0, tool.err
    (document,) = tool.records
    assert dict(document["status"])["actual_count"] == "1"  # type: ignore[call-overload]
    assert await tool("clone", "--file-id", "nothing") == Exit.FAILED
    assert "nothing" in tool.err


async def test_subscriptions_are_made_and_ended(tool: Tool, rude: RudeNgas) -> None:
    url = f"http://127.0.0.1:{rude.port}/QARCHIVE"
    words = ("subscribe", url, "--subscr-id", "mine", "--priority", 1)
    assert await tool(*words) == 0, tool.err
    assert await tool(*words) == 0  # 201: identical
    assert await tool("unsubscribe", "mine") == 0
    assert await tool("unsubscribe", "mine") != 0


async def test_credentials_come_from_a_private_file_or_the_environment(
    tmp_path: Path,
    capsysbinary: pytest.CaptureFixture[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    edit = elements(USERS + "</Authorization>")
    secret = tmp_path / "secret"
    secret.write_text("me:pass\n")
    secret.chmod(0o644)
    (path,) = files(tmp_path, 1)
    async with running_node(tmp_path / "node", edit=edit) as node:
        tool = Tool(node.url, capsysbinary)
        assert await tool("archive", path) == Exit.NOT_AUTHENTICATED
        assert "NGAS_USER" in tool.err
        assert await tool("--credentials", secret, "status") == Exit.USAGE
        assert "chmod 600" in tool.err
        secret.chmod(0o600)
        assert await tool("--credentials", secret, "archive", path) == Exit.DONE
        monkeypatch.setenv("NGAS_USER", "me")
        monkeypatch.setenv("NGAS_PASSWORD", "wrong")
        assert await tool("status") == Exit.NOT_AUTHENTICATED
        assert "wrong" not in tool.err
        monkeypatch.setenv("NGAS_PASSWORD", "pass")
        assert await tool("status") == Exit.DONE


@pytest.mark.parametrize("url", ["ftp://x:1", "http://me:pass@x:1", "http://x:port", "file:///x"])
def test_an_address_that_cannot_be_meant_is_refused(
    url: str, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert main(["--url", url, "status"]) == Exit.USAGE
    said = capsysbinary.readouterr().err
    assert len(said.splitlines()) == 1
    assert b"pass" not in said


def test_a_node_that_is_away_is_told_in_a_sentence(
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    assert main(["--url", "http://127.0.0.1:1", "status"]) == Exit.UNAVAILABLE
    assert b"is the node running" in capsysbinary.readouterr().err


# TLS


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Certified:
    return certified(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def pem(tmp_path: Path, authority: Certified) -> Path:
    """What ``-cert`` names: the certificate with its key."""
    path = tmp_path / "node.pem"
    path.write_bytes(authority.certificate.read_bytes() + authority.key.read_bytes())
    return path


@pytest.fixture
async def secured(tmp_path: Path, pem: Path) -> AsyncIterator[RunningNode]:
    async with running_node(tmp_path / "node", tls=node_options.tls(pem)) as running:
        yield running


async def test_all_is_the_same_over_tls(
    secured: RunningNode,
    authority: Certified,
    tmp_path: Path,
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    tool = Tool(secured.url, capsysbinary)
    trusting = ("--cacert", authority.authority)
    paths = files(tmp_path, 5)
    assert await tool(*trusting, "archive", "-j", 3, *paths) == Exit.DONE, tool.err
    for path in paths:
        target = tmp_path / "back"
        assert await tool("retrieve", path.name, "-o", target, *trusting) == Exit.DONE, tool.err
        assert target.read_bytes() == path.read_bytes()
        target.unlink()
    assert await tool(*trusting, "--json", "status", "--file-id", paths[0].name) == Exit.DONE
    assert await tool(*trusting, "query", "files_list", "--format", "json") == Exit.DONE
    assert await tool(*trusting, "status", "--file-id", "none") == Exit.NOT_FOUND


async def test_a_refused_upload_is_told_over_tls(
    authority: Certified, pem: Path, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    [path] = files(tmp_path, 1)
    edit = set_attributes("Permissions", AllowArchiveReq="0")
    async with running_node(tmp_path / "n", tls=node_options.tls(pem), edit=edit) as node:
        tool = Tool(node.url, capsysbinary)
        assert await tool("--cacert", authority.authority, "archive", path) == Exit.NOT_PERMITTED
        assert "AllowArchiveReq=0" in tool.err


async def test_a_node_that_nobody_vouches_for_is_sent_nothing(
    secured: RunningNode,
    authority: Certified,
    tmp_path: Path,
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    tool = Tool(secured.url, capsysbinary)
    assert await tool("status") == Exit.UNAVAILABLE
    assert "is not trusted" in tool.err
    assert "--cacert" in tool.err
    assert await tool("--cacert", authority.key, "status") == Exit.USAGE
    assert "must hold certificates" in tool.err
    tool.url = secured.url.replace("https", "http")
    assert await tool("--cacert", authority.authority, "status") == Exit.UNAVAILABLE
    assert secured.node.requests == 0
