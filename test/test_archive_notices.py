"""What an operator is told by mail: real messages over a real SMTP server."""

from __future__ import annotations

import asyncio
import email
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.message import Message
from email.policy import default
from pathlib import Path

import pytest
from aiohttp import ClientSession
from aiosmtpd.smtp import SMTP, Envelope, Session
from archive_support import (
    Edit,
    archive,
    command,
    edits,
    elements,
    running_node,
    set_attributes,
    until,
    write_config,
)

from pyvospace_ngas.archive import configuration, notices
from pyvospace_ngas.archive.settings.tending import Notice


class Post:
    """A mail server's handler that keeps what it gets; it may be out of order."""

    def __init__(self) -> None:
        self.letters: list[tuple[list[str], Message]] = []
        self.refusing = False
        self.refused = 0

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        if self.refusing:
            self.refused += 1
            return "451 try again later"
        assert isinstance(envelope.content, bytes)
        letter = email.message_from_bytes(envelope.content, policy=default)
        self.letters.append((envelope.rcpt_tos, letter))
        return "250 taken"


@asynccontextmanager
async def post_office() -> AsyncIterator[tuple[Post, int]]:
    post, loop = Post(), asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(post, hostname="localhost"), "127.0.0.1", 0)
    async with server:
        yield post, server.sockets[0].getsockname()[1]


def mailing(port: int, **more: str) -> Edit:
    values = {"Active": "1", "SmtpHost": "127.0.0.1", "SmtpPort": str(port)}
    recipients = "".join(
        f'<{kind}><EmailRecipient Address="{kind.name.lower()}@example.org"/>'
        f'<EmailRecipient Address="all@example.org"/></{kind}>'
        for kind in Notice
    )
    return edits(
        elements(f"<Notification>{recipients}</Notification>"),
        set_attributes("Notification", **values | {"Sender": "node@example.org"} | more),
    )


async def test_each_kind_of_notice_goes_to_its_own_recipients(tmp_path: Path) -> None:
    async with post_office() as (post, port):
        async with running_node(tmp_path, edit=mailing(port)) as running:
            for kind in Notice:
                running.node.notices.tell(kind, "a subject", f"of {kind}")
            await until(lambda: len(post.letters) == len(Notice))
        assert {to[0] for to, _ in post.letters} == {
            f"{kind.name.lower()}@example.org" for kind in Notice
        }
        assert all(to[1:] == ["all@example.org"] for to, _ in post.letters)
    assert not (tmp_path / notices.FILE).exists()


async def test_how_a_clone_ended_is_mailed_to_who_asked_for_that(tmp_path: Path) -> None:
    async with (
        post_office() as (post, port),
        running_node(tmp_path, volumes=2, edit=mailing(port, Active="0")) as running,
        ClientSession() as session,
    ):
        await archive(session, running.url, "a.bin", b"data")
        url = f"{running.url}/CLONE"
        asked = {"file_id": "a.bin", "notif_email": "me@example.org, you@example.org"}
        assert (await command(session, url, **asked))[0] == 200
        await until(lambda: len(post.letters) == 1)
        assert post.letters[0][0] == ["me@example.org", "you@example.org"]
        assert "a.bin" in str(post.letters[0][1])
        assert "1 of 1 files" in str(post.letters[0][1])
        for wrong in ("nobody", "a@b\r\nBcc: c@d", "x@y," * 11):
            status, answer = await command(session, url, file_id="a.bin", notif_email=wrong)
            assert (status, "notif_email" in answer.status.message) == (400, True)
    async with running_node(tmp_path, volumes=2) as running, ClientSession() as session:
        url = f"{running.url}/CLONE"
        status, answer = await command(session, url, file_id="a.bin", notif_email="me@e.org")
        assert (status, "Sender" in answer.status.message) == (400, True)


