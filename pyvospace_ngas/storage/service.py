"""What every request of a storage server needs, in one value."""

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from pyvospace_ngas.db.connect import Database
from pyvospace_ngas.ngas.federation import Federation
from pyvospace_ngas.storage.staging import Staging


@dataclass(frozen=True, slots=True)
class Service:
    """The parts of a running storage server."""

    database: Database
    federation: Federation
    staging: Staging
    hashers: Executor  # threads that sum bytes up
    keys: Sequence[bytes]  # any of them may have signed an endpoint
    authorities: Sequence[str]
    executor: str  # this process, as attempts name it
    discard_delay: int


SERVICE: Final[web.AppKey[Service]] = web.AppKey("service", Service)
