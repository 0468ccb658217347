"""A node's configuration: NGAS's XML file as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from lxml import etree

from pyvospace_ngas.archive import elements
from pyvospace_ngas.archive.settings import serving, sharing, storing, tending
from pyvospace_ngas.archive.settings.reader import ConfigurationError, PlugIn, Reader
from pyvospace_ngas.archive.settings.serving import SIMULTANEOUS

__all__ = [
    "ConfigurationError",
    "NodeConfig",
    "content",
    "default_xml",
    "load",
    "on_port",
    "parse",
    "place_of",
    "read",
    "root_of",
]


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """Everything the file says that this node acts on."""

    server: serving.Server
    db: serving.Db
    permissions: serving.Permissions
    authorization: serving.Authorization
    commands: Mapping[str, str]  # a site's own: modules by name
    handling: storing.Handling
    mime_types: Mapping[str, str]  # by extension, without the dot
    sets: Mapping[str, storing.StorageSet]  # by name
    streams: Mapping[str, storing.Stream]  # by mime type
    processing: storing.Processing
    registering: Mapping[str, PlugIn]  # by mime type
    janitor: tending.Janitor
    data_check: tending.DataCheck
    caching: tending.Caching
    log: tending.Log
    notification: tending.Notification
    suspension: tending.Suspension
    subscriptions: sharing.Subscriptions
    partners: sharing.Partners
    data_mover: sharing.DataMover
    system: sharing.SystemPlugIns
    source: Path | None = None
    stored_as: str = ""  # the name in the index of what the rest was read from

    @property
    def name(self) -> str:
        """What the configuration is called."""
        file = "" if self.source is None else str(self.source)
        return f"{self.stored_as} in the index of {file}" if self.stored_as else file


def load(path: Path) -> NodeConfig:
    """Read the configuration file, or raise `ConfigurationError`."""
    return parse(content(path), source=path)


def content(path: Path) -> bytes:
    """Return what is in the file, or raise `ConfigurationError`."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error


def parse(document: bytes, source: Path | None = None) -> NodeConfig:
    """Read a configuration document, or raise `ConfigurationError` with all its problems."""
    return read(root_of(document), source)


def place_of(root: etree._Element) -> serving.Db:
    """Read only where the index is, of a document that may say nothing else."""
    reader = Reader(root)
    place = serving.db(reader)
    reader.finish()
    return place


def read(tree: etree._Element, source: Path | None = None, stored_as: str = "") -> NodeConfig:
    """Read a configuration, or raise `ConfigurationError` with all its problems."""
    if found := list(elements.problems(tree)):
        raise ConfigurationError("\n".join(found))
    reader = Reader(tree)
    server = serving.server(reader)
    sets = storing.sets(reader)
    config = NodeConfig(
        server=server,
        db=serving.db(reader),
        permissions=serving.permissions(reader),
        authorization=serving.authorization(reader),
        commands=serving.commands(reader),
        handling=storing.handling(reader, server.root),
        mime_types=reader.table("MimeTypes/MimeTypeMap", "Extension", "MimeType"),
        sets=sets,
        streams=storing.streams(reader, sets),
        processing=storing.processing(reader, server.root),
        registering=storing.registering(reader),
        janitor=tending.janitor(reader),
        data_check=tending.data_check(reader),
        caching=tending.caching(reader),
        log=tending.log(reader, server.root),
        notification=tending.notification(reader),
        suspension=tending.suspension(reader),
        subscriptions=sharing.subscriptions(reader),
        partners=sharing.partners(reader),
        data_mover=sharing.data_mover(reader),
        system=sharing.system(reader),
        source=source,
        stored_as=stored_as,
    )
    reader.finish()
    return config


def root_of(document: bytes) -> etree._Element:
    """Return the root element of a document, or raise `ConfigurationError`."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    try:
        root = etree.fromstring(document, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise ConfigurationError(f"no well-formed XML: {error}") from error
    dtd = root.getroottree().docinfo.internalDTD
    if dtd is not None and any(True for _ in dtd.iterentities()):
        raise ConfigurationError("the document declares entities; write the values out")
    if root.tag != "NgamsCfg":
        raise ConfigurationError(f"the root element is {root.tag!r}, not NgamsCfg")
    return root


def default_xml(
    root: Path, port: int, database: str, host: str = "127.0.0.1", allow_remove: bool = True
) -> str:
    """Return a working configuration for volumes in ``root/volumes``, which must be prepared.

    ``database`` is the path of a SQLite file, or the DSN of a PostgreSQL database.
    """
    document = etree.Element("NgamsCfg")
    for name, attributes in {
        "Server": {
            "ArchiveName": "NGAS",
            "RootDirectory": str(root),
            "VolumeDirectory": "volumes",
            "IpAddress": host,
            "PortNo": str(port),
            "MaxSimReqs": str(SIMULTANEOUS),
            "ProxyMode": "0",
        },
        "Permissions": {
            "AllowArchiveReq": "1",
            "AllowRetrieveReq": "1",
            "AllowRemoveReq": str(int(allow_remove)),
            "AllowProcessingReq": "0",
        },
        "Db": _place(database),
        "ArchiveHandling": {"PathPrefix": "arch", "CRCVariant": "crc32c"},
        "Log": {"LocalLogLevel": "3"},
    }.items():
        etree.SubElement(document, name).attrib.update(attributes)
    types = etree.SubElement(document, "MimeTypes")
    for extension, mime_type in {
        "bin": "application/octet-stream",
        "fits": "image/x-fits",
        "tar": "application/x-tar",
        "txt": "text/plain",
        "xml": "text/xml",
    }.items():
        etree.SubElement(types, "MimeTypeMap", Extension=extension, MimeType=mime_type)
    etree.indent(document)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + etree.tostring(document).decode() + "\n"


def _place(database: str) -> dict[str, str]:
    if database.startswith(("postgres://", "postgresql://")):
        return {"Interface": "asyncpg", "dsn": database}
    return {"Interface": "sqlite3", "database": str(Path(database).absolute())}


def on_port(config: NodeConfig, port: int) -> NodeConfig:
    """Return the configuration with the port that was found for ``PortNo="0"``."""
    return replace(config, server=replace(config.server, port=port))
