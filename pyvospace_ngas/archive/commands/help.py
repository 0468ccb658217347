"""HELP: where the commands are described."""

from collections.abc import Mapping
from typing import Final

from aiohttp import web

from pyvospace_ngas.archive.answers import Call
from pyvospace_ngas.archive.node import VERSION

DOCUMENTATION: Final = "https://ngas.readthedocs.io"
COMMANDS: Final = f"{DOCUMENTATION}/en/master/commands"

PAGES: Final[Mapping[str, str]] = {
    command: page
    for page, commands in {
        "core": ("STATUS", "OFFLINE", "ONLINE", "EXIT"),
        "storage": (
            *("ARCHIVE", "QARCHIVE", "RETRIEVE", "CLONE", "CHECKFILE", "CACHEDEL"),
            *("REMDISK", "REMFILE", "REGISTER", "REARCHIVE"),
        ),
        "containers": (
            *("CCREATE", "CAPPEND", "CARCHIVE", "CRETRIEVE", "CLIST", "CREMOVE", "CDESTROY"),
        ),
        "others": ("SUBSCRIBE", "UNSUBSCRIBE"),
    }.items()
    for command in commands
}


async def handle(call: Call) -> web.StreamResponse:
    """Send the client to NGAS's documentation, and to what it says of ``command`` if it does."""
    command = call.parameters.get("command", "").upper()
    place = DOCUMENTATION
    if command:
        page = PAGES.get(command)
        place = f"{COMMANDS}/{page}.html#{command.lower()}" if page else f"{COMMANDS}-index.html"
    return web.Response(status=308, headers={"Location": place, "Server": VERSION})
