"""What a mount is told and how it tells: options, secrets, errno numbers and names; no mount."""

import argparse
import asyncio
import errno
from pathlib import Path

import pytest

from pyvospace_ngas import errors
from pyvospace_ngas.cli import mount_options
from pyvospace_ngas.cli.mount_options import BadOption
from pyvospace_ngas.fuse import entries, staging, xattrs
from pyvospace_ngas.fuse.entries import Entry, Kind
from pyvospace_ngas.fuse.errnos import ERRNO, number, operation
from pyvospace_ngas.fuse.staging import InUse, Note, Staging, lost, waiting
from pyvospace_ngas.model import standard
from pyvospace_ngas.model.uri import NodePath, Space

SPACE = Space("icrar.org~ngas")
OWN = entries.words(SPACE)


def test_every_error_has_an_errno() -> None:
    assert set(ERRNO) == set(errors.VOSpaceError.__subclasses__())
    assert all(found > 0 for found in ERRNO.values())


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (errors.NodeNotFound("x"), errno.ENOENT),
        (errors.QuotaExceeded("x"), errno.EDQUOT),
        (TimeoutError(), errno.ETIMEDOUT),
        (asyncio.CancelledError(), errno.EINTR),
        (OSError("without a number"), errno.EIO),
        (OSError(errno.ENOSPC, "full"), errno.ENOSPC),
        (ValueError("a bug"), errno.EIO),
        (SystemExit(1), errno.EIO),
    ],
)
def test_whatever_is_raised_becomes_an_os_error_with_a_number(
    error: BaseException, wanted: int
) -> None:
    @operation
    def act() -> None:
        raise error

    assert number(error) == wanted
    with pytest.raises(OSError, match="act") as caught:
        act()
    assert caught.value.errno == wanted


def given(tmp_path: Path, **values: object) -> argparse.Namespace:
    usual: dict[str, object] = {
        "url": "http://localhost:8082", "cfg": None, "user": None, "path": None, "log": None,
        "password_file": None, "options": [], "mountpoint": str(tmp_path),
    }  # fmt: skip
    return argparse.Namespace(**(usual | values))


def test_the_options_of_fstab_are_understood() -> None:
    ours, passed = mount_options.split(
        ["username=alice,password_file=/root/pw,_netdev,x-systemd.automount,noauto", "allow_other"]
    )
    assert ours == {"username": "alice", "password_file": "/root/pw"}
    assert passed == {"allow_other": True}
    with pytest.raises(BadOption, match="nonsense is not known"):
        mount_options.split(["rw,nonsense"])


def test_a_password_comes_from_a_file_of_ones_own_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("correct horse\n")
    secret.chmod(0o600)
    assert mount_options.password("http://h", "a", str(secret)) == "correct horse"
    secret.chmod(0o640)
    with pytest.raises(BadOption, match="chmod 600"):
        mount_options.password("http://h", "a", str(secret))
    monkeypatch.setenv("NGAS_PASSWORD", "of the environment")
    assert mount_options.password("http://h", "a", None) == "of the environment"
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".netrc").write_text("machine h login a password of-netrc\n")
    (tmp_path / ".netrc").chmod(0o600)
    assert mount_options.password("http://h:1/x", "a", None) == "of-netrc"
    with pytest.raises(BadOption, match="no password of b"):
        mount_options.password("http://h", "b", None)


def test_what_makes_no_mount_is_said(tmp_path: Path) -> None:
    for values, said in (
        ({"url": None}, "which space"),
        ({"options": ["timeout=soon"]}, "timeout"),
        ({"path": "/a/../b"}, "path"),
        ({"options": ["fuse=4"]}, "2 or 3"),
    ):
        with pytest.raises(BadOption, match=said):
            mount_options.read(given(tmp_path, **values))


@pytest.mark.parametrize("value", [b"", b"text", b"\x00\xff", b" x", b"base64:", "Ω".encode()])
def test_attributes_hold_any_bytes(value: bytes) -> None:
    assert xattrs.value(xattrs.text(value)) == value


