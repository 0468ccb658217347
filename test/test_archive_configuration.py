"""The configuration of an archive node: what is read, and what is refused by name."""

from pathlib import Path

import pytest
from archive_support import set_attributes
from lxml import etree

from pyvospace_ngas.archive import configuration
from pyvospace_ngas.archive.configuration import ConfigurationError, default_xml, parse
from pyvospace_ngas.archive.settings.serving import RequestBackend
from pyvospace_ngas.archive.settings.tending import Notice
from pyvospace_ngas.ngas.checksum import Variant

ROOT = Path("/var/ngas")


def document(*edits: tuple[str, dict[str, str]]) -> bytes:
    root = etree.fromstring(default_xml(ROOT, 7777, "/var/ngas/index.sqlite").encode())
    for element, values in edits:
        set_attributes(element, **values)(root)
    return etree.tostring(root)


def inserted(parent: str, xml: str) -> bytes:
    root = etree.fromstring(document())
    found = root.find(parent)
    if found is None:
        found = etree.SubElement(root, parent)
    found.append(etree.fromstring(xml))
    return etree.tostring(root)


def test_the_written_default_is_read_back() -> None:
    config = parse(document())
    assert config.server.volumes == ROOT / "volumes"
    assert (config.server.host, config.server.port) == ("127.0.0.1", 7777)
    assert config.db.interface == "sqlite3"
    assert config.db.location == "/var/ngas/index.sqlite"
    assert config.permissions.remove
    assert config.handling.path_prefix == "arch"
    assert config.mime_types["fits"] == "image/x-fits"
    assert config.db.durable


def test_a_dsn_makes_a_cluster_node_and_is_escaped() -> None:
    dsn = "postgresql://u:p%40ss@h:5435/d?application_name=a&connect_timeout=3"
    text = default_xml(ROOT / "é <&>", 1, dsn, "0.0.0.0", allow_remove=False)
    config = parse(text.encode())
    assert (config.db.interface, config.db.location) == ("asyncpg", dsn)
    assert config.server.root == ROOT / "é <&>"
    assert not config.permissions.remove


def test_a_file_of_the_real_server_with_everything_switched_off_is_accepted() -> None:
    config = parse(
        b"""<?xml version="1.0"?>
<NgamsCfg Id="ngamsCfg-Test">
  <Header Type="NgamsCfg" Revision="1" Context="NGAS"/>
  <Server Id="s" ArchiveName="TestArchive" BlockSize="65536" IpAddress="127.0.0.1" MaxSimReqs="20"
    PortNo="7777" ProxyMode="0" RootDirectory="/NGAS" SwVersion="x" VolumeDirectory="vol"
    RequestDbBackend="null" TimeOut="30"/>
  <SystemPlugIns OnlinePlugIn="ngamsPlugIns.ngamsGenericOnlinePlugIn"
    OfflinePlugIn="ngamsPlugIns.ngamsGenericOfflinePlugIn" LabelPrinterPlugIn="x"/>
  <Permissions AllowArchiveReq="1" AllowProcessingReq="1" AllowRemoveReq="0"
    AllowRetrieveReq="1"/>
  <ArchiveHandling BackLogBufferDirectory="/tmp" BackLogBuffering="0" CRCVariant="0"
    FreeSpaceDiskChangeMb="50" MinFreeSpaceWarningMb="60" PathPrefix="saf" Replication="0"/>
  <Db Interface="sqlite3" Snapshot="0" UseFileIgnore="1" database="/NGAS/db"/>
  <MimeTypes><MimeTypeMap Extension="fits" MimeType="image/x-fits"/></MimeTypes>
  <StorageSets>
    <!-- one volume a set -->
    <StorageSet DiskLabel="FITS" MainDiskSlotId="volume1" Mutex="1" StorageSetId="one"
      Synchronize="0"/>
  </StorageSets>
  <Streams>
    <Stream MimeType="image/x-fits" PlugIn="ngamsPlugIns.ngamsGenDapi" PlugInPars="">
      <StorageSetRef StorageSetId="one"/></Stream>
  </Streams>
  <Processing ProcessingDirectory="/tmp"/>
  <Register/>
  <JanitorThread MinSpaceSysDirMb="0" SuspensionTime="00T00:05:00"/>
  <DataCheckThread Active="0" MaxProcs="5" Scan="1"/>
  <Log LocalLogFile="log/LogFile.nglog" LocalLogLevel="4" LogRotateInt="10T00:00:00" SysLog="0"
    SysLogPrefix="NGAS" ArchiveRotatedLogfiles="0"/>
  <Notification Active="0" SmtpHost="localhost">
    <AlertNotification><EmailRecipient Address="a@b"/></AlertNotification></Notification>
  <HostSuspension IdleSuspension="0"/>
  <SubscriptionDef Enable="0" AutoUnsubscribe="1"/>
  <Authorization Enable="0"><User Name="n" Password="cA=="/></Authorization>
  <Caching Enable="0" Period="1"/>
</NgamsCfg>"""
    )
    assert config.handling.crc is Variant.CRC32
    assert config.handling.full_below_mb == 50
    assert not config.permissions.remove
    assert config.streams["image/x-fits"].sets == ("one",)
    assert config.sets["one"].main == "volume1"
    assert config.log.file == Path("/NGAS/log/LogFile.nglog")
    assert config.server.timeout == 30


