"""The identifiers of the standard, and the few of other people that clients use."""

from typing import Final

CORE: Final = "ivo://ivoa.net/vospace/core#"

# Properties (VOSpace 2.1, appendix C, and two that clients rely on)
LENGTH: Final = CORE + "length"
DATE: Final = CORE + "date"
MTIME: Final = CORE + "mtime"
CTIME: Final = CORE + "ctime"
BTIME: Final = CORE + "btime"
CREATOR: Final = CORE + "creator"
QUOTA: Final = CORE + "quota"
AVAILABLE_SPACE: Final = CORE + "availableSpace"
GROUP_READ: Final = CORE + "groupread"
GROUP_WRITE: Final = CORE + "groupwrite"
PUBLIC_READ: Final = CORE + "publicread"
TYPE: Final = CORE + "type"
IS_PUBLIC: Final = CORE + "ispublic"  # CADC's name for publicread
IS_LOCKED: Final = "ivo://cadc.nrc.ca/vospace/core#islocked"
MD5: Final = CORE + "MD5"

_DESCRIPTIVE: Final = (
    "title subject description publisher contributor type format identifier source language"
    " relation coverage rights"
)
SETTABLE: Final = (
    *(CORE + name for name in _DESCRIPTIVE.split()),
    GROUP_READ,
    GROUP_WRITE,
    PUBLIC_READ,
    IS_PUBLIC,
    IS_LOCKED,
)
READ_ONLY: Final = (
    LENGTH, DATE, MTIME, CTIME, BTIME, CREATOR, MD5, QUOTA, AVAILABLE_SPACE,
)  # fmt: skip

# Views
ANY_VIEW: Final = CORE + "anyview"
BINARY_VIEW: Final = CORE + "binaryview"
DEFAULT_VIEW: Final = CORE + "defaultview"
IMPORT_VIEWS: Final = (ANY_VIEW, BINARY_VIEW)
EXPORT_VIEWS: Final = (DEFAULT_VIEW, BINARY_VIEW)

# Protocols
HTTP_GET: Final = CORE + "httpget"
HTTP_PUT: Final = CORE + "httpput"
HTTPS_GET: Final = CORE + "httpsget"
HTTPS_PUT: Final = CORE + "httpsput"
# A link for everybody who has it (VOSpace 2.1, section 3.5.4)
PUBLIC_SHARE: Final = "http://wiki.ivoa.net/twiki/bin/view/IVOA/VOSpacePublicShare"
GET_PROTOCOLS: Final = (HTTP_GET, HTTPS_GET, PUBLIC_SHARE)
PUT_PROTOCOLS: Final = (HTTP_PUT, HTTPS_PUT)
# Spoken when the service calls others.
CLIENT_PROTOCOLS: Final = (HTTP_GET, HTTP_PUT, HTTPS_GET, HTTPS_PUT)

# Security methods (SSO). The byte endpoints are signed and need none of them; a client that names
# one of these gets an endpoint that works with it.
BASIC: Final = "ivo://ivoa.net/sso#BasicAA"
BASIC_OLD: Final = "http://www.w3.org/Protocols/HTTP/1.0/spec/html#BasicAA"
COOKIE: Final = "ivo://ivoa.net/sso#cookie"
TOKEN: Final = "ivo://ivoa.net/sso#token"  # noqa: S105 - the method's name
SECURITY_METHODS: Final = frozenset({BASIC, BASIC_OLD, COOKIE, TOKEN})
