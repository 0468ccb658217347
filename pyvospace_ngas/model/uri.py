"""Names of nodes: ``vos:`` URIs, URL paths, and the path inside the space that both stand for."""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from pyvospace_ngas.errors import InvalidURI

AUTO: Final = ".auto"  # the service makes a name (VOSpace 2.1, section 2.2.1)
NULL: Final = ".null"  # what goes there is dropped
RESERVED: Final = frozenset({AUTO, NULL})
LONGEST_NAME: Final = 255  # bytes of UTF-8, as on the file systems that mounts are compared with
LONGEST_PATH: Final = 4096
DEEPEST: Final = 200
# The characters that clients compare literally and that need no escaping in a path segment.
PLAIN: Final = "!$&'()*+,;=:@~-._"
_UNCHANGED: Final = re.compile(f"[A-Za-z0-9{re.escape(PLAIN)}]+")

# A URI or a bare word, as xs:anyURI knows it: anything else would make our documents invalid.
_ANY: Final = r"(?:[^\s%#\[\]<>\"\x00-\x1f\x7f]|%[0-9A-Fa-f]{2})"
_SCHEME: Final = r"[A-Za-z][A-Za-z0-9+.\-]*"
_HOST: Final = r"[^\s%#\[\]<>\"\x00-\x1f\x7f/?:@]*(?::\d{1,5})?(?=[/?#]|\Z)"
_URI: Final = re.compile(
    rf"(?:{_SCHEME}:(?!//)|{_SCHEME}://{_HOST}|(?!//)(?![^/?#]*:)){_ANY}*(?:#{_ANY}*)?\Z"
)
LONGEST_URI: Final = 1024  # of what is not a node's

_FORBIDDEN: Final = re.compile("[\x00-\x1f\x7f/\ud800-\udfff\ufffe\uffff]")
# A path that needs no decoding and holds no special name; no part of it can be too long.
_SPACE: Final = re.compile(r"\s")
_SIMPLE: Final = re.compile(r"(?=.{1,255}\Z)(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)+")
_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,254}")
_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class NodePath:
    """The names from the root down to a node; the root has none."""

    parts: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "/" + "/".join(self.parts)

    def __truediv__(self, name: str) -> "NodePath":
        return NodePath((*self.parts, name))

    @property
    def name(self) -> str:
        """Return the last name, or the empty text for the root."""
        return self.parts[-1] if self.parts else ""

    @property
    def parent(self) -> "NodePath":
        """Return the path of the container around this node; the root is its own."""
        return NodePath(self.parts[:-1])

    def is_below(self, other: "NodePath") -> bool:
        """Tell whether this path is ``other`` or lies below it."""
        return self.parts[: len(other.parts)] == other.parts


ROOT: Final = NodePath()


@dataclass(frozen=True, slots=True)
class Space:
    """The authority of our node URIs, as we write it, and the others that we understand."""

    authority: str
    aliases: frozenset[str] = frozenset()

    def uri(self, path: NodePath) -> str:
        """Return the URI of ``path``, escaped no more than is needed."""
        return f"vos://{self.authority}{encode(path)}"

    @property
    def identifier(self) -> str:
        """Return the IVO identifier of this space, such as ``ivo://icrar.org/ngas``."""
        return f"ivo://{self.authority.replace('~', '/')}"

    def own(self, name: str) -> frozenset[str]:
        """Return the URIs of a parameter or property of our own, such as ``ivo://icrar.org#x``."""
        authority = self.authority.partition("~")[0]
        return frozenset({f"ivo://{authority}#{name}", f"{self.identifier}#{name}"})

    def parse(self, uri: str) -> NodePath:
        """Return the path that a ``vos:`` URI names; raise `InvalidURI` for any other URI.

        ``!`` and ``~`` are the same in the authority, and its letters' case does not count. A
        fragment plays no part; a query does not name a node and is refused.
        """
        if not uri.startswith("vos://") or _SPACE.search(uri):
            raise InvalidURI(f"{uri} is no vos URI, or holds white space that must be escaped")
        authority, _, path = uri.removeprefix("vos://").partition("#")[0].partition("/")
        written = authority.lower().replace("!", "~")
        if written != self.authority.lower() and written not in self.aliases:
            raise InvalidURI(f"{uri} is not in this space, {self.authority}")
        if "?" in path:
            raise InvalidURI(f"{uri} has a query; a question mark in a name is written %3F")
        return parse_path("/" + path, uri)