@pytest.mark.parametrize(
    ("element", "attribute", "value"),
    [
        ("Server", "RequestDbBackend", "redis"),
        ("Server", "Simulation", "1"),
        ("Db", "Snapshot", "1"),
        ("Mirroring", "Active", "1"),
        ("Caching", "MaxFiles", "-1"),
        ("Caching", "Period", "5 minutes"),
        ("DataCheckThread", "MaxProcs", "0"),
        ("JanitorThread", "SuspensionTime", "00:05"),
        ("Server", "Colour", "blue"),
        ("Permissions", "AllowRemoveReq", "yes"),
        ("Server", "PortNo", "http"),
        ("Server", "PortNo", "70000"),
        ("Server", "MaxSimReqs", "0"),
        ("Server", "RootDirectory", "relative"),
        ("Server", "RootDirectory", ""),
        ("Db", "Interface", "MySQLdb"),
        ("Db", "database", "relative.sqlite"),
        ("ArchiveHandling", "CRCVariant", "md5"),
        ("ArchiveHandling", "PathPrefix", "../../etc"),
    ],
)
def test_what_cannot_be_honoured_is_named_with_its_element(
    element: str, attribute: str, value: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(document((element, {attribute: value})))
    assert f"NgamsCfg/{element}" in str(caught.value)
    assert attribute in str(caught.value)


@pytest.mark.parametrize(
    ("parent", "xml", "named"),
    [
        ("Commands", "<Command Name='X'/>", "NgamsCfg/Commands/Command"),
        ("Processing", "<PlugIn PlugInPars='x'/>", "NgamsCfg/Processing/PlugIn"),
        ("Register", "<PlugIn Name='x'><MimeType/></PlugIn>", "NgamsCfg/Register/PlugIn/MimeType"),
        ("Authorization", "<User Name='x' Password='?'/>", "NgamsCfg/Authorization/User x"),
        ("SubscriptionDef", "<Subscription HostId='x'/>", "NgamsCfg/SubscriptionDef/Subscription"),
        ("PartnerSites", "<PartnerSite/>", "NgamsCfg/PartnerSites/PartnerSite"),
        (
            "Streams",
            "<Stream MimeType='a/b'><StorageSetRef StorageSetId='gone'/></Stream>",
            "'gone'",
        ),
        ("StorageSets", "<StorageSet StorageSetId='a'/>", "MainDiskSlotId"),
        ("Server", "<Surprise/>", "NgamsCfg/Server/Surprise"),
    ],
)
def test_elements_that_cannot_be_honoured_are_named(parent: str, xml: str, named: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(inserted(parent, xml))
    assert named in str(caught.value)


def test_all_problems_are_named_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(document(("Caching", {"Colour": "1"}), ("Server", {"Colour": "blue"})))
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"<NgamsCfg>",
        b"<Other/>",
        b'<!DOCTYPE NgamsCfg [<!ENTITY x SYSTEM "file:///etc/passwd">]><NgamsCfg>&x;</NgamsCfg>',
        b'<!DOCTYPE NgamsCfg [<!ENTITY x "y">]><NgamsCfg Id="&x;"/>',
    ],
)
def test_entities_and_other_documents_are_refused(text: bytes) -> None:
    with pytest.raises(ConfigurationError):
        parse(text)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nothing\.xml"):
        configuration.load(tmp_path / "nothing.xml")


