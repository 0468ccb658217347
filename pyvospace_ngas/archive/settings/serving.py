"""Where a node listens, what it serves to whom, and the index it keeps."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from argon2 import extract_parameters
from argon2.exceptions import InvalidHashError

from pyvospace_ngas.archive.settings.reader import LONGEST_HOST_ID, Reader, attribute

LONGEST_ARCHIVE_NAME: Final = 64  # ngas_disks.archive
SIMULTANEOUS: Final = 200
IDLE_SECONDS: Final = 60.0
EVERY_COMMAND: Final = "*"
HASHED: Final = "$argon2"  # how a password that is kept as its hash begins
INTERNAL_USER: Final = "ngas-int"  # as whom nodes ask each other


class RequestBackend(StrEnum):
    """Where the requests are recorded (RequestDbBackend)."""

    NULL = "null"
    MEMORY = "memory"
    PERSISTENT = "bsddb"  # NGAS's name for what outlives the node; ours is a table of the index


@dataclass(frozen=True, slots=True)
class Server:
    """Where the node keeps its files and where it listens."""

    root: Path
    volumes: Path
    archive_name: str = "NGAS"
    host: str = "127.0.0.1"
    port: int = 7777
    max_requests: int = SIMULTANEOUS
    proxy: bool = False
    block_size: int = 262144
    timeout: float = IDLE_SECONDS
    request_backend: RequestBackend = RequestBackend.NULL
    plug_in_folders: tuple[Path, ...] = ()
    host_name: str = ""
    public_url: str = ""
    certificate: Path | None = None  # with its key, in PEM: then the node speaks TLS

    @property
    def host_id(self) -> str:
        """The name of this node in the cluster: ``<host name>:<port>``, as long as fits."""
        name = self.host_name or socket.gethostname().split(".")[0]
        room = LONGEST_HOST_ID - len(f":{self.port}")
        if len(name) > room:  # two long names with one beginning must stay two names
            name = f"{name[: room - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
        return f"{name}:{self.port}"

    @property
    def url(self) -> str:
        """Where other nodes and clients find this one."""
        if self.public_url:
            return self.public_url.rstrip("/")
        host = socket.gethostname() if self.host in {"0.0.0.0", "::", ""} else self.host  # noqa: S104
        scheme = "https" if self.certificate else "http"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Permissions:
    """Which kinds of request are served at all."""

    archive: bool = True
    retrieve: bool = True
    remove: bool = False
    processing: bool = False


@dataclass(frozen=True, slots=True)
class Db:
    """The index: a file of SQLite, or the DSN of a PostgreSQL."""

    interface: str = "sqlite3"
    location: str = ""
    connections: int = 8
    durable: bool = True
    session_sql: tuple[str, ...] = ()  # run on each new connection


@dataclass(frozen=True, slots=True)
class User:
    """Who may run which commands. The password is plain text or, better, its argon2 hash."""

    name: str
    password: str = field(repr=False)
    commands: frozenset[str] = frozenset()

    def may(self, command: str) -> bool:
        """Whether the user may run a command."""
        return EVERY_COMMAND in self.commands or command in self.commands


@dataclass(frozen=True, slots=True)
class Authorization:
    """Whether a request needs a user, and which commands need none."""

    enabled: bool = False
    excluded: frozenset[str] = frozenset()
    users: Mapping[str, User] = field(default_factory=dict)


def server(reader: Reader) -> Server:
    """Read ``Server``."""
    root = Path(reader.text("Server", "RootDirectory"))
    if not root.is_absolute():
        reader.complain("Server", "RootDirectory must be an absolute path")
    archive_name = reader.text("Server", "ArchiveName", "NGAS")
    if len(archive_name) > LONGEST_ARCHIVE_NAME:
        reader.complain("Server", "ArchiveName has more than 64 characters")
    port = reader.number("Server", "PortNo", 7777)
    if port > 65535:
        reader.complain("Server", "PortNo must be 65535 or less")
    return Server(
        root=root,
        volumes=root / reader.text("Server", "VolumeDirectory", "."),
        archive_name=archive_name,
        host=reader.text("Server", "IpAddress", "127.0.0.1"),
        port=port,
        max_requests=reader.number("Server", "MaxSimReqs", SIMULTANEOUS, least=1),
        proxy=reader.flag("Server", "ProxyMode", default=False),
        block_size=reader.number("Server", "BlockSize", 262144, least=1),
        timeout=float(reader.number("Server", "TimeOut", int(IDLE_SECONDS), least=1)),
        request_backend=_request_backend(reader),
        plug_in_folders=tuple(root / each for each in reader.words("Server", "PluginsPath", ":")),
        host_name=reader.text("Server", "HostName", ""),
        public_url=reader.text("Server", "PublicUrl", ""),
    )


def permissions(reader: Reader) -> Permissions:
    """Read ``Permissions``."""
    return Permissions(
        archive=reader.flag("Permissions", "AllowArchiveReq", default=True),
        retrieve=reader.flag("Permissions", "AllowRetrieveReq", default=True),
        remove=reader.flag("Permissions", "AllowRemoveReq", default=False),
        processing=reader.flag("Permissions", "AllowProcessingReq", default=False),
    )


def db(reader: Reader) -> Db:
    """Read ``Db``."""
    interface = reader.text("Db", "Interface")
    location = ""
    if interface == "sqlite3":
        location = reader.text("Db", "database")
        if location and not Path(location).is_absolute():
            reader.complain("Db", "database must be an absolute path")
    elif interface == "asyncpg":
        location = reader.text("Db", "dsn")
    elif interface:
        reader.complain(
            "Db",
            f"Interface={interface!r} is not known here; use 'sqlite3' with "
            "database=PATH, or 'asyncpg' with dsn=postgresql://...",
        )
    return Db(
        interface=interface,
        location=location,
        connections=reader.number("Db", "MaxPoolConnections", 8, least=2),
        durable=reader.flag("Db", "Durable", default=True),
        session_sql=tuple(
            text for each in reader.elements("Db/SessionSql") if (text := attribute(each, "sql"))
        ),
    )


def commands(reader: Reader) -> Mapping[str, str]:
    """Read ``Commands``: the modules of a site's own commands, by name."""
    return reader.table("Commands/Command", "Name", "Module")


