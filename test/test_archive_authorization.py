"""Who may run which command of a node, and how nodes know each other."""

from __future__ import annotations

import asyncio
import base64
import io
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from aiohttp import ClientSession
from archive_support import (
    Edit,
    RunningNode,
    archive,
    command,
    retrieve,
    running_node,
    set_attributes,
)
from lxml import etree

from pyvospace_ngas.archive.authorization import HASHER, hashed
from pyvospace_ngas.archive.configuration import ConfigurationError, parse
from pyvospace_ngas.archive.peers import PeerAway, basic
from pyvospace_ngas.cli.node import main
from pyvospace_ngas.ngas.status import parse as parse_answer

HASH = hashed("sé:cret")


def hidden(password: str) -> str:
    return base64.b64encode(password.encode()).decode()


def users(*found: tuple[str, str, str], exclude: str = "", proxy: bool = False) -> Edit:
    """Return an edit that adds users: name, password as it stands in the file, commands."""

    def edit(document: etree._Element) -> None:
        set_attributes("Server", ProxyMode=str(int(proxy)))(document)
        element = etree.SubElement(document, "Authorization", Enable="1", Exclude=exclude)
        for name, password, commands in found:
            etree.SubElement(element, "User", Name=name, Password=password, Commands=commands)

    return edit


ADMIN = ("admin", HASH, "*")
READER = ("reader", hidden("pass"), "RETRIEVE, STATUS")


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[RunningNode]:
    edit = users(ADMIN, READER, exclude="QUERY")
    async with running_node(tmp_path, edit=edit) as running:
        yield running


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with ClientSession() as client:
        yield client


async def ask(session: ClientSession, url: str, authorization: str | None) -> tuple[int, str]:
    headers = {} if authorization is None else {"Authorization": authorization}
    async with session.get(url, headers=headers) as response:
        assert ("WWW-Authenticate" in response.headers) == (response.status == 401)
        return response.status, parse_answer(await response.read()).status.message


async def test_only_who_is_known_and_allowed_gets_through(
    node: RunningNode, session: ClientSession
) -> None:
    status = f"{node.url}/STATUS"
    unauthorized = (401, "Unauthorized request received")
    assert await ask(session, status, None) == unauthorized
    for _ in range(2):  # the second time it is known already
        assert (await ask(session, status, basic("admin", "sé:cret")))[0] == 200
    assert (await ask(session, status, basic("reader", "pass")))[0] == 200
    assert (await ask(session, status, "basic " + hidden("reader:pass")))[0] == 200
    for wrong in (
        *(basic("reader", "wrong"), basic("admin", "wrong"), basic("nobody", "pass")),
        *(basic("reader", ""), basic("admin", HASH), "Basic", "Basic !", "Basic /w=="),
    ):
        assert await ask(session, status, wrong) == unauthorized
    scheme = await ask(session, status, "Bearer abc")
    assert scheme == (401, "Invalid authentication scheme: Bearer")
    denied = (403, "Unauthorized access denied")
    assert await ask(session, f"{node.url}/OFFLINE", basic("reader", "pass")) == denied
    assert (await ask(session, f"{node.url}/NONSENSE", None)) == unauthorized
    assert (await ask(session, f"{node.url}/NONSENSE", basic("admin", "sé:cret")))[0] == 404
    async with session.get(f"{node.url}/QUERY?query=files_stats") as response:
        assert response.status == 200  # excluded: anybody may


async def test_a_credential_in_the_query_is_as_good_and_no_parameter(
    node: RunningNode, session: ClientSession
) -> None:
    url = f"{node.url}/STATUS"
    status, _ = await command(session, url, authorization=basic("reader", "pass"))
    assert status == 200
    status, _ = await command(session, url, authorization=basic("reader", "no"))
    assert status == 401


async def test_the_body_of_an_unauthorized_upload_is_not_asked_for(
    node: RunningNode, tmp_path: Path
) -> None:
    for credential, expected in ((None, 401), (basic("reader", "pass"), 403)):
        reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
        sent = f"Authorization: {credential}\r\n" if credential else ""
        writer.write(
            "POST /QARCHIVE?filename=a.bin&mime_type=a/b HTTP/1.1\r\nHost: x\r\n"
            f"{sent}Expect: 100-continue\r\nContent-Length: 50000000\r\n\r\n".encode()
        )
        head = await reader.readuntil(b"\r\n\r\n")
        assert int(head.split()[1]) == expected  # and no "100 Continue"
        assert b"Connection: close" in head
        writer.transport.abort()
    assert list((tmp_path / "volumes").glob("*/staging/*")) == []


