"""A mount that is told of changes asks for nothing else, and shows what others do."""

import itertools
import os
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import mount_support
import pytest
import stack
from mount_support import Site, mounted, names, wait_until

from pyvospace_ngas.client.changes import Changed
from pyvospace_ngas.errors import NodeNotFound
from pyvospace_ngas.fuse import walks as walks_
from pyvospace_ngas.fuse.binding import Kernel
from pyvospace_ngas.fuse.chunks import Chunks
from pyvospace_ngas.fuse.entries import Entry
from pyvospace_ngas.fuse.files import Means
from pyvospace_ngas.fuse.news import News
from pyvospace_ngas.fuse.remote import Remote
from pyvospace_ngas.fuse.settings import Settings
from pyvospace_ngas.fuse.staging import Staging
from pyvospace_ngas.fuse.table import Files
from pyvospace_ngas.fuse.tree import Tree
from pyvospace_ngas.fuse.trust import Trust
from pyvospace_ngas.fuse.walks import Walks
from pyvospace_ngas.model.node import NodeType
from pyvospace_ngas.model.uri import NodePath


@pytest.fixture(scope="module")
def site(postgres: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with mount_support.site(postgres, template, tmp_path_factory.mktemp("site")) as running:
        yield running


class Picture:
    """What a mount knows of a container of its own, without a kernel in front.

    Nothing is believed by itself, so that each look is a request unless the server has told.
    """

    def __init__(self, site: Site, folder: Path) -> None:
        self.path = site.container()
        self.root = NodePath(tuple(self.path.split("/")[1:]))
        settings = Settings(
            url=site.url, mountpoint="/", state=folder, root=self.root,
            user="alice", password=stack.PASSWORD, fresh=0.0,
        )  # fmt: skip
        self.remote = Remote(settings)
        self.remote.start()
        self.tree = Tree(self.remote, settings)
        self.staging = Staging(folder)
        self.files = Files(Means(self.remote, self.tree, self.staging, Chunks(0)))
        self.news = News(self.remote, self.tree, Kernel(2), self.files, self.root)

    def listen(self) -> None:
        self.news.begin()
        wait_until(lambda: self.tree.is_told)

    def close(self) -> None:
        self.news.end()
        self.remote.stop()
        self.staging.close()

    def has(self, *names: str) -> bool:
        try:
            self.tree.lookup(NodePath((*self.root.parts, *names)))
        except NodeNotFound:
            return False
        return True

    def asked(self, look: Callable[[], object], times: int = 50) -> int:
        """Return how many requests it takes to look so many times."""
        before = self.remote.requests
        for _ in range(times):
            look()
        return self.remote.requests - before


@pytest.fixture
def seen(site: Site, tmp_path: Path) -> Iterator[Picture]:
    picture = Picture(site, tmp_path)
    yield picture
    picture.close()


def make(site: Site, path: str, kind: str = "DataNode") -> None:
    assert site.run(site.alice.make(path, kind)).status == 201


def test_what_is_known_is_not_asked_for_while_the_server_tells(site: Site, seen: Picture) -> None:
    for name in ("f", "g"):
        make(site, f"{seen.path}/{name}")
    assert seen.asked(lambda: seen.tree.listing(seen.root), 5) == 5
    seen.listen()
    seen.tree.listing(seen.root)
    # Not at the first try where the server is late just now: then it is asked each time.
    wait_until(lambda: seen.asked(lambda: seen.tree.listing(seen.root)) == 0)
    wait_until(lambda: seen.asked(lambda: seen.has("f")) == 0)
    wait_until(lambda: seen.asked(lambda: seen.has("missing")) == 0)


def test_a_move_costs_one_request(site: Site, seen: Picture) -> None:
    for name in ("old", "there"):
        make(site, f"{seen.path}/{name}")
    old, new, there = (seen.root / name for name in ("old", "new", "there"))
    assert seen.asked(lambda: seen.remote.move(old, new), 1) == 1
    assert seen.asked(lambda: seen.remote.move(new, there), 1) == 1
    with pytest.raises(NodeNotFound):
        seen.remote.move(old, new)
    assert seen.has("there")
    assert not seen.has("new")


def test_a_directory_that_the_mount_made_is_known_to_be_empty_until_others_fill_it(
    site: Site, seen: Picture
) -> None:
    seen.listen()
    names = (f"new{number}" for number in itertools.count())

    def is_known_to_be_empty(name: str) -> bool:
        new = seen.root / name
        seen.tree.made(new, seen.remote.create(new, NodeType.CONTAINER, {}))
        return seen.asked(lambda: seen.has(name, "f"), 1) == 0

    # Not at the first try where the server is late just now.
    wait_until(lambda: is_known_to_be_empty(next(names)))
    last = int(next(names).removeprefix("new")) - 1
    make(site, f"{seen.path}/new{last}/f")
    wait_until(lambda: seen.has(f"new{last}", "f"))


def test_what_others_do_is_heard(site: Site, seen: Picture) -> None:
    alice, path = site.alice, seen.path
    seen.listen()
    assert dict(seen.tree.listing(seen.root)) == {}
    make(site, f"{path}/d", "ContainerNode")
    make(site, f"{path}/d/f")
    wait_until(lambda: seen.has("d"))
    wait_until(lambda: list(seen.tree.listing(seen.root / "d")) == ["f"])
    site.run(alice.push(f"{path}/d/f", b"12345"))
    wait_until(lambda: seen.tree.lookup(seen.root / "d" / "f").size == 5)
    wait_until(lambda: seen.tree.listing(seen.root / "d")["f"].size == 5)
    site.run(alice.run(stack.relocation(f"{path}/d", f"{path}/e", keep=False)))
    wait_until(lambda: list(seen.tree.listing(seen.root)) == ["e"])
    wait_until(lambda: seen.tree.lookup(seen.root / "e" / "f").size == 5)
    wait_until(lambda: not seen.has("d", "f"))
    site.run(alice.delete(f"/nodes{path}"))  # the mounted container itself
    wait_until(lambda: not seen.has("e"))


class Walker:
    """Somebody who goes through directories, one by one."""

    def __init__(self, seen: Picture) -> None:
        self._seen = seen
        self.walks = Walks(seen.tree)

    def enter(self, *parts: str) -> Mapping[str, Entry]:
        path = NodePath((*self._seen.root.parts, *parts))
        listing = self._seen.tree.listing(path)
        self.walks.opened(path, listing)
        return listing

    def asks(self, expected: int, look: Callable[[], object]) -> None:
        """Look, and see how many requests that makes, by the walk ahead as well."""
        remote = self._seen.remote
        before = remote.requests
        look()
        wait_until(lambda: remote.requests >= before + expected)
        time.sleep(0.2)
        assert remote.requests == before + expected


@pytest.mark.parametrize("at_once", [False, True], ids=["who comes later", "a program"])
def test_who_goes_through_directories_finds_the_next_ones_listed(
    site: Site, seen: Picture, monkeypatch: pytest.MonkeyPatch, at_once: bool
) -> None:
    monkeypatch.setattr(walks_, "_AT_ONCE", 60.0 if at_once else 0.0)
    for name in "abcdefghijkl":
        make(site, f"{seen.path}/{name}", "ContainerNode")
        make(site, f"{seen.path}/{name}/f")
    seen.listen()
    walker = Walker(seen)
    enter, asks = walker.enter, walker.asks
    try:
        asks(1, enter)
        asks(3 if at_once else 1, lambda: enter("a"))
        asks(1 if at_once else 3, lambda: enter("b"))  # and the two after it
        asks(1, lambda: enter("c"))
        make(site, f"{seen.path}/d/new")
        wait_until(lambda: set(enter("d")) == {"f", "new"})
        time.sleep(0.2)
        asks(1, lambda: enter("j"))  # far from where it was
        asks(0, lambda: enter("e"))  # back
        assert all(set(enter(name)) >= {"f"} for name in "abcdefghijkl")
    finally:
        walker.walks.end()


def test_the_longer_a_walk_the_more_is_listed_before_it_is_asked_for(
    site: Site, seen: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walks_, "_AT_ONCE", 60.0)
    monkeypatch.setattr(walks_, "_TURN", 60.0)
    names = "abcdefghijklmnopqrstuvwxyz"
    for name in names:
        make(site, f"{seen.path}/{name}", "ContainerNode")
    seen.listen()
    walker = Walker(seen)
    try:
        walker.asks(1, walker.enter)
        # The first one and two ahead, then as before while the walk is short; in the end eight.
        for name, requests in zip(names, (3, *[1] * 3, *[2] * 6, *[1] * 8), strict=False):
            walker.asks(requests, partial(walker.enter, name))
        walker.asks(0, lambda: [walker.enter(name) for name in names[18:]])
    finally:
        walker.walks.end()


def test_the_echo_of_what_we_did_ourselves_is_no_news(seen: Picture) -> None:
    seen.listen()
    seen.tree.listing(seen.root)
    where = seen.root / "own"
    made = seen.remote.create(where, NodeType.CONTAINER, {})
    seen.tree.put(where, made)
    assert not seen.tree.changed(Changed(where, NodeType.CONTAINER, made.etag))
    assert seen.tree.changed(Changed(where, NodeType.CONTAINER, '"0-0"'))
    assert seen.asked(lambda: seen.has("own"), 1) == 1


def test_late_word_that_a_name_has_gone_does_not_hide_what_was_made_since(seen: Picture) -> None:
    seen.listen()
    seen.tree.listing(seen.root)
    wait_until(lambda: seen.asked(lambda: seen.has("missing")) == 0)
    where = seen.root / "again"
    seen.tree.put(where, seen.remote.create(where, NodeType.DATA, {}))
    assert seen.tree.changed(Changed(where))
    assert seen.has("again")


def test_a_file_tells_what_it_is_until_the_picture_has_that(
    seen: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    where, asked = seen.root / "f", time.monotonic()
    made = seen.remote.create(where, NodeType.UNSTRUCTURED, {})
    file = seen.files.acquire(where, made, asked, writes=True)
    file.write(0, b"12345", file.generation)
    put, shown = seen.tree.put, []

    def watched(path: NodePath, entry: Entry, *, fresh: bool = True) -> None:
        shown.append((file.is_dirty, file.stat().size))
        put(path, entry, fresh=fresh)

    monkeypatch.setattr(seen.tree, "put", watched)
    file.flush()
    assert shown == [(True, 5)]
    assert not file.is_dirty


def test_an_answer_that_was_overtaken_by_news_is_not_believed(site: Site, seen: Picture) -> None:
    seen.listen()
    where = seen.root / "f"
    slow = seen.remote.create(where, NodeType.DATA, {})
    site.run(site.alice.push(f"{seen.path}/f", b"12345"))

    def size_after_the_old_answer() -> int:
        seen.tree.put(where, slow)
        return seen.tree.lookup(where).size

    wait_until(lambda: size_after_the_old_answer() == 5)
    assert size_after_the_old_answer() == 5


def test_a_server_that_is_behind_is_asked(site: Site, seen: Picture) -> None:
    make(site, f"{seen.path}/f")
    seen.listen()
    seen.has("f")
    seen.news.end()
    seen.tree.current(0.6)
    assert not seen.tree.is_told
    assert seen.asked(lambda: seen.has("f"), 5) == 5


def test_where_the_server_does_not_tell_it_is_asked(
    site: Site, seen: Picture, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    site.run(site.alice.delete(f"/nodes{seen.path}"))
    seen.news.begin()
    wait_until(lambda: "does not tell of changes" in caplog.text)
    make(site, seen.path, "ContainerNode")
    make(site, f"{seen.path}/f")
    assert seen.asked(lambda: seen.has("f"), 5) == 5


def test_what_was_heard_meanwhile_is_the_last_word() -> None:
    trust, home = Trust(0.0), NodePath(("a",))
    asked = time.monotonic()
    trust.hear(Changed(home / "new", NodeType.DATA, '"1-2"'))
    trust.hear(Changed(home / "gone"))
    trust.hear(Changed(home / "d" / "f", NodeType.DATA, '"9-9"'))
    assert trust.told_since(home, asked) == {"gone": False, "new": True}
    assert trust.told_since(home, time.monotonic()) == {}
    assert trust.is_overtaken(home / "new", asked, '"1-1"')
    assert not trust.is_overtaken(home / "new", asked, '"1-2"')
    assert trust.is_overtaken(home / "gone", asked, '"7-1"')
    assert not trust.is_overtaken(home / "gone", asked, None)
    assert not trust.is_overtaken(home / "other", asked, '"1-1"')
    for number in range(5000):  # more than is remembered: then nothing older is believed
        trust.hear(Changed(home / f"n{number}"))
    assert trust.told_since(home, asked) is None
    assert trust.is_overtaken(home / "other", asked, '"1-1"')


@pytest.mark.skipif(mount_support.why_not() is not None, reason=str(mount_support.why_not()))
@pytest.mark.parametrize("version", mount_support.versions(), ids=lambda v: f"libfuse{v}")
def test_an_idle_mount_asks_nothing_and_shows_what_others_do(
    site: Site, tmp_path: Path, version: int
) -> None:
    alice, path = site.alice, site.container()
    with mounted(site, tmp_path, path, f"fuse={version}") as m:
        wait_until(lambda: m.status()["changes"] == "told")
        assert names(m.path) == []

        def asked_within_three_words() -> int:
            begun = now = m.status()
            while now["heard"] < begun["heard"] + 3:
                assert not (m / "f").exists()
                now = m.status()
            return int(now["requests"]) - int(begun["requests"])

        # In these seconds a mount that is told nothing asks at least four times.
        wait_until(lambda: asked_within_three_words() <= 1)
        site.run(alice.push(f"{path}/f", b"one"))
        wait_until((m / "f").exists)
        assert (m / "f").read_bytes() == b"one"
        site.run(alice.push(f"{path}/f", b"three"))
        wait_until(lambda: (m / "f").stat().st_size == 5)
        site.run(alice.delete(f"/nodes{path}/f"))
        wait_until(lambda: not (m / "f").exists())


@pytest.mark.skipif(3 not in mount_support.versions(), reason="libfuse 3 is not here")
def test_with_libfuse_3_the_kernel_drops_what_others_changed(site: Site, tmp_path: Path) -> None:
    alice, path = site.alice, site.container()
    site.run(alice.push(f"{path}/f", b"one"))
    with mounted(site, tmp_path, path, "fuse=3", "kernel=600") as m:
        wait_until(lambda: m.status()["changes"] == "told")
        assert (m / "f").read_bytes() == b"one"
        site.run(alice.push(f"{path}/f", b"three"))
        # Nothing asks: the kernel would believe what it has for ten minutes.
        wait_until(lambda: (m / "f").stat().st_size == 5)
        assert (m / "f").read_bytes() == b"three"
        site.run(alice.delete(f"/nodes{path}/f"))
        wait_until(lambda: not os.access(m / "f", os.F_OK))


def shown(file: Path) -> tuple[object, ...]:
    """Return all that a mount says of a file."""
    found = file.stat()
    times = found.st_mtime_ns, found.st_ctime_ns, found.st_atime_ns
    words = {name: os.getxattr(file, name) for name in os.listxattr(file)}
    return found.st_size, found.st_mode, times, words


@pytest.mark.skipif(mount_support.why_not() is not None, reason=str(mount_support.why_not()))
@pytest.mark.parametrize("version", mount_support.versions(), ids=lambda v: f"libfuse{v}")
def test_what_was_just_written_is_not_asked_for(site: Site, tmp_path: Path, version: int) -> None:
    path, some = site.container(), [f"f{number}" for number in range(10)]
    with mounted(site, tmp_path / "a", path, f"fuse={version}", "kernel=0.001") as m:
        wait_until(lambda: m.status()["changes"] == "told")
        for name in some:
            (m / name).write_bytes(b"one")
        for name in some[5:]:  # other bytes of what is there, which become none of f9
            (m / name).write_bytes(b"" if name == "f9" else b"three")
        wait_until(lambda: m.status()["changes"] == "told")  # also on a busy machine
        before = m.status()["requests"]
        ours = [shown(m / name) for name in some]
        assert m.status()["requests"] - before <= 2  # where the server was not heard for a moment
        for name in some:
            (m / name).read_bytes()
        # Each is looked at when it is opened, and then its bytes come; of none there are none.
        assert m.status()["requests"] - before <= 22
        with mounted(site, tmp_path / "b", path, f"fuse={version}") as other:
            assert [shown(other / name) for name in some] == ours


@pytest.mark.skipif(mount_support.why_not() is not None, reason=str(mount_support.why_not()))
@pytest.mark.parametrize("version", mount_support.versions(), ids=lambda v: f"libfuse{v}")
def test_what_was_just_renamed_is_not_asked_for(site: Site, tmp_path: Path, version: int) -> None:
    path, some = site.container(), [f"r{number}" for number in range(12)]
    with mounted(site, tmp_path / "a", path, f"fuse={version}", "kernel=0.001") as m:
        (m / "d").mkdir()
        for name in some:
            (m / name[1:]).write_bytes(name.encode())
        (m / "r0").write_bytes(b"to be replaced")
        wait_until(lambda: m.status()["changes"] == "told")
        for name in some:
            (m / name[1:]).rename(m / name)
        (m / "r11").rename(m / "d/r11")
        (m / "d").rename(m / "e")
        some = ["e" if name == "r11" else name for name in some]
        wait_until(lambda: m.status()["changes"] == "told")
        before = m.status()["requests"]
        ours = [shown(m / name) for name in some]
        for _ in range(5):  # while the server tells what we know already
            time.sleep(0.2)
            assert [shown(m / name) for name in some] == ours
        assert m.status()["requests"] - before <= 5  # where the server was not heard for a moment
        assert (m / "r0").read_bytes() == b"r0"
        with mounted(site, tmp_path / "b", path, f"fuse={version}") as other:
            assert [shown(other / name) for name in some] == ours


@pytest.mark.skipif(mount_support.why_not() is not None, reason=str(mount_support.why_not()))
def test_what_others_set_while_a_file_was_written_is_seen(site: Site, tmp_path: Path) -> None:
    path = site.container()
    public = stack.properties(publicread="true")
    with mounted(site, tmp_path, path) as m:
        wait_until(lambda: m.status()["changes"] == "told")
        with (m / "f").open("wb") as file:
            file.write(b"bytes")
            assert site.run(site.alice.set(f"{path}/f", public)).status == 200
        assert (m / "f").stat().st_mode & 0o777 == 0o604
        assert (m / "f").stat().st_size == 5


@pytest.mark.skipif(mount_support.why_not() is not None, reason=str(mount_support.why_not()))
@pytest.mark.parametrize("version", mount_support.versions(), ids=lambda v: f"libfuse{v}")
def test_what_is_set_before_a_file_is_closed_goes_with_its_bytes(
    site: Site, tmp_path: Path, version: int
) -> None:
    path, some = site.container(), [f"d/f{number}" for number in range(10)]
    with mounted(site, tmp_path / "a", path, f"fuse={version}", "kernel=0.001") as m:
        wait_until(lambda: m.status()["changes"] == "told")
        (m / "d").mkdir()  # of which is known what is in it
        before = m.status()["requests"]
        for number, name in enumerate(some):
            with (m / name).open("wb") as file:  # as tar and cp -p do
                file.write(b"bytes")
                file.flush()
                os.fchmod(file.fileno(), 0o644 if number % 2 else 0o640)
                os.setxattr(file.fileno(), "user.note", b"\xff%d" % number)
                os.utime(file.fileno(), ns=(10**9, number * 10**9 + 5))
        assert m.status()["requests"] - before <= 22
        with (m / some[0]).open("r+b") as file:  # keeps what it does not set
            file.write(b"others")
        os.utime(m / some[1], ns=(0, 7))
        ours = [shown(m / name) for name in some]
        assert [os.getxattr(m / name, "user.note") for name in some[:2]] == [b"\xff0", b"\xff1"]
        assert [(m / name).stat().st_mtime_ns for name in some[1:3]] == [7, 2 * 10**9 + 5]
        modes = [(m / name).stat().st_mode & 0o777 for name in some]
        assert modes == [0o640, 0o644] * 5
        with mounted(site, tmp_path / "b", path, f"fuse={version}") as other:
            assert [shown(other / name) for name in some] == ours


@pytest.mark.skipif(mount_support.why_not() is not None, reason=str(mount_support.why_not()))
def test_a_property_that_is_refused_does_not_keep_the_bytes_away(
    site: Site, tmp_path: Path
) -> None:
    path = site.container()
    with mounted(site, tmp_path, path) as m:
        with (m / "f").open("wb") as file:
            file.write(b"bytes")
            file.flush()
            os.setxattr(file.fileno(), "user.ivo.no%20uri", b"refused")
            with pytest.raises(OSError, match="nvalid"):
                os.fsync(file.fileno())
        assert site.run(site.alice.pull(f"{path}/f")).body == b"bytes"
