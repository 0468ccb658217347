"""A mount from its beginning to its end: put together, served, drained."""

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

from pyvospace_ngas.fuse import binding, journal, readahead
from pyvospace_ngas.fuse.chunks import Chunks
from pyvospace_ngas.fuse.files import Means
from pyvospace_ngas.fuse.news import News
from pyvospace_ngas.fuse.operations import Mount
from pyvospace_ngas.fuse.remote import Remote
from pyvospace_ngas.fuse.settings import Settings
from pyvospace_ngas.fuse.staging import Staging, lost
from pyvospace_ngas.fuse.tree import Tree

log = logging.getLogger(__name__)


def serve(
    settings: Settings,
    options: Mapping[str, str | bool],
    version: int,
    ready: Callable[[], None],
) -> bool:
    """Mount and serve until the end; tell ``ready`` once the mount answers.

    Returns whether all that was written is at the server. The process must not fork afterwards.
    """

    def answers() -> None:
        readahead.extend(settings.mountpoint, settings.readahead)
        ready()

    owner = f"{settings.user or 'nobody'} at {settings.url}"
    # Another mount may have ended here, and be sending still.
    staging = Staging(settings.state, owner, settings.drain)
    remote = Remote(settings)
    try:
        remote.start()
        remote.node(settings.root)  # whoever may not read it is told so now
        means = Means(remote, Tree(remote, settings), staging, Chunks(settings.cache))
        kernel = binding.Kernel(version)
        mount = _mount(settings, means, kernel, answers)
        if not settings.read_only:
            journal.replay(means, mount.files)
        binding.run(mount, settings.mountpoint, _options(settings, options), kernel)
        return drain(mount, remote, settings.drain)
    finally:
        remote.stop()
        staging.close()


def _mount(
    settings: Settings, means: Means, kernel: binding.Kernel, ready: Callable[[], None]
) -> Mount:
    remote, started = means.remote, time.time()

    def status() -> bytes:
        pending = [
            {"path": str(path), "size": file.stat().size, "failure": file.failure}
            for path, file in mount.files.all()
            if file.is_dirty
        ]
        told = {
            "url": settings.url,
            "path": str(settings.root),
            "user": settings.user,
            "pid": os.getpid(),
            "since": started,
            "server": "away" if remote.is_away else "there",
            "changes": "told" if means.tree.is_told else "asked for",
            "heard": news.heard,
            "writeback": settings.writeback,
            "pending": pending,
            "lost": [asdict(each) for each in lost(settings.state)],
            "cached": means.chunks.size,
            "requests": remote.requests,
            "state": str(settings.state),
        }
        return json.dumps(told).encode()

    def begin() -> None:
        news.begin()
        threading.Thread(target=_tell, args=(settings.mountpoint, ready), daemon=True).start()

    def end() -> None:
        news.end()

    mount = Mount(settings, means, status, begin=begin, end=end)
    news = News(remote, means.tree, kernel, mount.files, settings.root)
    return mount


def _tell(mountpoint: str, ready: Callable[[], None]) -> None:
    """Look at the mount from outside; that takes until it answers."""
    try:
        Path(mountpoint).stat()
    except OSError as error:
        log.warning("the mount answers with an error: %s", error)
    ready()


def _options(settings: Settings, more: Mapping[str, str | bool]) -> dict[str, str | bool]:
    return {
        "fsname": settings.url.replace(",", "%2C"),
        "subtype": "ngas",
        "attr_timeout": f"{settings.kernel}",
        "entry_timeout": f"{settings.kernel}",
        "negative_timeout": "0",
        **({"ro": True} if settings.read_only else {}),
        **more,
    }


def drain(mount: Mount, remote: Remote, seconds: float) -> bool:
    """Send what is pending, for so long at most; return whether all of it was.

    What was promised is left to the next mount, and what was not is kept aside.
    """
    files = [file for _, file in mount.files.all()]
    dirty = [file for file in files if file.is_dirty]
    for file in dirty:
        mount.files.sender.put(file)
    if not mount.files.sender.end(seconds):
        remote.abandon()
        left = [file for file in dirty if file.is_dirty]
        promised = sum(file.is_promised for file in left)
        log.warning("%d files were not sent; the next mount here sends %d", len(left), promised)
    for file in files:
        file.leave()
    return not any(file.failure or file.is_dirty for file in dirty)
