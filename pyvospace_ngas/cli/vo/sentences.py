"""Every failure as one sentence that says what to do, and as an exit code."""

from enum import IntEnum
from typing import Final
from urllib.parse import unquote

from pyvospace_ngas import errors
from pyvospace_ngas.errors import VOSpaceError


class Exit(IntEnum):
    """What the command returns; the README and ``ngas_vo --help`` say the same."""

    DONE = 0
    SOME_FAILED = 1
    USAGE = 2
    NOT_AUTHENTICATED = 3
    NOT_FOUND = 4
    REFUSED = 5
    NO_ROOM = 6
    UNAVAILABLE = 7
    STOPPED = 130


class Usage(errors.InvalidArgument):
    """The command line cannot be meant."""


_LOG_IN: Final = "run `ngas_vo login`"
LATER: Final = "try again later; what is done already is not done again"
# What to say instead of, or after, the detail of a fault. {} is the detail: a path, which needs a
# verb, or a sentence already; what comes behind the semicolon is said to both.
_SAID: Final[dict[type[VOSpaceError], tuple[Exit, str]]] = {
    errors.NotAuthenticated: (
        Exit.NOT_AUTHENTICATED,
        "the server does not take these credentials ({}); they are wrong or have expired:"
        f" {_LOG_IN}",
    ),
    errors.TooManyRequests: (
        Exit.NOT_AUTHENTICATED,
        "{}; after too many wrong passwords, wait a minute and try again",
    ),
    errors.PermissionDenied: (Exit.REFUSED, "{}"),
    errors.NodeLocked: (
        Exit.REFUSED,
        "{} is locked; who may write it unlocks it with `ngas_vo set PATH --delete islocked`",
    ),
    errors.NodeBusy: (Exit.REFUSED, "{} is being written by somebody else; try again later"),
    errors.NodeNotFound: (Exit.NOT_FOUND, "{} does not exist"),
    errors.ContainerNotFound: (
        Exit.NOT_FOUND,
        "{} does not exist or is no folder; `ngas_vo mkdir -p` makes it",
    ),
    errors.JobNotFound: (Exit.NOT_FOUND, "there is no such job ({}); `ngas_vo jobs` lists yours"),
    errors.LinkFound: (Exit.REFUSED, "{} is a link, and links are not followed here"),
    errors.DuplicateNode: (Exit.REFUSED, "{} exists already"),
    errors.QuotaExceeded: (
        Exit.NO_ROOM,
        "{}; make room with `ngas_vo rm`, or ask an administrator for a larger quota",
    ),
    errors.ServiceUnavailable: (Exit.UNAVAILABLE, f"{{}}; {LATER}"),
    errors.ArchiveUnreachable: (
        Exit.UNAVAILABLE,
        f"the archive does not answer ({{}}); {LATER}",
    ),
    errors.InternalFault: (
        Exit.UNAVAILABLE,
        "the server failed, and its log says why; try again, or tell its administrator",
    ),
    errors.ChecksumMismatch: (
        Exit.SOME_FAILED,
        "the bytes were damaged on the way, three times; nothing was kept of them",
    ),
    errors.InvalidURI: (Exit.USAGE, "{}"),
}


def code_of(error: Exception) -> Exit:
    """Return the exit code for ``error``."""
    if isinstance(error, Usage):
        return Exit.USAGE
    if isinstance(error, FileNotFoundError):
        return Exit.NOT_FOUND
    if isinstance(error, PermissionError):
        return Exit.REFUSED
    if isinstance(error, VOSpaceError) and type(error) in _SAID:
        return _SAID[type(error)][0]
    return Exit.SOME_FAILED


def sentence(error: Exception, *, anonymous: bool = False) -> str:
    """Return what a person is told about ``error``."""
    if isinstance(error, OSError) and not isinstance(error, VOSpaceError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or error}"
    if not isinstance(error, VOSpaceError):
        return str(error)
    detail = _readable(str(error)) or type(error).message().lower()
    text = _template(type(error), detail).replace("{}", detail)
    if anonymous and isinstance(error, errors.PermissionDenied):
        text += f"; you are not logged in: {_LOG_IN}"
    return text


def _template(kind: type[VOSpaceError], detail: str) -> str:
    said = _SAID.get(kind, (0, "{}"))[1]
    if said.startswith("{} ") and not detail.startswith("/"):
        _, semicolon, advice = said.partition(";")
        return "{}" + semicolon + advice
    return said


def _readable(detail: str) -> str:
    """Return the detail of a fault with its nodes as paths: ``/a b`` for ``vos://x/a%20b``."""
    words = [
        unquote("/" + word.removeprefix("vos://").partition("/")[2])
        if word.startswith("vos://")
        else word
        for word in detail.split(" ")
    ]
    return " ".join(words)