async def test_a_client_that_waits_is_told_to_go_on(node: RunningNode) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
    writer.write(
        "POST /QARCHIVE?filename=a.bin&mime_type=a/b HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: {basic('admin', 'sé:cret')}\r\n"
        "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n".encode()
    )
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"abc")
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
    writer.transport.abort()


async def test_who_is_known_gets_through_while_others_guess(
    node: RunningNode, session: ClientSession
) -> None:
    url, known = f"{node.url}/STATUS", basic("admin", "sé:cret")
    assert (await ask(session, url, known))[0] == 200
    async with ClientSession() as guesser, asyncio.TaskGroup() as group:
        guesses = [
            group.create_task(ask(guesser, url, basic("admin", str(number))))
            for number in range(50)
        ]
        assert (await ask(session, url, known))[0] == 200
    outcomes = {guess.result()[0] for guess in guesses}
    assert 401 in outcomes
    assert outcomes <= {401, 503}


async def test_no_password_reaches_the_log(
    node: RunningNode, session: ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for password in ("pass", "mistaken"):
        await ask(session, f"{node.url}/STATUS", basic("reader", password))
        await command(session, f"{node.url}/STATUS", authorization=basic("reader", password))
        assert hidden(f"reader:{password}") not in caplog.text
        assert password not in caplog.text.replace("passed", "")
    assert "pass" not in repr(node.node.config.authorization)


async def test_init_takes_the_new_users(
    node: RunningNode, session: ClientSession, tmp_path: Path
) -> None:
    path = tmp_path / "node.xml"
    path.write_text(path.read_text().replace(hidden("pass"), hidden("new")))
    assert (await ask(session, f"{node.url}/INIT", basic("admin", "sé:cret")))[0] == 200
    assert (await ask(session, f"{node.url}/STATUS", basic("reader", "pass")))[0] == 401
    assert (await ask(session, f"{node.url}/STATUS", basic("reader", "new")))[0] == 200


def test_a_hash_for_the_file_is_made_from_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("sé:cret\n"))
    assert main(["hash-password"]) == 0
    made = capsys.readouterr().out.strip()
    assert HASHER.verify(made, "sé:cret")
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    assert main(["hash-password"]) == 1
    assert main(["hash-password", "secret"]) == 2


@pytest.mark.parametrize(
    ("name", "password"),
    [("a", "not base64"), ("a", "$argon2id$v=19$nonsense"), ("ngas-int", HASH)],
    ids=["no-base64", "no-hash", "a-hash-for-nodes"],  # a hash is another one each time
)
def test_a_password_that_cannot_be_used_is_named(name: str, password: str) -> None:
    root = etree.fromstring(
        b'<NgamsCfg><Server RootDirectory="/n"/><Db Interface="sqlite3" database="/d"/></NgamsCfg>'
    )
    element = etree.SubElement(root, "Authorization", Enable="1")
    etree.SubElement(element, "User", Name=name, Password=password, Commands="*")
    with pytest.raises(ConfigurationError, match=f"User {name}: Password") as caught:
        parse(etree.tostring(root))
    assert password not in str(caught.value)


async def test_nodes_know_each_other_as_ngas_int(tmp_path: Path, session: ClientSession) -> None:
    database = str(tmp_path / "shared.sqlite")
    own = ("ngas-int", hidden("between us"), "RETRIEVE,STATUS")
    limited = ("ngas-int", hidden("between us"), "RETRIEVE")
    async with AsyncExitStack() as stack:
        there = await stack.enter_async_context(
            running_node(tmp_path / "one", database, edit=users(ADMIN, limited))
        )
        proxy = await stack.enter_async_context(
            running_node(tmp_path / "two", database, edit=users(own, proxy=True))
        )
        stranger = await stack.enter_async_context(
            running_node(tmp_path / "three", database, edit=users(exclude="RETRIEVE", proxy=True))
        )
        session.headers["Authorization"] = basic("admin", "sé:cret")
        await archive(session, there.url, "a.bin", b"abc")
        del session.headers["Authorization"]
        session.headers["Authorization"] = basic("ngas-int", "between us")
        assert await retrieve(session, proxy.url, "a.bin") == b"abc"
        status, answer = await proxy.node.peers.answer(there.host_id, "STATUS")
        assert (status, answer.status.host_id) == (403, there.host_id)
        status, answer = await command(session, f"{proxy.url}/STATUS", host_id=there.host_id)
        assert status == 502
        assert "ngas-int run STATUS" in answer.status.message
        del session.headers["Authorization"]
        status, answer = await command(session, f"{stranger.url}/RETRIEVE", file_id="a.bin")
        assert status == 502
        assert "ngas-int" in answer.status.message
        with pytest.raises(PeerAway):
            await stranger.node.peers.answer(there.host_id, "STATUS")
