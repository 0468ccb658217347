"""What a node does by itself: checking, tidying, caching, logging, mail, suspension."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from pyvospace_ngas.archive.settings.reader import PlugIn, Reader, attribute

MINUTE = 60.0
ADDRESS: Final = re.compile(r"[0-9A-Za-z.!#$%&'*+/=?^_`{|}~-]+(@[0-9A-Za-z.-]+)?")


class Notice(StrEnum):
    """The kinds of mail; the value is the element that names who gets them."""

    ALERT = "AlertNotification"
    ERROR = "ErrorNotification"
    DISK_SPACE = "DiskSpaceNotification"
    DISK_CHANGE = "DiskChangeNotification"
    NO_DISK_SPACE = "NoDiskSpaceNotification"
    DATA_CHECK = "DataCheckNotification"


@dataclass(frozen=True, slots=True)
class Janitor:
    """Tidying up, again and again."""

    period: float = 5 * MINUTE
    least_system_mb: int = 0  # of the root's file system; below it the node goes offline
    plug_ins: tuple[PlugIn, ...] = ()


@dataclass(frozen=True, slots=True)
class DataCheck:
    """Reading all files again and comparing their checksums."""

    active: bool = False
    processes: int = 1
    cycle: float = 24 * 60 * MINUTE  # at least so long from one check's start to the next one's
    always_report: bool = False
    scan: bool = False  # only whether the files are there, with their sizes


@dataclass(frozen=True, slots=True)
class Caching:
    """Removing files by age, volume and number; None or 0: not by that."""

    enabled: bool = False
    period: float = MINUTE
    max_age: float = 0.0
    max_bytes: int = 0
    max_files: int = 0
    plug_in: PlugIn | None = None
    only_delivered: bool = False  # never what a subscriber still waits for


@dataclass(frozen=True, slots=True)
class Log:
    """Where the log goes, how much of it (NGAS's levels 0 to 5), and what becomes of it."""

    file: Path | None = None
    level: int = 3
    rotation: float = 10 * MINUTE
    keep: int = 100  # rotated files
    syslog: int = 0  # the level that goes there; 0: none
    syslog_prefix: str = ""
    syslog_address: str = "/dev/log"
    archive_rotated: bool = False
    handlers: tuple[PlugIn, ...] = ()


@dataclass(frozen=True, slots=True)
class Notification:
    """Mail about what an operator should know."""

    active: bool = False
    host: str = "localhost"
    port: int = 25
    sender: str = ""
    longest: float = 0.0  # that a message waits for others
    most: int = 1  # messages that wait for each other
    recipients: Mapping[Notice, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Suspension:
    """Putting an idle machine to sleep, and who wakes it."""

    enabled: bool = False
    idle: float = 0.0
    plug_in: PlugIn | None = None
    wake_up_server: str = ""  # a host id
    wake_up_plug_in: PlugIn | None = None
    wake_up_timeout: float = 60.0


def janitor(reader: Reader) -> Janitor:
    """Read ``JanitorThread``."""
    return Janitor(
        period=reader.seconds("JanitorThread", "SuspensionTime", 5 * MINUTE),
        least_system_mb=reader.number("JanitorThread", "MinSpaceSysDirMb", 0),
        plug_ins=reader.plug_ins("JanitorThread/PlugIn"),
    )


def data_check(reader: Reader) -> DataCheck:
    """Read ``DataCheckThread``."""
    element = "DataCheckThread"
    return DataCheck(
        active=reader.flag(element, "Active", default=False),
        processes=reader.number(element, "MaxProcs", 1, least=1),
        cycle=reader.seconds(element, "MinCycle", 24 * 60 * MINUTE),
        always_report=reader.flag(element, "ForceNotif", default=False),
        scan=reader.flag(element, "Scan", default=False),
    )


def caching(reader: Reader) -> Caching:
    """Read ``Caching``."""
    return Caching(
        enabled=reader.flag("Caching", "Enable", default=False),
        period=reader.seconds("Caching", "Period", MINUTE),
        max_age=reader.seconds("Caching", "MaxTime", 0.0),
        max_bytes=reader.number("Caching", "MaxCacheSize", 0),
        max_files=reader.number("Caching", "MaxFiles", 0),
        plug_in=reader.plug_in("Caching", "CacheControlPlugIn", "CacheControlPlugInPars"),
        only_delivered=reader.flag("Caching", "CheckCanBeDeleted", default=False),
    )


def log(reader: Reader, root: Path) -> Log:
    """Read ``Log``."""
    return Log(
        file=reader.folder("Log", "LocalLogFile", root),
        level=min(reader.number("Log", "LocalLogLevel", 3), 5),
        rotation=reader.seconds("Log", "LogRotateInt", 10 * MINUTE),
        keep=reader.number("Log", "LogRotateCache", 100),
        syslog=min(reader.number("Log", "SysLog", 0), 5),
        syslog_prefix=reader.text("Log", "SysLogPrefix", ""),
        syslog_address=reader.text("Log", "SysLogAddress", "/dev/log"),
        archive_rotated=reader.flag("Log", "ArchiveRotatedLogfiles", default=False),
        handlers=reader.plug_ins("Log/LogfileHandlerPlugIn"),
    )


def notification(reader: Reader) -> Notification:
    """Read ``Notification``."""
    recipients = {
        kind: tuple(
            attribute(each, "Address")
            for each in reader.elements(f"Notification/{kind}/EmailRecipient")
        )
        for kind in Notice
    }
    active = reader.flag("Notification", "Active", default=False)
    sender = reader.text("Notification", "Sender", "")
    for address in (sender, *(each for found in recipients.values() for each in found)):
        if address and not ADDRESS.fullmatch(address):
            reader.complain("Notification", f"{address!r} is no address for mail")
    if active and not sender:
        reader.complain("Notification", "the attribute Sender is missing")
    return Notification(
        active=active,
        host=reader.text("Notification", "SmtpHost", "localhost"),
        port=reader.number("Notification", "SmtpPort", 25, least=1),
        sender=sender,
        longest=reader.seconds("Notification", "MaxRetentionTime", 0.0),
        most=reader.number("Notification", "MaxRetentionSize", 1),
        recipients={kind: found for kind, found in recipients.items() if found},
    )


def suspension(reader: Reader) -> Suspension:
    """Read ``HostSuspension``."""
    element = "HostSuspension"
    return Suspension(
        enabled=reader.flag(element, "IdleSuspension", default=False),
        idle=reader.seconds(element, "IdleSuspensionTime", 0.0),
        plug_in=reader.plug_in(element, "SuspensionPlugIn", "SuspensionPlugInPars"),
        wake_up_server=reader.text(element, "WakeUpServerHost", ""),
        wake_up_plug_in=reader.plug_in(element, "WakeUpPlugIn", "WakeUpPlugInPars"),
        wake_up_timeout=reader.seconds(element, "WakeUpCallTimeOut", MINUTE),
    )
