"""What can go wrong between us and the nodes of an NGAS federation."""

from __future__ import annotations


class NgasError(Exception):
    """The root of them all; the text names the node and is fit for a log."""


class Unreachable(NgasError):
    """No node could be reached, or it broke off, or was silent for too long."""


class Untrusted(Unreachable):
    """The node has no certificate of an authority that is trusted; nothing was sent to it."""


class Malformed(NgasError):
    """A node answered something that is not NGAS's protocol."""


class Refused(NgasError):
    """A node answered FAILURE. ``code`` is NGAS's number where the message is a catalogued one.

    ``http`` is the status of the answer where that tells more: 401 and 403.
    """

    def __init__(
        self, text: str, code: int | None = None, message: str = "", *, http: int = 0
    ) -> None:
        super().__init__(text)
        self.code = code
        self.message = message
        self.http = http


class NotFound(Refused):
    """A node does not have the file (4019, 4063).

    ``online`` tells whether it was in a state to know: an OFFLINE node has no disks and denies
    every file.
    """

    def __init__(self, text: str, code: int | None, message: str, *, online: bool) -> None:
        super().__init__(text, code, message)
        self.online = online


class RemovalRefused(Refused):
    """A node is not configured to remove files (4017: AllowRemoveReq)."""


class Busy(NgasError):
    """A node has as many requests as it serves at once (503, MaxSimReqs)."""


class ChecksumMismatch(NgasError):
    """A node stored other bytes than were sent, or gave no checksum to tell by."""


class WrongLength(NgasError):
    """The bytes to store came out shorter or longer than was said."""


class NoNode(NgasError):
    """None of the federation could take a file."""


class LostAnswer(NgasError):
    """All bytes were sent, and whether they were stored cannot be found out now."""
