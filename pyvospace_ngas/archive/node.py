"""A node: its state, its volumes and what runs while it is online."""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import (
    AbstractContextManager,
    ExitStack,
    asynccontextmanager,
    contextmanager,
    nullcontext,
)
from importlib.metadata import version as installed
from typing import Final, TypeAlias

from pyvospace_ngas.archive import (
    configuration,
    data_mover,
    index,
    log_levels,
    plugins,
    site,
    volume,
)
from pyvospace_ngas.archive.authorization import Gate
from pyvospace_ngas.archive.committer import Committer
from pyvospace_ngas.archive.configuration import NodeConfig
from pyvospace_ngas.archive.diskwork import DiskWork
from pyvospace_ngas.archive.events import Events
from pyvospace_ngas.archive.file_lists import FileLists
from pyvospace_ngas.archive.handlers import Handlers
from pyvospace_ngas.archive.index import Host, Mount
from pyvospace_ngas.archive.jobs import Jobs
from pyvospace_ngas.archive.ledger import Ledger
from pyvospace_ngas.archive.notices import Notices
from pyvospace_ngas.archive.peers import Peers
from pyvospace_ngas.archive.receiving import Receiver
from pyvospace_ngas.archive.records import Disk, stamp
from pyvospace_ngas.archive.recovery import recover
from pyvospace_ngas.archive.refusals import (
    Refused,
    coded,
    for_the_main_node,
    improper_state,
)
from pyvospace_ngas.archive.services import Services
from pyvospace_ngas.archive.settings.tending import Log
from pyvospace_ngas.archive.states import State, SubState, needs
from pyvospace_ngas.archive.steps import Database, DatabaseError
from pyvospace_ngas.archive.timing import Timed
from pyvospace_ngas.archive.volume import Volume, VolumeError
from pyvospace_ngas.archive.waking import Waker
from pyvospace_ngas.ngas.status import Status

__all__ = ["VERSION", "LogSwitched", "Node", "ReadAgain", "Service", "State", "running"]

log = logging.getLogger(__name__)

LONGEST_MOUNT_POINT: Final = 128  # ngas_disks.mount_point
LONGEST_SLOT: Final = 32  # ngas_disks.slot_id
VERSION: Final = f"pyvospace-ngas/{installed('pyvospace-ngas')}"


