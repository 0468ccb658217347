"""SUBSCRIBE: have files sent to a URL when they are archived here."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from aiohttp import web
from yarl import URL

from pyvospace_ngas.archive import parameters, plugins, subscribers
from pyvospace_ngas.archive.answers import Call, document, failure, success
from pyvospace_ngas.archive.records import stamp
from pyvospace_ngas.archive.refusals import Refused, bad_syntax
from pyvospace_ngas.archive.settings.reader import ConfigurationError
from pyvospace_ngas.archive.subscribers import Subscriber

LONGEST: Final = 255  # ngas_subscribers.subscr_id and subscr_url
LONGEST_PLUG_IN: Final = 64
LONGEST_PARAMETERS: Final = 128
MOST_THREADS: Final = 16
LOWEST_PRIORITY: Final = 32767  # smallint


async def handle(call: Call) -> web.StreamResponse:
    """Add the subscriber; the same one again is no mistake, another one of its id is."""
    new = _read(call)
    server = call.node.config.server
    script = subscribers.add(call.node.host_id, server.port, new)
    known = await call.node.database.run(script)
    if known is None:
        call.node.deliveries.set()
        return success(call, "Handled SUBSCRIBE command")
    if new.same_as(known, dated="start_date" in call.parameters):
        message = f"Identical subscription with ID '{new.id}' existed"
        return document(call, call.node.status(message), code=201)
    return failure(call, f"Different subscription with ID '{new.id}' existed", 409)


def _read(call: Call) -> Subscriber:
    given = call.parameters
    url = given.get("url", "")
    if not url:
        raise bad_syntax(call.command, "the parameter url")
    name, filter_ = given.get("subscr_id", url), given.get("filter_plug_in", "")
    pars = given.get("plug_in_pars", "")
    if max(len(name), len(url)) > LONGEST or not _can_be_sent_to(url):
        raise Refused(f"url must be http or https, it and subscr_id up to {LONGEST} characters")
    if len(filter_) > LONGEST_PLUG_IN or len(pars) > LONGEST_PARAMETERS:
        raise Refused("filter_plug_in or plug_in_pars is too long for the index")
    return Subscriber(
        id=name,
        url=url,
        priority=_between(call, "priority", 1, LOWEST_PRIORITY),
        start_date=_date(given.get("start_date")),
        filter=_loadable(call, filter_),
        filter_parameters=pars,
        threads=_between(call, "concurrent_threads", 1, MOST_THREADS),
    )


def _can_be_sent_to(url: str) -> bool:
    try:
        parsed = URL(url)
    except ValueError:
        return False
    return parsed.scheme in {"http", "https"} and bool(parsed.host)


def _between(call: Call, name: str, least: int, most: int) -> int:
    value = parameters.whole(call.parameters, name, least)
    if not least <= value <= most:
        raise Refused(f"{name} must be from {least} to {most}")
    return value


def _date(text: str | None) -> str:
    if text is None:
        return stamp()
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Refused(f"start_date={text[:40]!r} is no date as 2026-11-21T23:20:00.546") from None
    return stamp(moment.astimezone(UTC) if moment.tzinfo else moment)


def _loadable(call: Call, name: str) -> str:
    """Refuse a filter that is not there, or is no plug-in of this site's."""
    if name:
        try:
            plugins.load_of_site(name, call.node.config.server.plug_in_folders)
        except ConfigurationError as error:
            raise Refused(str(error)) from error
    return name