def test_attributes_are_properties_by_their_names() -> None:
    title = standard.CORE + "title"
    name = xattrs.names({title: "x", OWN.mtime: "1.0"}, OWN)
    assert [xattrs.uri(each, OWN) for each in name] == [title]
    assert xattrs.names({xattrs.uri("user.a b", OWN): ""}, OWN) == ["user.a b"]
    with pytest.raises(OSError, match="user attributes"):
        xattrs.uri("security.selinux", OWN)


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("b", "vos://icrar.org~ngas/home/a/d/b"),
        ("../b/./c", "vos://icrar.org~ngas/home/a/b/c"),
        ("/mnt/x/b", "vos://icrar.org~ngas/home/a/b"),
        ("/mnt/x", "vos://icrar.org~ngas/home/a"),
        ("../../b", "file:../../b"),
        ("/etc/passwd", "file:/etc/passwd"),
        ("/mnt/xyz", "file:/mnt/xyz"),
    ],
)
def test_link_targets_are_nodes_inside_the_mount(text: str, uri: str) -> None:
    root = NodePath(("home", "a"))
    link = root / "d" / "link"
    assert entries.link_uri(text, link, root, "/mnt/x", SPACE) == uri
    found = Entry(Kind.LINK, target=uri, properties={OWN.link: f"{uri} {text}"})
    assert entries.link_text(found, link, root, SPACE, OWN) == text
    bare = Entry(Kind.LINK, target="vos://icrar.org~ngas/home/a/e/f")
    assert entries.link_text(bare, link, root, SPACE, OWN) == "../e/f"


@pytest.mark.parametrize("moment", [0, 1, 10**9, 1_234_567_890_123_456_789, -(10**9)])
def test_times_are_kept_to_the_nanosecond(moment: int) -> None:
    assert entries.read_time(entries.write_time(moment), -1) == moment


def test_a_folder_of_state_is_of_one_mount_and_keeps_what_was_left(tmp_path: Path) -> None:
    first = Staging(tmp_path)
    staged = first.new()
    staged.write(0, b"left")
    with pytest.raises(InUse):
        Staging(tmp_path)
    first.note(staged, Note("/home/a/f"))
    promised, foreign, disowned = (first.new() for _ in range(3))
    for each, owner in ((promised, first), (foreign, Staging(tmp_path / "other", "b at c"))):
        each.write(0, b"promised")
        owner.commit(each, Note("/home/a/g", closed=True, changes={"p": None}))
    first.disown(disowned)
    first.close()  # as if it had been killed: the files stay
    second = Staging(tmp_path)
    assert [each.path for each in waiting(tmp_path)] == ["/home/a/g", "/home/a/g"]
    ((note, found),) = second.left()
    assert (note.path, note.changes, found.file.read_bytes()) == (
        "/home/a/g",
        {"p": None},
        b"promised",
    )
    assert found.file == promised.file
    kept = {each.path: each for each in lost(tmp_path)}
    assert Path(kept["/home/a/f"].file).read_bytes() == b"left"
    assert kept["/home/a/g"].why == "it was to be sent to b at c"
    second.drop(found)
    assert list((tmp_path / "staged").iterdir()) == []


def test_the_last_whole_note_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Staging(tmp_path)
    torn, bare, long = (first.new() for _ in range(3))
    for each in (torn, bare, long):
        each.write(0, each.file.name.encode())
    first.note(torn, Note("/home/a/torn"))
    first.note(torn, Note("/home/a/torn", closed=True, version="v"))
    note = torn.file.with_suffix(".json")
    with note.open("ab") as file:
        file.write(b'\n{"path": "/home/a/to')
    bare.file.with_suffix(".json").touch()  # it ended before there was a note
    monkeypatch.setattr(staging, "_LONG", 1000)
    for turn in range(100):
        first.note(long, Note("/home/a/long", closed=True, mtime=turn))
    assert long.file.with_suffix(".json").stat().st_size < 2000
    first.close()
    second = Staging(tmp_path)
    left = {note.path: (note, each) for note, each in second.left()}
    assert sorted(left) == ["/home/a/long", "/home/a/torn"]
    assert left["/home/a/torn"][0].version == "v"
    assert left["/home/a/long"][0].mtime == 99
    assert not bare.file.exists()
    assert lost(tmp_path) == []
    second.note(left["/home/a/torn"][1], Note("/home/a/torn", closed=True, version="w"))
    second.close()
    found = {note.path: note.version for note, _ in Staging(tmp_path).left()}
    assert found["/home/a/torn"] == "w"
