"""Accounts: who may log in, and what their names, groups and passwords may look like."""

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from pyvospace_ngas.errors import InvalidArgument

SHORTEST_PASSWORD: Final = 8
LONGEST_PASSWORD: Final = 1024
# A user's name becomes that of a container, and a group's stands in lists and in URIs.
_NAME: Final = re.compile(r"(?![-.])[A-Za-z0-9._@-]{1,64}\Z")


@dataclass(frozen=True, slots=True)
class Account:
    """A row of the table; two that are equal stand for the same password, groups and rights."""

    name: str
    password: str = field(repr=False)  # its argon2id hash
    admin: bool
    groups: tuple[str, ...]
    disabled: bool
    version: int
    created: datetime


def is_name(text: str) -> bool:
    """Tell whether ``text`` can be the name of a user or of a group."""
    return bool(_NAME.match(text))


def check_name(kind: str, text: str) -> None:
    """Raise `InvalidArgument` unless ``text`` can be the name of a user or of a group."""
    if not is_name(text):
        raise InvalidArgument(
            f"{text[:80]!r} cannot be the name of a {kind}: it has 1 to 64 letters, digits and"
            " . _ @ - and begins with neither . nor -"
        )


def check_password(password: str) -> None:
    """Raise `InvalidArgument` for a password that is too short to be one."""
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise InvalidArgument(
            f"a password has {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters"
        )
