"""Storage sets, replication and archiving units; what becomes of volumes that fill up."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from io import BytesIO
from pathlib import Path

import pytest
from aiohttp import ClientSession
from archive_support import (
    RunningNode,
    edits,
    elements,
    retrieve,
    running_node,
    set_attributes,
    until,
)
from crc32c import crc32c
from lxml import etree
from test_archive_crash import Fickle

from pyvospace_ngas.archive.peers import basic
from pyvospace_ngas.archive.steps import Row
from pyvospace_ngas.ngas.status import Answer, parse

LARGE = bytes(range(256)) * 8000
BIN = "application/octet-stream"


def storage_set(name: str, main: str, replication: str = "", **attributes: str) -> str:
    element = etree.Element("StorageSet", StorageSetId=name, MainDiskSlotId=main)
    element.attrib.update({"RepDiskSlotId": replication} | attributes)
    return etree.tostring(element).decode()


def streams(*sets: str, mime_type: str = BIN, units: tuple[str, ...] = ()) -> str:
    refs = "".join(f'<StorageSetRef StorageSetId="{name}"/>' for name in sets)
    others = "".join(f'<ArchivingUnit HostId="{unit}"/>' for unit in units)
    return f'<Streams><Stream MimeType="{mime_type}">{refs}{others}</Stream></Streams>'


TWO_COPIES = edits(
    set_attributes("ArchiveHandling", Replication="1"),
    elements(
        f"<StorageSets>{storage_set('s', 'volume1', 'volume2', DiskLabel='SKY')}</StorageSets>"
        f"{streams('s')}"
    ),
)


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with ClientSession() as client:
        yield client


async def send(
    session: ClientSession, url: str, name: str, data: object, **parameters: str
) -> tuple[int, Answer]:
    """ARCHIVE with the mime type of the streams here."""
    query = {"filename": name, "mime_type": BIN} | parameters
    body = BytesIO(data) if isinstance(data, bytes) else data
    async with session.post(f"{url}/ARCHIVE", params=query, data=body) as response:
        return response.status, parse(await response.read())


async def rows(node: RunningNode, sql: str, *arguments: object) -> list[Row]:
    return await node.node.database.fetch(sql, *arguments)


def files(root: Path) -> list[str]:
    return sorted(
        str(path.relative_to(root))
        for path in root.rglob("*")
        if path.is_file() and not path.name.startswith(".ngas")
    )


# Replication


@pytest.fixture(params=["sqlite3", "asyncpg"])
def database(request: pytest.FixtureRequest) -> str:
    return "" if request.param == "sqlite3" else str(request.getfixturevalue("empty_dsn"))


@pytest.mark.parametrize("data", [b"small", LARGE])
async def test_a_replicated_file_lies_on_both_volumes_before_the_answer(
    tmp_path: Path, session: ClientSession, data: bytes, database: str
) -> None:
    async with running_node(tmp_path, database, volumes=3, edit=TWO_COPIES) as node:
        status, answer = await send(session, node.url, "a.bin", data)
        assert (status, answer.disks[0].slot_id) == (200, "volume1")
        name = answer.disks[0].files[0].file_name
        for volume in ("volume1", "volume2"):
            path = tmp_path / "volumes" / volume / name
            assert path.read_bytes() == data
            assert path.stat().st_mode & 0o777 == 0o444
        found = await rows(
            node,
            "select d.slot_id, f.file_version, f.checksum, d.number_of_files from ngas_files f "
            "join ngas_disks d on d.disk_id = f.disk_id order by d.slot_id",
        )
        crc = str(crc32c(data))
        assert [tuple(row) for row in found] == [
            ("volume1", 1, crc, 1),
            ("volume2", 1, crc, 1),
        ]
        staged = [tmp_path / "volumes" / slot / "staging" for slot in ("volume1", "volume2")]
        await until(lambda: not any(map(files, staged)))  # the names there go after the answer


async def test_replication_and_overwriting_keep_two_equal_copies(
    tmp_path: Path, session: ClientSession
) -> None:
    async with running_node(tmp_path, volumes=2, edit=TWO_COPIES) as node:
        await send(session, node.url, "a.bin", b"old")
        await send(session, node.url, "a.bin", b"newer", no_versioning="1")
        found = await rows(node, "select file_version, file_size from ngas_files")
        assert [tuple(row) for row in found] == [(1, 5), (1, 5)]
        await until(lambda: len(files(tmp_path / "volumes")) == 2)  # the old ones go afterwards
        counted = await rows(node, "select number_of_files, bytes_stored from ngas_disks")
        assert [tuple(row) for row in counted] == [(1, 5), (1, 5)]


async def test_many_at_once_are_all_replicated(tmp_path: Path, session: ClientSession) -> None:
    async with running_node(tmp_path, volumes=2, edit=TWO_COPIES) as node:
        answers = await asyncio.gather(
            *(send(session, node.url, "same.bin", b"%d" % number) for number in range(8))
        )
        assert {status for status, _ in answers} == {200}
        found = await rows(
            node,
            "select file_version, count(*), count(distinct checksum) from ngas_files "
            "group by file_version order by file_version",
        )
        assert [tuple(row) for row in found] == [(version, 2, 1) for version in range(1, 9)]


@pytest.mark.parametrize("data", [b"small", LARGE])
async def test_without_its_replica_a_file_is_not_archived_at_all(
    tmp_path: Path, session: ClientSession, data: bytes
) -> None:
    async with running_node(tmp_path, volumes=2, edit=TWO_COPIES) as node:
        shutil.rmtree(tmp_path / "volumes/volume2/staging")
        status, answer = await send(session, node.url, "a.bin", data)
        assert (status, answer.status.status) == (500, "FAILURE")
        assert not files(tmp_path / "volumes/volume1")
        assert not await rows(node, "select * from ngas_files")
        assert not await rows(node, "select * from archive_intent")
        (tmp_path / "volumes/volume2/staging").mkdir()
        status, answer = await send(session, node.url, "a.bin", data)
        assert status == 200


@pytest.mark.parametrize("data", [b"small", LARGE])
@pytest.mark.parametrize(("lost", "copies"), [("before", 0), ("after", 2)])
async def test_a_lost_answer_of_the_index_never_leaves_one_copy(
    tmp_path: Path, session: ClientSession, data: bytes, lost: str, copies: int
) -> None:
    async with running_node(tmp_path, volumes=2, edit=TWO_COPIES) as node:
        fickle = Fickle(node.node.database)
        node.node.committer._database = fickle
        fickle.plan = ["well", lost]
        status, _ = await send(session, node.url, "a.bin", data)
        assert status == (200 if copies else 500)
        await until(lambda: len(files(tmp_path / "volumes")) == copies)
        assert len(await rows(node, "select * from ngas_files")) == copies
        await until(lambda: not node.node.committer._leftover)


async def test_both_copies_without_rows_are_taken_out_at_the_next_start(
    tmp_path: Path, session: ClientSession
) -> None:
    async with running_node(tmp_path, volumes=2, edit=TWO_COPIES) as node:
        fickle = Fickle(node.node.database)
        node.node.committer._database = fickle
        fickle.plan = ["well", *["before"] * 20]  # the index stays away until the node ends
        status, _ = await send(session, node.url, "a.bin", LARGE)
        assert status == 500
        assert len([name for name in files(tmp_path / "volumes") if name.endswith("a.bin")]) == 2
    async with running_node(tmp_path, volumes=2, edit=TWO_COPIES) as node:
        assert files(tmp_path / "volumes") == []
        assert not await rows(node, "select * from archive_intent")


async def test_a_set_whose_replication_volume_is_full_takes_nothing(
    tmp_path: Path, session: ClientSession
) -> None:
    async with running_node(tmp_path, volumes=2, edit=TWO_COPIES) as node:
        node.node.volumes[1].completed = True
        status, answer = await send(session, node.url, "a.bin", b"x")
        assert (status, answer.status.code) == (507, 3022)


async def test_qarchive_spreads_and_does_not_replicate(
    tmp_path: Path, session: ClientSession
) -> None:
    async with running_node(tmp_path, volumes=2, edit=TWO_COPIES) as node:
        for number in range(4):
            query = {"filename": f"{number}.bin", "mime_type": BIN}
            async with session.post(f"{node.url}/QARCHIVE", params=query, data=b"x") as response:
                assert response.status == 200
        assert len(await rows(node, "select * from ngas_files")) == 4


# Storage sets


async def test_logical_names_tell_label_kind_and_number(tmp_path: Path) -> None:
    async with running_node(tmp_path, volumes=3, edit=TWO_COPIES) as node:
        found = await rows(node, "select slot_id, logical_name from ngas_disks order by slot_id")
        assert [tuple(row) for row in found] == [
            ("volume1", "SKY-M-000001"),
            ("volume2", "SKY-R-000001"),
            ("volume3", "NGAS-M-000002"),
        ]


async def test_large_files_for_one_volume_arrive_at_once_and_whole(
    tmp_path: Path, session: ClientSession
) -> None:
    async with running_node(tmp_path, volumes=2, edit=TWO_COPIES) as node:
        await asyncio.gather(
            *(send(session, node.url, f"{n}.bin", LARGE + b"%d" % n) for n in range(4))
        )
        for number in range(4):
            assert await retrieve(session, node.url, f"{number}.bin") == LARGE + b"%d" % number


async def test_crc32_has_the_name_that_archive_gives_it(
    tmp_path: Path, session: ClientSession
) -> None:
    async with running_node(tmp_path) as node:
        for variant, name in (("0", "ngamsGenCrc32"), ("crc32z", "crc32z"), ("-1", "none")):
            _, answer = await send(session, node.url, "a.bin", b"x", crc_variant=variant)
            assert answer.disks[0].files[0].checksum_plugin == name


# Disks that fill up


async def test_a_completed_disk_is_described_told_and_remembered(
    tmp_path: Path, session: ClientSession
) -> None:
    edit = set_attributes("ArchiveHandling", FreeSpaceDiskChangeMb=str(2**40))
    async with running_node(tmp_path, edit=edit) as node:
        told = listen(node)
        status, answer = await send(session, node.url, "a.bin", b"x")
        assert (status, answer.disks[0].completed) == (200, True)
        assert answer.disks[0].completion_date
        info = parse((tmp_path / "volumes/volume1/NgasDiskInfo").read_bytes())
        assert (info.disks[0].disk_id, info.disks[0].completed) == (answer.disks[0].disk_id, True)
        [row] = await rows(
            node, "select disk_id, hist_origin, hist_synopsis, hist_descr from ngas_disks_hist"
        )
        assert tuple(row[:3]) == (answer.disks[0].disk_id, node.host_id, "Disk Completed")
        assert parse(row[3].encode()).disks[0].number_of_files == 1
        assert [kind for kind, _ in told] == ["DiskChangeNotification"]
        for _ in range(2):
            status, _ = await send(session, node.url, "b.bin", b"x")
            assert status == 507
        assert [kind for kind, _ in told][1:] == ["NoDiskSpaceNotification"]  # once


async def test_little_room_is_told_once(tmp_path: Path, session: ClientSession) -> None:
    edit = set_attributes("ArchiveHandling", MinFreeSpaceWarningMb=str(2**40))
    async with running_node(tmp_path, edit=edit) as node:
        told = listen(node)
        for _ in range(3):
            status, _ = await send(session, node.url, "a.bin", b"x")
            assert status == 200
        assert [kind for kind, _ in told] == ["DiskSpaceNotification"]


def listen(node: RunningNode) -> list[tuple[str, str]]:
    """Return where the notices of a node will be."""
    told: list[tuple[str, str]] = []
    before = node.node.notices.tell

    def tell(kind: object, subject: str, text: str) -> None:
        told.append((str(kind), subject))
        before(kind, subject, text)  # type: ignore[arg-type]

    node.node.notices.tell = tell  # type: ignore[assignment, method-assign]
    return told


# Archiving units


Cluster = tuple[RunningNode, RunningNode, RunningNode]


@pytest.fixture
async def cluster(
    tmp_path: Path, unused_tcp_port_factory: Callable[[], int]
) -> AsyncIterator[Cluster]:
    """A front without volumes for the type, and two units."""
    ports = [unused_tcp_port_factory() for _ in range(2)]
    hosts = tuple(f"unit:{port}" for port in ports)
    database = str(tmp_path / "shared.sqlite")
    split = edits(set_attributes("Server", HostName="unit"), elements(streams(units=hosts)))
    async with AsyncExitStack() as stack:
        units = [
            await stack.enter_async_context(
                running_node(tmp_path / f"unit{port}", database, edit=split, port=port)
            )
            for port in ports
        ]
        front = await stack.enter_async_context(
            running_node(
                tmp_path / "front",
                database,
                edit=edits(
                    set_attributes("Server", HostName="front"), elements(streams(units=hosts))
                ),
            )
        )
        yield front, units[0], units[1]


@pytest.mark.parametrize("data", [b"small", LARGE])
async def test_files_go_to_a_unit_that_takes_them(
    cluster: Cluster, session: ClientSession, data: bytes
) -> None:
    front, one, two = cluster
    one.node.volumes[0].completed = True
    status, answer = await send(session, front.url, "a.bin", data)
    assert (status, answer.disks[0].host_id) == (200, two.host_id)
    assert await retrieve(session, two.url, "a.bin") == data
    status, answer = await send(session, front.url, "a.bin", data)
    assert answer.disks[0].files[0].file_version == 2


async def test_a_chunked_body_goes_on_as_it_comes(
    cluster: Cluster, session: ClientSession
) -> None:
    front, *_ = cluster

    async def body() -> AsyncIterator[bytes]:
        for _ in range(4):
            yield LARGE

    status, answer = await send(session, front.url, "a.bin", body())
    assert (status, answer.disks[0].files[0].file_size) == (200, 4 * len(LARGE))


async def test_nodes_that_name_each_other_as_units_do_not_ask_for_ever(
    cluster: Cluster, session: ClientSession
) -> None:
    _, one, two = cluster
    for unit in (one, two):
        unit.node.volumes[0].completed = True
    status, answer = await send(session, one.url, "a.bin", b"x")
    assert (status, answer.status.code) == (503, 3015)


async def test_a_unit_with_authorization_lets_the_front_node_in(
    tmp_path: Path, session: ClientSession, unused_tcp_port: int
) -> None:
    secret = "c2VjcmV0"
    known = edits(
        set_attributes("Server", HostName="unit"),
        elements(
            '<Authorization Enable="1" Exclude="RETRIEVE">'
            f'<User Name="ngas-int" Password="{secret}" Commands="*"/></Authorization>'
            f"{streams(units=(f'unit:{unused_tcp_port}',))}"
        ),
    )
    database = str(tmp_path / "shared.sqlite")
    front = edits(known, set_attributes("Server", HostName="front"))
    async with (
        running_node(tmp_path / "unit", database, edit=known, port=unused_tcp_port) as unit,
        running_node(tmp_path / "front", database, edit=front) as node,
    ):
        auth = {"Authorization": basic("ngas-int", "secret")}
        query = {"filename": "a.bin", "mime_type": BIN}
        url = f"{node.url}/ARCHIVE"
        async with session.post(url, params=query, data=b"x", headers=auth) as response:
            assert response.status == 200
            assert parse(await response.read()).disks[0].host_id == unit.host_id
        async with session.post(url, params=query, data=b"x") as response:
            assert response.status == 401


async def test_when_no_unit_takes_it_a_file_is_refused(
    cluster: Cluster, session: ClientSession
) -> None:
    front, one, two = cluster
    query = {"probe": "1", "mime_type": BIN}
    async with session.get(f"{front.url}/ARCHIVE", params=query) as response:
        assert parse(await response.read()).status.code == 4068
    for unit in (one, two):
        unit.node.volumes[0].completed = True
    async with session.get(f"{front.url}/ARCHIVE", params=query) as response:
        assert parse(await response.read()).status.code == 4069
    status, answer = await send(session, front.url, "a.bin", b"x")
    assert (status, answer.status.code) == (503, 3015)
    assert front.node.sub_state == "IDLE"
