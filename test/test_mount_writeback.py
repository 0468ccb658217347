"""A mount with the option writeback: closed files are safe here first, and sent in their time."""

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mount_support
import pytest
from mount_support import Site, mounted, wait_until

pytestmark = pytest.mark.skipif(
    mount_support.why_not() is not None, reason=str(mount_support.why_not())
)


@contextmanager
def no_bytes_arrive(site: Site) -> Iterator[None]:
    """Keep the storage server from answering; names go on to be made."""
    storage = site.cluster.storages[0]
    storage.pause()
    try:
        yield
    finally:
        storage.resume()


def stored(site: Site, path: str) -> bytes:
    return site.run(site.alice.pull(path)).body


def stored_md5(site: Site, path: str) -> str:
    text = site.run(site.alice.get(f"/nodes{path}")).text
    return text.partition('core#MD5">')[2].partition("<")[0]


def test_close_does_not_wait_for_the_server_and_fsync_does(site: Site, tmp_path: Path) -> None:
    path = site.container()
    with mounted(site, tmp_path, path, "writeback") as m:
        (m / "f").write_bytes(b"first one")
        wait_until(lambda: m.status()["pending"] == [])
        with no_bytes_arrive(site):
            (m / "f").write_bytes(b"second")
            (m / "f").chmod(0o640)
            assert (m / "f").read_bytes() == b"second"
            assert [each["size"] for each in m.status()["pending"]] == [6]
            assert stored_md5(site, f"{path}/f") != hashlib.md5(b"second").hexdigest()
            (m / "unwanted").write_bytes(b"x")
        (m / "unwanted").unlink()  # waits for what is on its way
        directory = os.open(m.path, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)
        assert stored(site, f"{path}/f") == b"second"
        with (m / "g").open("wb") as file:
            file.write(b"synced")
            file.flush()
            os.fsync(file.fileno())
            assert stored(site, f"{path}/g") == b"synced"
        wait_until(lambda: m.status()["pending"] == [])
        assert (m / "f").stat().st_mode & 0o777 == 0o640
        assert m.status()["lost"] == []


def test_names_change_under_what_is_to_be_sent(site: Site, tmp_path: Path) -> None:
    path = site.container()
    with mounted(site, tmp_path, path, "writeback") as m:
        for number in range(5):
            (m / "temporary").write_bytes(b"%d" % number)
            (m / "temporary").rename(m / "final")
            assert (m / "final").read_bytes() == b"%d" % number
            (m / "over").write_bytes(b"never seen")
            (m / "new").write_bytes(b"new")
            (m / "new").rename(m / "over")
            (m / f"d{number}").mkdir()
            (m / f"d{number}" / "f").write_bytes(b"f")
            (m / f"d{number}").rename(m / f"e{number}")
        assert m.end() == 0
    assert stored(site, f"{path}/final") == b"4"
    assert stored(site, f"{path}/over") == b"new"
    assert [stored(site, f"{path}/e{number}/f") for number in range(5)] == [b"f"] * 5
    assert not list((m.state / "staged").iterdir())
    assert not list((m.state / "lost").iterdir())


def test_the_journal_survives_the_death_of_the_mount(site: Site, tmp_path: Path) -> None:
    path = site.container()
    with mounted(site, tmp_path, path, "writeback") as m:
        for name in ("described", "replaced", "deleted"):
            (m / name).write_bytes(b"old")
        os.setxattr(m / "described", "user.kept", b"kept")
        wait_until(lambda: m.status()["pending"] == [])
        with no_bytes_arrive(site):
            for name in ("new", "described", "replaced", "deleted"):
                (m / name).write_bytes(b"promised")
            os.setxattr(m / "described", "user.late", b"late")
            os.utime(m / "described", ns=(10**18, 10**18 + 7))
            unclosed = (m / "unclosed").open("wb", buffering=0)
            unclosed.write(b"not promised")
            m.process.send_signal(signal.SIGKILL)
            m.process.wait()
            with pytest.raises(OSError, match=r"."):
                unclosed.close()
        told = status(m.path, m.state)
        assert told.count("sent by the next mount") == 4
        site.run(site.alice.push(f"{path}/replaced", b"by somebody else"))
        assert site.run(site.alice.delete(f"/nodes{path}/deleted")).status == 204
        with mounted(site, tmp_path, path) as again:
            assert (again / "described").read_bytes() == b"promised"
            wait_until(lambda: again.status()["pending"] == [])
            assert stored(site, f"{path}/new") == b"promised"
            assert stored(site, f"{path}/described") == b"promised"
            assert stored(site, f"{path}/replaced") == b"by somebody else"
            described = again / "described"
            assert os.getxattr(described, "user.kept") == b"kept"
            assert os.getxattr(described, "user.late") == b"late"
            assert described.stat().st_mtime_ns == 10**18 + 7
            lost = {each["path"].rpartition("/")[2]: each for each in again.status()["lost"]}
            assert set(lost) == {"replaced", "deleted", "unclosed"}
            assert Path(lost["replaced"]["file"]).read_bytes() == b"promised"
            assert Path(lost["unclosed"]["file"]).read_bytes() == b"not promised"


def status(mountpoint: Path, state: Path) -> str:
    words = [sys.executable, "-m", "pyvospace_ngas.cli.mount", "status", "--state", str(state)]
    done = subprocess.run([*words, str(mountpoint)], check=False, capture_output=True, text=True)
    return str(done.stdout)


def test_a_mount_ends_in_time_and_leaves_the_rest_to_the_next_one(
    site: Site, tmp_path: Path
) -> None:
    path = site.container()
    with mounted(site, tmp_path, path, "writeback", "drain=0.5") as m:
        with no_bytes_arrive(site):
            (m / "late").write_bytes(b"late")
            still = (m / "still open").open("wb", buffering=0)
            still.write(b"still open")
            assert m.end() == 1
            with pytest.raises(OSError, match=r"."):
                still.close()
        with mounted(site, tmp_path, path) as again:
            wait_until(lambda: again.status()["pending"] == [])
            assert stored(site, f"{path}/late") == b"late"
            (kept,) = again.status()["lost"]
            assert Path(kept["file"]).read_bytes() == b"still open"
            assert kept["why"] == "the mount ended before it was sent"
