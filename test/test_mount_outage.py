"""Servers that are away, mounts that are killed: bounded waiting, a right errno, nothing lost."""

import errno
import itertools
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import mount_support
import pytest
import stack
from mount_support import ENVIRONMENT, Site, command, let_go, mounted, wait_until
from waiting_support import PATIENCE

pytestmark = pytest.mark.skipif(
    mount_support.why_not() is not None, reason=str(mount_support.why_not())
)
AWAY = (errno.EHOSTDOWN, errno.ETIMEDOUT, errno.EIO)


@pytest.fixture(scope="module")
def site(postgres: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with mount_support.site(postgres, template, tmp_path_factory.mktemp("site")) as running:
        yield running


def test_without_its_server_a_mount_answers_soon_and_recovers_by_itself(
    site: Site, tmp_path: Path
) -> None:
    space = site.cluster.spaces[0]
    with mounted(site, tmp_path, site.container(), "timeout=2") as m:
        (m / "f").write_bytes(b"before")
        held = (m / "held").open("wb", buffering=0)
        held.write(b"written ")
        os.fsync(held.fileno())  # to the endpoint that came with the new file
        held.write(b"while it was there")
        site.run(space.kill())
        for _ in range(3):
            with pytest.raises(OSError, match=r".") as caught:
                (m / "f").read_bytes()
            assert caught.value.errno in AWAY
        with pytest.raises(OSError, match=r"."):
            (m / "new").mkdir()
        with pytest.raises(OSError, match=r"."):
            os.fsync(held.fileno())
        assert m.status()["server"] == "away"
        assert [each["size"] for each in m.status()["pending"]] == [26]
        site.run(space.start())
        wait_until(lambda: m.status()["server"] == "there")
        assert (m / "f").read_bytes() == b"before"
        os.fsync(held.fileno())
        held.close()
        assert (m / "held").read_bytes() == b"written while it was there"
        assert m.status()["pending"] == m.status()["lost"] == []


def test_a_new_file_is_stored_where_only_the_space_server_is_away(
    site: Site, tmp_path: Path
) -> None:
    space, path = site.cluster.spaces[0], site.container()
    with mounted(site, tmp_path, path, "timeout=2") as m:
        with (m / "new").open("wb", buffering=0) as file:
            file.write(b"bytes")
            site.run(space.kill())
            os.fsync(file.fileno())
        site.run(space.start())
        wait_until(lambda: _reads(m / "new") == b"bytes")
        assert m.status()["pending"] == m.status()["lost"] == []
    assert site.run(site.alice.pull(f"{path}/new")).body == b"bytes"


def test_an_upload_that_fails_is_an_error_of_close_and_its_bytes_are_kept(
    site: Site, tmp_path: Path
) -> None:
    storage, node = site.cluster.storages[0], site.cluster.nodes[0]
    with mounted(site, tmp_path, site.container(), "timeout=2") as m:
        (m / "f").write_bytes(b"old")
        site.run(node.kill())
        with pytest.raises(OSError, match=r".") as caught:
            (m / "f").write_bytes(b"new bytes")
        assert caught.value.errno in AWAY
        wait_until(lambda: m.status()["lost"])
        kept = m.status()["lost"][0]
        assert (kept["path"].rpartition("/")[2], kept["size"]) == ("f", 9)
        assert Path(kept["file"]).read_bytes() == b"new bytes"
        site.run(node.start())
        site.run(storage.kill())
        site.run(storage.start())
        site.run(site.cluster.forget_leases())
        wait_until(lambda: _reads(m / "f") == b"old")
        done = subprocess.run(
            [*command(site, tmp_path, "/")[2][:3], "status", m.path],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        assert "not stored: " in done.stdout
        assert kept["file"] in done.stdout


@pytest.mark.parametrize("version", mount_support.versions(), ids=lambda v: f"libfuse{v}")
def test_many_who_wait_for_bytes_keep_nobody_else_waiting(
    site: Site, tmp_path: Path, version: int
) -> None:
    storage, path = site.cluster.storages[0], site.container()
    names = [f"f{number}" for number in range(40)]
    with mounted(site, tmp_path, path, f"fuse={version}", "timeout=30") as m:
        for name in names:
            (m / name).write_text(name)
        storage.pause()
        try:
            writers = [
                threading.Thread(target=(m / name).write_text, args=(name,)) for name in names
            ]
            for writer in writers:
                writer.start()
            wait_until(lambda: len(m.status()["pending"]) == len(names))
            other = threading.Thread(target=(m / "other").mkdir)
            other.start()
            other.join(10)
            assert not other.is_alive()
            assert all(writer.is_alive() for writer in writers)
        finally:
            storage.resume()
        for writer in writers:
            writer.join()
        other.join()
        assert [(m / name).read_text() for name in names] == names


def _reads(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def test_what_was_closed_survives_the_death_of_the_mount(site: Site, tmp_path: Path) -> None:
    path = site.container()
    with mounted(site, tmp_path, path) as m:
        (m / "closed").write_bytes(b"closed" * 1000)
        file = (m / "synced").open("wb", buffering=0)
        file.write(b"synced")
        os.fsync(file.fileno())
        file.write(b" and not")
        m.process.kill()
        m.process.wait()
        with pytest.raises(OSError, match=r"."):
            file.close()
        with pytest.raises(OSError, match=r".") as caught:
            m.path.stat()
        assert caught.value.errno == errno.ENOTCONN
        # The next one takes the mount point over as it is.
        with mounted(site, tmp_path, path) as again:
            assert (again / "closed").read_bytes() == b"closed" * 1000
            assert (again / "synced").read_bytes() == b"synced"
            kept = again.status()["lost"]
            assert [Path(each["file"]).read_bytes() for each in kept] == [b"synced and not"]


class Writer:
    """Writes one file after the other in a thread, and remembers what it was told of each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.told: dict[str, bool] = {}
        self.stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Writer":
        self._thread.start()
        self.until_more_is_written()
        return self

    def __exit__(self, *_failure: object) -> None:
        self.stopped.set()
        self._thread.join()

    def _run(self) -> None:
        for number in itertools.count():
            if self.stopped.is_set():
                return
            try:
                (self.folder / f"w{number}").write_bytes(data_of(f"w{number}"))
                self.told[f"w{number}"] = True
            except OSError:
                self.told[f"w{number}"] = False
                self.stopped.wait(0.02)

    def until_more_is_written(self) -> None:
        had = sum(self.told.values())
        wait_until(lambda: sum(self.told.values()) > had + 2)

    def check(self, site: Site, path: str) -> None:
        """What was reported as written is there, of the rest nothing or all."""
        assert sum(self.told.values()) >= 3
        for name, is_written in self.told.items():
            is_there = site.run(site.alice.get(f"/nodes{path}/{name}")).status == 200
            found = site.run(site.alice.pull(f"{path}/{name}")).body if is_there else b""
            assert found in ({data_of(name)} if is_written else {data_of(name), b""}), name


def data_of(name: str) -> bytes:
    """Return what a writer puts into the file ``name``: a megabyte at most."""
    return name.encode() * (10_000 + int(name[1:]) % 7 * 25_000)


def test_servers_that_are_killed_lose_nothing_that_was_reported_as_written(
    site: Site, tmp_path: Path
) -> None:
    path = site.container()
    cluster = site.cluster
    with mounted(site, tmp_path, path, "timeout=2") as m:
        with Writer(m.path) as writer:
            for server in (cluster.storages[0], cluster.nodes[0]):
                site.run(server.kill())
                site.run(server.start())
            site.run(cluster.storages[0].kill())  # it would not ask that node for a while
            site.run(cluster.storages[0].start())
            site.run(cluster.forget_leases())
            writer.until_more_is_written()
        writer.check(site, path)


def test_a_mount_that_is_killed_loses_nothing_that_was_reported_as_written(
    site: Site, tmp_path: Path
) -> None:
    path = site.container()
    with mounted(site, tmp_path, path) as m:
        with Writer(m.path) as writer:
            m.process.kill()
            m.process.wait()
        with mounted(site, tmp_path, path) as again:
            wait_until(lambda: again.status()["pending"] == [])
            assert len(list(again.path.iterdir())) >= sum(writer.told.values())
            writer.check(site, path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_sends_what_is_pending(
    site: Site, tmp_path: Path, number: signal.Signals
) -> None:
    path = site.container()
    with mounted(site, tmp_path, path) as m:
        file = (m / "open").open("wb", buffering=0)
        file.write(b"not closed yet")
        assert m.end(number) == 0
        with pytest.raises(OSError, match=r"."):
            file.close()
        assert site.run(site.alice.pull(f"{path}/open")).body == b"not closed yet"
        assert not os.path.ismount(m.path)


def test_in_the_background_it_returns_once_the_mount_answers(site: Site, tmp_path: Path) -> None:
    path = site.container()
    site.run(site.alice.push(f"{path}/f", b"there"))
    mountpoint, _, words = command(site, tmp_path, path)
    try:
        done = subprocess.run(words, env=ENVIRONMENT, check=True, capture_output=True, text=True)
        assert done.stderr == ""
        assert (mountpoint / "f").read_bytes() == b"there"
        told = subprocess.run(
            [*words[:3], "status", str(mountpoint)], check=True, capture_output=True, text=True
        )
        assert f"{path} as alice" in told.stdout
        again = subprocess.run(words, env=ENVIRONMENT, check=False, capture_output=True, text=True)
        assert "shows a space already" in again.stderr
        assert stack.PASSWORD not in told.stdout
    finally:
        let_go(mountpoint)
    assert subprocess.run([*words[:3], "status", mountpoint], check=False).returncode == 1


def test_a_wrong_password_or_address_is_said_at_once(site: Site, tmp_path: Path) -> None:
    mountpoint, _, words = command(site, tmp_path, "/home/alice")
    (tmp_path / "password").write_text("wrong\n")
    cases = [
        (words, "NotAuthenticated"),
        ([*words[:-1], "-o", "nonsense", str(mountpoint)], "nonsense is not known"),
    ]
    for arguments, _said in cases:
        begun = time.monotonic()
        done = subprocess.run(
            arguments, env=ENVIRONMENT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        assert done.stderr.startswith("ngas_mount: ")
        assert stack.PASSWORD not in done.stderr
        assert time.monotonic() - begun < PATIENCE
    (tmp_path / "password").chmod(0o644)
    done = subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert "can be read by others" in done.stderr