async def test_messages_wait_for_each_other_and_go_when_the_node_goes_offline(
    tmp_path: Path,
) -> None:
    async with post_office() as (post, port):
        edit = mailing(port, MaxRetentionSize="3", MaxRetentionTime="01T00:00:00")
        async with running_node(tmp_path, edit=edit) as running:
            tell = running.node.notices.tell
            for number in range(4):
                tell(Notice.ERROR, f"trouble {number}", f"text {number}")
            await until(lambda: len(post.letters) == 1)
            tell(Notice.ERROR, "trouble 5", "text 5")
        assert len(post.letters) == 2
        text = post.letters[0][1].get_content()  # type: ignore[attr-defined]
        assert all(f"text {number}" in text for number in range(3))
        assert "text 5" in str(post.letters[1][1])


async def test_what_the_mail_server_does_not_take_outlives_the_node(tmp_path: Path) -> None:
    async with post_office() as (post, port):
        post.refusing = True
        async with running_node(tmp_path, edit=mailing(port)) as running:
            running.node.notices.tell(Notice.ALERT, "look", "at once")
        kept = json.loads((tmp_path / notices.FILE).read_bytes())
        assert [each["subject"] for each in kept] == ["look"]
        assert not post.letters
        post.refusing = False
        async with running_node(tmp_path, edit=mailing(port)):
            await until(lambda: bool(post.letters))
    assert not (tmp_path / notices.FILE).exists()


async def test_the_janitor_sends_what_the_mail_server_did_not_take(tmp_path: Path) -> None:
    async with post_office() as (post, port):
        post.refusing = True
        edit = edits(mailing(port), set_attributes("JanitorThread", SuspensionTime="0.05"))
        async with running_node(tmp_path, edit=edit) as running:
            running.node.notices.tell(Notice.ALERT, "look", "at once")
            await until(lambda: post.refused > 1)
            post.refusing = False
            await until(lambda: bool(post.letters))


async def test_a_file_that_is_no_list_of_notices_does_not_keep_the_node_from_starting(
    tmp_path: Path,
) -> None:
    (tmp_path / notices.FILE).write_text('[{"kind": "Nonsense"}]')
    async with running_node(tmp_path) as running:
        assert running.node.state == "ONLINE"


async def test_no_subject_adds_a_header_or_a_recipient(tmp_path: Path) -> None:
    async with (
        post_office() as (post, port),
        running_node(tmp_path, edit=mailing(port)) as running,
    ):
        evil = "x\r\nBcc: victim@example.org\r\n\r\nbody\x00\u2028\udcff"
        running.node.notices.tell(Notice.ERROR, evil, evil + "\r\n.\r\nQUIT")
        await until(lambda: bool(post.letters))
    to, letter = post.letters[0]
    assert to == ["error@example.org", "all@example.org"]
    assert letter["Bcc"] is None
    assert "Bcc: victim" in letter["Subject"]
    assert len(post.letters) == 1


async def test_a_command_that_fails_unexpectedly_is_told(tmp_path: Path) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "breaking_command.py").write_text(
        "async def handle(call):\n    raise KeyError('secret')\n"
    )
    async with post_office() as (post, port):
        own = elements('<Commands><Command Name="BREAK" Module="breaking_command"/></Commands>')
        folder = set_attributes("Server", PluginsPath="plugins")
        edit = edits(mailing(port), own, folder)
        async with running_node(tmp_path, edit=edit) as running:
            async with ClientSession() as session, session.get(f"{running.url}/BREAK") as answer:
                assert answer.status == 500
            await until(lambda: bool(post.letters))
    assert "GET BREAK failed" in str(post.letters[0][1])
    assert "secret" not in str(post.letters[0][1])


def test_an_address_that_would_be_a_header_is_no_configuration(tmp_path: Path) -> None:
    path = write_config(tmp_path, edit=mailing(25, Sender="node@example.org\nBcc: a@b"))
    with pytest.raises(configuration.ConfigurationError, match="is no address"):
        configuration.load(path)
