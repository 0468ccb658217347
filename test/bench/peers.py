"""Other mounts to compare with: rclone over WebDAV and sshfs, each of a plain local folder.

sshfs speaks to its server without ssh in between, which is in its favour.
"""

import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

import mount_support
from ports import free_port

Way = Callable[[int], AbstractContextManager[int]]  # from a server's port to that of its users
Mounting = Callable[[Path], AbstractContextManager[tuple[Path, Callable[[], int]]]]
PATIENCE: Final = 20.0
RCLONE: Final = "rclone mount (WebDAV)"
SSHFS: Final = "sshfs"
_SFTP: Final = Path("/usr/lib/openssh/sftp-server")


@contextmanager
def rclone(folder: Path, way: Way) -> Iterator[Mounting]:
    """Serve ``folder`` by WebDAV; give what mounts it, with a cache of files as they are used."""
    port = free_port()
    server = subprocess.Popen(
        ["rclone", "serve", "webdav", str(folder), "--addr", f"127.0.0.1:{port}"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip

    try:
        until(lambda: answers(port))
        with way(port) as door:
            remote = f":webdav,url='http://127.0.0.1:{door}':"

            def mounting(place: Path) -> AbstractContextManager[tuple[Path, Callable[[], int]]]:
                words = ["rclone", "mount", remote, "{}", "--vfs-cache-mode", "full"]
                words += ["--vfs-write-back", "0", "--cache-dir", str(place / "cache")]
                return _mounted(place, words)

            yield mounting
    finally:
        server.terminate()
        server.wait()


@contextmanager
def sshfs(folder: Path, way: Way) -> Iterator[Mounting]:
    """Serve ``folder`` by sftp on a port; give what mounts it."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    threading.Thread(target=_serve, args=(listener,), daemon=True).start()

    try:
        with way(port) as door:

            def mounting(place: Path) -> AbstractContextManager[tuple[Path, Callable[[], int]]]:
                words = ["sshfs", "-f", "-o", f"directport={door}", f"127.0.0.1:{folder}", "{}"]
                return _mounted(place, words)

            yield mounting
    finally:
        listener.close()


def there() -> dict[str, Callable[[Path, Way], AbstractContextManager[Mounting]]]:
    """Return the peers that are installed here."""
    found: dict[str, Callable[[Path, Way], AbstractContextManager[Mounting]]] = {}
    if shutil.which("rclone"):
        found[RCLONE] = rclone
    if shutil.which("sshfs") and _SFTP.exists():
        found[SSHFS] = sshfs
    return found


def _serve(listener: socket.socket) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:  # closed
            return
        with connection:
            subprocess.Popen([_SFTP], stdin=connection.fileno(), stdout=connection.fileno())


@contextmanager
def _mounted(place: Path, words: list[str]) -> Iterator[tuple[Path, Callable[[], int]]]:
    mountpoint = place / "m"
    mountpoint.mkdir(parents=True)
    process = subprocess.Popen(
        [str(mountpoint) if word == "{}" else word for word in words], stderr=subprocess.DEVNULL
    )
    try:
        until(mountpoint.is_mount)
        yield mountpoint, lambda: 0
    finally:
        mount_support.let_go(mountpoint)
        process.wait(PATIENCE)


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def until(holds: Callable[[], bool]) -> None:
    """Wait for it, but not for ever."""
    end = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError("a peer did not begin")
        time.sleep(0.02)
