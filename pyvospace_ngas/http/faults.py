"""Errors to answers, once, for both servers: the only table of faults and status codes."""

import logging
import re
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from pyvospace_ngas import errors
from pyvospace_ngas.errors import VOSpaceError
from pyvospace_ngas.http.keys import IDENTITY, SPACE, STARTED
from pyvospace_ngas.model.uri import NodePath, Space
from pyvospace_ngas.xml.nodes import link_details

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

STATUS: Final[dict[type[VOSpaceError], int]] = {
    errors.InternalFault: 500,
    errors.PermissionDenied: 403,
    errors.NotAuthenticated: 401,
    errors.TooManyRequests: 429,
    errors.InvalidURI: 400,
    errors.InvalidArgument: 400,
    errors.DocumentTooLarge: 413,
    errors.NodeNotFound: 404,
    errors.ContainerNotFound: 404,
    errors.LinkFound: 400,
    errors.DuplicateNode: 409,
    errors.TypeNotSupported: 400,
    errors.ViewNotSupported: 400,
    errors.ProtocolNotSupported: 400,
    errors.OperationNotSupported: 501,
    errors.InvalidData: 400,
    errors.TransferFailed: 500,
    errors.NodeBusy: 409,
    errors.NodeLocked: 423,
    errors.QuotaExceeded: 413,
    errors.JobNotFound: 404,
    errors.IllegalTransition: 403,
    errors.EndpointNotFound: 404,
    errors.EndpointSpent: 409,
    errors.LengthMismatch: 400,
    errors.ChecksumMismatch: 412,
    errors.PreconditionFailed: 412,
    errors.ChangesPruned: 410,
    errors.RangeNotSatisfiable: 416,
    errors.ArchiveUnreachable: 503,
    errors.ServiceUnavailable: 503,
}
RETRY_SECONDS: Final = 5  # what a 503 asks a client to wait
LONGEST_DETAIL: Final = 32_768
_BREAKS: Final = re.compile(r"[\s\x00-\x1f\x7f]+")


@web.middleware
async def faults(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every error in the words of the standard; the unexpected tells the caller nothing.

    The application keeps its `SPACE`, and has `safety.install` run on it. Once the head of an
    answer was sent nothing can be told any more: the connection is cut.
    """
    try:
        return await handler(request)
    except VOSpaceError as error:
        if isinstance(error, errors.InternalFault):
            log.exception("%s failed", shown(request))
        return _cut(request) or _answer(request, error)
    except web.HTTPRequestEntityTooLarge:
        return _cut(request) or _answer(request, _too_large(request.client_max_size))
    except web.HTTPException as error:
        return _cut(request) or _plain(error)
    except web.RequestPayloadError:
        # The client broke its own framing, or went away while it sent.
        return _cut(request) or _answer(request, errors.InvalidArgument("the body is malformed"))
    except Exception as error:
        if isinstance(error, ConnectionError) and _is_gone(request):
            log.info("%s: the client went away", shown(request))
        else:
            log.exception("%s failed", shown(request))
        return _cut(request) or _answer(request, errors.InternalFault())


def describe(error: VOSpaceError, space: Space) -> str:
    """Return the detail of ``error`` in one line; nodes are written as their URIs."""
    detail = error.args[0] if error.args else ""
    text = space.uri(detail) if isinstance(detail, NodePath) else str(detail)
    if isinstance(error, errors.LinkFound) and isinstance(detail, NodePath):
        text = f"{text} {link_details(detail, error.target, space)}"
    return _BREAKS.sub(" ", text).strip()[:LONGEST_DETAIL]


def shown(request: web.Request) -> str:
    """Return what a log may say of ``request``: its route, as real paths may hold tokens."""
    resource = request.match_info.route.resource
    return f"{request.method} {resource.canonical if resource else 'an unknown path'}"


def challenges(space: Space) -> tuple[str, str]:
    """Return the values of ``WWW-Authenticate``, each for a line of its own."""
    return (
        f'Basic realm="{space.authority}", charset="UTF-8"',
        f'Bearer realm="{space.authority}"',
    )


def _answer(request: web.Request, error: VOSpaceError) -> web.Response:
    status = STATUS[type(error)]
    space = request.app[SPACE]
    text = f"{error.fault()} {describe(error, space)}".rstrip()
    response = web.Response(
        status=status,
        body=text.encode("utf-8", "replace"),
        content_type="text/plain",
        charset="utf-8",
        headers={"X-VO-Fault": error.fault()},
    )
    who = request.get(IDENTITY)
    if status == 401 or (status == 403 and who is not None and who.user is None):
        for value in challenges(space):
            response.headers.add("WWW-Authenticate", value)
    if isinstance(error, errors.TooManyRequests):
        response.headers["Retry-After"] = str(error.retry_after)
    elif isinstance(error, errors.RangeNotSatisfiable):
        response.headers["Content-Range"] = f"bytes */{error.length}"
    elif status == 503:
        response.headers["Retry-After"] = str(RETRY_SECONDS)
    return response


def _too_large(limit: int) -> errors.DocumentTooLarge:
    return errors.DocumentTooLarge(f"a document has at most {limit} bytes")


def _plain(error: web.HTTPException) -> web.Response:
    """Return aiohttp's own answer (404, 405 with Allow, 303) as plain text."""
    response = web.Response(status=error.status, reason=error.reason, text=f"{error.reason}\n")
    for name in ("Allow", "Location", "Retry-After"):
        if name in error.headers:
            response.headers[name] = error.headers[name]
    return response


def _is_gone(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


def _cut(request: web.Request) -> web.StreamResponse | None:
    """Abort the connection if an answer's head was sent; return that answer, or ``None``."""
    started = request.get(STARTED)
    if started is not None and request.transport is not None:
        log.warning("%s broke off after its answer had begun", shown(request))
        request.transport.abort()
    return started