def test_a_long_host_name_fits_the_table_and_stays_its_own() -> None:
    names = [f"node-{'x' * 40}-{number}" for number in range(2)]
    ids = [
        parse(document(("Server", {"HostName": name, "PortNo": "65535"}))).server.host_id
        for name in names
    ]
    assert all(len(host_id) <= 32 for host_id in ids)
    assert ids[0] != ids[1]


@pytest.mark.parametrize(
    ("values", "url"),
    [
        ({"IpAddress": "10.1.2.3"}, "http://10.1.2.3:7777"),
        ({"IpAddress": "::1"}, "http://[::1]:7777"),
        ({"PublicUrl": "https://ngas.example.org/"}, "https://ngas.example.org"),
    ],
)
def test_other_nodes_are_told_where_this_one_is(values: dict[str, str], url: str) -> None:
    assert parse(document(("Server", values))).server.url == url


def test_every_part_of_a_full_file_is_read() -> None:
    root = etree.fromstring(document())
    for parent, xml in (
        ("Commands", "<Command Name='MINE' Module='site.mine'/>"),
        ("Db", "<SessionSql sql='select 1'/>"),
        ("Processing", "<PlugIn Name='site.cut' PlugInPars='a=1'><MimeType Name='a/b'/></PlugIn>"),
        ("Register", "<PlugIn Name='site.reg'><MimeType Name='a/b'/></PlugIn>"),
        ("ArchiveHandling", "<EventHandlerPlugIn Name='site.Told' PlugInPars='x'/>"),
        ("Authorization", "<User Name='ann' Password='c2VjcmV0' Commands='STATUS, RETRIEVE'/>"),
        ("PartnerSites", "<PartnerSite Address='far:7777'/>"),
        ("Notification", "<ErrorNotification><EmailRecipient Address='a@b'/></ErrorNotification>"),
        ("Log", "<LogfileHandlerPlugIn Name='site.logs'/>"),
        (
            "SubscriptionDef",
            "<Subscription HostId='h' PortNo='7778' SubscriberUrl='http://me:7777/QARCHIVE' "
            "Priority='2' FilterPlugIn='site.only' FilterPlugInPars='p'/>",
        ),
    ):
        found = root.find(parent)
        found = etree.SubElement(root, parent) if found is None else found
        found.append(etree.fromstring(xml))
    for element, values in (
        ("Server", {"RequestDbBackend": "bsddb", "PluginsPath": "/opt/a:b"}),
        ("Caching", {"Enable": "1", "MaxTime": "10T00:00:00", "MaxFiles": "7"}),
        ("HostSuspension", {"IdleSuspension": "1", "IdleSuspensionTime": "90"}),
        ("DataCheckThread", {"Active": "1", "MinCycle": "00T01:00:00"}),
        ("DataMoverOnly", {"FromHostIds": "a:1, b:2"}),
    ):
        set_attributes(element, **values)(root)
    config = parse(etree.tostring(root))
    assert config.commands == {"MINE": "site.mine"}
    assert config.db.session_sql == ("select 1",)
    assert config.processing.plug_ins["site.cut"].mime_types == {"a/b"}
    assert config.registering["a/b"].name == "site.reg"
    assert config.handling.event_handlers[0].parameters == "x"
    ann = config.authorization.users["ann"]
    assert (ann.password, ann.may("STATUS"), ann.may("EXIT")) == ("secret", True, False)
    assert "secret" not in repr(config)
    assert config.partners.addresses == ("far:7777",)
    assert config.notification.recipients == {Notice.ERROR: ("a@b",)}
    assert config.log.handlers[0].name == "site.logs"
    remote = config.subscriptions.remote[0]
    assert (remote.port, remote.priority) == (7778, 2)
    assert config.server.request_backend is RequestBackend.PERSISTENT
    assert config.server.plug_in_folders == (Path("/opt/a"), ROOT / "b")
    assert (config.caching.max_age, config.caching.max_files) == (864000, 7)
    assert config.suspension.idle == 90
    assert config.data_check.cycle == 3600
    assert config.data_mover.hosts == ("a:1", "b:2")
