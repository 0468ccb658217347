"""How files are archived, where they go, and what is done with them on the way."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pyvospace_ngas.archive.settings.reader import PlugIn, Reader, attribute
from pyvospace_ngas.ngas import checksum

HOST: Final = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?")


@dataclass(frozen=True, slots=True)
class StorageSet:
    """A main volume and, where there is one, the volume that files are replicated to."""

    name: str
    main: str  # slot ids
    replication: str = ""
    label: str = ""  # of the disks' logical names
    mutex: bool = True  # one writer at a time
    synchronize: bool = False


@dataclass(frozen=True, slots=True)
class Stream:
    """Where files of a mime type go: storage sets of this node, or other nodes."""

    mime_type: str
    plug_in: PlugIn | None = None
    sets: tuple[str, ...] = ()
    units: tuple[str, ...] = ()  # host ids


@dataclass(frozen=True, slots=True)
class Handling:
    """How files are archived."""

    path_prefix: str = ""
    crc: checksum.Variant = checksum.Variant.CRC32C
    full_below_mb: int = 0
    warn_below_mb: int = 0
    replication: bool = False
    backlog_folder: Path | None = None  # where what could not be archived waits, if it may
    event_handlers: tuple[PlugIn, ...] = ()
    pull_roots: tuple[Path, ...] = ()  # folders that files may be archived from
    pull_hosts: tuple[str, ...] = ()  # hosts that files may be fetched from


@dataclass(frozen=True, slots=True)
class ProcessingPlugIn:
    """A plug-in for RETRIEVE, and the mime types that it is for; none: for all."""

    plug_in: PlugIn
    mime_types: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Processing:
    """What may be done with files before they are sent."""

    folder: Path | None = None
    plug_ins: Mapping[str, ProcessingPlugIn] = field(default_factory=dict)  # by name


def sets(reader: Reader) -> dict[str, StorageSet]:
    """Read ``StorageSets``."""
    found: dict[str, StorageSet] = {}
    path = "StorageSets/StorageSet"
    reader.table(path, "StorageSetId", "MainDiskSlotId")  # complains
    for each in reader.elements(path):
        name, main = attribute(each, "StorageSetId"), attribute(each, "MainDiskSlotId")
        replication = attribute(each, "RepDiskSlotId")
        if main and replication == main:
            reader.complain(path, f"{name}: RepDiskSlotId is the main volume itself")
        found[name] = StorageSet(
            name=name,
            main=main,
            replication=replication,
            label=attribute(each, "DiskLabel"),
            mutex=attribute(each, "Mutex") != "0",
            synchronize=attribute(each, "Synchronize") == "1",
        )
    return found


def streams(reader: Reader, known: Mapping[str, StorageSet]) -> dict[str, Stream]:
    """Read ``Streams``; several of one mime type are taken together."""
    found: dict[str, Stream] = {}
    path = "Streams/Stream"
    for each in reader.elements(path):
        mime_type, name = attribute(each, "MimeType"), attribute(each, "PlugIn")
        if not mime_type:
            reader.complain(path, "the attribute MimeType is missing")
        names = tuple(attribute(ref, "StorageSetId") for ref in each.iterfind("StorageSetRef"))
        for unknown in sorted(set(names) - set(known)):
            reader.complain(f"{path} {mime_type}", f"no storage set {unknown!r} is defined")
        before = found.get(mime_type, Stream(mime_type))
        found[mime_type] = Stream(
            mime_type=mime_type,
            plug_in=PlugIn(name, attribute(each, "PlugInPars")) if name else before.plug_in,
            sets=before.sets + names,
            units=before.units
            + tuple(attribute(unit, "HostId") for unit in each.iterfind("ArchivingUnit")),
        )
    return found


def handling(reader: Reader, root: Path) -> Handling:
    """Read ``ArchiveHandling``."""
    element = "ArchiveHandling"
    prefix = reader.text(element, "PathPrefix", "")
    if prefix.startswith("/") or ".." in prefix.split("/"):
        reader.complain(element, "PathPrefix must stay in the volume")
    buffering = reader.flag(element, "BackLogBuffering", default=False)
    folder = reader.folder(element, "BackLogBufferDirectory", root)
    if buffering and folder is None:
        reader.complain(element, "BackLogBuffering needs a BackLogBufferDirectory")
    return Handling(
        path_prefix=prefix.strip("/"),
        crc=_crc(reader),
        full_below_mb=reader.number(element, "FreeSpaceDiskChangeMb", 0),
        warn_below_mb=reader.number(element, "MinFreeSpaceWarningMb", 0),
        replication=reader.flag(element, "Replication", default=False),
        backlog_folder=folder if buffering else None,
        event_handlers=reader.plug_ins(f"{element}/EventHandlerPlugIn"),
        pull_roots=tuple(root / each for each in reader.words(element, "PullRoots", ":")),
        pull_hosts=_pull_hosts(reader),
    )


def processing(reader: Reader, root: Path) -> Processing:
    """Read ``Processing``."""
    found: dict[str, ProcessingPlugIn] = {}
    path = "Processing/PlugIn"
    for plug_in, element in zip(reader.plug_ins(path), reader.elements(path), strict=True):
        types = frozenset(reader.names_of(element, path, "MimeType"))
        found[plug_in.name] = ProcessingPlugIn(plug_in, types)
    return Processing(reader.folder("Processing", "ProcessingDirectory", root), found)


def registering(reader: Reader) -> dict[str, PlugIn]:
    """Read ``Register``: the plug-in that registers files of a mime type."""
    path = "Register/PlugIn"
    return {
        mime_type: plug_in
        for plug_in, element in zip(reader.plug_ins(path), reader.elements(path), strict=True)
        for mime_type in reader.names_of(element, path, "MimeType")
    }


def _pull_hosts(reader: Reader) -> tuple[str, ...]:
    hosts = reader.words("ArchiveHandling", "PullHosts")
    for host in hosts:
        if not HOST.fullmatch(host):
            problem = f"PullHosts: {host!r} is neither NAME nor NAME:PORT"
            reader.complain("ArchiveHandling", problem)
    return hosts


def _crc(reader: Reader) -> checksum.Variant:
    name = reader.text("ArchiveHandling", "CRCVariant", "crc32c")
    try:
        return checksum.named(name)
    except checksum.UnknownVariant:
        reader.complain("ArchiveHandling", f"CRCVariant={name!r} is not known")
        return checksum.Variant.CRC32C
