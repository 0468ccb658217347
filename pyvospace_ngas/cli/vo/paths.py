"""What a person means by a path: in the space, or here."""

from pathlib import Path
from typing import Final

from pyvospace_ngas.errors import InvalidArgument, NotAuthenticated
from pyvospace_ngas.model.uri import NodePath, Space, check_name

SCHEME: Final = "vos:"


def is_remote(text: str) -> bool:
    """Tell whether ``text`` says itself that it is in the space."""
    return text.startswith(SCHEME)


def remote(text: str, space: Space, user: str | None) -> NodePath:
    """Return the node that is meant by ``/a b``, ``vos:/a b``, ``vos://AUTHORITY/a%20b`` or ``x``.

    The last is below the user's home. Only in a whole URI is anything escaped.
    """
    if text.startswith("vos://"):
        return space.parse(text.replace(" ", "%20"))
    plain = text.removeprefix(SCHEME)
    parts: list[str] = []
    if not plain.startswith("/"):
        if user is None:
            raise NotAuthenticated(
                f"{plain or '.'} would be below your home: log in, or write a whole path (/...)"
            )
        parts = ["home", user]
    for part in plain.split("/"):
        if part == ".." and parts:
            parts.pop()
        elif part not in ("", ".", ".."):
            check_name(part, plain)
            parts.append(part)
    return NodePath(tuple(parts))


def local(text: str) -> Path:
    """Return the place here that is meant."""
    if is_remote(text):
        raise InvalidArgument(f"{text} is in the space, and a place on this computer is wanted")
    return Path(text)


def shown(text: object) -> str:
    """Return ``text`` for a terminal: what would move its cursor is written as an escape."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode()
        for char in str(text).encode("utf-8", "replace").decode()
    )