def encode(path: NodePath) -> str:
    """Return ``path`` as it stands in URIs: ``""`` for the root, else ``/a%20b/c``."""
    return "".join("/" + encode_name(name) for name in path.parts)


@lru_cache(maxsize=4096)
def encode_name(name: str) -> str:
    """Return ``name`` as it stands in a URI."""
    # Most names are plain, and a listing encodes 10,000: this is a quarter of quote's time.
    return name if _UNCHANGED.fullmatch(name) else quote(name, safe=PLAIN)


def is_uri(text: str) -> bool:
    """Tell whether ``text`` can name a property, a view or a protocol."""
    return 0 < len(text) <= LONGEST_URI and _URI.match(text) is not None


def plain_names(path: str) -> tuple[str, ...] | None:
    """Return the names of a path in which there is nothing to decode, nor to check."""
    return tuple(path[1:].split("/")) if _SIMPLE.fullmatch(path) else None


def parse_path(raw: str, shown: str | None = None) -> NodePath:
    """Return the path that the still escaped ``raw`` names; one trailing slash does not count.

    Each segment is decoded once, after the split at ``/``. Raises `InvalidURI` with ``shown`` (or
    ``raw``) for anything that cannot be the name of a node.
    """
    if (plain := plain_names(raw)) is not None:
        return NodePath(plain)
    shown = raw if shown is None else shown
    text = raw.removeprefix("/").removesuffix("/")
    if not text:
        return ROOT
    if len(raw) > 3 * LONGEST_PATH:
        raise InvalidURI(f"{shown[:80]}... is too long")
    parts = tuple(_decode(segment, shown) for segment in text.split("/"))
    if len(parts) > DEEPEST or sum(len(part.encode()) + 1 for part in parts) > LONGEST_PATH:
        raise InvalidURI(f"{shown[:80]}... is too long or too deep")
    if not RESERVED.isdisjoint(parts[:-1]):
        raise InvalidURI(f"{shown}: .auto and .null can only be the last part")
    return NodePath(parts)


def split(uri: str) -> tuple[str, str]:
    """Return the authority and the still escaped path of a ``vos:`` URI of whichever space."""
    if not uri.startswith("vos://"):
        raise InvalidURI(f"{uri[:200]} is no vos URI")
    authority, _, path = uri.removeprefix("vos://").partition("#")[0].partition("/")
    return authority, f"/{path}"


def node_of(uri: str) -> NodePath:
    """Return the path that a ``vos:`` URI of whichever space names."""
    around, _, name = uri.rpartition("/")
    if around.startswith("vos://") and "#" not in around and _PLAIN_NAME.fullmatch(name):
        return _container(around) / name
    return parse_path(split(uri)[1], uri)


@lru_cache(maxsize=64)  # of 10,000 in a listing it is the same
def _container(uri: str) -> NodePath:
    return parse_path(split(uri)[1], uri)


def _decode(segment: str, shown: str) -> str:
    if _ESCAPE.search(segment):
        raise InvalidURI(f"{shown} has a % that escapes nothing; a percent sign is written %25")
    try:
        name = unquote_to_bytes(segment).decode("utf-8")
    except UnicodeError:
        raise InvalidURI(f"{shown!r} is not UTF-8") from None
    check_name(name, shown)
    return name


def check_name(name: str, shown: str) -> None:
    """Raise `InvalidURI` unless ``name`` can be the name of a node."""
    if not name or name in (".", ".."):
        raise InvalidURI(f"{shown} has an empty, . or .. part")
    if _FORBIDDEN.search(name):
        raise InvalidURI(f"{shown} has a slash or a control character inside a name")
    if len(name.encode()) > LONGEST_NAME:
        raise InvalidURI(f"{shown[:80]}... has a name of more than {LONGEST_NAME} bytes")
