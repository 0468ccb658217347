"""Programs that people run, on a real mount: as on a plain directory."""

import filecmp
import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import mount_support
import pytest
from mount_support import Mounted, Site, mounted, sh
from waiting_support import PATIENCE

pytestmark = pytest.mark.skipif(
    mount_support.why_not() is not None, reason=str(mount_support.why_not())
)

SOURCE: Final = Path(__file__).resolve().parent.parent / "pyvospace_ngas"
MIB: Final = 1 << 20


@pytest.fixture(scope="module", params=mount_support.versions(), ids=lambda v: f"libfuse{v}")
def m(
    site: Site, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mounted]:
    """A mount that all tests of this module share, each in a directory of its own."""
    folder = tmp_path_factory.mktemp("mount")
    with mounted(site, folder, site.container(), f"fuse={request.param}") as running:
        yield running


@pytest.fixture
def here(m: Mounted, request: pytest.FixtureRequest) -> Path:
    path = m / f"d{abs(hash(request.node.name))}"
    path.mkdir()
    return path


def needs(program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small tree of real files, with everything that a copy may lose."""
    root = tmp_path_factory.mktemp("source") / "tree"
    shutil.copytree(SOURCE / "fuse", root, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "sub" / "deep").mkdir(parents=True)
    (root / "sub" / "link").symlink_to("../entries.py")
    (root / "sub" / "nowhere").symlink_to("not/there")
    (root / "sub" / "outside").symlink_to("/etc/passwd")
    (root / "sub" / "script").write_text("#!/bin/sh\necho it runs\n")
    (root / "sub" / "script").chmod(0o750)
    (root / "sub" / "empty").touch()
    (root / "sub" / "deep" / "Ωμέγα 100% #1 & ?").write_bytes(os.urandom(200_000))
    for path in root.rglob("*.py"):
        os.utime(path, ns=(10**18 + 123_456_789, 10**18 + 123_456_789))
    return root


def test_cp_and_rsync_see_no_difference_to_what_was_copied(here: Path, source: Path) -> None:
    sh(here, "cp", "-a", source, "tree")
    sh(here, "diff", "-r", "--no-dereference", source, here / "tree")
    assert mount_support.tree_of(source) == mount_support.tree_of(here / "tree")
    assert sh(here, here / "tree/sub/script") == "it runs\n"
    if shutil.which("rsync"):
        wanted = ("rsync", "-rlpt", "--delete", "--itemize-changes", f"{source}/", "tree/")
        assert sh(here, *wanted) == ""
        (here / "tree" / "errnos.py").unlink()
        (here / "tree" / "surplus").touch()
        sh(here, *wanted)
        assert sh(here, "diff", "-r", "--no-dereference", source, "tree") == ""


def test_tar_packs_and_unpacks(here: Path, source: Path) -> None:
    sh(here, "tar", "-cf", "t.tar", "-C", source.parent, "tree")
    sh(here, "tar", "-xf", "t.tar")
    sh(here, "diff", "-r", "--no-dereference", source, "tree")
    shutil.rmtree(here / "tree")
    assert sorted(path.name for path in here.iterdir()) == ["t.tar"]


def test_git_keeps_a_repository(here: Path, source: Path) -> None:
    needs("git")
    for name in ("files.py", "errnos.py", "sub/script"):
        shutil.copy(source / name, here)
    sh(here, "git", "init", "-q", "--template=", ".")
    sh(here, "git", "add", ".")
    sh(here, "git", "commit", "-qm", "one")
    assert sh(here, "git", "status", "--short") == ""
    (here / "files.py").write_text("changed\n")
    sh(here, "git", "commit", "-qam", "two")
    assert len(sh(here, "git", "log", "--oneline").splitlines()) == 2
    sh(here, "git", "fsck", "--strict")
    sh(here, "git", "clone", "-q", "--template=", ".", "clone")
    assert (here / "clone" / "files.py").read_text() == "changed\n"
    assert sh(here, here / "clone" / "script") == "it runs\n"


@pytest.mark.parametrize("journal", ["delete", "truncate", "wal"])
def test_sqlite_keeps_its_promises(here: Path, journal: str) -> None:
    needs("sqlite3")
    sql = (
        f"pragma journal_mode={journal}; create table t (a);"
        "insert into t select value from generate_series(1, 500);"
        "begin; delete from t; rollback; update t set a = a + 1; select sum(a) from t;"
        "vacuum; pragma integrity_check;"
    )
    assert sh(here, "sqlite3", "db", sql).split() == [journal, "125750", "ok"]
    assert sh(here, "sqlite3", "db", "select count(*) from t") == "500\n"


def test_several_writers_share_a_database(here: Path) -> None:
    sqlite3.connect(here / "db").execute("create table t (a)").connection.close()
    program = (
        "import sqlite3, sys; db = sqlite3.connect('db', 60, isolation_level=None)\n"
        "for n in range(5): db.execute('insert into t values (?)', (sys.argv[1],))"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", program, str(number)], cwd=here)
        for number in range(3)
    ]
    assert [writer.wait(PATIENCE) for writer in writers] == [0, 0, 0]
    with closing(sqlite3.connect(here / "db")) as db:
        assert db.execute("select a, count(*) from t group by a order by a").fetchall() == [
            ("0", 5), ("1", 5), ("2", 5),
        ]  # fmt: skip
        assert db.execute("pragma integrity_check").fetchone() == ("ok",)


def test_what_was_written_in_any_order_is_read_in_any_order(here: Path) -> None:
    data = bytearray(os.urandom(5 * MIB + 4321))
    path = here / "f"
    path.write_bytes(data)
    with path.open("r+b", buffering=0) as file:
        for offset in (4 * MIB, 17, 3 * MIB - 5, 5 * MIB + 4321, 6 * MIB):
            piece = os.urandom(70_001)
            file.seek(offset)
            file.write(piece)
            data[len(data) :] = bytes(max(0, offset - len(data)))
            data[offset : offset + len(piece)] = piece
            assert os.fstat(file.fileno()).st_size == len(data)
    assert path.read_bytes() == data
    with path.open("rb", buffering=0) as file:
        for offset in (5 * MIB, 0, 2 * MIB + 1, 4096, 6 * MIB):
            file.seek(offset)
            assert file.read(3000) == data[offset : offset + 3000]


def test_a_file_comes_cold_as_it_went(m: Mounted, site: Site, tmp_path: Path) -> None:
    data = os.urandom(20 * MIB + 1)
    (m / "cold").write_bytes(data)
    path = str(m.status()["path"])
    with mounted(site, tmp_path, path) as other:
        assert hashlib.md5((other / "cold").read_bytes()).digest() == hashlib.md5(data).digest()
        assert filecmp.cmp(other / "cold", m / "cold", shallow=False)


def test_fio_verifies_what_it_wrote(here: Path) -> None:
    needs("fio")
    words = (
        "fio --name=v --filename=f --size=4m --bsrange=512-64k --rw=randrw --verify=crc32c"
        " --do_verify=1 --ioengine=psync --fsync=200 --minimal --fallocate=none"
    )
    sh(here, *words.split())


def test_a_mapped_file_is_written_through(here: Path) -> None:
    program = (
        "import mmap; f = open('f', 'w+b'); f.truncate(100_000); m = mmap.mmap(f.fileno(), 0);"
        "m[70_000:70_005] = b'hello'; m.flush(); f.close(); m[5:8] = b'end'; m.close()"
    )
    sh(here, "python3", "-c", program)
    data = (here / "f").read_bytes()
    assert (len(data), data[70_000:70_005], data[5:8]) == (100_000, b"hello", b"end")


def test_a_small_file_costs_a_look_and_its_bytes(site: Site, tmp_path: Path) -> None:
    path = site.container()
    for number in range(10):
        site.run(site.alice.push(f"{path}/f{number}", b"hello %d" % number))
    with mounted(site, tmp_path, path) as m:
        assert len(mount_support.names(m / ".")) == 10
        before = m.status()["requests"]
        for number in range(10):
            assert (m / f"f{number}").read_bytes() == b"hello %d" % number
        assert m.status()["requests"] - before <= 22  # some for what comes between two of them


def test_a_new_file_costs_its_name_and_its_bytes(m: Mounted, here: Path) -> None:
    (here / "first").touch()
    before = m.status()["requests"]
    for number in range(10):
        (here / f"n{number}").write_bytes(b"hello %d" % number)
    assert m.status()["requests"] - before <= 22  # some for what comes between two of them


def test_a_new_file_goes_to_what_has_its_name_in_the_end(
    site: Site, m: Mounted, here: Path
) -> None:
    path = f"{m.status()['path']}/{here.name}"
    with (here / "twice").open("wb", buffering=0) as file:
        file.write(b"one")
        os.fsync(file.fileno())
        file.write(b"two")
    with (here / "moved").open("wb", buffering=0) as file:
        (here / "moved").rename(here / "there")
        file.write(b"moved")
    with (here / "aborted").open("wb", buffering=0) as file:
        file.write(b"again")
        jobs = site.run(site.alice.get("/transfers?PHASE=EXECUTING")).text
        for job in {part.partition('"')[0] for part in jobs.split('jobref id="')[1:]}:
            site.run(site.alice.form(f"/transfers/{job}/phase", "PHASE=ABORT"))
    with (here / "replaced").open("wb", buffering=0) as file:
        file.write(b"replaced")
        site.run(site.alice.delete(f"/nodes{path}/replaced"))
        site.run(site.alice.make(f"{path}/replaced", "DataNode"))
    for name, data in (
        ("twice", b"onetwo"),
        ("there", b"moved"),
        ("aborted", b"again"),
        ("replaced", b"replaced"),
    ):
        assert site.run(site.alice.pull(f"{path}/{name}")).body == data


def test_a_directory_costs_one_listing_not_a_request_for_each_name(m: Mounted, here: Path) -> None:
    for number in range(60):
        (here / f"f{number}").touch()
    before = m.status()["requests"]
    listed = subprocess.run(["ls", "-l", here], capture_output=True, text=True, check=True)
    assert len(listed.stdout.splitlines()) == 61
    assert m.status()["requests"] - before <= 6