class Node:
    """The state that lives between requests."""

    def __init__(
        self,
        config: NodeConfig,
        database: Database,
        services: Sequence[Service] = (),
        read_again: ReadAgain | None = None,
        log_switched: LogSwitched | None = None,
    ) -> None:
        self.config = config
        self.database = Timed(database)
        self.events = Events()
        self.notices = Notices(lambda: self.config)
        self.deliveries = asyncio.Event()  # there may be something to deliver to subscribers
        self.ledger = Ledger(config.server.request_backend, self.database, self.host_id)
        self.jobs = Jobs(self.ledger)
        self.waker = Waker(self)
        self.peers = Peers(self.database, lambda: self.config, self.waker.need)
        self.gate = Gate(config.authorization)
        self.file_lists = FileLists()
        self.state = State.OFFLINE
        self.volumes: tuple[Volume, ...] = ()
        self.exiting = asyncio.Event()
        self.requests = 0
        self.last_request = time.monotonic()  # when the last one ended
        self.checking = False  # the data check is at work
        self.out_of_room = False  # and the operator knows
        self.receiver = Receiver(idle=config.server.timeout, durable=config.db.durable)
        self._busy = 0
        self._receiving: set[asyncio.Task[object]] = set()
        self._committer: Committer | None = None
        self._disks: DiskWork | None = None
        self._changing = asyncio.Lock()
        self._leaving: asyncio.Task[None] | None = None
        self._wanted = services
        self._services = Services()
        self._read_again = read_again
        self._log_switched = log_switched or _log_left
        self.site = site.load(config)
        self.commands = plugins.commands(config.commands)
        self.handlers = Handlers(self.events)

    @property
    def host_id(self) -> str:
        return self.config.server.host_id

    @property
    def sub_state(self) -> SubState:
        return SubState.BUSY if self._busy else SubState.IDLE

    @property
    def committer(self) -> Committer:
        if self._committer is None:
            raise self.improper("Archive Request", (State.ONLINE,), ("IDLE", "BUSY"))
        return self._committer

    @property
    def disks(self) -> DiskWork | None:
        """The work on this node's disks, while it is online."""
        return self._disks

    def status(self, message: str, *, succeeded: bool = True) -> Status:
        """Return the first part of an answer."""
        return Status(
            date=stamp(),
            version=VERSION,
            host_id=self.host_id,
            message=message,
            status="SUCCESS" if succeeded else "FAILURE",
            state=self.state,
            sub_state=self.sub_state,
        )

    def improper(
        self, what: str, states: tuple[State, ...], sub_states: tuple[str, ...] = ("IDLE",)
    ) -> Refused:
        """Return the refusal for a state that does not allow ``what``."""
        names = [str(state) for state in states]
        return improper_state(what, self.state, self.sub_state, names, sub_states)

    def require(self, command: str, *, force: bool = False) -> None:
        """Refuse a command that needs another state, or another kind of node."""
        wanted = needs(command)
        if wanted.changes and self.config.data_mover.enabled:
            raise for_the_main_node(command)
        if not wanted.met(self.state, self.sub_state, force=force):
            raise self.improper(f"Command {command}", wanted.states, wanted.sub_states)

    def must_be_online(self, what: str) -> None:
        """Refuse ``what`` unless the node is online."""
        if self.state is not State.ONLINE:
            raise self.improper(what, (State.ONLINE,), ("IDLE", "BUSY"))

    def volume(self, disk_id: str) -> Volume | None:
        """Return a volume that this node holds."""
        return next((each for each in self.volumes if each.disk_id == disk_id), None)

    def holds(self, disk: Disk) -> bool:
        """Whether this node reads the files of a disk itself."""
        return data_mover.reads(self.config, disk)

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Count a request as work, for as long as it lasts and however it ends."""
        self._busy += 1
        try:
            yield
        finally:
            self._busy -= 1

    @contextmanager
    def receiving(self) -> Iterator[None]:
        """Let a forced OFFLINE cut off the request that runs this."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a handler always runs in one
        self._receiving.add(task)
        try:
            yield
        finally:
            self._receiving.discard(task)

    async def register(self) -> None:
        """Tell the other nodes of this one."""
        server, allowed = self.config.server, self.config.permissions
        host = Host(
            host_id=self.host_id,
            ip_address=server.host[:20],
            port=server.port,
            version=VERSION[:20],
            cluster=self.host_id,
            archive=allowed.archive,
            retrieve=allowed.retrieve,
            remove=allowed.remove,
            url=server.url,
            process=allowed.processing,
        )
        await self.database.run(index.register_host(host, stamp()))

    async def go_online(self, *, force: bool = False) -> None:
        """Take the volumes, bring files and rows together, serve."""
        async with self._changing:
            self.require("ONLINE")
            await self.register()
            await self._call_online_plug_in()
            volumes = await self._take_volumes()
            with ExitStack() as held:
                for each in volumes:
                    held.callback(each.release)
                await self._mount(volumes, force=force)
                await recover(self.database, volumes)
                await self.database.run(index.set_state(self.host_id, State.ONLINE))
                held.pop_all()
            self._serve(volumes)
            self.handlers.serve(self.site.handlers)
            self._services.start(
                [(each.__module__, functools.partial(each, self)) for each in self._wanted]
            )
        self.notices.soon(all_of_them=True)
        log.info("%s is online with %d volumes", self.host_id, len(self.volumes))

    async def go_offline(self, *, force: bool = False) -> None:
        """Let go of the volumes. Without ``force`` only when nothing is going on."""
        async with self._changing:
            self.require("OFFLINE", force=force)
            self.state = State.OFFLINE
            await self._services.stop()
            await self.jobs.stop()
            await self._cut_off()
            if self._committer is not None:
                await self._committer.close()
            if self._disks is not None:
                await self._disks.close()
            self._committer = self._disks = None
            await self._leave()
            await self._call_offline_plug_in()
        self.notices.soon(all_of_them=True)
        log.info("%s is offline", self.host_id)

    def go_offline_soon(self) -> None:
        """Go offline beside what runs: for a service, which going offline ends."""
        if self._leaving is None or self._leaving.done():
            self._leaving = asyncio.create_task(self._go_offline_at_last())

    async def left(self) -> None:
        """Wait until `go_offline_soon` is done, if that was wanted."""
        if self._leaving is not None:
            await self._leaving

    async def begin_anew(self) -> None:
        """Read the configuration again and go online with it; stay as it is if it is no good.

        Where the node listens and its index stay.
        """
        self.require("INIT")
        new = self.config if self._read_again is None else await self._read_again()
        old = self.config
        before, now = ((c.server.host, c.server.request_backend, c.db) for c in (old, new))
        if before != now or new.server.port not in {old.server.port, 0}:
            raise Refused(
                "a new address, port, index or RequestDbBackend needs a new start of the node"
            )
        own = await asyncio.to_thread(site.load, new)
        commands = plugins.commands(new.commands)
        with self._log_switched(new.log):
            if self.state is State.ONLINE:
                await self.go_offline()
        self.site = own
        self.config = configuration.on_port(new, old.server.port)
        self.gate = Gate(new.authorization)
        self.commands = commands
        if new.log.level != old.log.level:
            log_levels.apply(new.log.level)
        await self.go_online()

    async def _go_offline_at_last(self) -> None:
        try:
            await self.go_offline(force=True)
        except Refused:
            log.info("%s is offline already", self.host_id)

    async def _take_volumes(self) -> list[Volume]:
        """Become the writer of the volumes; a data mover only reads those of others."""
        if self.config.data_mover.enabled:
            return []
        return await asyncio.to_thread(volume.open_all, self.config.server.volumes)

    async def _call_online_plug_in(self) -> None:
        """Let the site make its volumes ready; the node stays offline when that fails."""
        if self.site.online is None:
            return
        try:
            await self.site.online.call(self.host_id)
        except Exception as error:  # a site's own code
            log.exception("OnlinePlugIn failed")
            text = "The OnlinePlugIn failed; the node's log says why."
            raise Refused(coded("NGAMS_ER_ONLINE_PLUGIN", text), 500) from error

    async def _call_offline_plug_in(self) -> None:
        if self.site.offline is None:
            return
        try:
            await self.site.offline.call(self.host_id)
        except Exception:  # a site's own code; the node is offline all the same
            log.exception("OfflinePlugIn failed")

    async def _mount(self, volumes: list[Volume], *, force: bool) -> None:
        for each in volumes:
            if len(str(each.path)) > LONGEST_MOUNT_POINT or len(each.slot) > LONGEST_SLOT:
                raise VolumeError(f"the path of the volume {each.path} is too long for the index")
        labels = _labels(self.config, volumes)
        mounts = [
            Mount(
                disk_id=each.disk_id,
                type=each.identity.type,
                manufacturer=each.identity.manufacturer,
                slot_id=each.slot,
                mount_point=str(each.path),
                available_mb=each.available_mb,
                capacity_mb=each.capacity_mb,
                label=labels.get(each.slot, ("", ""))[0],
                replicates=labels.get(each.slot, ("", ""))[1],
            )
            for each in volumes
        ]
        archive = self.config.server.archive_name
        script = index.mount(self.host_id, archive, mounts, stamp(), force=force)
        completed = {disk.disk_id: disk.completed for disk in await self.database.run(script)}
        for each in volumes:
            each.completed = completed[each.disk_id]

    def _serve(self, volumes: list[Volume]) -> None:
        if not volumes and not self.config.data_mover.enabled:
            log.warning("there is no volume in %s", self.config.server.volumes)
        handling = self.config.handling
        self.volumes = tuple(volumes)
        self._disks = DiskWork(volumes, durable=self.config.db.durable)
        self._committer = Committer(
            self.database,
            self._disks,
            volumes,
            host_id=self.host_id,
            prefix=handling.path_prefix,
            notices=self.notices,
            full_below_mb=handling.full_below_mb,
            warn_below_mb=handling.warn_below_mb,
        )
        self.receiver = Receiver(idle=self.config.server.timeout, durable=self.config.db.durable)
        self.state = State.ONLINE

    async def _cut_off(self) -> None:
        tasks = [task for task in self._receiving if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _leave(self) -> None:
        try:
            await self.database.run(index.unmount(self.host_id))
            await self.database.run(index.set_state(self.host_id, State.OFFLINE))
        except DatabaseError:
            log.exception("the others were not told that %s is offline", self.host_id)
        for each in self.volumes:
            each.release()
        self.volumes = ()


def _log_left(_settings: Log) -> AbstractContextManager[None]:
    """Leave the log to whoever has the node in its process."""
    return nullcontext()


def _labels(config: NodeConfig, volumes: Sequence[Volume]) -> dict[str, tuple[str, str]]:
    """Return, by slot, the label of a storage set's disks and the disk that one replicates."""
    disks = {each.slot: each.disk_id for each in volumes}
    found: dict[str, tuple[str, str]] = {}
    for each in config.sets.values():
        found.setdefault(each.main, (each.label, ""))
        if each.replication:
            found.setdefault(each.replication, (each.label, disks.get(each.main, "")))
    return found


Service: TypeAlias = Callable[[Node], Awaitable[None]]  # runs until it is cancelled
ReadAgain: TypeAlias = Callable[[], Awaitable[NodeConfig]]
LogSwitched: TypeAlias = Callable[[Log], AbstractContextManager[None]]  # see `logs.Places`


@asynccontextmanager
async def running(
    config: NodeConfig,
    database: Database,
    services: Sequence[Service] = (),
    read_again: ReadAgain | None = None,
    log_switched: LogSwitched | None = None,
) -> AsyncIterator[Node]:
    """A node that goes offline at the end, whatever is going on."""
    node = Node(config, database, services, read_again, log_switched)
    await node.ledger.open()
    await node.notices.open()
    try:
        yield node
    finally:
        await node.left()
        if node.state is State.ONLINE:
            await node.go_offline(force=True)
        await node.ledger.close()
        await node.waker.close()
        await node.peers.close()
        await node.handlers.close()
        await node.notices.close()
