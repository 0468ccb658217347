"""The parts that ngas_up runs: what each needs before it starts, and how it is started."""

import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from lxml import etree

from pyvospace_ngas.archive import configuration, volume
from pyvospace_ngas.cli import postgres, probes, serving
from pyvospace_ngas.cli.folder import DataFolder
from pyvospace_ngas.cli.postgres import Cluster, Target
from pyvospace_ngas.cli.probes import Found
from pyvospace_ngas.cli.serving import CannotServe
from pyvospace_ngas.cli.supervisor import Part
from pyvospace_ngas.config import Config, Listener, NgasServer, StorageConfig, is_loopback
from pyvospace_ngas.storage.staging import NotOurs, Staging

VOLUMES: Final = ("volume1", "volume2")
POSTGRES_STOP: Final = ((signal.SIGINT, 60.0), (signal.SIGQUIT, 10.0))  # fast, then immediate


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be started; the rest of the configuration runs already."""

    postgres: bool
    nodes: tuple[int, ...]  # ports
    storage: bool
    staging: bool  # the configured staging_dir can be used
    space: bool
    notes: tuple[str, ...]  # what is used as it is


async def plan(settings: Config) -> Plan:
    """Look at every address; raise `CannotServe` or `PostgresError` if one is taken."""
    _check_ports(settings)
    notes: list[str] = []
    target = postgres.parse_dsn(settings.space.dsn)
    storage = await _server_is_missing("Storage", settings.storage.listen, notes)
    return Plan(
        await _database_is_missing(settings.space.dsn, target, notes),
        await _missing_nodes(settings.storage.ngas_servers, notes),
        storage,
        not storage or _staging_is_ours(settings.storage, notes),
        await _server_is_missing("Space", settings.space.listen, notes),
        tuple(notes),
    )


def local_nodes(servers: Sequence[NgasServer]) -> tuple[int, ...]:
    """Return each port of this machine at which a node is named."""
    return tuple(dict.fromkeys(node.port for node in servers if is_loopback(node.hostname)))


def _check_ports(settings: Config) -> None:
    target = postgres.parse_dsn(settings.space.dsn)
    used = [
        ("[Space] port", settings.space.listen.port),
        ("[Storage] port", settings.storage.listen.port),
        *(("ngas_servers", port) for port in local_nodes(settings.storage.ngas_servers)),
        *([("dsn", target.port)] if is_loopback(target.host) else []),
    ]
    seen: dict[int, str] = {}
    for name, port in used:
        if port in seen:
            raise CannotServe(f"{seen[port]} and {name} both name port {port}: change one")
        seen[port] = name


async def _database_is_missing(dsn: str, target: Target, notes: list[str]) -> bool:
    where = f"{target.host}:{target.port}"
    found = await probes.look(target.host, target.port, probes.accepts(dsn, target))
    if found is Found.OURS:
        notes.append(f"the PostgreSQL at {where} runs already and is used")
        return False
    if found is Found.ANOTHER:
        raise CannotServe(
            f"[Space] dsn: port {target.port} of {target.host} is in use by another program, which"
            " is no PostgreSQL: stop it, or change the dsn"
        )
    if not is_loopback(target.host):
        raise CannotServe(
            f"[Space] dsn: nothing answers at {where}, and ngas_up starts a PostgreSQL on this"
            " machine only (host localhost)"
        )
    _check_free("[Space] dsn: port", postgres.listen_address(target.host), target.port)
    return True


async def _missing_nodes(servers: Sequence[NgasServer], notes: list[str]) -> tuple[int, ...]:
    missing = []
    for port in local_nodes(servers):
        host = next(n.hostname for n in servers if n.port == port and is_loopback(n.hostname))
        found = await probes.look(host, port, probes.is_node(host, port))
        if found is Found.ANOTHER:
            raise CannotServe(
                f"[Storage] ngas_servers: port {port} of {host} is in use by another program,"
                " which is no NGAS node: stop it, or name another port"
            )
        if found is Found.NOTHING:
            _check_free("[Storage] ngas_servers: port", "127.0.0.1", port)
            missing.append(port)
        else:
            notes.append(f"the NGAS node at {host}:{port} runs already and is used")
    for node in servers:
        if not is_loopback(node.hostname) and not await probes.is_node(node.hostname, node.port):
            notes.append(f"the NGAS node at {node.hostname}:{node.port} does not answer yet")
    return tuple(missing)


async def _server_is_missing(section: str, listener: Listener, notes: list[str]) -> bool:
    is_ours = probes.is_space if section == "Space" else probes.is_storage
    found = await probes.look(listener.host, listener.port, is_ours(listener))
    if found is Found.OURS:
        notes.append(f"the {section.lower()} server at {listener.public_url} runs already")
        return False
    if found is Found.NOTHING:
        serving.tls(section, listener)
    # When another program holds the port, this says so.
    _check_free(f"[{section}] port", listener.host, listener.port)
    return True


def _staging_is_ours(storage: StorageConfig, notes: list[str]) -> bool:
    """Tell whether the storage server can stage where it should; raise `ConfigError` if not.

    Below /tmp, as in the sample, the folder may be that of another user who ran the same.
    """
    try:
        Staging(storage.staging_dir, storage.staging_limit).prepare()
    except NotOurs:
        notes.append(f"{storage.staging_dir} is another user's: staging in the data folder")
        return False
    return True


def _check_free(key: str, host: str, port: int) -> None:
    """Raise `CannotServe` unless we may listen there."""
    for bound in serving.bind(key, host, port):
        bound.close()


def postgres_part(cluster: Cluster, target: Target, folder: DataFolder) -> Part:
    """Return PostgreSQL as a part."""
    return Part(
        "postgres",
        cluster.command(target),
        ready=partial(postgres.ready, cluster, target),
        before=partial(postgres.clear_stale_pid, cluster.data),
        stop=POSTGRES_STOP,
        account=cluster.programs.account,
        cwd=cluster.home,
        environment=cluster.programs.environment(),
        lock=(folder.parts_lock,),
    )


def node_part(port: int, folder: DataFolder) -> Part:
    """Return an archive node as a part; its folder is made now if it is new."""
    written = furnish_node(folder.path / "nodes", port)
    return Part(
        f"node {port}",
        [*_module("node"), "-cfg", str(written), "-autoonline"],
        ready=partial(probes.node_is_online, "127.0.0.1", port),
        environment=dict(os.environ),
        lock=(folder.parts_lock,),
    )


def furnish_node(nodes: Path, port: int) -> Path:
    """Return the configuration of the node at ``port``, made with two volumes if it is new.

    All nodes share one database, so that each knows where the others' files are.
    """
    root = nodes / str(port)
    written = root / "ngas.xml"
    if written.exists():  # its volumes are for the node to check, not to be made anew
        return written
    for name in VOLUMES:
        place = root / "volumes" / name
        if not (place / volume.INFO).exists():
            volume.prepare(place)
    text = configuration.default_xml(root, port, str(nodes / "archive.sqlite"))
    document = etree.fromstring(text.encode())
    if (server := document.find("Server")) is not None:
        # Written down, since the files' holder is known by it and a container's name may change.
        server.set("HostName", socket.gethostname().partition(".")[0])
    unfinished = written.with_suffix(".new")
    unfinished.write_bytes(etree.tostring(document, encoding="utf-8", xml_declaration=True))
    unfinished.rename(written)
    return written


def storage_part(plan: Plan, cfg: Path, listener: Listener, folder: DataFolder) -> Part:
    """Return the storage server as a part."""
    staging = () if plan.staging else ("--staging-dir", str(folder.path / "staging"))
    ready = partial(probes.storage_is_ready, listener)
    return _server_part("storage", ("--cfg", str(cfg), *staging), ready, folder)


def space_part(cfg: Path, listener: Listener, folder: DataFolder) -> Part:
    """Return the space server as a part."""
    ready = partial(probes.space_is_ready, listener)
    return _server_part("space", ("--cfg", str(cfg)), ready, folder)


def _server_part(
    name: str, arguments: Sequence[str], ready: Callable[[], Awaitable[bool]], folder: DataFolder
) -> Part:
    return Part(
        name,
        [*_module(name), *arguments],
        ready=ready,
        environment=dict(os.environ),
        lock=(folder.parts_lock,),
    )


def _module(name: str) -> list[str]:
    return [sys.executable, "-m", f"pyvospace_ngas.cli.{name}"]
