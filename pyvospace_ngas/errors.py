"""Everything that can go wrong in a VOSpace, in the words of the standard where it has one.

The name of the class is the name of the fault; the text is its detail (VOSpace 2.1, section 5.5).
"""

import re


class VOSpaceError(Exception):
    """What a caller is told: a short plain sentence, or the node that the fault is about.

    A node is given as its path; the edge that knows the space's authority writes it as a URI.
    """

    @classmethod
    def fault(cls) -> str:
        """Return the fault's exact name, such as ``NodeNotFound``."""
        return cls.__name__

    @classmethod
    def message(cls) -> str:
        """Return the name as UWS error summaries write it, such as ``Node Not Found``."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", cls.__name__)


class InternalFault(VOSpaceError):
    """Something failed that the caller cannot mend."""


class PermissionDenied(VOSpaceError):
    """The caller may not do this."""


class NotAuthenticated(VOSpaceError):
    """Credentials were given and are wrong."""


class TooManyRequests(VOSpaceError):
    """Too many failed log-ins, or streams; ``retry_after``: in how many seconds to come back."""

    def __init__(self, text: str, retry_after: int = 1) -> None:
        super().__init__(text)
        self.retry_after = retry_after


class InvalidURI(VOSpaceError):
    """A URI that is malformed, not of this space, or not where the operation allows it."""


class InvalidArgument(VOSpaceError):
    """A parameter, a property's value or a document that cannot be used."""


class DocumentTooLarge(VOSpaceError):
    """A request document above the limit."""


class NodeNotFound(VOSpaceError):
    """There is no such node."""


class ContainerNotFound(VOSpaceError):
    """An ancestor is missing or is no container."""


class LinkFound(VOSpaceError):
    """An ancestor is a LinkNode; the detail is the link's own document (FLT-07)."""

    def __init__(self, path: object, target: str | None = None) -> None:
        super().__init__(path)
        self.target = target


class DuplicateNode(VOSpaceError):
    """A node of that name exists."""


class TypeNotSupported(VOSpaceError):
    """A node type outside the standard's six."""


class ViewNotSupported(VOSpaceError):
    """A view that this node does not accept or provide."""


class ProtocolNotSupported(VOSpaceError):
    """None of the protocols asked for can be served."""


class OperationNotSupported(VOSpaceError):
    """This operation is not offered."""


class InvalidData(VOSpaceError):
    """The bytes do not fit the view they were said to have."""


class TransferFailed(VOSpaceError):
    """No endpoint worked."""


class NodeBusy(VOSpaceError):
    """Another transfer writes this node right now."""


class NodeLocked(VOSpaceError):
    """Somebody locked the node."""


class QuotaExceeded(VOSpaceError):
    """There is no room for this."""


class JobNotFound(VOSpaceError):
    """There is no such job."""


class IllegalTransition(VOSpaceError):
    """A job's phase does not allow this (UWS 1.1, section 2.2.3.2: 403)."""


class EndpointNotFound(VOSpaceError):
    """The transfer endpoint never existed, has expired, or its job ended."""


class EndpointSpent(VOSpaceError):
    """The transfer endpoint was already used."""


class LengthMismatch(VOSpaceError):
    """The body is not as long as was said."""


class ChecksumMismatch(VOSpaceError):
    """The bytes that came are not those that the caller's digest names."""


class PreconditionFailed(VOSpaceError):
    """A condition of the request (If-Match and the like) does not hold."""


class ChangesPruned(VOSpaceError):
    """What changed since then is not kept any more: follow anew, and believe nothing older."""


class RangeNotSatisfiable(VOSpaceError):
    """The range asked for lies outside of the file; ``length`` is the file's."""

    def __init__(self, text: str, length: int = 0) -> None:
        super().__init__(text)
        self.length = length


class ArchiveUnreachable(VOSpaceError):
    """No archive node could do this now; trying again later may help."""


class ServiceUnavailable(VOSpaceError):
    """The database, or a part of this service, is away; trying again later may help."""
