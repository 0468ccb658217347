"""Real mounts of a real space: the servers and the mount as processes, and programs on it."""

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import postgres_support
import stack
from aiohttp.test_utils import TestServer
from processes import Cluster, cluster
from rude_space import RudeSpace, md5
from waiting_support import PATIENCE

from pyvospace_ngas.fuse import binding
from pyvospace_ngas.fuse.chunks import BLOCK, Chunks, Content
from pyvospace_ngas.fuse.operations import STATUS
from pyvospace_ngas.fuse.remote import Remote
from pyvospace_ngas.fuse.settings import Settings
from pyvospace_ngas.model.uri import parse_path

T = TypeVar("T")
NUMBERS: Final = itertools.count(1)
ENVIRONMENT: Final = {
    **{name: value for name, value in os.environ.items() if name != "NGAS_PASSWORD"},
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.org",
}  # fmt: skip


def why_not() -> str | None:
    """Return why nothing can be mounted here, if that is so."""
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
        binding.choose()
    except OSError as error:
        return f"/dev/fuse cannot be used here: {error.strerror}"
    except binding.NoBinding as error:
        return str(error)
    return None


def versions() -> list[int]:
    """Return the versions of libfuse that a mount can use here."""
    found = []
    for version in (2, 3):
        try:
            found.append(binding.choose(version))
        except binding.NoBinding:
            continue
    return found or [2]


@dataclass(slots=True)
class Site:
    """Servers of a module's own, on a loop in a thread, for tests that block."""

    folder: Path
    loop: asyncio.AbstractEventLoop
    cluster: Cluster

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something asynchronous."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(PATIENCE)

    @property
    def url(self) -> str:
        return self.cluster.spaces[0].url

    @property
    def alice(self) -> stack.Caller:
        return self.cluster.caller("alice")

    def container(self) -> str:
        """Make a container that no other test uses; return its path."""
        path = f"/home/alice/c{next(NUMBERS)}"
        answer = self.run(self.alice.make(path))
        assert answer.status == 201, answer
        return path


@contextmanager
def site(postgres: str, template: str, folder: Path) -> Iterator[Site]:
    """Run the servers on databases of their own."""
    number, role = next(NUMBERS), postgres_support.ROLE
    names = [f"mount_space_{number}", f"mount_archive_{number}"]
    postgres_support.run(
        postgres, f"CREATE DATABASE {names[0]} TEMPLATE {template} OWNER {role}",
        f"CREATE DATABASE {names[1]} OWNER {role}",
    )  # fmt: skip
    dsns = [postgres_support.database_of(postgres, name, role) for name in names]
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="servers")
    thread.start()
    exits = AsyncExitStack()

    def run(work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, loop).result(PATIENCE)

    try:
        running = run(
            exits.enter_async_context(
                cluster(dsns[0], dsns[1], folder, nodes=1, users=("alice", "bob"))
            )
        )
        yield Site(folder, loop, running)
    finally:
        run(exits.aclose())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        for name in names:
            postgres_support.run(postgres, f"DROP DATABASE {name} WITH (FORCE)")


@dataclass(slots=True)
class Mounted:
    """A mount that runs as a process in the foreground."""

    path: Path
    state: Path
    process: "subprocess.Popen[str]"
    lines: list[str] = field(default_factory=list)

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def status(self) -> dict[str, Any]:
        """Return what the mount tells of itself."""
        told: dict[str, Any] = json.loads(os.getxattr(self.path, STATUS))
        return told

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send it a signal and wait for its end."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    @property
    def said(self) -> str:
        return "".join(self.lines)


def command(site_: Site, folder: Path, path: str, *options: str) -> tuple[Path, Path, list[str]]:
    """Return a mount point, its folder of state, and the command that mounts there."""
    mountpoint, state, secret = folder / "m", folder / "state", folder / "password"
    folder.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):  # it may be a mount that is dead
        mountpoint.mkdir()
    secret.touch(0o600)
    secret.write_text(stack.PASSWORD + "\n", encoding="utf-8")
    words = ["--url", site_.url.removesuffix("/vospace"), "--user", "alice", "--path", path]
    words += ["--password-file", str(secret), "-o", f"state={state}"]
    for option in options:
        words += ["-o", option]
    start = [sys.executable, "-m", "pyvospace_ngas.cli.mount"]
    return mountpoint, state, [*start, *words, str(mountpoint)]


