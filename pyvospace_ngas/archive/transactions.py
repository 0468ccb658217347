"""The transactions that let files in and out, so that a crash at any point leaves no riddle.

A file comes in by two: the first reserves its version and records where it will be (the intent);
the second, when the file lies there and is durable, replaces the intent by its row. A file goes
out by two as well: its row first, with a record that the file is to be removed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from pyvospace_ngas.archive import completion, containers, copies, records
from pyvospace_ngas.archive.index import DISKS, FILES
from pyvospace_ngas.archive.records import FILE_COLUMNS, Disk, File
from pyvospace_ngas.archive.steps import Lock, Many, Script, Statement

LATEST: Final = 0  # as a version to overwrite

INSERT: Final = (
    f"insert into ngas_files ({FILES}) values ("  # noqa: S608
    + ", ".join(f"${number}" for number in range(1, len(FILE_COLUMNS) + 1))
    + ")"
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file that asks for a version: a new one, one to overwrite, or one that it had before.

    ``overwrite`` is None, a version or ``LATEST``. A twin has the version of the file that it is
    a replica of, which comes before it.
    """

    token: str
    disk_id: str
    file_id: str
    folder: str  # where the version's number will follow
    name: str
    overwrite: int | None = None
    exact: int | None = None
    twin_of: str = ""  # a token
    copy_of: int | None = None  # a version of which this is a further copy


@dataclass(frozen=True, slots=True)
class Intent:
    """Where a file will be; the second name is for when the first is taken."""

    token: str
    disk_id: str
    version: int
    file_name: str
    other_name: str


@dataclass(frozen=True, slots=True)
class NothingToOverwrite:
    """Why an overwrite is refused."""

    reason: str


@dataclass(frozen=True, slots=True)
class VersionTaken:
    """Why a file does not get back the version that it had."""

    reason: str


NotReserved: TypeAlias = NothingToOverwrite | VersionTaken


@dataclass(frozen=True, slots=True)
class Room:
    """What a disk has left, as measured by its node."""

    available_mb: int
    full: bool = False
    turned: bool = False  # it was found full just now


@dataclass(frozen=True, slots=True)
class Arrival:
    """A file that lies in its place."""

    token: str
    file: File
    overwrites: bool
    twin_of: str = ""  # a token: a replica gets its row together with that, or not at all
    source: File | None = None  # of which it is a further copy


@dataclass(frozen=True, slots=True)
class Commit:
    """What the second transaction did."""

    files: Mapping[str, File]  # by token; what is missing had been abandoned
    disks: Mapping[str, Disk]
    replaced: tuple[tuple[str, str], ...]  # disk and name of files to be removed
    outdated: frozenset[str] = frozenset()  # copies whose source changed; they keep their intents


def reserve(wanted: Sequence[Wanted], host_id: str) -> Script[dict[str, Intent | NotReserved]]:
    """Give each file a version of its own and record where it is going."""
    ids = sorted({each.file_id for each in wanted})
    yield Lock(ids)
    last = yield from last_versions(ids)
    holders = yield from _holders([each for each in wanted if each.overwrite is not None])
    taken = yield from _taken([each for each in wanted if each.exact is not None])
    answer: dict[str, Intent | NotReserved] = {}
    for each in wanted:
        if each.copy_of is not None:
            answer[each.token] = _intent(each, each.copy_of)
        elif each.twin_of:
            answer[each.token] = _twin(each, answer[each.twin_of])
        elif each.overwrite is not None:
            answer[each.token] = _overwriting(each, holders.get(each.file_id, {}), host_id)
        elif each.exact is not None:
            answer[each.token] = _again(each, each.exact, taken)
            last[each.file_id] = max(last.get(each.file_id, 0), each.exact)
        else:
            last[each.file_id] = version = last.get(each.file_id, 0) + 1
            taken.add((each.file_id, version))
            answer[each.token] = _intent(each, version)
    yield Many(
        "insert into archive_intent (token, disk_id, file_version, file_name, other_name, file_id)"
        " values ($1, $2, $3, $4, $5, $6)",
        [
            (*_values(intent), each.file_id)
            for each in wanted
            if isinstance(intent := answer[each.token], Intent)
        ],
    )
    return answer


def last_versions(file_ids: Sequence[str]) -> Script[dict[str, int]]:
    """Return the highest version that each name has or will have; be alone with the names."""
    rows = yield Statement(
        "select file_id, max(file_version) from ("
        "select file_id, file_version from ngas_files where file_id in @1 union all "
        "select file_id, file_version from archive_intent where file_id in @1) known "
        "group by file_id",
        (list(file_ids),),
    )
    return {row[0]: int(row[1]) for row in rows}


