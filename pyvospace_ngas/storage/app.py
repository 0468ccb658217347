"""The storage server: the only module that knows all its parts."""

import asyncio
import logging
import os
import socket
import uuid
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from typing import Final

from aiohttp import web

from pyvospace_ngas.config import Config
from pyvospace_ngas.db.connect import Database
from pyvospace_ngas.db.migrate import migrate
from pyvospace_ngas.http import safety
from pyvospace_ngas.http.faults import faults
from pyvospace_ngas.http.keys import CONFIG, DATABASE, SPACE
from pyvospace_ngas.model.endpoint import endpoint_keys
from pyvospace_ngas.model.uri import Space
from pyvospace_ngas.ngas.federation import Federation
from pyvospace_ngas.ngas.placement import Entry
from pyvospace_ngas.ngas.wire import Patience
from pyvospace_ngas.ops import accounts
from pyvospace_ngas.storage import background, handlers, third_party
from pyvospace_ngas.storage.service import SERVICE, Service
from pyvospace_ngas.storage.staging import Staging
from pyvospace_ngas.storage.streaming import READ

PATIENCE: Final[web.AppKey[Patience]] = web.AppKey("patience", Patience)

log = logging.getLogger(__name__)

HASHERS: Final = (os.cpu_count() or 2) + 2


def create_app(config: Config, patience: Patience | None = None) -> web.Application:
    """Return the storage server of ``config``; it waits for its database when it starts.

    ``patience`` is how long archive nodes are waited for.
    """
    third_party.allowed_hosts(config.storage)  # so that a mistake in them is told at the start
    app = web.Application(
        middlewares=[faults],
        handler_args={
            "read_bufsize": READ,
            "auto_decompress": False,  # bytes are kept as they were sent
            "access_log": None,  # whoever reads a token in a log could use it
        },
    )
    app[CONFIG] = config
    app[PATIENCE] = patience or Patience()
    app[SPACE] = Space(config.space.authority, frozenset(config.space.aliases))
    safety.install(app)
    app.add_routes(handlers.routes)
    app.cleanup_ctx.append(_serve)
    return app


async def _serve(app: web.Application) -> AsyncIterator[None]:
    config = app[CONFIG]
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(Database(config.space.dsn))
        await database.wait_until_ready()
        await migrate(config.space.dsn)
        staging = Staging(config.storage.staging_dir, config.storage.staging_limit)
        await asyncio.to_thread(staging.prepare)
        federation = await stack.enter_async_context(_federation(config, app[PATIENCE]))
        hashers = stack.enter_context(ThreadPoolExecutor(HASHERS, "sums"))
        service = Service(
            database=database,
            federation=federation,
            staging=staging,
            hashers=hashers,
            keys=endpoint_keys([config.space.secret_key, *config.space.old_secret_keys]),
            authorities=accounts.authorities(config.space.uri, config.space.aliases),
            executor=f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}",
            discard_delay=config.storage.discard_delay,
        )
        app[DATABASE], app[SERVICE] = database, service
        await stack.enter_async_context(background.running(service, config))
        await stack.enter_async_context(background.registered(service, config))
        yield


def _federation(config: Config, patience: Patience) -> Federation:
    return Federation(
        (Entry(one.hostname, one.port, one.host_id) for one in config.storage.ngas_servers),
        cap=config.storage.node_cap,
        allow_no_checksum=config.storage.allow_no_checksum,
        patience=patience,
    )
