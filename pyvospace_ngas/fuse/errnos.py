"""Errors to errno numbers, once: the only such table, and the decorator on every operation."""

import asyncio
import errno
import functools
import logging
from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar

from pyvospace_ngas import errors
from pyvospace_ngas.errors import VOSpaceError

log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

ERRNO: Final[dict[type[VOSpaceError], int]] = {
    errors.InternalFault: errno.EIO,
    errors.PermissionDenied: errno.EACCES,
    errors.NotAuthenticated: errno.EACCES,
    errors.TooManyRequests: errno.EAGAIN,
    errors.InvalidURI: errno.EINVAL,
    errors.InvalidArgument: errno.EINVAL,
    errors.DocumentTooLarge: errno.E2BIG,
    errors.NodeNotFound: errno.ENOENT,
    errors.ContainerNotFound: errno.ENOENT,
    errors.LinkFound: errno.ELOOP,
    errors.DuplicateNode: errno.EEXIST,
    errors.TypeNotSupported: errno.EOPNOTSUPP,
    errors.ViewNotSupported: errno.EOPNOTSUPP,
    errors.ProtocolNotSupported: errno.EOPNOTSUPP,
    errors.OperationNotSupported: errno.EOPNOTSUPP,
    errors.InvalidData: errno.EINVAL,
    errors.TransferFailed: errno.EIO,
    errors.NodeBusy: errno.EBUSY,
    errors.NodeLocked: errno.EBUSY,
    errors.QuotaExceeded: errno.EDQUOT,
    errors.JobNotFound: errno.EIO,
    errors.IllegalTransition: errno.EIO,
    errors.EndpointNotFound: errno.EIO,
    errors.EndpointSpent: errno.EIO,
    errors.LengthMismatch: errno.EIO,
    errors.ChecksumMismatch: errno.EIO,
    errors.PreconditionFailed: errno.ESTALE,
    errors.ChangesPruned: errno.EIO,
    errors.RangeNotSatisfiable: errno.EIO,
    errors.ArchiveUnreachable: errno.EIO,
    errors.ServiceUnavailable: errno.EHOSTDOWN,
}
# What a program asks all the time, and what is an answer rather than a failure.
_USUAL: Final = frozenset(
    {errno.ENOENT, errno.EEXIST, errno.ENODATA, errno.ENOTEMPTY, errno.EOPNOTSUPP, errno.EPERM}
)


def number(error: BaseException) -> int:
    """Return the errno that ``error`` is told as; always a positive one."""
    if isinstance(error, VOSpaceError):
        return ERRNO.get(type(error), errno.EIO)
    if isinstance(error, TimeoutError):  # an OSError without errno, more often than not
        return error.errno or errno.ETIMEDOUT
    if isinstance(error, asyncio.CancelledError):
        return errno.EINTR
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        return error.errno
    return errno.EIO


def operation(function: Callable[P, R]) -> Callable[P, R]:
    """Make whatever ``function`` raises an OSError with an errno: the bindings know no other.

    What is no OSError with a number, they turn into any number (ERANGE for a failed close), and
    what is no Exception ends the mount.
    """

    @functools.wraps(function)
    def told(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except (Exception, asyncio.CancelledError, SystemExit, KeyboardInterrupt) as error:
            found = number(error)
            if not isinstance(error, VOSpaceError | OSError):
                log.exception("%s failed", function.__name__)
            elif found not in _USUAL:
                log.warning("%s: %s", function.__name__, error)
            raise OSError(found, function.__name__) from error

    return told
