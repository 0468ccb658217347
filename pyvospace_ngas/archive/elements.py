"""The elements and attributes of NGAS's configuration, and which this node can honour."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from lxml import etree

Values = frozenset[str] | None  # None: any value is fine

ANY: Final[Values] = None
OFF: Final[Values] = frozenset({"", "0"})


@dataclass(frozen=True, slots=True)
class Element:
    """Attributes with the values that can be honoured, and children."""

    attributes: Mapping[str, Values] = field(default_factory=dict)
    children: Mapping[str, Element] = field(default_factory=dict)
    open: bool = False  # attributes beyond those listed mean something to others


def _any(*names: str) -> dict[str, Values]:
    return dict.fromkeys(names, ANY)


def _off(*names: str) -> dict[str, Values]:
    return dict.fromkeys(names, OFF)


MAIL: Final = Element(children={"EmailRecipient": Element(_any("Address"))})
PLUG_IN: Final = Element(_any("Name", "PlugInPars"))
PLUG_IN_BY_TYPE: Final = Element(_any("Name", "PlugInPars"), {"MimeType": Element(_any("Name"))})

ROOT: Final = Element(
    children={
        "Header": Element(open=True),
        "Server": Element(
            _any(
                *("RootDirectory", "ArchiveName", "BlockSize", "IpAddress", "PortNo"),
                *("VolumeDirectory", "MaxSimReqs", "ProxyMode", "TimeOut", "SwVersion"),
                *("RequestDbBackend", "PluginsPath"),
                *("HostName", "PublicUrl"),  # ours
            )
            | _off("Simulation")
        ),
        "Permissions": Element(
            _any("AllowArchiveReq", "AllowRetrieveReq", "AllowRemoveReq", "AllowProcessingReq")
        ),
        "Db": Element(
            _any(
                *("Interface", "MaxPoolConnections", "UsePreparedStatements"),
                *("database", "dsn", "Durable"),  # Durable is ours
            )
            | {"Snapshot": OFF, "UseFileIgnore": frozenset({"", "1"})},
            {"SessionSql": Element(_any("sql"))},
        ),
        "Commands": Element(children={"Command": Element(_any("Name", "Module"))}),
        "MimeTypes": Element(
            children={"MimeTypeMap": Element(_any("Extension", "MimeType"))},
        ),
        "StorageSets": Element(
            children={
                "StorageSet": Element(
                    _any("StorageSetId", "MainDiskSlotId", "RepDiskSlotId")
                    | _any("DiskLabel", "Mutex", "Synchronize")
                )
            }
        ),
        "Streams": Element(
            children={
                "Stream": Element(
                    _any("MimeType", "PlugIn", "PlugInPars"),
                    {
                        "StorageSetRef": Element(_any("StorageSetId")),
                        "ArchivingUnit": Element(_any("HostId")),
                    },
                )
            }
        ),
        "ArchiveHandling": Element(
            _any("PathPrefix", "CRCVariant", "FreeSpaceDiskChangeMb", "MinFreeSpaceWarningMb")
            | _any("BackLogBufferDirectory", "Replication", "BackLogBuffering")
            | _any("PullRoots", "PullHosts"),  # ours
            {"EventHandlerPlugIn": PLUG_IN},
        ),
        "Processing": Element(_any("ProcessingDirectory"), {"PlugIn": PLUG_IN_BY_TYPE}),
        "Register": Element(children={"PlugIn": PLUG_IN_BY_TYPE}),
        "Notification": Element(
            _any("Active", "SmtpHost", "SmtpPort", "Sender")
            | _any("MaxRetentionTime", "MaxRetentionSize"),
            dict.fromkeys(
                (
                    *("AlertNotification", "ErrorNotification", "DiskSpaceNotification"),
                    *("DiskChangeNotification", "NoDiskSpaceNotification"),
                    "DataCheckNotification",
                ),
                MAIL,
            ),
        ),
        "JanitorThread": Element(
            _any("SuspensionTime", "MinSpaceSysDirMb"), {"PlugIn": Element(_any("Name"))}
        ),
        "DataCheckThread": Element(
            _any("Active", "MaxProcs", "MinCycle", "ForceNotif", "Scan", "FileSeq", "DiskSeq")
            | _any("LogSummary", "Prio", "ChecksumPlugIn", "ChecksumPlugInPars")
        ),
        "Caching": Element(
            _any("Enable", "Period", "MaxTime", "MaxCacheSize", "MaxFiles")
            | _any("CacheControlPlugIn", "CacheControlPlugInPars", "CheckCanBeDeleted")
            | _any("MinCacheSpace")
        ),
        "Log": Element(
            _any("LocalLogFile", "LocalLogLevel", "LogRotateInt", "LogRotateCache")
            | _any("SysLog", "SysLogPrefix", "SysLogAddress", "ArchiveRotatedLogfiles"),
            {"LogfileHandlerPlugIn": PLUG_IN},
        ),
        "Authorization": Element(
            _any("Enable", "Exclude"),
            {"User": Element(_any("Name", "Password", "Commands"))},
        ),
        "SubscriptionAuth": Element(_any("PlugInName")),
        "SubscriptionDef": Element(
            _any("Enable", "AutoUnsubscribe", "SuspensionTime", "BackLogExpTime"),
            {
                "Subscription": Element(
                    _any("HostId", "PortNo", "Priority", "SubscriberUrl", "FilterPlugIn")
                    | _any("FilterPlugInPars", "StartDate", "Command")
                )
            },
        ),
        "HostSuspension": Element(
            _any("IdleSuspension", "IdleSuspensionTime")
            | _any("SuspensionPlugIn", "SuspensionPlugInPars")
            | _any("WakeUpServerHost", "WakeUpPlugIn", "WakeUpPlugInPars", "WakeUpCallTimeOut")
        ),
        "SystemPlugIns": Element(
            _any("OnlinePlugIn", "OnlinePlugInPars", "OfflinePlugIn", "OfflinePlugInPars")
            | _any("DiskSyncPlugIn", "DiskSyncPlugInPars")
            | _any("LabelPrinterPlugIn", "LabelPrinterPlugInPars")
            | _any("UserServicePlugIn", "UserServicePlugInPars", "UserServicePlugInPeriod")
        ),
        "PartnerSites": Element(_any("ProxyMode"), {"PartnerSite": Element(_any("Address"))}),
        "Mirroring": Element(
            _any("Threads", "CleanUpTime", "ReportRecipients", "ErrorRetryPeriod")
            | _any("ErrorRetryTimeOut")
            | _off("Active"),
            {"MirroringSource": Element(open=True)},  # nothing, as long as it is not active
        ),
        "DataMoverOnly": Element(_any("FromHostIds", "SuspensionTime") | _off("Active")),
        "FileStaging": Element(_any("PlugIn") | _off("Enable")),
    }
)


def problems(root: etree._Element) -> Iterator[str]:
    """Yield a sentence for everything in the document that is unknown or cannot be honoured."""
    yield from _problems(root, ROOT, "NgamsCfg")


def _problems(found: etree._Element, known: Element, path: str) -> Iterator[str]:
    if not known.open:
        for name, value in found.attrib.items():
            yield from _attribute(path, str(name), str(value), known)
    for child in found:
        if not isinstance(child.tag, str):
            continue  # a comment
        below = known.children.get(child.tag)
        if below is None:
            yield f"{path}/{child.tag}: no such element is known"
        else:
            yield from _problems(child, below, f"{path}/{child.tag}")


def _attribute(path: str, name: str, value: str, known: Element) -> Iterator[str]:
    if name == "Id":
        return
    if name not in known.attributes:
        yield f"{path}: no attribute {name} is known"
        return
    allowed = known.attributes[name]
    if allowed is not None and value.strip() not in allowed:
        usable = " or ".join(sorted(repr(text) for text in allowed))
        yield f"{path}: {name}={value!r} asks for what this node does not have yet; use {usable}"