def authorization(reader: Reader) -> Authorization:
    """Read ``Authorization``."""
    users: dict[str, User] = {}
    for found in reader.elements("Authorization/User"):
        name, password = attribute(found, "Name"), attribute(found, "Password")
        if not name or not password or name in users:
            reader.complain("Authorization/User", "each needs a Name of its own and a Password")
        if password.startswith(HASHED):
            _check_hash(reader, name, password)
        else:
            password = reader.secret(f"Authorization/User {name}", password)
        users[name] = User(name, password, _command_names(attribute(found, "Commands")))
    return Authorization(
        enabled=reader.flag("Authorization", "Enable", default=False),
        excluded=_command_names(reader.text("Authorization", "Exclude", "")),
        users=users,
    )


def _check_hash(reader: Reader, name: str, password: str) -> None:
    path = f"Authorization/User {name}"
    if name == INTERNAL_USER:
        reader.complain(path, "Password must be base64, not a hash: this node sends it to others")
    try:
        extract_parameters(password)
    except InvalidHashError:
        reader.complain(path, "Password is no argon2 hash; `ngas_node hash-password` makes one")


def _command_names(text: str) -> frozenset[str]:
    return frozenset(each.strip() for each in text.split(",") if each.strip())


def _request_backend(reader: Reader) -> RequestBackend:
    name = reader.text("Server", "RequestDbBackend", RequestBackend.NULL)
    try:
        return RequestBackend(name)
    except ValueError:
        known = ", ".join(RequestBackend)
        reader.complain("Server", f"RequestDbBackend={name!r} is none of {known}")
        return RequestBackend.NULL
