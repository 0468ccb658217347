"""What a file system promises beyond bytes, and what ours honestly refuses."""

import ctypes
import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import mount_support
import pytest
import stack
from mount_support import Mounted, Site, mounted, names, sh

pytestmark = pytest.mark.skipif(
    mount_support.why_not() is not None, reason=str(mount_support.why_not())
)


@pytest.fixture(scope="module", params=mount_support.versions(), ids=lambda v: f"libfuse{v}")
def m(
    site: Site, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mounted]:
    folder = tmp_path_factory.mktemp("mount")
    with mounted(site, folder, site.container(), f"fuse={request.param}") as running:
        yield running


def node(site: Site, m: Mounted, name: str) -> str:
    """Return a node's document as another client sees it."""
    return site.run(site.alice.get(f"/nodes{m.status()['path']}/{name}")).text


def test_a_file_that_is_deleted_while_open_lives_on_for_its_readers(
    site: Site, m: Mounted
) -> None:
    (m / "doomed").write_bytes(b"0123456789" * 1000)
    with (m / "doomed").open("r+b", buffering=0) as file:
        assert file.read(4) == b"0123"
        (m / "doomed").unlink()
        assert not (m / "doomed").exists()
        assert "NodeNotFound" in node(site, m, "doomed")
        file.write(b"xyz")
        file.seek(0)
        assert file.read(8) == b"0123xyz7"
        assert os.fstat(file.fileno()).st_size == 10_000
        assert "doomed" not in names(m.path)
    assert not [name for name in names(m.path) if name.startswith(".fuse")]
    assert "fuse_hidden" not in site.run(site.alice.get(f"/nodes{m.status()['path']}")).text


def test_a_rename_replaces_a_file_even_an_open_one(m: Mounted) -> None:
    (m / "old").write_text("old")
    (m / "new").write_text("new")
    with (m / "old").open() as reader:
        (m / "new").rename(m / "old")
        assert reader.read() == "old"
    assert (m / "old").read_text() == "new"
    assert not (m / "new").exists()


def test_two_files_are_not_exchanged_by_halves(m: Mounted) -> None:
    (m / "one").write_text("1")
    (m / "two").write_text("2")
    for flag, numbers in ((RENAME_EXCHANGE, {errno.EINVAL}), (RENAME_NOREPLACE, NOT_REPLACED)):
        rename = ctypes.CDLL(None, use_errno=True).renameat2
        assert rename(-100, bytes(m / "one"), -100, bytes(m / "two"), flag) == -1
        assert ctypes.get_errno() in numbers
    assert [(m / name).read_text() for name in ("one", "two")] == ["1", "2"]


RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2
NOT_REPLACED = {errno.EEXIST, errno.EINVAL}  # libfuse 2 knows no flags


def test_a_file_that_is_renamed_while_it_is_written_arrives_under_its_new_name(
    m: Mounted,
) -> None:
    with (m / "temporary").open("w") as file:
        file.write("content")
        (m / "temporary").rename(m / "final")
    assert (m / "final").read_text() == "content"
    assert not (m / "temporary").exists()


def test_a_directory_is_moved_with_open_files_in_it(m: Mounted) -> None:
    (m / "from").mkdir()
    with (m / "from" / "f").open("w") as file:
        file.write("one")
        file.flush()
        (m / "from").rename(m / "to")
        file.write("two")
    assert (m / "to" / "f").read_text() == "onetwo"
    (m / "empty").mkdir()
    (m / "to").rename(m / "empty")
    assert sorted(names(m / "empty")) == ["f"]


def test_a_deleted_open_file_goes_along_with_its_directory(m: Mounted) -> None:
    (m / "was").mkdir()
    (m / "was" / "f").write_bytes(b"12345")
    with (m / "was" / "f").open("rb", buffering=0) as file:
        (m / "was" / "f").unlink()
        (m / "was").rename(m / "is")
        assert os.fstat(file.fileno()).st_size == 5
        assert file.read() == b"12345"


