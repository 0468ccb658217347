"""The parameters of a request: its query, over what Content-Disposition brings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote

from aiohttp import web

from pyvospace_ngas.archive.refusals import Refused, bad_syntax

PART: Final = re.compile(r';\s*([\w*-]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^;]*)')
CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
CREDENTIAL: Final = "authorization"
LARGEST_VERSION: Final = 2**31 - 1


def of_request(request: web.Request) -> dict[str, str]:
    """Return the parameters; blank values do not count, and the last of a name does.

    A credential in the query is none: what it opens is decided before any command sees it.
    """
    found = of_disposition(request.headers.get("Content-Disposition", ""))
    found |= {name: value for name, value in request.query.items() if value}
    found.pop(CREDENTIAL, None)
    return found


def of_disposition(header: str) -> dict[str, str]:
    """Read ``attachment; filename="x"; name=value``: each name is a parameter."""
    found: dict[str, str] = {}
    for name, value in PART.findall(header):
        text = value.strip()
        if len(text) > 1 and text.startswith('"'):
            text = re.sub(r"\\(.)", r"\1", text[1:-1])
        if name.endswith("*"):
            text = text.rpartition("'")[2]
        if text:
            found[name.rstrip("*").lower()] = unquote(text)
    return found


def version(parameters: Mapping[str, str], command: str) -> int | None:
    """Return file_version, where one is given."""
    text = parameters.get("file_version")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and 0 < int(text[:11]) <= LARGEST_VERSION):
        raise bad_syntax(command, "file_version as a whole number from 1")
    return int(text)


def flag(parameters: Mapping[str, str], name: str) -> bool:
    """Whether a switch is on."""
    return parameters.get(name, "0").lower() not in {"0", "false", ""}


def whole(parameters: Mapping[str, str], name: str, default: int) -> int:
    """Return a number, or refuse what is none."""
    text = parameters.get(name, str(default))
    if not (text.isascii() and text.isdigit()):
        raise Refused(f"{name} must be a whole number")
    return int(text[:11])


def base_name(text: str) -> str:
    """Return the last part of a path or URI; "" when that is no name for a file."""
    name = text.rstrip().rpartition("/")[2]
    return "" if name in {".", ".."} or CONTROL.search(name) else name
