"""GET of a FITS file in the header view."""

from aiohttp import web

from pyvospace_ngas.errors import ArchiveUnreachable
from pyvospace_ngas.model.content import Served
from pyvospace_ngas.model.endpoint import Endpoint
from pyvospace_ngas.model.views import Form
from pyvospace_ngas.ngas.errors import NgasError
from pyvospace_ngas.ngas.replicas import Copy
from pyvospace_ngas.ops import downloads
from pyvospace_ngas.storage.service import Service
from pyvospace_ngas.storage.views import fits
from pyvospace_ngas.storage.views.packing import fields, finish


async def send(request: web.Request, service: Service, endpoint: Endpoint) -> web.StreamResponse:
    """Answer with the headers of a file as text; a HEAD reads them too, for their length."""
    async with service.database.acquire() as db:
        found = await downloads.find(db, endpoint)
    try:
        text = await fits.headers(_reader(service, found), found.length)
    except NgasError as error:
        raise ArchiveUnreachable(
            "the archive cannot give this file now; try again later"
        ) from error
    form = Form.FITS_HEADER
    shown = fields(form.media_type, found.name + form.suffix)
    response = web.Response(body=text.encode(), headers=shown)
    if request.method == "GET":
        await finish(service, endpoint)
    return response


def _reader(service: Service, found: Served) -> fits.Fetch:
    copies = [
        Copy(copy.entry, copy.host_id, copy.disk_id, copy.version) for copy in found.copies[:1]
    ]

    async def fetch(start: int, end: int) -> bytes:
        file_id = found.copies[0].file_id
        async with service.federation.retrieve(copies, file_id, start, end) as source:
            return b"".join([piece async for piece in source.chunks()])

    return fetch
