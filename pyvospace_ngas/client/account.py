"""What belongs to the caller and not to a node: bearer tokens, and the trash. Both are JSON."""

import json
from collections.abc import AsyncGenerator, Mapping
from typing import Final
from urllib.parse import urlencode

from yarl import URL

from pyvospace_ngas.client.connection import Connection
from pyvospace_ngas.errors import InvalidArgument

Record = Mapping[str, str | int | None]

_FORM: Final = "application/x-www-form-urlencoded"


async def add_token(connection: Connection, **wanted: str | None) -> Record:
    """Make a token; its ``token`` is shown this once. ``wanted``: scope, path and expires."""
    said = {name: value for name, value in wanted.items() if value is not None}
    answer = await connection.ask(
        "POST", connection.base / "tokens", urlencode(said).encode(), kind=_FORM, again=False
    )
    return _record(_read(answer.body))


async def tokens(connection: Connection) -> list[Record]:
    """Return the caller's tokens, without what they are."""
    return _records(_read((await connection.ask("GET", connection.base / "tokens")).body))


async def revoke_token(connection: Connection, token_id: str) -> None:
    """End a token."""
    await connection.ask("DELETE", connection.base / "tokens" / token_id, again=False)


async def trash(connection: Connection, user: str | None) -> AsyncGenerator[Record, None]:
    """Give what was deleted and can be had back, the last first, a page at a time."""
    query = {"limit": "1000"} | ({} if user is None else {"user": user})
    while True:
        url = (connection.base / "trash").with_query(query)
        page = _read((await connection.ask("GET", url)).body)
        if not isinstance(page, dict):
            raise InvalidArgument("the service answered with no page of the trash")
        for entry in _records(page.get("entries")):
            yield entry
        if not page.get("next"):
            return
        query["after"] = str(page["next"])


async def restore(connection: Connection, entry: str, target: str | None) -> str:
    """Bring a tree back where it was, or to ``target``; return the URI that it has now."""
    form = {"restore": ""} | ({} if target is None else {"target": target})
    url: URL = connection.base / "trash" / entry
    answer = await connection.ask("POST", url, urlencode(form).encode(), kind=_FORM, again=False)
    return str(_record(_read(answer.body)).get("uri", ""))


def _read(body: bytes) -> object:
    try:
        found: object = json.loads(body)
    except ValueError:
        raise InvalidArgument("the service answered with something that is no JSON") from None
    return found


def _records(found: object) -> list[Record]:
    if not isinstance(found, list):
        raise InvalidArgument("the service answered with no list")
    return [_record(each) for each in found]


def _record(found: object) -> Record:
    if not isinstance(found, dict):
        raise InvalidArgument("the service answered with no record")
    return {
        str(name): value if isinstance(value, int) else None if value is None else str(value)
        for name, value in found.items()
    }
