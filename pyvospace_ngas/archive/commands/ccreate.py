"""CCREATE: make a container, or with a document a hierarchy of them."""

from aiohttp import web
from lxml import etree

from pyvospace_ngas.archive import containers, containing
from pyvospace_ngas.archive.answers import Call, with_containers
from pyvospace_ngas.archive.containers import NewContainer
from pyvospace_ngas.archive.refusals import Refused


async def handle(call: Call) -> web.StreamResponse:
    """Make them all, or none."""
    new = await _wanted(call)
    with call.node.busy(), containing.refusals():
        await call.node.database.run(containers.create(new, containing.parent_of(call)))
    return await with_containers(call, "Successfully created container(s)", new.status())


async def _wanted(call: Call) -> NewContainer:
    if call.request.method == "POST":
        return _read(await containing.document(call.request), 1)
    name = call.parameters.get("container_name")
    if name is None:
        raise Refused("No container_name parameter given, cannot create a nameless container")
    return containing.new_container(name)


def _read(element: etree._Element, depth: int) -> NewContainer:
    """Read an element with a ``name``; what it is called does not matter."""
    if depth > containing.DEEPEST:
        raise Refused(f"containers can be {containing.DEEPEST} deep")
    children = [_read(child, depth + 1) for child in element if isinstance(child.tag, str)]
    if len({child.name for child in children}) < len(children):
        raise Refused(f"two containers in {element.get('name')!r} have one name", 409)
    return containing.new_container(str(element.get("name", "")), *children)
