"""Archiving units: other nodes that take the files of a stream; ARCHIVE sends them on, flat."""

from __future__ import annotations

import logging
import random
from typing import Final

from pyvospace_ngas.archive import targets
from pyvospace_ngas.archive.answers import Call
from pyvospace_ngas.archive.peers import MARK
from pyvospace_ngas.archive.refusals import Refused, coded

log = logging.getLogger(__name__)

WILLING: Final = 4068  # NGAMS_INFO_ARCH_REQ_OK
NO_UNIT: Final = "No archiving unit takes files of the type %s now; try again later."


async def elsewhere(call: Call, mime_type: str) -> str | None:
    """Return the unit (host id) that a file is to be sent on to; None: it is archived here."""
    stream = call.node.config.streams.get(mime_type)
    if stream is None or not stream.units or MARK in call.request.headers:
        return None
    if targets.by_stream(call.node, mime_type, 0) is not None:
        return None
    if unit := await _willing(call, mime_type, stream.units):
        return unit
    text = coded("NGAMS_AL_NO_TARGET_DISK", NO_UNIT % mime_type)
    raise Refused(text, 503, close=bool(call.request.can_read_body))


async def can_archive(call: Call, mime_type: str) -> bool:
    """Whether a file of a type would be taken, here or by a unit."""
    if targets.by_stream(call.node, mime_type, 0) is not None:
        return True
    stream = call.node.config.streams.get(mime_type)
    if stream is None or MARK in call.request.headers:
        return False
    return bool(await _willing(call, mime_type, stream.units))


async def _willing(call: Call, mime_type: str, units: tuple[str, ...]) -> str | None:
    """Return one of the other nodes that would take a file."""
    others = [unit for unit in units if unit != call.node.host_id]
    random.shuffle(others)
    wanted = {"probe": "1", "mime_type": mime_type}
    for unit in others:
        try:
            _, answer = await call.node.peers.answer(unit, "ARCHIVE", wanted, proxied=True)
        except Refused as refusal:
            log.warning("the archiving unit %s does not answer: %s", unit, refusal.message)
            continue
        if answer.status.code == WILLING:
            return unit
    return None
