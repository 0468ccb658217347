"""What nodes do for each other: subscriptions, partner sites, data movers; and system plug-ins."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from lxml import etree

from pyvospace_ngas.archive.settings.reader import PlugIn, Reader, attribute

MINUTE = 60.0
ADDRESS: Final = re.compile(r"(?:https?://)?(?:[A-Za-z0-9._-]+|\[[0-9a-fA-F:]+\])(?::\d{1,5})?/?")


@dataclass(frozen=True, slots=True)
class RemoteSubscription:
    """A subscription that this node makes at another one for itself."""

    host: str
    port: int
    url: str  # where the files are to be sent
    priority: int = 1
    filter: PlugIn | None = None
    start_date: str = ""
    command: str = ""


@dataclass(frozen=True, slots=True)
class Subscriptions:
    """Delivering files to subscribers, and subscribing at others."""

    enabled: bool = False
    unsubscribe: bool = True  # when this node goes offline
    period: float = 5 * MINUTE  # after which what failed is tried again
    expiry: float = 0.0  # of what could not be delivered; 0: never
    remote: tuple[RemoteSubscription, ...] = ()
    auth: str = ""  # a plug-in that signs deliveries


@dataclass(frozen=True, slots=True)
class Partners:
    """Other archives that are asked for files which this cluster does not have."""

    proxy: bool = False
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DataMover:
    """Whose files a data mover serves and delivers; none: those of the same machine's nodes."""

    enabled: bool = False  # by -datamover
    hosts: tuple[str, ...] = ()
    period: float = 5 * MINUTE


@dataclass(frozen=True, slots=True)
class SystemPlugIns:
    """What a site does its own way when a node goes on- or offline, and as a service."""

    online: PlugIn | None = None
    offline: PlugIn | None = None
    disk_sync: PlugIn | None = None
    label_printer: PlugIn | None = None
    service: PlugIn | None = None
    service_period: float = 5 * MINUTE


def subscriptions(reader: Reader) -> Subscriptions:
    """Read ``SubscriptionDef`` and ``SubscriptionAuth``."""
    element = "SubscriptionDef"
    return Subscriptions(
        enabled=reader.flag(element, "Enable", default=False),
        unsubscribe=reader.flag(element, "AutoUnsubscribe", default=True),
        period=reader.seconds(element, "SuspensionTime", 5 * MINUTE),
        expiry=reader.seconds(element, "BackLogExpTime", 0.0),
        remote=tuple(_remote(reader, each) for each in reader.elements(f"{element}/Subscription")),
        auth=reader.text("SubscriptionAuth", "PlugInName", ""),
    )


def partners(reader: Reader) -> Partners:
    """Read ``PartnerSites``."""
    path = "PartnerSites/PartnerSite"
    addresses = tuple(attribute(each, "Address") for each in reader.elements(path))
    if not all(ADDRESS.fullmatch(address) for address in addresses):
        reader.complain(path, "needs an Address: HOST:PORT, or http://HOST:PORT")
    return Partners(reader.flag("PartnerSites", "ProxyMode", default=False), addresses)


def data_mover(reader: Reader) -> DataMover:
    """Read ``DataMoverOnly``."""
    return DataMover(
        hosts=reader.words("DataMoverOnly", "FromHostIds"),
        period=reader.seconds("DataMoverOnly", "SuspensionTime", 5 * MINUTE),
    )


def system(reader: Reader) -> SystemPlugIns:
    """Read ``SystemPlugIns``."""
    element = "SystemPlugIns"
    return SystemPlugIns(
        online=reader.plug_in(element, "OnlinePlugIn", "OnlinePlugInPars"),
        offline=reader.plug_in(element, "OfflinePlugIn", "OfflinePlugInPars"),
        disk_sync=reader.plug_in(element, "DiskSyncPlugIn", "DiskSyncPlugInPars"),
        label_printer=reader.plug_in(element, "LabelPrinterPlugIn", "LabelPrinterPlugInPars"),
        service=reader.plug_in(element, "UserServicePlugIn", "UserServicePlugInPars"),
        service_period=reader.seconds(element, "UserServicePlugInPeriod", 5 * MINUTE),
    )


def _remote(reader: Reader, found: etree._Element) -> RemoteSubscription:
    path = "SubscriptionDef/Subscription"
    host, port = attribute(found, "HostId"), attribute(found, "PortNo")
    url, name = attribute(found, "SubscriberUrl"), attribute(found, "FilterPlugIn")
    priority = attribute(found, "Priority") or "1"
    if not (host and url and port.isdigit() and priority.isdigit()):
        reader.complain(path, "needs HostId, PortNo and SubscriberUrl; Priority is a number")
        return RemoteSubscription(host, 0, url)
    return RemoteSubscription(
        host=host,
        port=int(port),
        url=url,
        priority=int(priority),
        filter=PlugIn(name, attribute(found, "FilterPlugInPars")) if name else None,
        start_date=attribute(found, "StartDate"),
        command=attribute(found, "Command"),
    )