@contextmanager
def mounted(site_: Site, folder: Path, path: str, *options: str) -> Iterator[Mounted]:
    """Mount a container; at the end nothing of it may be left."""
    mountpoint, state, words = command(site_, folder, path, *options)
    process = subprocess.Popen(
        [*words[:3], "-f", *words[3:]], env=ENVIRONMENT, stderr=subprocess.PIPE, text=True
    )
    running = Mounted(mountpoint, state, process)
    reading = threading.Thread(target=_read, args=(running,))
    reading.start()
    try:
        wait_until(lambda: "ngas_mount: mounted" in running.said or process.poll() is not None)
        assert process.poll() is None, running.said
        yield running
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        reading.join()
        assert process.stderr is not None
        process.stderr.close()
        let_go(mountpoint)


def _read(running: Mounted) -> None:
    assert running.process.stderr is not None
    for line in running.process.stderr:
        running.lines.append(line)


@asynccontextmanager
async def content(
    rude: RudeSpace, path: str, folder: Path, patience: float
) -> AsyncIterator[Content]:
    """Give a file of a server that can be rude, as a mount reads it."""
    async with contents(rude, [path], folder, patience, 64 * BLOCK) as (found,):
        yield found


@asynccontextmanager
async def contents(
    rude: RudeSpace, paths: Sequence[str], folder: Path, patience: float, room: int
) -> AsyncIterator[list[Content]]:
    """Give files of a server that can be rude, as a mount reads them that keeps so many bytes."""
    async with remote(rude, folder, patience) as asked:
        chunks, found = Chunks(room), []
        for path in paths:
            data, reader = rude.files[path], asked.reader(parse_path(path))
            found.append(Content(asked, chunks, reader, md5(data).hex(), len(data)))
        yield found


@asynccontextmanager
async def remote(rude: RudeSpace, folder: Path, patience: float) -> AsyncIterator[Remote]:
    """Give a server that can be rude, as a mount speaks to it."""
    async with TestServer(rude.app(), host="127.0.0.1") as server:
        url = str(server.make_url("/vospace"))
        remote = Remote(Settings(url, mountpoint="/", state=folder, patience=patience))
        try:
            await asyncio.to_thread(remote.start)
            yield remote
        finally:
            rude.over.set()
            await asyncio.to_thread(remote.stop)


def let_go(mountpoint: Path) -> None:
    """Unmount, whatever state a mount is in."""
    for words in (["fusermount3", "-u", "-z"], ["umount", "-l"]):
        done = subprocess.run([*words, str(mountpoint)], check=False, capture_output=True)
        if done.returncode == 0:
            return


def wait_until(holds: Any, patience: float = PATIENCE) -> None:
    """Return once ``holds()`` does."""
    turns = threading.Event()
    for _ in range(int(patience / 0.02)):
        if holds():
            return
        turns.wait(0.02)
    raise TimeoutError("it never came to pass")


def sh(folder: Path, *words: str | Path, check: bool = True, patience: float = PATIENCE) -> str:
    """Run a program in ``folder``; return what it printed."""
    done = subprocess.run(
        [str(word) for word in words],
        check=False, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True,
        timeout=patience,
    )  # fmt: skip
    assert not check or done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout + done.stderr


def names(folder: Path) -> list[str]:
    """Return what is listed in ``folder``."""
    return sorted(path.name for path in folder.iterdir())


def tree_of(root: Path) -> dict[str, tuple[str, object]]:
    """Return every file below ``root`` with its kind and its bytes, or its target."""
    found: dict[str, tuple[str, object]] = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = ("link", str(path.readlink()))
        elif path.is_dir():
            found[name] = ("directory", None)
        else:
            found[name] = ("file", path.read_bytes())
    return found