def commit(arrivals: Sequence[Arrival], rooms: Mapping[str, Room], now: str) -> Script[Commit]:
    """Replace intents by rows. A file whose intent was abandoned gets none."""
    outdated = yield from copies.outdated(arrivals)
    tokens = yield from _claim([each for each in arrivals if each.token not in outdated])
    files: dict[str, File] = {}
    fresh: list[File] = []
    replaced: list[File] = []
    for arrival in arrivals:
        if arrival.token not in tokens:
            continue
        file = arrival.file
        if arrival.twin_of:
            file = replace(file, container_id=files[arrival.twin_of].container_id)
        if arrival.overwrites:
            file, old = yield from _replace(file)
            yield Many(INSERT, [file.row()])
            if file.container_id:
                yield from containers.recount([file.container_id])
            replaced += old
        else:
            fresh.append(file)
        files[arrival.token] = file
    yield Many(INSERT, [file.row() for file in fresh])
    yield from containers.take_along(
        [each.file for each in arrivals if each.source is not None and each.token in tokens]
    )
    disks = yield from count(list(files.values()), replaced, rooms, now)
    names = tuple((old.disk_id, old.file_name) for old in replaced)
    return Commit(files, disks, names, outdated)


def abandon(tokens: Sequence[str]) -> Script[list[str]]:
    """Make sure that no commit of these can still happen; return those that had none.

    It waits for a commit under way: after a lost answer this tells how it ended.
    """
    rows = yield Statement(
        "update archive_intent set abandoned = 1 where token in @1 returning token",
        (list(tokens),),
    )
    return [row[0] for row in rows]


def forget(tokens: Sequence[str]) -> Script[None]:
    """Drop abandoned intents whose files are gone."""
    yield Statement(
        "delete from archive_intent where abandoned = 1 and token in @1", (list(tokens),)
    )


def discard(disk_id: str, file_id: str, version: int, available_mb: int) -> Script[File | None]:
    """Remove a row and record that its file is to be removed."""
    rows = yield Statement(
        "delete from ngas_files where file_id = $1 and file_version = $2 and disk_id = $3 "  # noqa: S608
        f"returning {FILES}",
        (file_id, version, disk_id),
    )
    if not rows:
        return None
    file = records.file(rows[0])
    yield from _removals([file])
    yield from count([], [file], {disk_id: Room(available_mb)}, "")
    if file.container_id:
        yield from containers.recount([file.container_id])
    return file


def removed(files: Sequence[tuple[str, str]]) -> Script[None]:
    """Forget removals that are done."""
    yield Many("delete from archive_removal where disk_id = $1 and file_name = $2", list(files))


def unfinished(disk_ids: Sequence[str]) -> Script[tuple[list[Intent], list[tuple[str, str]]]]:
    """Return the intents and removals that an earlier life of this node left behind."""
    disks = list(disk_ids)
    intents = yield Statement(
        "select token, disk_id, file_version, file_name, other_name from archive_intent "
        "where disk_id in @1",
        (disks,),
    )
    removals = yield Statement(
        "select r.disk_id, r.file_name, f.file_id from archive_removal r left join ngas_files f "
        "on f.disk_id = r.disk_id and f.file_name = r.file_name where r.disk_id in @1",
        (disks,),
    )
    stale = [(row[0], row[1]) for row in removals if row[2] is not None]
    if stale:  # the name belongs to another file by now
        yield from removed(stale)
    return (
        [Intent(*row) for row in intents],
        [(row[0], row[1]) for row in removals if row[2] is None],
    )


def _claim(arrivals: Sequence[Arrival]) -> Script[set[str]]:
    """End the intents that nobody has abandoned; a file and its replica only both together."""
    tokens = [arrival.token for arrival in arrivals]
    pairs = [(each.token, each.twin_of) for each in arrivals if each.twin_of]
    if pairs:
        rows = yield Statement(  # changes nothing, and keeps others from abandoning them
            "update archive_intent set abandoned = 0 where token in @1 and abandoned = 0 "
            "returning token",
            (tokens,),
        )
        alive = {row[0] for row in rows}
        broken = {token for pair in pairs if not alive.issuperset(pair) for token in pair}
        tokens = [token for token in tokens if token in alive - broken]
    claimed = yield Statement(
        "delete from archive_intent where token in @1 and abandoned = 0 returning token",
        (tokens,),
    )
    return {row[0] for row in claimed}


def _twin(wanted: Wanted, first: Intent | NotReserved) -> Intent | NotReserved:
    return _intent(wanted, first.version) if isinstance(first, Intent) else first


