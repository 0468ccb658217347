"""The resource ``/files``: the bytes of a node by its path, as browsers and CADC's clients ask."""

from datetime import UTC, datetime
from typing import Final

from aiohttp import web

from pyvospace_ngas.http.keys import DATABASE, IDENTITY, SPACE
from pyvospace_ngas.model.uri import parse_path
from pyvospace_ngas.ops import files
from pyvospace_ngas.space.running import ENDPOINT_KEY, see_other

_ROOT: Final = "/files"


async def get_file(request: web.Request) -> web.Response:
    """GET and HEAD: 303 to a storage server, which knows ranges, conditions and types."""
    _, _, raw = request.rel_url.raw_path.partition(_ROOT)
    async with request.app[DATABASE].acquire() as db:
        found = await files.find(db, request[IDENTITY], parse_path(raw), request.app[SPACE])
    answer = see_other(files.address(found, request.app[ENDPOINT_KEY], datetime.now(UTC)))
    answer.headers["Cache-Control"] = "no-store"  # the place is a key, and soon no good
    return answer
