"""A server's refusals, as the exceptions that they are."""

from typing import Final

from pyvospace_ngas import errors
from pyvospace_ngas.errors import VOSpaceError

_BY_NAME: Final = {cls.fault(): cls for cls in VOSpaceError.__subclasses__()}
# What a refusal without a name that we know means: some proxy's, or another service's.
_BY_STATUS: Final[dict[int, type[VOSpaceError]]] = {
    401: errors.NotAuthenticated,
    403: errors.PermissionDenied,
    410: errors.ChangesPruned,
    412: errors.PreconditionFailed,
    416: errors.RangeNotSatisfiable,
    429: errors.TooManyRequests,
    500: errors.InternalFault,
    502: errors.ServiceUnavailable,
    503: errors.ServiceUnavailable,
    504: errors.ServiceUnavailable,
}
_LONGEST: Final = 500


def fault(status: int, body: bytes) -> VOSpaceError:
    """Return the exception that a refusal with ``status`` and ``body`` stands for."""
    text = body.decode("utf-8", "replace").strip()
    named = of_text(text)
    if named is not None:
        return named
    shown = text[:_LONGEST] if text and not text.startswith("<") else f"HTTP status {status}"
    return _BY_STATUS.get(status, VOSpaceError)(shown)


def of_text(text: str) -> VOSpaceError | None:
    """Return the fault that ``text`` names in its first word, as in ``NodeNotFound vos://a/b``."""
    name, *detail = text.strip().split(maxsplit=1)[:2] or [""]
    cls = _BY_NAME.get(name.rstrip(":."))
    return None if cls is None else cls(detail[0].strip() if detail else "")
