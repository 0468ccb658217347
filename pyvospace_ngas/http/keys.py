"""Typed keys of what the applications and their requests carry."""

from typing import TYPE_CHECKING, Final

from aiohttp import web

from pyvospace_ngas.config import Config
from pyvospace_ngas.db.connect import Database
from pyvospace_ngas.model.access import Identity
from pyvospace_ngas.model.uri import Space

if TYPE_CHECKING:
    from pyvospace_ngas.http.credentials import Identities

CONFIG: Final[web.AppKey[Config]] = web.AppKey("config", Config)
DATABASE: Final[web.AppKey[Database]] = web.AppKey("database", Database)
SPACE: Final[web.AppKey[Space]] = web.AppKey("space", Space)
IDENTITIES: Final["web.AppKey[Identities]"] = web.AppKey("identities")

IDENTITY: Final[web.RequestKey[Identity]] = web.RequestKey("identity", Identity)
# The response whose head was sent: from then on an error can only cut the connection.
STARTED: Final[web.RequestKey[web.StreamResponse]] = web.RequestKey("started", web.StreamResponse)
