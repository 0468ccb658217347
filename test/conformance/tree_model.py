"""A tree in memory that does what a VOSpace says of itself: what random operations are held to."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field

Path = tuple[str, ...]
MOST_LINKS = 20


class Refused(Exception):
    """The fault that an operation is to end with."""


@dataclass(slots=True)
class Thing:
    """A node: a container has ``below``, a file ``data``, a link ``target``."""

    below: dict[str, "Thing"] | None = None
    data: bytes | None = None
    target: Path | None = None
    title: str | None = None


@dataclass(slots=True)
class Tree:
    """The tree below one container, with the operations of the standard on it."""

    root: Thing = field(default_factory=lambda: Thing(below={}))

    def reach(self, path: Path, missing: str = "NodeNotFound") -> Thing:
        """Return the node; of an ancestor that is none the fault is ``missing``."""
        node = self.root
        for depth, name in enumerate(path):
            if node.target is not None:
                raise Refused("LinkFound")
            if node.below is None:
                raise Refused(missing)
            if name not in node.below:
                raise Refused("NodeNotFound" if depth == len(path) - 1 else missing)
            node = node.below[name]
        return node

    def exists(self, path: Path) -> bool:
        """Tell whether there is such a node."""
        try:
            self.reach(path)
        except Refused:
            return False
        return True

    def container(self, path: Path, missing: str) -> dict[str, Thing]:
        """Return what a container holds; anything else is ``missing``, but a link LinkFound."""
        try:
            node = self.reach(path, missing)
        except Refused as fault:
            raise Refused(str(fault).replace("NodeNotFound", missing)) from None
        if node.target is not None:
            raise Refused("LinkFound")
        if node.below is None:
            raise Refused(missing)
        return node.below

    def create(self, path: Path, thing: Thing) -> None:
        """createNode."""
        around = self.container(path[:-1], "ContainerNotFound")
        if path[-1] in around:
            raise Refused("DuplicateNode")
        around[path[-1]] = thing

    def set_title(self, path: Path, title: str | None) -> None:
        """setNode."""
        self.reach(path, "ContainerNotFound").title = title

    def delete(self, path: Path) -> None:
        """deleteNode."""
        self.reach(path, "ContainerNotFound")
        del self.container(path[:-1], "ContainerNotFound")[path[-1]]

    def relocate(self, source: Path, target: Path, *, keep: bool, over: bool = False) -> None:
        """moveNode and copyNode; ``over`` lets a node take another's place, but no container's."""
        node = self.reach(source)
        place = target
        if self.exists(target) and self.reach(target).below is not None:
            place = (*target, source[-1])
        around = self.container(place[:-1], "NodeNotFound")
        there = around.get(place[-1])
        if there is not None and not (over and node.below is there.below is None):
            raise Refused("DuplicateNode")
        if there is node:
            return
        if place[: len(source)] == source:
            raise Refused("InvalidURI")
        around[place[-1]] = deepcopy(node)
        if not keep:
            del self.container(source[:-1], "")[source[-1]]

    def followed(self, path: Path, missing: str) -> Path:
        """Return where the links at the end of ``path`` lead."""
        for _ in range(MOST_LINKS):
            if not self.exists(path):
                return path
            node = self.reach(path, missing)
            if node.target is None:
                return path
            path = node.target
        raise Refused("InvalidURI")

    def push(self, path: Path, data: bytes, made: str = "") -> Path:
        """pushToVoSpace; ``made`` is the name that the service chose inside a container."""
        path = self.followed(path, "ContainerNotFound")
        if self.exists(path) and self.reach(path).below is not None:
            path = (*path, made)
        if self.exists(path):
            node = self.reach(path)
            node.data, node.title = data, None
        else:
            self.create(path, Thing(data=data))
        return path

    def pull(self, path: Path) -> bytes:
        """pullFromVoSpace."""
        node = self.reach(self.followed(path, "NodeNotFound"))
        if node.data is None:
            raise Refused("ViewNotSupported")
        return node.data

    def everything(self) -> Iterator[tuple[Path, Thing]]:
        """Give every node with its path, in the order of listings."""
        yield from _below((), self.root)


def _below(path: Path, node: Thing) -> Iterator[tuple[Path, Thing]]:
    yield path, node
    for name, child in sorted((node.below or {}).items()):
        yield from _below((*path, name), child)
