"""Which volume a file goes to, and which its replica: by room, or by the stream of its type."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from pyvospace_ngas.archive.node import Node
from pyvospace_ngas.archive.settings.storing import StorageSet
from pyvospace_ngas.archive.volume import Volume


@dataclass(frozen=True, slots=True)
class Target:
    """Where a file goes."""

    volume: Volume
    replica: Volume | None = None
    alone: bool = False  # one file at a time is written to the volume (Mutex)
    synchronize: bool = False  # the site's own disk synchronization follows

    def free(self) -> int:
        """Return the room for files here: a replica needs as much."""
        if self.volume.completed or (self.replica and self.replica.completed):
            return 0
        free = self.volume.free()
        return free if self.replica is None else min(free, self.replica.free())

    @contextmanager
    def promise(self, size: int) -> Iterator[None]:
        """Keep room for an upload under way."""
        volumes = [self.volume] if self.replica is None else [self.volume, self.replica]
        for each in volumes:
            each.promised += size
        try:
            yield
        finally:
            for each in volumes:
                each.promised -= size


def on_any(node: Node, size: int) -> Target | None:
    """Return any of the node's volumes with room."""
    return pick([Target(volume) for volume in node.volumes], size)


def by_stream(node: Node, mime_type: str, size: int) -> Target | None:
    """Return one of the targets that the stream of a mime type names."""
    return pick(_of_stream(node, mime_type), size)


def pick(targets: Sequence[Target], size: int) -> Target | None:
    """Return one of the targets with room, at random, weighted by how much."""
    weights = [free if (free := each.free()) > size else 0 for each in targets]
    if not any(weights):
        return None
    return random.choices(targets, weights)[0]  # noqa: S311 - spreading, not secrecy


def _of_stream(node: Node, mime_type: str) -> list[Target]:
    """Return the targets of a stream; without streams, or for a unit of one, every volume."""
    streams = node.config.streams
    stream = streams.get(mime_type)
    if not streams or (stream and not stream.sets and node.host_id in stream.units):
        return [Target(volume) for volume in node.volumes]
    names = stream.sets if stream else ()
    found = (_of_set(node, node.config.sets[name]) for name in names)
    return [target for target in found if target is not None]


def _of_set(node: Node, chosen: StorageSet) -> Target | None:
    """Return the target that a storage set is; None while a volume that it needs is away."""
    slots = {volume.slot: volume for volume in node.volumes}
    replicates = node.config.handling.replication and bool(chosen.replication)
    main, replica = slots.get(chosen.main), slots.get(chosen.replication)
    if main is None or (replicates and replica is None):
        return None
    return Target(
        main,
        replica if replicates else None,
        alone=chosen.mutex,
        synchronize=chosen.synchronize,
    )
