"""What an operator should know: logged, and mailed where the configuration says so."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pyvospace_ngas.archive import mail, statefile
from pyvospace_ngas.archive.configuration import NodeConfig
from pyvospace_ngas.archive.settings.tending import Notice, Notification
from pyvospace_ngas.archive.waiting import to_its_end

log = logging.getLogger(__name__)

FILE: Final = "notices.json"  # below the root: what waits to be mailed
MOST_WAITING: Final = 1000  # of all kinds; then the oldest goes


@dataclass(frozen=True, slots=True)
class Message:
    """A notice that waits to be mailed."""

    kind: Notice
    date: str
    subject: str
    text: str


class Notices:
    """Takes notices from anywhere in the node, without ever waiting.

    A mail that cannot be sent stays, also over a restart, and is tried again with the next
    notice and the next `send`. Some may come twice when the node dies at the wrong moment.
    """

    def __init__(self, config: Callable[[], NodeConfig]) -> None:
        self._config = config
        self._waiting: list[Message] = []
        self._sending = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Take up what waited when the node ended."""
        self._waiting[:0] = await asyncio.to_thread(_read, self._path)

    def tell(self, kind: Notice, subject: str, text: str, *, always: bool = False) -> None:
        """Take a notice; ``always`` mails it even where Notification is not Active."""
        said = text.encode("utf-8", "backslashreplace").decode("utf-8")  # any log takes it
        log.warning("%s: %r: %s", kind, subject, said)
        settings = self._config().notification
        wanted = (settings.active or always) and settings.sender
        if wanted and settings.recipients.get(kind):
            self._waiting.append(Message(kind, datetime.now(UTC).isoformat(), subject, text))
            del self._waiting[:-MOST_WAITING]
            self.soon()

    def report(self, recipients: Sequence[str], subject: str, text: str) -> None:
        """Mail, in the background and once, what somebody asked to be told; see `can_mail`."""
        self._begin(self._report(recipients, subject, text))

    @property
    def can_mail(self) -> bool:
        """Tell whether the configuration says from whom a mail is, and so by whom it is taken."""
        return bool(self._config().notification.sender)

    def soon(self, *, all_of_them: bool = False) -> None:
        """Send what is due, or all that waits, in the background."""
        self._begin(self.send(all_of_them=all_of_them))

    def _begin(self, sending: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(sending)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def send(self, *, all_of_them: bool = False) -> None:
        """Send what is due by now, or all that waits; what fails is logged and stays."""
        async with self._sending:
            await self._save()
            for kind in Notice:
                waiting = [each for each in self._waiting if each.kind is kind]
                settings = self._config().notification
                if waiting and (all_of_them or _due(settings, waiting, datetime.now(UTC))):
                    await self._mail(settings, waiting)

    async def close(self) -> None:
        """Wait until what is being sent is sent, or is not."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    @property
    def _path(self) -> Path:
        return self._config().server.root / FILE

    async def _report(self, recipients: Sequence[str], subject: str, text: str) -> None:
        settings = self._config().notification
        if not settings.sender:
            return
        text = f"From the archive node {self._config().server.host_id}:\n\n{text}\n"
        letter = mail.compose(settings.sender, recipients, f"NGAS {subject}", text)
        try:
            await to_its_end(asyncio.to_thread(mail.send, settings, recipients, letter))
        except mail.NotSent as error:
            log.warning("%r was not reported, as no mail was taken: %s", subject, error)

    async def _mail(self, settings: Notification, messages: Sequence[Message]) -> None:
        recipients = settings.recipients.get(messages[0].kind, ())
        if recipients and settings.sender:
            subject, text = _worded(self._config().server.host_id, messages)
            letter = mail.compose(settings.sender, recipients, subject, text)
            try:
                await to_its_end(asyncio.to_thread(mail.send, settings, recipients, letter))
            except mail.NotSent as error:
                log.warning("a mail waits, as the mail server did not take it: %s", error)
                return
        gone = set(map(id, messages))
        self._waiting = [each for each in self._waiting if id(each) not in gone]
        await self._save()

    async def _save(self) -> None:
        try:
            await to_its_end(asyncio.to_thread(_write, self._path, list(self._waiting)))
        except OSError as error:
            log.error("notices that wait would be lost with the node: %s", error)  # noqa: TRY400


def _due(settings: Notification, waiting: Sequence[Message], now: datetime) -> bool:
    waited = (now - datetime.fromisoformat(waiting[0].date)).total_seconds()
    return len(waiting) >= settings.most or waited >= settings.longest


def _worded(host_id: str, messages: Sequence[Message]) -> tuple[str, str]:
    """Return the subject and the text of a mail with some messages of one kind."""
    first = messages[0]
    subject = f"NGAS {first.kind.removesuffix('Notification')}: {first.subject}"
    if len(messages) > 1:
        subject += f" (and {len(messages) - 1} more)"
    parts = [f"{each.date}\n{each.subject}\n\n{each.text}\n" for each in messages]
    return subject, f"From the archive node {host_id}:\n\n" + "\n".join(parts)


def _read(path: Path) -> list[Message]:
    try:
        found = json.loads(path.read_bytes())
        return [_message(each) for each in found]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, KeyError) as error:
        log.warning("%s is no list of notices and is not used: %s", path, error)
        return []


def _message(found: dict[str, str]) -> Message:
    moment = datetime.fromisoformat(found["date"])
    if moment.tzinfo is None:
        raise ValueError("a date without its zone")
    return Message(Notice(found["kind"]), found["date"], str(found["subject"]), str(found["text"]))


def _write(path: Path, messages: Sequence[Message]) -> None:
    if not messages:
        path.unlink(missing_ok=True)
        return
    statefile.replace(path, json.dumps([asdict(each) for each in messages]).encode())
