"""pullToVoSpace and pushFromVoSpace: this server calls others, endpoint after endpoint."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from pyvospace_ngas.config import ConfigError, StorageConfig
from pyvospace_ngas.errors import (
    ArchiveUnreachable,
    ChecksumMismatch,
    InternalFault,
    LengthMismatch,
    ServiceUnavailable,
    TransferFailed,
    VOSpaceError,
)
from pyvospace_ngas.model.addresses import Allowed, read_allowed
from pyvospace_ngas.model.content import Served
from pyvospace_ngas.model.endpoint import Endpoint
from pyvospace_ngas.model.job import Job, Kind, Tried
from pyvospace_ngas.model.node import NULL_ID
from pyvospace_ngas.model.transfer import Protocol
from pyvospace_ngas.ngas.errors import NgasError
from pyvospace_ngas.ngas.replicas import Copy
from pyvospace_ngas.ops import third_party
from pyvospace_ngas.ops.third_party import Lost, Meter
from pyvospace_ngas.storage import headers
from pyvospace_ngas.storage.digests import Sums, digest_header
from pyvospace_ngas.storage.remote import EndpointFailed, Fetched, Limits, Remote, endpoint_target
from pyvospace_ngas.storage.service import Service
from pyvospace_ngas.storage.uploads import claimed, keep

log = logging.getLogger(__name__)

Describe = Callable[[VOSpaceError], str]
_UNREADABLE: Final = "the archive cannot give this file now; try again later"


def remote_of(config: StorageConfig) -> Remote:
    """Return the rules of the configuration; raise `ConfigError`."""
    return Remote(allowed_hosts(config), Limits(largest=config.third_party_limit))


def allowed_hosts(config: StorageConfig) -> tuple[Allowed, ...]:
    """Return the entries of ``allow_hosts``; raise `ConfigError`."""
    entries = []
    for word in config.allow_hosts:
        try:
            entries.append(read_allowed(word))
        except ValueError:
            raise ConfigError(
                f"[Storage] allow_hosts: {word!r} is neither NAME, ADDRESS nor NETWORK, with or"
                " without a :PORT"
            ) from None
    return tuple(entries)


async def work_one(service: Service, remote: Remote, executor: str, describe: Describe) -> bool:
    """Claim and execute one job; ``False`` when there is none."""
    async with service.database.acquire() as db:
        job = await third_party.claim(db, executor)
    if job is None:
        return False
    task = _Task(service, remote, executor, job)
    await third_party.while_held(
        service.database, job, executor, task.execute(describe), task.meter
    )
    await third_party.tidy(service.database, job)
    return True


@dataclass(frozen=True, slots=True)
class _Task:
    """One job, executed by this server."""

    service: Service
    remote: Remote
    executor: str
    job: Job
    meter: Meter = field(default_factory=Meter)

    async def execute(self, describe: Describe) -> None:
        """Bring the job to its end; `ServiceUnavailable` leaves that to whoever claims it next."""
        job, database = self.job, self.service.database
        try:
            await (self._pull() if job.kind is Kind.PULL_TO else self._push())
        except (Lost, ServiceUnavailable):
            raise
        except VOSpaceError as error:
            # Of ours, and none of the standard's names for what a job can end in.
            known = not isinstance(error, ArchiveUnreachable)
            fault = error if known else InternalFault(*error.args)
            await third_party.fail(database, job, self.executor, fault, describe)
        except Exception:
            # A job that fails in a way nobody foresaw must not be tried for ever.
            log.exception("the job %s failed", job.id)
            unforeseen = InternalFault("see the server's log")
            await third_party.fail(database, job, self.executor, unforeseen, describe)

    async def _pull(self) -> None:
        # A GET that was under way when its server died had no effect: it begins again.
        tried = [one for one in self.job.tried if one.reason is not None]
        if not await self._any_endpoint(tried, self._pull_from):
            raise InternalFault(f"no endpoint gave the file: {_listed(tried)}")

    async def _push(self) -> None:
        tried = list(self.job.tried)
        if any(one.reason is None for one in tried):
            raise TransferFailed(
                f"{_listed(tried)}; whether the file arrived there is not known, as the server"
                " that sent it broke down"
            )
        found = await self._source()

        async def push(protocol: Protocol) -> None:
            await self._push_to(protocol, found)

        if not await self._any_endpoint(tried, push):
            raise TransferFailed(f"no endpoint took the file: {_listed(tried)}")
        await third_party.finish(self.service.database, self.job, self.executor, self.meter)

    async def _any_endpoint(
        self, tried: list[Tried], call: Callable[[Protocol], Awaitable[None]]
    ) -> bool:
        """Call one endpoint after the other until one works; ``tried`` grows by the others.

        Each is noted before it is called, and so is why it was no good.
        """
        known = {one.number for one in tried}
        for number, protocol in enumerate(self.job.protocols):
            if number in known:
                continue
            host = _host(protocol)
            await self._note([*tried, Tried(number, host)])
            limit = asyncio.timeout(self.remote.limits.total)
            try:
                async with limit:
                    await call(protocol)
                return True
            except EndpointFailed as error:
                tried.append(Tried(number, host, str(error)))
            except TimeoutError:
                if not limit.expired():
                    raise
                tried.append(Tried(number, host, "took too long"))
            log.info("the job %s: %s %s", self.job.id, host, tried[-1].reason)
            await self._note(tried)
        return False

    async def _note(self, tried: list[Tried]) -> None:
        async with self.service.database.acquire() as db:
            await third_party.note(db, self.job, self.executor, tried)

    async def _pull_from(self, protocol: Protocol) -> None:
        endpoint_target(protocol)  # before the node is made busy
        job = self.job
        endpoint = Endpoint(job.id, "PUT", job.node_id or 0, datetime.now(UTC), job.size)
        try:
            if job.node_id == NULL_ID:
                async with self.remote.fetch(protocol) as got:
                    await self._drop(got)
                return
            async with (
                claimed(self.service, endpoint) as claim,
                self.remote.fetch(protocol) as got,
            ):
                pieces = self._begin(got)
                await keep(self.service, claim, pieces, got.length, got.expected)
        except LengthMismatch:
            raise EndpointFailed("sent another number of bytes than was announced") from None
        except ChecksumMismatch:
            raise EndpointFailed("sent other bytes than its own digest says") from None

    def _begin(self, got: Fetched) -> AsyncIterator[bytes]:
        """Compare the length with what the user said, and count what passes from now on."""
        if got.length is not None and self.job.size not in (None, got.length):
            raise EndpointFailed(
                f"has {got.length} bytes, where {self.job.size} were announced for this transfer"
            )
        self.meter.begin(self.job.size if got.length is None else got.length)
        return self._counted(got.pieces)

    async def _counted(self, pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        async for piece in pieces:
            self.meter.done += len(piece)
            yield piece
        async with self.service.database.acquire() as db:
            await third_party.show(db, self.job, self.executor, self.meter)

    async def _drop(self, got: Fetched) -> None:
        """Read what is meant for ``.null``, and keep nothing of it."""
        sums = Sums(self.service.hashers, got.expected)
        async for piece in self._begin(got):
            await sums.add(piece)
        await sums.settle()
        sums.check()
        if self.job.size not in (None, sums.length):
            raise LengthMismatch
        await third_party.finish(self.service.database, self.job, self.executor, self.meter)

    async def _source(self) -> Served | None:
        """Return the bytes to send, ``None`` for what ``.null`` gives."""
        if self.job.node_id == NULL_ID:
            return None
        async with self.service.database.acquire() as db:
            return await third_party.source(db, self.job, self.service.authorities)

    async def _push_to(self, protocol: Protocol, found: Served | None) -> None:
        length = 0 if found is None else found.length
        md5 = headers.EMPTY_MD5 if found is None or found.md5 is None else found.md5
        name = "" if found is None else found.name
        said = None if found is None else found.content_type
        fields = {"Content-Type": headers.media_type(said, name), "Digest": digest_header(md5)}
        self.meter.begin(length)
        copies = () if found is None else found.copies
        file_id = copies[0].file_id if copies else ""
        known = [
            Copy(copy.entry, copy.host_id, copy.disk_id, copy.version)
            for copy in copies
            if copy.file_id == file_id
        ]
        source = _Source()
        try:
            async with self.service.federation.retrieve(known, file_id, 0, length) as opened:
                pieces = self._counted(source.watched(opened.chunks()))
                theirs = await self.remote.send(protocol, length, fields, pieces)
        except NgasError as error:
            raise InternalFault(_UNREADABLE) from error
        except EndpointFailed:
            if source.failure is not None:
                log.warning("%s cannot be read: %s", file_id, source.failure)
                raise InternalFault(_UNREADABLE) from source.failure
            raise
        if theirs.md5 is not None and theirs.md5.hex() != md5:
            raise EndpointFailed("answered with the digest of other bytes")


class _Source:
    """Bytes of an archive; remembers whether it was the archive that failed."""

    failure: NgasError | None = None

    async def watched(self, pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        try:
            async for piece in pieces:
                yield piece
        except NgasError as error:
            self.failure = error
            raise


def _host(protocol: Protocol) -> str:
    try:
        target = endpoint_target(protocol)
    except EndpointFailed:
        return "an endpoint"
    return target.host


def _listed(tried: list[Tried]) -> str:
    return "; ".join(f"{one.host} {one.reason or 'was being called'}" for one in tried)
