"""What may be asked of libfuse while a mount ends: one without servers, as a process."""

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import mount_support
import pytest
from mount_support import ENVIRONMENT, wait_until
from waiting_support import PATIENCE

pytestmark = pytest.mark.skipif(
    3 not in mount_support.versions(), reason="mfusepy or libfuse 3 is not here"
)

NAMES = 2000
MOUNT = textwrap.dedent(
    """
    import errno, itertools, stat, sys, threading
    from pyvospace_ngas.fuse.binding import Kernel, run

    class Names:
        use_ns = True
        def getattr(self, path, info=None):
            kind = stat.S_IFDIR | 0o755 if path == "/" else stat.S_IFREG | 0o644
            numbers = "nlink size blocks blksize uid gid atime mtime ctime".split()
            return dict.fromkeys([f"st_{each}" for each in numbers], 1) | {"st_mode": kind}

    kernel = Kernel(3)
    ended = threading.Event()

    def drop():
        for number in itertools.cycle(range(NAMES)):
            kernel.drop(f"/{number}")
            if ended.is_set():
                return

    dropping = threading.Thread(target=drop)
    dropping.start()
    run(Names(), sys.argv[1], {"fsname": "names"}, kernel)
    ended.set()
    dropping.join()
    """
).replace("NAMES", str(NAMES))


def end(process: "subprocess.Popen[bytes]", mountpoint: Path, way: str) -> int:
    wait_until(lambda: mountpoint.is_mount() or process.poll() is not None)
    for number in range(NAMES):
        (mountpoint / str(number)).stat()
    if way == "signal":
        process.send_signal(signal.SIGTERM)
    else:
        mount_support.let_go(mountpoint)
    return process.wait(PATIENCE)


@pytest.mark.parametrize("way", ["signal", "umount"])
def test_names_may_be_dropped_until_the_end(tmp_path: Path, way: str) -> None:
    mountpoint = tmp_path / "m"
    mountpoint.mkdir()
    # What libfuse has freed is overwritten, so that whoever still reads it is found out.
    environment = {**ENVIRONMENT, "MALLOC_PERTURB_": "165"}
    words = [sys.executable, "-c", MOUNT, str(mountpoint)]
    for _ in range(5):
        process = subprocess.Popen(words, env=environment)
        try:
            assert end(process, mountpoint, way) == 0
            assert not mountpoint.is_mount()
        finally:
            process.kill()
            process.wait()
            mount_support.let_go(mountpoint)
