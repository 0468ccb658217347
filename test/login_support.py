"""A small server with the middlewares of the space server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web
from aiohttp.test_utils import TestServer

from pyvospace_ngas import config
from pyvospace_ngas.config import Config
from pyvospace_ngas.db.connect import Database
from pyvospace_ngas.errors import PermissionDenied
from pyvospace_ngas.http import safety
from pyvospace_ngas.http.credentials import Identities
from pyvospace_ngas.http.faults import faults
from pyvospace_ngas.http.identity import authenticate
from pyvospace_ngas.http.keys import CONFIG, DATABASE, IDENTITIES, IDENTITY, SPACE
from pyvospace_ngas.model.uri import Space
from pyvospace_ngas.space.handlers import login, tokens

SPACE_SECTION: Final = {
    "host": "localhost", "port": "8082", "name": "ngas", "uri": "icrar.org",
    "dsn": "postgres://nobody@localhost/nothing", "parameters": "{}",
    "secret_key": "0123456789abcdef0123456789abcdef", "domain": "", "use_ssl": "0",
}  # fmt: skip
STORAGE_SECTION: Final = {
    "name": "ngas", "host": "localhost", "port": "8083", "parameters": "{}", "use_ssl": "0",
    "ngas_servers": '[{"hostname": "localhost", "port": 7777}]',
}  # fmt: skip

routes = web.RouteTableDef()


@routes.get("/who")
@routes.put("/who")
async def tell(request: web.Request) -> web.Response:
    who = request[IDENTITY]
    groups = ",".join(sorted(who.groups))
    return web.json_response({"user": who.user, "admin": who.admin, "groups": groups})


@routes.get("/forbidden")
async def forbid(request: web.Request) -> web.Response:
    raise PermissionDenied("not you")


def settings(**keys: str) -> Config:
    """Return a configuration with ``keys`` in the section [Space]."""
    return config.parse({"Space": SPACE_SECTION | keys, "Storage": STORAGE_SECTION})


@asynccontextmanager
async def serve(dsn: str, staleness: float = 10, **keys: str) -> AsyncIterator[str]:
    """Run one server on the database ``dsn``; give its URL."""
    async with Database(dsn, 4) as database:
        app = web.Application(middlewares=[faults, authenticate])
        safety.install(app)
        app.add_routes(routes)
        app.add_routes(login.routes)
        app.add_routes(tokens.routes)
        app[SPACE] = Space("icrar.org~ngas")
        app[DATABASE] = database
        app[CONFIG] = settings(**keys)
        app[IDENTITIES] = Identities(app[CONFIG].space, database, staleness)
        async with TestServer(app) as server:
            yield str(server.make_url("")).rstrip("/")
