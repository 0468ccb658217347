"""The space server, put together: the only module that knows every part."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from typing import Final

from aiohttp import web

from pyvospace_ngas.config import Config
from pyvospace_ngas.db.connect import Database
from pyvospace_ngas.db.migrate import migrate
from pyvospace_ngas.http import safety
from pyvospace_ngas.http.credentials import Identities
from pyvospace_ngas.http.faults import describe, faults
from pyvospace_ngas.http.identity import authenticate
from pyvospace_ngas.http.keys import CONFIG, DATABASE, IDENTITIES, SPACE
from pyvospace_ngas.model.endpoint import endpoint_keys
from pyvospace_ngas.model.uri import Space
from pyvospace_ngas.ngas.federation import Federation
from pyvospace_ngas.ngas.placement import Entry
from pyvospace_ngas.ops import accounts, discards
from pyvospace_ngas.ops.executing import Running
from pyvospace_ngas.ops.transfers import Offer
from pyvospace_ngas.space.background import background
from pyvospace_ngas.space.feed import FEED, Feed
from pyvospace_ngas.space.handlers import (
    changes,
    files,
    jobs,
    login,
    nodes,
    recursive,
    searches,
    service,
    tokens,
    transfers,
    trash,
)
from pyvospace_ngas.space.running import ENDPOINT_KEY, LARGEST_DOCUMENT, PREFIXES, RUNNING
from pyvospace_ngas.xml.nodes import read_node
from pyvospace_ngas.xml.searches import read_search
from pyvospace_ngas.xml.transfers import read_transfer

CONNECTIONS: Final = 16  # of one process to PostgreSQL

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_NODES: Final = r"/nodes{path:(/[\s\S]*)?}"  # a name with a line break gets its fault, too
_FILES: Final = _NODES.replace("nodes", "files", 1)
# Resources of UWS jobs: each is a list, and below it the jobs with what they show and take.
_JOB_LISTS: Final = ("/transfers", "/async-delete", "/async-setprops", "/searches")
_OF_JOBS: Final[tuple[tuple[str, str, Handler], ...]] = (
    ("GET", "", jobs.list_jobs),
    ("GET", "/{id}", jobs.get_job),
    ("POST", "/{id}", jobs.post_job),
    ("DELETE", "/{id}", jobs.delete_job),
    ("GET", "/{id}/phase", jobs.get_phase),
    ("POST", "/{id}/phase", jobs.post_phase),
    ("GET", "/{id}/executionduration", jobs.get_duration),
    ("POST", "/{id}/executionduration", jobs.post_duration),
    ("GET", "/{id}/destruction", jobs.get_destruction),
    ("POST", "/{id}/destruction", jobs.post_destruction),
    ("GET", "/{id}/quote", jobs.get_quote),
    ("GET", "/{id}/owner", jobs.get_owner),
    ("GET", "/{id}/error", jobs.get_error),
    ("GET", "/{id}/parameters", jobs.get_parameters),
    ("GET", "/{id}/results", jobs.get_results),
    ("GET", "/{id}/results/{result}", jobs.get_result),
)
ROUTES: Final[tuple[tuple[str, str, Handler], ...]] = (
    ("GET", _NODES, nodes.get_node),
    ("PUT", _NODES, nodes.create_node),
    ("POST", _NODES, nodes.set_node),
    ("DELETE", _NODES, nodes.delete_node),
    ("GET", _FILES, files.get_file),
    ("POST", "/transfers", transfers.create_job),
    ("POST", "/async-delete", recursive.create_delete),
    ("POST", "/async-setprops", recursive.create_set),
    ("POST", "/searches", searches.create_search),
    *((method, base + path, act) for base in _JOB_LISTS for method, path, act in _OF_JOBS),
    ("GET", "/changes", changes.follow),
    ("GET", "/trash", trash.list_trash),
    ("POST", "/trash/{id}", trash.restore),
    ("DELETE", "/trash/{id}", trash.purge),
    ("GET", "/synctrans", transfers.synchronous),
    ("POST", "/synctrans", transfers.synchronous),
    ("GET", "/protocols", service.protocols),
    ("GET", "/views", service.views),
    ("GET", "/properties", service.properties),
    ("GET", "/capabilities", service.capabilities),
    ("GET", "/availability", service.availability),
)


def create_app(config: Config) -> web.Application:
    """Return the application; it waits for its database when it starts."""
    app = web.Application(middlewares=[faults, authenticate], client_max_size=LARGEST_DOCUMENT)
    safety.install(app)
    space = config.space
    app[CONFIG] = config
    app[SPACE] = Space(space.authority, frozenset(space.aliases))
    app[DATABASE] = Database(space.dsn, CONNECTIONS)
    app[IDENTITIES] = Identities(space, app[DATABASE])
    app[FEED] = Feed(app[DATABASE])
    app[ENDPOINT_KEY] = endpoint_keys((space.secret_key, *space.old_secret_keys))[0]
    app[service.UP_SINCE] = service.now()
    for prefix in PREFIXES:
        for method, path, handler in ROUTES:
            app.router.add_route(method, prefix + path, handler)
            if method == "GET":
                app.router.add_route("HEAD", prefix + path, handler)
    app.router.add_get("/reg/resource-caps", service.registry)
    app.router.add_routes(login.routes)
    app.router.add_routes(tokens.routes)
    app.cleanup_ctx.extend([_database, _federation, background])
    app.on_shutdown.append(_let_go)
    return app


async def _let_go(app: web.Application) -> None:
    """End the streams: as requests under way the server would wait for them."""
    app[FEED].close()


async def _database(app: web.Application) -> AsyncIterator[None]:
    async with app[DATABASE] as database:
        await database.wait_until_ready()
        await migrate(app[CONFIG].space.dsn)
        yield


async def _federation(app: web.Application) -> AsyncIterator[None]:
    config = app[CONFIG]
    entries = [Entry(s.hostname, s.port, s.host_id) for s in config.storage.ngas_servers]
    async with Federation(entries, cap=config.storage.node_cap) as federation:

        async def refusing() -> Collection[str]:
            if config.storage.discard == "queue":
                return ()
            return await discards.refusing(federation)

        app[RUNNING] = Running(
            database=app[DATABASE],
            offer=Offer(app[SPACE], config.storage.endpoint_lifetime),
            authorities=accounts.authorities(config.space.uri, config.space.aliases),
            delete_limit=config.space.delete_limit,
            refusing=refusing,
            read=lambda document: read_transfer(document.encode()),
            read_node=lambda document: read_node(document.encode(), app[SPACE]),
            read_search=lambda document: read_search(document.encode()),
            describe=lambda error: describe(error, app[SPACE]),
        )
        yield
