"""Downloads: what a signed endpoint gives at this moment."""

from typing import Final

from pyvospace_ngas.db import blobs, jobs
from pyvospace_ngas.db.connect import Connection
from pyvospace_ngas.errors import EndpointNotFound, InternalFault, NodeBusy, NodeNotFound
from pyvospace_ngas.model.content import Served
from pyvospace_ngas.model.endpoint import Endpoint
from pyvospace_ngas.model.job import Phase

GOOD: Final = frozenset({Phase.EXECUTING, Phase.COMPLETED})


async def find(db: Connection, endpoint: Endpoint) -> Served:
    """Return the bytes that ``endpoint`` is good for, as they are now, in one round trip.

    The holder of the endpoint was allowed to read when it was made; what is checked here is that
    the node was not deleted and has bytes, and that the job was not ended, if there is one
    (`ops.files` makes endpoints without, which are short-lived).
    """
    found = await blobs.served(db, endpoint.node_id, endpoint.job_id)
    if found is None or not found.is_rooted:
        raise NodeNotFound("the node was deleted")
    if endpoint.job_id and found.job_phase not in GOOD:
        raise EndpointNotFound("the transfer of this endpoint was ended")
    check_arrived(found)
    if not found.holds_data or (found.blob_id is None) != (found.length == 0):
        raise InternalFault("the node has no bytes that could be served")
    return found


def check_arrived(found: Served) -> None:
    """Raise `NodeBusy` for a file whose first upload is not over: it is not an empty one."""
    if found.is_awaited:
        raise NodeBusy(f"{found.name} has no bytes yet")


async def check_null(db: Connection, endpoint: Endpoint) -> None:
    """Raise `EndpointNotFound` unless the job of a download of ``.null`` stands."""
    job = await jobs.get(db, endpoint.job_id)
    if job is None or job.phase not in GOOD:
        raise EndpointNotFound("the transfer of this endpoint was ended")


async def finish(db: Connection, endpoint: Endpoint) -> None:
    """Complete the job of ``endpoint``, which goes on serving until it expires."""
    await jobs.finish(db, endpoint.job_id)
