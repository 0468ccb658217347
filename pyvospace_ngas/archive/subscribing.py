"""This node as a subscriber: at others, for as long as it is online (SubscriptionDef)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Final

from aiohttp import ClientError, ClientSession, ClientTimeout
from yarl import URL

from pyvospace_ngas.archive.node import Node
from pyvospace_ngas.archive.settings.sharing import RemoteSubscription
from pyvospace_ngas.ngas.status import MalformedAnswer, parse

log = logging.getLogger(__name__)

GOODBYE_SECONDS: Final = 5.0
ANSWER_SECONDS: Final = 30.0
COMMAND: Final = "QARCHIVE"


async def subscribe_elsewhere(node: Node) -> None:
    """Subscribe at every node that is configured, and unsubscribe at the end if so configured."""
    settings = node.config.subscriptions
    if not settings.enabled or not settings.remote:
        return
    made: set[RemoteSubscription] = set()
    timeout = ClientTimeout(total=ANSWER_SECONDS)
    async with ClientSession(timeout=timeout) as http:
        try:
            while True:
                for remote in settings.remote:
                    if remote not in made and await _ask(http, remote, "SUBSCRIBE", _wish(remote)):
                        made.add(remote)
                if len(made) == len(settings.remote):
                    await asyncio.Event().wait()  # until the node goes offline
                await asyncio.sleep(settings.period)
        finally:
            if settings.unsubscribe:
                await _leave(http, made)


async def _leave(http: ClientSession, made: set[RemoteSubscription]) -> None:
    try:
        async with asyncio.timeout(GOODBYE_SECONDS):
            for remote in made:
                await _ask(http, remote, "UNSUBSCRIBE", {"subscr_id": _target(remote)})
    except TimeoutError:
        log.warning("not every subscription could be ended")


def _target(remote: RemoteSubscription) -> str:
    """Return where files are to be sent; also the subscription's id, which so is its own."""
    url = URL(remote.url)
    if url.path in {"", "/"}:
        url = url.with_path(f"/{remote.command or COMMAND}")
    return str(url)


def _wish(remote: RemoteSubscription) -> dict[str, str]:
    wish = {"url": _target(remote), "subscr_id": _target(remote), "priority": str(remote.priority)}
    if remote.filter is not None:
        wish |= {"filter_plug_in": remote.filter.name, "plug_in_pars": remote.filter.parameters}
    if remote.start_date:
        wish["start_date"] = remote.start_date
    return wish


async def _ask(
    http: ClientSession, remote: RemoteSubscription, command: str, parameters: Mapping[str, str]
) -> bool:
    url = URL.build(scheme="http", host=remote.host, port=remote.port, path=f"/{command}")
    try:
        async with http.get(url, params=parameters, allow_redirects=False) as response:
            answer = parse(await response.read())
    except (ClientError, TimeoutError, MalformedAnswer) as error:
        log.warning("%s at %s:%d failed: %r", command, remote.host, remote.port, error)
        return False
    if not answer.status.succeeded:
        text = answer.status.message
        log.warning("%s at %s:%d: %s", command, remote.host, remote.port, text)
    return answer.status.succeeded
