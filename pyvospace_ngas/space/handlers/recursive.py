"""``/async-delete`` and ``/async-setprops``: making jobs over a whole tree, as CADC has them."""

from aiohttp import web

from pyvospace_ngas.errors import InvalidArgument
from pyvospace_ngas.http.keys import DATABASE, IDENTITY, SPACE
from pyvospace_ngas.model.job import Kind
from pyvospace_ngas.model.node import NodeTemplate
from pyvospace_ngas.ops import executing, jobs
from pyvospace_ngas.space.handlers.jobs import path_of
from pyvospace_ngas.space.handlers.transfers import is_document
from pyvospace_ngas.space.parameters import Parameters, one, parameters, required
from pyvospace_ngas.space.running import RUNNING, base_url, see_other
from pyvospace_ngas.xml.nodes import read_node, write_template


async def create_delete(request: web.Request) -> web.Response:
    """POST target=URI: 303 to a new job that deletes the node with all below it."""
    space = request.app[SPACE]
    given = parameters(request.query.items(), await request.read())
    path = space.parse(required(given, "TARGET"))
    return await create(request, Kind.DELETE, write_template(NodeTemplate(path), space), given)


async def create_set(request: web.Request) -> web.Response:
    """POST a node document: 303 to a new job that sets its properties on all of the tree."""
    body = await request.read()
    given = parameters(request.query.items(), b"" if is_document(body) else body)
    space = request.app[SPACE]
    sent = read_node(body, space)
    wanted = NodeTemplate(sent.path, properties=sent.properties)  # for nodes of any type
    return await create(request, Kind.SET, write_template(wanted, space), given)


async def create(
    request: web.Request, kind: Kind, document: str, given: Parameters
) -> web.Response:
    """Make a job that goes through a tree, and run it if that is asked for; 303 to it."""
    wanted = one(given, "PHASE")
    if wanted is not None and wanted.upper() != "RUN":
        raise InvalidArgument(f"PHASE {wanted[:40]!r}: a new job can only be told RUN")
    who = request[IDENTITY]
    async with request.app[DATABASE].acquire() as db:
        job = await jobs.create_walk(db, who, kind, document, one(given, "RUNID"))
    if wanted is not None:
        await executing.run(request.app[RUNNING], who, job)
    return see_other(f"{base_url(request)}/{path_of(kind)}/{job.id}")
