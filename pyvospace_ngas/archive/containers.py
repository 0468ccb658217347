"""Logical containers: groups of files, in a hierarchy. A file is in one of them at most."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from pyvospace_ngas.archive import index
from pyvospace_ngas.archive.index import FILES_AND_DISKS
from pyvospace_ngas.archive.records import Copy, File
from pyvospace_ngas.archive.steps import Database, Lock, Many, Row, Script, Statement
from pyvospace_ngas.ngas.status import Container as ContainerStatus

LONGEST_NAME: Final = 255  # ngas_containers.container_name
ROOT_LOCK: Final = "containers"  # the hierarchy is changed by one at a time

COLUMNS: Final = (
    "container_id, parent_container_id, container_name, container_size, ingestion_date"
)


class ContainerProblem(Exception):
    """A container is missing, is not the only one, or is in the way."""


class NoSuchContainer(ContainerProblem):
    """There is none of that id or name."""


class NoSuchFile(ContainerProblem):
    """There is no file of that id."""


class ContainerConflict(ContainerProblem):
    """What is there already does not allow it."""


@dataclass(frozen=True, slots=True)
class Container:
    """A row of ngas_containers."""

    id: str
    parent: str | None
    name: str
    size: int
    ingestion_date: str

    def status(
        self, files: Sequence[File] = (), containers: Sequence[ContainerStatus] = ()
    ) -> ContainerStatus:
        """Return it as an answer shows it."""
        return ContainerStatus(
            id=self.id,
            name=self.name,
            size=self.size,
            ingestion_date=self.ingestion_date,
            files=tuple(file.status() for file in files),
            containers=tuple(containers),
        )


@dataclass(frozen=True, slots=True)
class NewContainer:
    """A container to be made, with those below it."""

    id: str
    name: str
    children: tuple[NewContainer, ...] = ()

    def status(self) -> ContainerStatus:
        """Return it as an answer shows it."""
        return ContainerStatus(
            self.id, self.name, containers=tuple(child.status() for child in self.children)
        )


@dataclass(frozen=True, slots=True)
class Tree:
    """A container with all that is below it; of each file its latest version in it."""

    container: Container
    copies: tuple[Copy, ...]
    children: tuple[Tree, ...]

    def status(self) -> ContainerStatus:
        """Return it as an answer shows it."""
        files = [copy.file for copy in self.copies]
        return self.container.status(files, [child.status() for child in self.children])


async def find(db: Database, container_id: str | None, name: str | None) -> Container:
    """Return the container of an id or, else, the only one of a name."""
    if container_id is not None:
        rows = await db.look_up(
            f"select {COLUMNS} from ngas_containers where container_id = $1",  # noqa: S608
            container_id,
        )
        if not rows:
            raise NoSuchContainer(f"No container with id '{container_id}' exists")
        return _container(rows[0])
    rows = await db.look_up(
        f"select {COLUMNS} from ngas_containers where container_name = $1 limit 2",  # noqa: S608
        name,
    )
    if not rows:
        raise NoSuchContainer(f"No container found with name {name}")
    if len(rows) > 1:
        raise ContainerConflict(
            f"More than one container with name {name} found; name it by its container_id"
        )
    return _container(rows[0])


async def tree(db: Database, top: Container, host_id: str) -> Tree:
    """Return a container with all that is below it; of copies, preferably those of a node."""
    rows = await db.fetch(
        f"with recursive below as (select {COLUMNS} from ngas_containers "  # noqa: S608
        "where container_id = $1 union all "
        f"select {', '.join(f'c.{name}' for name in COLUMNS.split(', '))} "
        "from ngas_containers c join below b on c.parent_container_id = b.container_id) "
        f"select {COLUMNS} from below",
        top.id,
    )
    found = {container.id: container for container in map(_container, rows)}
    files = await db.fetch(
        f"select {FILES_AND_DISKS} from ngas_files f join ngas_disks d on d.disk_id = f.disk_id "  # noqa: S608
        "where f.container_id in @1 order by f.file_id, f.file_version desc, "
        "case when d.mounted = 1 then 0 else 1 end, case when d.host_id = $2 then 0 else 1 end, "
        "f.disk_id",
        list(found),
        host_id,
    )
    return _tree(top.id, found, _latest(index.copy(row) for row in files))


def create(new: NewContainer, parent: str | None) -> Script[None]:
    """Make a container and those below it; names are their own below one parent."""
    yield from vacant(new.name, parent)
    yield Many(
        "insert into ngas_containers (container_id, parent_container_id, container_name, "
        "container_size, container_type) values ($1, $2, $3, 0, 'logical')",
        list(_rows(new, parent)),
    )


def vacant(name: str, parent: str | None) -> Script[None]:
    """Raise unless the parent is there and has no container of that name yet."""
    yield Lock([ROOT_LOCK])
    if parent is not None:
        found = yield Statement(
            "select container_id from ngas_containers where container_id = $1", (parent,)
        )
        if not found:
            raise NoSuchContainer(
                f"No container with id '{parent}' exists, cannot use it as parent"
            )
    clash = yield Statement(
        "select container_id from ngas_containers where container_name = $1 "
        "and coalesce(parent_container_id, '') = $2",
        (name, parent or ""),
    )
    if clash:
        where = f"as subcontainer of {parent}" if parent else "at the top"
        raise ContainerConflict(f"A container with name '{name}' already exists {where}")


def append(
    container: str, file_ids: Sequence[str], *, force: bool, close: str | None = None
) -> Script[None]:
    """Put the latest versions of files into a container: all of them, or none.

    Files of other containers are taken from them with ``force``. ``close`` is the date that
    closes the container.
    """
    yield from _locked(container)
    before = yield from _latest_versions(file_ids)
    missing = [file_id for file_id in file_ids if file_id not in before]
    if missing:
        raise NoSuchFile(f"No file with fileId '{missing[0]}' found, cannot append it")
    others = {file_id: held for file_id, (_, held) in before.items() if held and held != container}
    if others and not force:
        file_id, held = next(iter(others.items()))
        raise ContainerConflict(
            f"The file {file_id} is in the container '{held}' already; use force=1 to move it"
        )
    yield Many(
        "update ngas_files set container_id = $3 where file_id = $1 and file_version = $2",
        [(file_id, version, container) for file_id, (version, _) in before.items()],
    )
    yield from recount({container, *others.values()})
    if close is not None:
        yield Statement(
            "update ngas_containers set ingestion_date = $2 where container_id = $1",
            (container, close),
        )


def fill(contents: Sequence[tuple[str, str, int]], closed: str) -> Script[None]:
    """Put versions that were just archived into new containers: (container, file, version)."""
    yield Lock([ROOT_LOCK])
    yield Many(
        "update ngas_files set container_id = $1 where file_id = $2 and file_version = $3",
        list(contents),
    )
    touched = sorted({container for container, _, _ in contents})
    yield from recount(touched)
    yield Many(
        "update ngas_containers set ingestion_date = $2 where container_id = $1",
        [(container, closed) for container in touched],
    )


def remove(container: str, file_ids: Sequence[str]) -> Script[None]:
    """Take files out of a container; those that are not in it do not matter."""
    yield from _locked(container)
    yield Statement(
        "update ngas_files set container_id = null where container_id = $1 and file_id in @2",
        (container, list(file_ids)),
    )
    yield from recount({container})


def destroy(container: str, *, recursive: bool) -> Script[None]:
    """Remove a container; its files stay in the archive, in none."""
    yield from _locked(container)
    rows = yield Statement(
        "with recursive below as (select container_id from ngas_containers "
        "where container_id = $1 union all select c.container_id from ngas_containers c "
        "join below b on c.parent_container_id = b.container_id) select container_id from below",
        (container,),
    )
    ids = [row[0] for row in rows]
    if len(ids) > 1 and not recursive:
        raise ContainerConflict(
            f"Container with id '{container}' has sub-containers, "
            "use the recursive option to remove them"
        )
    yield Statement("update ngas_files set container_id = null where container_id in @1", (ids,))
    yield Statement("delete from ngas_containers where container_id in @1", (ids,))


def take_along(copies: Sequence[File]) -> Script[None]:
    """Put further copies into the containers that their files were put into meanwhile."""
    yield Many(
        "update ngas_files set container_id = (select max(other.container_id) "
        "from ngas_files other where other.file_id = $1 and other.file_version = $2) "
        "where file_id = $1 and file_version = $2 and container_id is null",
        [(file.file_id, file.version) for file in copies],
    )


def recount(containers: Iterable[str]) -> Script[None]:
    """Bring the sizes of containers up to date: of each version once, however many its copies."""
    yield Many(
        "update ngas_containers set container_size = (select coalesce(sum(size), 0) from "
        "(select max(uncompressed_file_size) as size from ngas_files where container_id = $1 "
        "group by file_id, file_version) versions) where container_id = $1",
        [(container,) for container in sorted(containers)],
    )


def _container(row: Row) -> Container:
    return Container(row[0], row[1], row[2], int(row[3]), row[4] or "")


def _rows(new: NewContainer, parent: str | None) -> Iterable[tuple[object, ...]]:
    yield (new.id, parent, new.name)
    for child in new.children:
        yield from _rows(child, new.id)


def _latest(copies: Iterable[Copy]) -> dict[str, list[Copy]]:
    """Return the first copy of each file's latest version, by container."""
    by_container: dict[str, list[Copy]] = {}
    seen: set[tuple[str, str]] = set()
    for copy in copies:
        container = copy.file.container_id or ""
        if (container, copy.file.file_id) not in seen:
            seen.add((container, copy.file.file_id))
            by_container.setdefault(container, []).append(copy)
    return by_container


def _tree(top: str, containers: dict[str, Container], copies: dict[str, list[Copy]]) -> Tree:
    below = sorted(
        (each for each in containers.values() if each.parent == top and each.id != top),
        key=lambda each: each.name,
    )
    return Tree(
        containers[top],
        tuple(copies.get(top, ())),
        tuple(_tree(child.id, containers, copies) for child in below),
    )


def _locked(container: str) -> Script[None]:
    """Be the only one who changes containers; the container must still be there."""
    yield Lock([ROOT_LOCK])
    found = yield Statement(
        "select container_id from ngas_containers where container_id = $1", (container,)
    )
    if not found:
        raise NoSuchContainer(f"No container with id '{container}' exists")


def _latest_versions(file_ids: Sequence[str]) -> Script[dict[str, tuple[int, str | None]]]:
    """Return the latest version of each file, and the container that it is in."""
    rows = yield Statement(
        "select file_id, file_version, container_id from ngas_files where file_id in @1 "
        "order by file_version",
        (list(file_ids),),
    )
    return {row[0]: (int(row[1]), row[2]) for row in rows}