def _again(wanted: Wanted, version: int, taken: set[tuple[str, int]]) -> Intent | VersionTaken:
    if (wanted.file_id, version) in taken:
        return VersionTaken(f"the file {wanted.file_id} has a version {version} already")
    taken.add((wanted.file_id, version))
    return _intent(wanted, version)


def _taken(wanted: Sequence[Wanted]) -> Script[set[tuple[str, int]]]:
    """For files that want a version back: all versions that their names have."""
    if not wanted:
        return set()
    rows = yield Statement(
        "select file_id, file_version from ngas_files where file_id in @1 union "
        "select file_id, file_version from archive_intent where file_id in @1",
        ([each.file_id for each in wanted],),
    )
    return {(row[0], int(row[1])) for row in rows}


def _intent(wanted: Wanted, version: int) -> Intent:
    folder = f"{wanted.folder}/{version}"
    return Intent(
        wanted.token,
        wanted.disk_id,
        version,
        f"{folder}/{wanted.name}",
        f"{folder}/{wanted.token}/{wanted.name}",
    )


def _values(intent: Intent) -> tuple[object, ...]:
    return (intent.token, intent.disk_id, intent.version, intent.file_name, intent.other_name)


def _holders(wanted: Sequence[Wanted]) -> Script[dict[str, dict[int, set[str]]]]:
    """For files to be overwritten: the nodes that hold each version."""
    holders: dict[str, dict[int, set[str]]] = {}
    if not wanted:
        return holders
    rows = yield Statement(
        "select f.file_id, f.file_version, d.host_id from ngas_files f "
        "join ngas_disks d on d.disk_id = f.disk_id where f.file_id in @1",
        ([each.file_id for each in wanted],),
    )
    for file_id, version, host_id in rows:
        holders.setdefault(file_id, {}).setdefault(int(version), set()).add(host_id)
    return holders


def _overwriting(
    wanted: Wanted, holders: Mapping[int, set[str]], host_id: str
) -> Intent | NothingToOverwrite:
    version = wanted.overwrite or max(holders, default=0)
    if version not in holders:
        which = f"version {wanted.overwrite}" if wanted.overwrite else "any version"
        return NothingToOverwrite(
            f"there is no file {wanted.file_id} in {which}, so nothing can be overwritten"
        )
    if holders[version] != {host_id}:
        return NothingToOverwrite(
            f"the file {wanted.file_id} in version {version} is held by another node; "
            "overwriting it here would leave two contents for one version"
        )
    return _intent(wanted, version)


def _replace(file: File) -> Script[tuple[File, list[File]]]:
    """Take out the rows of the version that ``file`` replaces; it inherits their container."""
    rows = yield Statement(
        f"delete from ngas_files where file_id = $1 and file_version = $2 returning {FILES}",  # noqa: S608
        (file.file_id, file.version),
    )
    old = [records.file(row) for row in rows]
    yield from _removals(old)
    container = next((each.container_id for each in old if each.container_id), None)
    return replace(file, container_id=container), old


def _removals(files: Sequence[File]) -> Script[None]:
    yield Many(
        "insert into archive_removal (disk_id, file_name) values ($1, $2) on conflict do nothing",
        [(file.disk_id, file.file_name) for file in files],
    )


def count(
    added: Sequence[File], taken: Sequence[File], rooms: Mapping[str, Room], now: str
) -> Script[dict[str, Disk]]:
    """Bring the sums of the disks up to date and return those disks."""
    disks: dict[str, Disk] = {}
    turned = {disk_id for disk_id, room in rooms.items() if room.turned}
    for disk_id in sorted({file.disk_id for file in (*added, *taken)} | turned):
        new = [file for file in added if file.disk_id == disk_id]
        old = [file for file in taken if file.disk_id == disk_id]
        room = rooms.get(disk_id)
        rows = yield Statement(
            "update ngas_disks set number_of_files = number_of_files + $2, "  # noqa: S608
            "bytes_stored = bytes_stored + $3, available_mb = coalesce($4, available_mb), "
            "total_disk_write_time = coalesce(total_disk_write_time, 0) + $5, "
            "completed = case when $6 = 1 then 1 else completed end, "
            "completion_date = case when $6 = 1 then $7 else completion_date end "
            f"where disk_id = $1 returning {DISKS}",
            (
                disk_id,
                len(new) - len(old),
                sum(file.size for file in new) - sum(file.size for file in old),
                room.available_mb if room else None,
                sum(file.io_milliseconds for file in new) / 1000,
                int(bool(room and room.full)),
                now,
            ),
        )
        if rows:
            disks[disk_id] = records.disk(rows[0])
            if room and room.turned:
                yield completion.history(disks[disk_id], now)
    return disks