def test_rmdir_never_takes_a_tree(site: Site, m: Mounted) -> None:
    (m / "full").mkdir()
    assert names(m / "full") == []
    made = site.run(site.alice.make(f"{m.status()['path']}/full/of-others", "DataNode"))
    assert made.status == 201
    with pytest.raises(OSError, match="not empty") as caught:
        (m / "full").rmdir()
    assert caught.value.errno == errno.ENOTEMPTY
    assert "of-others" in node(site, m, "full")


def test_what_cannot_be_is_refused_and_not_pretended(m: Mounted) -> None:
    (m / "f").write_text("f")
    refused: dict[int, list[Callable[[], object]]] = {
        errno.EPERM: [
            lambda: os.link(m / "f", m / "hard"),
            lambda: os.mkfifo(m / "fifo"),
            lambda: (m / "f").chmod(0o602),
            lambda: (m / "f").chmod(0o4700),
            lambda: os.chown(m / "f", 12345, -1),
            lambda: os.setxattr(m / "f", f"user.ivo.{CORE}length", b"7"),
        ],
        errno.EOPNOTSUPP: [
            lambda: os.setxattr(m / "f", "trusted.x", b"1"),
            lambda: os.getxattr(m / "f", "system.posix_acl_access"),
            lambda: os.getxattr(m / "f", "security.selinux"),
        ],
        errno.ENAMETOOLONG: [(m / ("x" * 256)).touch],
        errno.EILSEQ: [(m / os.fsdecode(b"\xff")).mkdir],
        errno.EINVAL: [(m / "bell\a").touch, (m / ".auto").mkdir],
        errno.ENOENT: [(m / "none" / "f").touch, (m / "none").unlink],
        errno.ENODATA: [lambda: os.getxattr(m / "f", "user.none")],
    }
    for number, calls in refused.items():
        for call in calls:
            with pytest.raises(OSError, match=r".") as caught:
                call()
            assert caught.value.errno == number, (number, caught.value)


CORE = "ivo%3A%2F%2Fivoa.net%2Fvospace%2Fcore%23"


def test_permission_bits_are_what_sharing_means(site: Site, m: Mounted) -> None:
    (m / "mine").write_text("mine")
    assert stat.S_IMODE((m / "mine").stat().st_mode) == 0o600
    (m / "mine").chmod(0o644)
    assert stat.S_IMODE((m / "mine").stat().st_mode) == 0o644
    assert 'core#publicread">true' in node(site, m, "mine")
    (m / "mine").write_text("again")
    assert stat.S_IMODE((m / "mine").stat().st_mode) == 0o644
    (m / "mine").chmod(0o500)
    assert 'core#publicread">false' in node(site, m, "mine")
    shared = stack.properties(groupread="stars")
    site.run(site.alice.set(f"{m.status()['path']}/mine", shared))
    mount_support.wait_until(lambda: (m / "mine").stat().st_mode & 0o040)
    with pytest.raises(PermissionError):
        (m / "mine").chmod(0o600)


def test_properties_are_attributes_and_survive_new_bytes(site: Site, m: Mounted) -> None:
    path = m / "described"
    path.write_text("1")
    os.setxattr(path, f"user.ivo.{CORE}title", "Ωmega".encode())
    os.setxattr(path, "user.raw", b"\x00\xff")
    assert 'core#title">Ωmega' in node(site, m, "described")
    path.write_text("2")
    assert os.getxattr(path, f"user.ivo.{CORE}title") == "Ωmega".encode()
    assert os.getxattr(path, "user.raw") == b"\x00\xff"
    assert sorted(os.listxattr(path)) == [f"user.ivo.{CORE}title", "user.raw"]
    with pytest.raises(FileExistsError):
        os.setxattr(path, "user.raw", b"", os.XATTR_CREATE)
    os.removexattr(path, "user.raw")
    assert os.listxattr(path) == [f"user.ivo.{CORE}title"]


