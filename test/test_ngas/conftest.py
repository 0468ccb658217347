"""The NGAS node that these tests talk to: the one that is named, else one of our own."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from pyvospace_ngas.archive import configuration, volume
from pyvospace_ngas.archive.app import READ_BUFFER, create_app
from pyvospace_ngas.ngas.federation import Federation
from pyvospace_ngas.ngas.placement import Entry


@pytest.fixture
async def ngas_node(tmp_path: Path) -> AsyncIterator[Entry]:
    """A node that archives, returns and removes files.

    ``NGAS_HOST`` and ``NGAS_PORT`` name one to test against.
    """
    if host := os.environ.get("NGAS_HOST"):
        yield Entry(host, int(os.environ.get("NGAS_PORT", "7777")))
        return
    for name in ("one", "two"):
        place = tmp_path / "volumes" / name
        place.mkdir(parents=True)
        volume.prepare(place)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        document = configuration.default_xml(tmp_path, port, str(tmp_path / "ngas.sqlite"))
        app = create_app(configuration.parse(document.encode()), online=True)
        runner = web.AppRunner(app, read_bufsize=READ_BUFFER)
        await runner.setup()
        try:
            await web.SockSite(runner, listening).start()
            yield Entry("127.0.0.1", port)
        finally:
            await runner.cleanup()


@pytest.fixture
async def federation(ngas_node: Entry) -> AsyncIterator[Federation]:
    """A federation of that one node."""
    async with Federation([ngas_node]) as federation:
        yield federation
