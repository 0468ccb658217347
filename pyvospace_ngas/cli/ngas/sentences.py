"""Every failure as one sentence that says what to do, and as an exit code."""

from collections.abc import Sequence
from enum import IntEnum
from typing import Final

from pyvospace_ngas.ngas import errors
from pyvospace_ngas.ngas.errors import NgasError


class Exit(IntEnum):
    """What the command returns; the README and ``ngas_client --help`` say the same."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NOT_AUTHENTICATED = 3
    NOT_FOUND = 4
    NOT_PERMITTED = 5
    UNAVAILABLE = 7
    STOPPED = 130


class Usage(NgasError):
    """The command line cannot be meant."""


class NotAuthenticated(NgasError):
    """The node wants to know who asks, or does not believe it."""


class NotPermitted(NgasError):
    """The node does not let this user, or anybody, do this."""


ILLEGAL_REQUEST: Final = 4017
UNKNOWN_TYPE: Final = 4014
UNKNOWN_REQUEST: Final = 4059
HINTS: Final = {
    UNKNOWN_TYPE: "; say what the file is with --mime-type",
    UNKNOWN_REQUEST: "; a node whose RequestDbBackend is null remembers no requests",
}
# The first that fits; {} is what the error says itself.
SAID: Final[Sequence[tuple[type[Exception], Exit, str]]] = (
    (Usage, Exit.USAGE, "{}"),
    (
        NotAuthenticated,
        Exit.NOT_AUTHENTICATED,
        "{}; give NGAS_USER and NGAS_PASSWORD, or --credentials FILE",
    ),
    (NotPermitted, Exit.NOT_PERMITTED, "{}"),
    (errors.NotFound, Exit.NOT_FOUND, "{}"),
    (errors.Busy, Exit.UNAVAILABLE, "{}; try again later"),
    (errors.Untrusted, Exit.UNAVAILABLE, "{}; --cacert FILE names who vouches for it"),
    (errors.Unreachable, Exit.UNAVAILABLE, "{}; is the node running, and is --url right?"),
    (errors.Malformed, Exit.UNAVAILABLE, "{}; is it an NGAS node?"),
    (
        errors.LostAnswer,
        Exit.UNAVAILABLE,
        "{}; it may be stored or not: `ngas_client status --file-id` tells",
    ),
    (errors.WrongLength, Exit.FAILED, "it changed while it was sent ({}); nothing is stored"),
    (FileNotFoundError, Exit.NOT_FOUND, "{}"),
)


def code_of(error: Exception) -> Exit:
    """Return the exit code for ``error``."""
    if isinstance(error, errors.Refused) and error.code == ILLEGAL_REQUEST:
        return Exit.NOT_PERMITTED
    return next((code for kind, code, _ in SAID if isinstance(error, kind)), Exit.FAILED)


def sentence(error: Exception) -> str:
    """Return what a person is told about ``error``."""
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or error}"
    said = str(error)
    if isinstance(error, errors.Refused) and error.code in HINTS:
        said = said.rstrip(". ") + HINTS[error.code]
    form = next((form for kind, _, form in SAID if isinstance(error, kind)), "{}")
    return form.replace("{}", said if form == "{}" else said.rstrip(". "))