def test_links_lead_inside_the_mount_and_say_what_was_written(site: Site, m: Mounted) -> None:
    (m / "d").mkdir()
    (m / "d" / "target").write_text("reached")
    for name, text in (("rel", "d/./target"), ("abs", str(m / "d" / "target"))):
        (m / name).symlink_to(text)
        assert os.readlink(m / name) == text  # noqa: PTH115  a Path forgets the dot
        assert (m / name).read_text() == "reached"
        told = node(site, m, name)
        assert f"<vos:target>{stack.AUTHORITY}{m.status()['path']}/d/target" in told
    inner = stack.AUTHORITY + m.status()["path"]
    document = f"<vos:target>{inner}/d/target</vos:target>"
    site.run(site.alice.make(f"{m.status()['path']}/d/by-rest", "LinkNode", document))
    mount_support.wait_until(lambda: os.path.lexists(m / "d" / "by-rest"))
    assert str((m / "d" / "by-rest").readlink()) == "target"


def test_times_stay_what_they_were_set_to(m: Mounted) -> None:
    path = m / "timed"
    with path.open("w") as file:
        file.write("x")
        file.flush()
        seen = os.fstat(file.fileno()).st_mtime_ns
    assert path.stat().st_mtime_ns == seen
    os.utime(path, ns=(1_000_000_007, 1_234_567_890_123_456_789))
    assert path.stat().st_mtime_ns == 1_234_567_890_123_456_789
    assert path.stat().st_atime_ns == 1_000_000_007
    path.write_text("y")
    assert path.stat().st_mtime_ns > seen


def test_new_files_are_exclusive_across_mounts(site: Site, m: Mounted, tmp_path: Path) -> None:
    with mounted(site, tmp_path, str(m.status()["path"])) as other:
        os.close(os.open(m / "lock", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        with pytest.raises(FileExistsError):
            os.open(other / "lock", os.O_CREAT | os.O_EXCL | os.O_WRONLY)


def test_df_tells_of_the_quota(site: Site, tmp_path: Path) -> None:
    path = site.container()
    site.run(stack.add_user(site.cluster.dsn, "root", admin=True))
    limit = stack.properties(quota=str(1 << 20))
    assert site.run(site.cluster.caller("root").set(path, limit)).status == 200
    with mounted(site, tmp_path, path) as m:
        assert os.statvfs(m.path).f_blocks * 4096 == 1 << 20
        (m / "sub").mkdir()
        with mounted(site, tmp_path / "sub", f"{path}/sub") as below:
            assert os.statvfs(below.path).f_blocks * 4096 == 1 << 20
        with pytest.raises(OSError, match="quota") as caught:
            (m / "large").write_bytes(bytes(2 << 20))
        assert caught.value.errno == errno.EDQUOT
        (m / "small").write_bytes(b"fits")
        mount_support.wait_until(lambda: m.status()["lost"])


def test_a_mount_for_reading_changes_nothing(site: Site, m: Mounted, tmp_path: Path) -> None:
    (m / "there").write_text("there")
    with mounted(site, tmp_path, str(m.status()["path"]), "ro") as other:
        assert (other / "there").read_text() == "there"
        with pytest.raises(OSError, match="Read-only"):
            (other / "there").write_text("x")


def test_sparse_files_read_as_zeros(m: Mounted) -> None:
    with (m / "sparse").open("wb") as file:
        file.seek(3_000_000)
        file.write(b"end")
    assert (m / "sparse").read_bytes() == bytes(3_000_000) + b"end"
    os.truncate(m / "sparse", 10)
    assert (m / "sparse").read_bytes() == bytes(10)
    os.truncate(m / "sparse", 0)
    assert (m / "sparse").stat().st_size == 0


def test_appends_of_two_programs_follow_each_other(m: Mounted) -> None:
    for number in range(3):
        sh(m.path, "sh", "-c", f"echo line {number} >> log")
    assert (m / "log").read_text() == "line 0\nline 1\nline 2\n"
