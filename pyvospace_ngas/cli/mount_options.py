"""What ``ngas_mount`` is told: by options, by /etc/fstab, and secrets in other ways."""

import argparse
import getpass
import hashlib
import netrc
import os
import stat
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from pyvospace_ngas import config
from pyvospace_ngas.errors import InvalidURI
from pyvospace_ngas.fuse import binding
from pyvospace_ngas.fuse.settings import Settings
from pyvospace_ngas.model.uri import NodePath, check_name

# What mount(8) and systemd put beside our own options, and means nothing to a mount itself.
_OTHERS: Final = frozenset({
    "defaults", "rw", "auto", "noauto", "user", "nouser", "users", "owner", "group", "nofail",
    "_netdev", "async", "dev", "suid", "exec", "relatime", "noatime", "nodiratime",
})  # fmt: skip
_PASSED: Final = frozenset({
    "allow_other", "allow_root", "default_permissions", "nodev", "nosuid", "noexec", "debug",
})  # fmt: skip
_OURS: Final = frozenset({
    "url", "cfg", "username", "password_file", "path", "log", "state", "timeout", "drain",
    "cache", "ro", "fuse", "kernel", "writeback", "readahead",
})  # fmt: skip


class BadOption(Exception):
    """An option that means nothing, or a secret that others can read."""


@dataclass(frozen=True, slots=True)
class Given:
    """All that a mount is told."""

    settings: Settings
    options: Mapping[str, str | bool]
    libfuse: int


def read(args: argparse.Namespace) -> Given:
    """Return what the command line says; passwords come from elsewhere."""
    ours, passed = split(args.options)
    mountpoint = os.path.realpath(args.mountpoint)
    url = _url(args.url or ours.get("url"), args.cfg or ours.get("cfg"))
    user = args.user or ours.get("username")
    file = args.password_file or ours.get("password_file")
    args.log = args.log or ours.get("log")
    state = ours.get("state")
    settings = Settings(
        url=url,
        mountpoint=mountpoint,
        state=Path(state).absolute() if state else state_of(mountpoint),
        root=_container(args.path or ours.get("path") or "/"),
        user=user,
        password=None if user is None else password(url, user, file),
        patience=_number("timeout", ours, 30.0),
        drain=_number("drain", ours, 30.0),
        kernel=_number("kernel", ours, 0.4),
        cache=int(_number("cache", ours, 256.0) * 2**20),
        readahead=int(_number("readahead", ours, 1024.0) * 2**10),
        read_only="ro" in ours,
        writeback="writeback" in ours,
    )
    wanted = ours.get("fuse")
    if wanted not in (None, "2", "3"):
        raise BadOption("the option fuse is 2 or 3")
    return Given(settings, passed, binding.choose(None if wanted is None else int(wanted)))


def split(options: Iterable[str]) -> tuple[dict[str, str], dict[str, str | bool]]:
    """Return our own options out of ``a,b=c`` words, and those that are libfuse's."""
    ours: dict[str, str] = {}
    passed: dict[str, str | bool] = {}
    for word in (word for text in options for word in text.split(",") if word):
        name, equals, value = word.partition("=")
        if name in _OURS:
            ours[name] = value
        elif name in _PASSED:
            passed[name] = value if equals else True
        elif name not in _OTHERS and not name.startswith(("x-", "comment")):
            raise BadOption(f"the option {name} is not known")
    return ours, passed


def state_of(mountpoint: str) -> Path:
    """Return the folder in which a mount at ``mountpoint`` keeps what is not stored yet."""
    home = os.environ.get("XDG_STATE_HOME") or str(Path("~/.local/state").expanduser())
    name = hashlib.sha256(os.fsencode(mountpoint)).hexdigest()[:16]
    return Path(home) / "ngas_mount" / name


def password(url: str, user: str, file: str | None) -> str:
    """Return a user's password: from a file, the environment, ``.netrc``, or the terminal."""
    if file is not None:
        return _from_file(Path(file))
    if (given := os.environ.pop("NGAS_PASSWORD", None)) is not None:
        return given
    host = urlsplit(url).hostname or ""
    try:
        found = netrc.netrc().authenticators(host)
    except (OSError, netrc.NetrcParseError):
        found = None
    if found is not None and found[0] in (user, ""):
        return found[2]
    if not sys.stdin.isatty():
        raise BadOption(
            f"no password of {user}: give --password-file FILE, NGAS_PASSWORD, or ~/.netrc"
        )
    return getpass.getpass(f"Password of {user}: ")


def _from_file(path: Path) -> str:
    with path.open(encoding="utf-8") as opened:
        if stat.S_IMODE(os.fstat(opened.fileno()).st_mode) & 0o077:
            raise BadOption(f"{path} can be read by others: chmod 600 {path}")
        return opened.readline().rstrip("\n")


def _url(url: str | None, cfg: str | None) -> str:
    if url is None:
        if cfg is None:
            raise BadOption("which space? --url URL, or --cfg FILE")
        url = config.load(Path(cfg)).space.listen.public_url
    return url if urlsplit(url).path.strip("/") else url.rstrip("/") + "/vospace"


def _container(path: str) -> NodePath:
    parts = tuple(name for name in path.split("/") if name)
    try:
        for name in parts:
            check_name(name, path)
    except InvalidURI as error:
        raise BadOption(f"--path {path}: {error}") from None
    return NodePath(parts)


def _number(name: str, given: Mapping[str, str], otherwise: float) -> float:
    try:
        found = float(given.get(name, otherwise))
    except ValueError:
        found = -1.0
    if not 0 < found < 1e9:
        raise BadOption(f"the option {name} is a number above 0")
    return found
