"""``/searches``: making jobs that look for nodes, as VOSpace 2.0 has them."""

from aiohttp import web

from pyvospace_ngas.errors import PermissionDenied
from pyvospace_ngas.http.keys import IDENTITY
from pyvospace_ngas.model.job import Kind
from pyvospace_ngas.space.handlers.recursive import create
from pyvospace_ngas.space.parameters import parameters
from pyvospace_ngas.xml.searches import read_search, search_as_sent


async def create_search(request: web.Request) -> web.Response:
    """POST a search document: 303 to a new job, for who has logged in: it may read a lot."""
    if request[IDENTITY].user is None:
        raise PermissionDenied("the space is searched for its users only: log in")
    body = await request.read()
    read_search(body)
    given = parameters(request.query.items())
    return await create(request, Kind.SEARCH, search_as_sent(body), given)
