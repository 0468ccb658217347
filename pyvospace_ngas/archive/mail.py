"""Mail to operators: one message of plain text, handed to the SMTP server of the configuration."""

from __future__ import annotations

import logging
import re
import smtplib
import socket
from collections.abc import Sequence
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate, make_msgid
from typing import Final

from pyvospace_ngas.archive.settings.tending import Notification

log = logging.getLogger(__name__)

TIMEOUT_SECONDS: Final = 10.0  # of each step of the conversation
LONGEST_SUBJECT: Final = 200
CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
CONTROLS_BUT_LINES: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]+")


class NotSent(Exception):
    """The mail was not taken; it may be later."""


def compose(sender: str, recipients: Sequence[str], subject: str, text: str) -> EmailMessage:
    """Return a mail; nothing in the subject becomes a header of its own."""
    mail = EmailMessage(policy=SMTP)
    mail["From"] = sender
    mail["To"] = ", ".join(recipients)
    mail["Subject"] = _clean(CONTROLS, subject)[:LONGEST_SUBJECT]
    mail["Date"] = formatdate()
    mail["Message-ID"] = make_msgid(domain=socket.gethostname())
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no holiday notes in return
    mail.set_content(_clean(CONTROLS_BUT_LINES, text))
    return mail


def send(settings: Notification, recipients: Sequence[str], mail: EmailMessage) -> None:
    """Hand the mail over, in a thread; raise `NotSent` where nobody at all gets it."""
    try:
        with smtplib.SMTP(
            settings.host,
            settings.port,
            local_hostname=socket.gethostname(),
            timeout=TIMEOUT_SECONDS,
        ) as server:
            refused = server.send_message(mail, settings.sender, list(recipients))
    except (OSError, smtplib.SMTPException, ValueError) as error:  # the last: a host of no name
        raise NotSent(f"{settings.host}:{settings.port}: {type(error).__name__}") from error
    if refused:
        log.warning("the mail server does not take mail for %s", ", ".join(sorted(refused)))


def _clean(unwanted: re.Pattern[str], text: str) -> str:
    """Return text that can be sent: file names may hold anything."""
    return unwanted.sub(" ", text.encode("utf-8", "replace").decode("utf-8"))
