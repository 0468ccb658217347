"""UNSUBSCRIBE: have no more files sent to a subscriber, also not those that wait for it."""

from aiohttp import web

from pyvospace_ngas.archive import subscribers
from pyvospace_ngas.archive.answers import Call, success
from pyvospace_ngas.archive.refusals import Refused, bad_syntax


async def handle(call: Call) -> web.StreamResponse:
    """Remove the subscriber of ``subscr_id`` or, else, of ``url``."""
    name, url = call.parameters.get("subscr_id"), call.parameters.get("url")
    if not (name or url):
        raise bad_syntax(call.command, "subscr_id or url")
    script = subscribers.remove(call.node.host_id, name or url or "", by_url=not name)
    if not await call.node.database.run(script):
        raise Refused(f"There is no subscription '{name or url}' at this node", 404)
    call.node.deliveries.set()
    return success(call, "Successfully handled UNSUBSCRIBE command")
