"""What a real NGAS was asked and answered, as a table: request, and what a client relies on.

A row stands under the title that its request has among the observations. ``differs`` names the
section of ``archive/DIFFERENCES.md`` that says why our node answers otherwise; ``http`` and the
rest are then ours. What is in braces is put in when the request is made: ``{disk:F}`` the disk of
the file F, ``{path:F}`` where it lies, ``{container:N}`` the last container that was called N,
``{host}`` and ``{other}`` the nodes' ids, ``{url}`` and ``{other_url}`` their addresses,
``{source}`` the address of one to pull
from, ``{outside}`` a folder that the node may read, ``{request}`` the id of the last job.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

BYTES: Final[Mapping[str, bytes]] = {
    "a": bytes(range(250)) * 4,
    "b": bytes(range(200)) * 10,
    "empty": b"",
    "collection": b'<collection name="root2"><leaf name="l1"/><leaf name="l2"/></collection>',
    "list of b": b'<l><File FileId="c_b.bin"/></l>',
    "message": (
        b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; container_name="mpcont"; '
        b'boundary="B1"\r\n\r\n--B1\r\nContent-Disposition: attachment; filename="cfile1.bin"'
        b"\r\n\r\nfirst\r\n--B1\r\n"
        b'Content-Disposition: attachment; filename="cfile2.bin"\r\n\r\nsecondone\r\n--B1--\r\n'
    ),
    "parts": (
        b'--B1\r\nContent-Disposition: attachment; filename="cfile1.bin"'
        b"\r\n\r\nfirst\r\n--B1--\r\n"
    ),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One request with what its answer must show."""

    title: str
    request: str
    http: int
    status: str = ""  # "" where there is no status document
    code: int | None = None
    file: tuple[str, int, str] | None = None  # id, version, and which bytes
    crc: str = "crc32c"
    format: str = "application/octet-stream"
    more: str = ""  # attributes of Status beside the usual ones, and other elements
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None  # what is sent
    sent: str | None = None  # what is answered, where that is no document
    fields: Mapping[str, str] = field(default_factory=dict)
    state: str = "ONLINE"
    differs: str = ""
    node: str = "one"

    @property
    def command(self) -> str:
        return self.request.split(" ")[1].strip("/").partition("?")[0]


OCTETS: Final = {"Content-Type": "application/octet-stream"}
REQUEST: Final = "RequestId RequestTime"
DONE: Final = "RequestId RequestTime CompletionTime"
JOB: Final = "RequestId RequestTime CompletionPercent ExpectedCount ActualCount CompletionTime"
XML: Final = {"Content-Type": "text/xml"}
JSON: Final = {"Content-Type": "application/json"}
TEXT: Final = {"Content-Type": "text/plain"}
GZIP: Final = {"Content-Type": "application/x-gxml"}
TYPE: Final = "mime_type=application/octet-stream"


def stored(
    title: str, request: str, file: tuple[str, int, str], body: str | None = None, **more: object
) -> Row:
    """A row for a request that archives."""
    values: dict[str, object] = {"more": f"{REQUEST} DiskStatus", "fields": OCTETS, **more}
    return Row(title, request, 200, "SUCCESS", None, file, body=body, **values)  # type: ignore[arg-type]


def done(title: str, request: str, code: int | None = None, **more: object) -> Row:
    """A row for a request that is answered with SUCCESS."""
    return Row(title, request, 200, "SUCCESS", code, **more)  # type: ignore[arg-type]


def fails(title: str, request: str, http: int, code: int | None = None, **more: object) -> Row:
    """A row for a request that is answered with FAILURE."""
    return Row(title, request, http, "FAILURE", code, **more)  # type: ignore[arg-type]


def bytes_(title: str, request: str, name: str, sent: str, http: int = 200, **more: object) -> Row:
    """A row for a request that is answered with a file."""
    headers = {
        "Content-Type": "application/octet-stream",
        "Content-Disposition": f'attachment; filename="{name}"',
        **more.pop("headers", {}),  # type: ignore[dict-item]
    }
    return Row(title, request, http, headers=headers, sent=sent, **more)  # type: ignore[arg-type]


def other(title: str, request: str, http: int, headers: Mapping[str, str], **more: object) -> Row:
    """A row for an answer that is neither a status document nor a file."""
    return Row(title, request, http, headers=headers, **more)  # type: ignore[arg-type]


ARCHIVING: Final = (
    other("HELP", "GET /HELP", 308, {"Location": "https://ngas.readthedocs.io"}),
    done("STATUS plain", "GET /STATUS", headers=XML),
    fails("unknown command", "GET /FOO", 404),
    fails("root path", "GET /", 404),
    stored("QARCHIVE POST", f"POST /QARCHIVE?filename=a.bin&{TYPE}", ("a.bin", 1, "a"), "a"),
    stored(
        "QARCHIVE POST Content-Disposition",
        "POST /QARCHIVE",
        ("cd.bin", 1, "a"),
        "a",
        fields={**OCTETS, "Content-Disposition": 'attachment; filename="cd.bin"'},
    ),
    stored(
        "QARCHIVE PUT",
        f"PUT /QARCHIVE?filename=put.bin&{TYPE}",
        ("put.bin", 1, "a"),
        "a",
        fields={},
    ),
    stored("QARCHIVE twice", f"POST /QARCHIVE?filename=a.bin&{TYPE}", ("a.bin", 2, "b"), "b"),
    stored(
        "QARCHIVE no_versioning=1",
        f"POST /QARCHIVE?filename=a.bin&{TYPE}&no_versioning=1",
        ("a.bin", 2, "a"),
        "a",
    ),
    stored(
        "QARCHIVE no_versioning=1 file_version=1",
        f"POST /QARCHIVE?filename=a.bin&{TYPE}&no_versioning=1&file_version=1",
        ("a.bin", 1, "b"),
        "b",
    ),
    fails(
        "QARCHIVE no_versioning=1 file_version=9",
        f"POST /QARCHIVE?filename=a.bin&{TYPE}&no_versioning=1&file_version=9",
        400,
        body="b",
    ),
    fails(
        "QARCHIVE no_versioning=1 of a file that does not exist",
        f"POST /QARCHIVE?filename=nonex.bin&{TYPE}&no_versioning=1",
        400,
        body="b",
    ),
    stored(
        "QARCHIVE file_version=5 without no_versioning",
        f"POST /QARCHIVE?filename=fv.bin&{TYPE}&file_version=5",
        ("fv.bin", 1, "b"),
        "b",
    ),
    stored(
        "QARCHIVE 0 bytes",
        f"POST /QARCHIVE?filename=empty.bin&{TYPE}",
        ("empty.bin", 1, "empty"),
        "empty",
        differs="lengths",
    ),
    stored(
        "QARCHIVE chunked",
        f"POST /QARCHIVE?filename=chunk.bin&{TYPE}",
        ("chunk.bin", 1, "a"),
        "a",
        fields={**OCTETS, "Transfer-Encoding": "chunked"},
        differs="lengths",
    ),
    stored(
        "QARCHIVE Expect",
        f"POST /QARCHIVE?filename=exp.bin&{TYPE}",
        ("exp.bin", 1, "a"),
        "a",
        fields={**OCTETS, "Expect": "100-continue"},
    ),
    fails("QARCHIVE no filename", "POST /QARCHIVE", 400, 4013, body="a", fields=OCTETS),
    stored(
        "QARCHIVE no type, known extension",
        "POST /QARCHIVE?filename=x.txt",
        ("x.txt", 1, "a"),
        "a",
        format="text/plain",
        fields={},
    ),
    fails(
        "QARCHIVE no type, unknown extension",
        "POST /QARCHIVE?filename=x.unknownext",
        400,
        4014,
        body="a",
    ),
    fails(
        "QARCHIVE type without a stream",
        "POST /QARCHIVE?filename=x.png",
        400,
        body="a",
        fields={"Content-Type": "image/png"},
    ),
    stored(
        "QARCHIVE right checksum",
        "POST /QARCHIVE?filename=crc.bin&crc_variant=crc32z",
        ("crc.bin", 1, "a"),
        "a",
        crc="crc32z",
        fields={**OCTETS, "NGAS-File-CRC": "{crc32:a}"},
    ),
    fails(
        "QARCHIVE wrong checksum",
        "POST /QARCHIVE?filename=crcbad.bin&crc_variant=crc32z",
        400,
        body="a",
        fields={**OCTETS, "NGAS-File-CRC": "12345"},
    ),
    fails(
        "QARCHIVE unknown checksum",
        "POST /QARCHIVE?filename=crcv.bin&crc_variant=md5",
        400,
        body="a",
        fields=OCTETS,
    ),
    stored(
        "QARCHIVE crc32",
        "POST /QARCHIVE?filename=crcv0.bin&crc_variant=crc32",
        ("crcv0.bin", 1, "a"),
        "a",
        crc="crc32",
    ),
    stored("QARCHIVE path", "POST /QARCHIVE?filename=dir1/dir2/p.bin", ("p.bin", 1, "a"), "a"),
    stored(
        "QARCHIVE path upwards",
        "POST /QARCHIVE?filename=../../../tmp/evil.bin",
        ("evil.bin", 1, "a"),
        "a",
    ),
    stored(
        "QARCHIVE not ASCII",
        "POST /QARCHIVE?filename=h%C3%A9%20llo.bin",
        ("hé llo.bin", 1, "a"),
        "a",
    ),
    stored("ARCHIVE push", "POST /ARCHIVE?filename=arch.bin", ("arch.bin", 1, "a"), "a"),
    stored(
        "ARCHIVE pull file",
        f"GET /ARCHIVE?filename=file://{{outside}}/b.bin&{TYPE}",
        ("b.bin", 1, "b"),
        fields={},
    ),
    fails(
        "ARCHIVE pull missing",
        f"GET /ARCHIVE?filename=file://{{outside}}/none.bin&{TYPE}",
        404,
        4012,
        differs="pulls",
    ),
    stored(
        "QARCHIVE pull http",
        f"GET /QARCHIVE?filename={{source}}/RETRIEVE%3Ffile_id=a.bin&{TYPE}",
        ("a.bin", 3, "a"),
        fields={},
    ),
    done("ARCHIVE probe", f"GET /ARCHIVE?probe=1&{TYPE}", 4068),
)

RETRIEVING: Final = (
    bytes_("RETRIEVE", "GET /RETRIEVE?file_id=cd.bin", "cd.bin", "a"),
    bytes_("RETRIEVE version", "GET /RETRIEVE?file_id=a.bin&file_version=1", "a.bin", "b"),
    fails("RETRIEVE missing version", "GET /RETRIEVE?file_id=a.bin&file_version=99", 400, 4019),
    fails("RETRIEVE missing file", "GET /RETRIEVE?file_id=nonexistent", 400, 4019),
    fails("RETRIEVE nothing", "GET /RETRIEVE", 400, 4018),
    bytes_(
        "RETRIEVE from 500",
        "GET /RETRIEVE?file_id=cd.bin",
        "cd.bin",
        "a[500:]",
        206,
        fields={"Range": "bytes=500-"},
        headers={"Accept-Ranges": "bytes", "Content-Range": "bytes 500-999/1000"},
        differs="ranges",
    ),
    bytes_(
        "RETRIEVE 500 to 600",
        "GET /RETRIEVE?file_id=cd.bin",
        "cd.bin",
        "a[500:601]",
        206,
        fields={"Range": "bytes=500-600"},
        differs="ranges",
    ),
    bytes_(
        "RETRIEVE the last 100",
        "GET /RETRIEVE?file_id=cd.bin",
        "cd.bin",
        "a[-100:]",
        206,
        fields={"Range": "bytes=-100"},
        differs="ranges",
    ),
    other(
        "RETRIEVE beyond the end",
        "GET /RETRIEVE?file_id=cd.bin",
        416,
        {"Content-Range": "bytes */1000"},
        fields={"Range": "bytes=5000-"},
        differs="ranges",
    ),
    bytes_("RETRIEVE whole again", "GET /RETRIEVE?file_id=crc.bin", "crc.bin", "a"),
    bytes_("RETRIEVE HEAD", "HEAD /RETRIEVE?file_id=cd.bin", "cd.bin", "empty", differs="http"),
    fails(
        "RETRIEVE unknown processing",
        "GET /RETRIEVE?file_id=cd.bin&processing=fooDppi",
        400,
        4034,
    ),
)

ASKING: Final = (
    done(
        "STATUS file_id",
        "GET /STATUS?file_id=a.bin",
        file=("a.bin", 3, "a"),
        more=f"{DONE} DiskStatus",
    ),
    done(
        "STATUS file_id and version",
        "GET /STATUS?file_id=a.bin&file_version=1",
        file=("a.bin", 1, "b"),
        more=f"{DONE} DiskStatus",
    ),
    fails("STATUS missing file", "GET /STATUS?file_id=nope", 400, 4019),
    other("STATUS file_list", "GET /STATUS?file_list=1", 200, GZIP),
    other(
        "STATUS file_list from a date",
        "GET /STATUS?file_list=1&from_ingestion_date=2030-01-01T00:00:00.000",
        200,
        GZIP,
    ),
    fails("STATUS unknown request", "GET /STATUS?request_id=1234", 400, 4059),
    fails("STATUS unknown host", "GET /STATUS?host_id=foo:1234", 400),
    done("STATUS flush_log", "GET /STATUS?flush_log=1"),
    done("STATUS disk", "GET /STATUS?disk_id={disk:cd.bin}", more=f"{DONE} DiskStatus"),
    fails("STATUS unknown disk", "GET /STATUS?disk_id=nope", 400, 4020),
    done(
        "STATUS configuration",
        "GET /STATUS?configuration_file=1",
        more=f"{DONE} ConfigFileName NgamsCfgFile",
    ),
    done("STATUS file_access", "GET /STATUS?file_access=a.bin", 4029),
    done("STATUS db_time", "GET /STATUS?db_time=1"),
    done("STATUS help", "GET /STATUS?help"),
    *(
        other(f"QUERY {name}", f"GET /QUERY?query={name}&format=json", 200, JSON)
        for name in (
            *("files_list", "disks_list", "hosts_list", "subscribers_list", "files_stats"),
            *("files_location", "files_list_recent"),
        )
    ),
    other(
        "QUERY lastver_location",
        "GET /QUERY?query=lastver_location&format=json",
        200,
        JSON,
        differs="queries",
    ),
    other("QUERY as a list", "GET /QUERY?query=files_like&like=a%25&format=list", 200, TEXT),
    other(
        "QUERY as a Python list",
        "GET /QUERY?query=files_stats&format=python-list",
        200,
        {"Content-Type": "application/python-list"},
    ),
    fails("QUERY unknown", "GET /QUERY?query=foo", 400),
    fails("QUERY of SQL", "GET /QUERY?query=select%201", 400),
    done("CONFIG", "GET /CONFIG?log_local_log_level=4"),
    done("CHECKFILE", "GET /CHECKFILE?file_id=cd.bin", 4056),
    fails("CHECKFILE missing", "GET /CHECKFILE?file_id=nope", 400, 4019),
    done(
        "SUBSCRIBE",
        "GET /SUBSCRIBE?subscr_id=T1&url=http://127.0.0.1:9/QARCHIVE&priority=1"
        "&start_date=2030-03-01T00:00:00.000&concurrent_threads=2",
    ),
    Row(
        "SUBSCRIBE identical",
        "GET /SUBSCRIBE?subscr_id=T1&url=http://127.0.0.1:9/QARCHIVE&priority=1"
        "&start_date=2030-03-01T00:00:00.000&concurrent_threads=2",
        201,
        "SUCCESS",
    ),
    fails(
        "SUBSCRIBE different",
        "GET /SUBSCRIBE?subscr_id=T1&url=http://127.0.0.1:9/QARCHIVE",
        409,
    ),
    fails("SUBSCRIBE without url", "GET /SUBSCRIBE?subscr_id=T2", 400, 4035),
    done("UNSUBSCRIBE", "GET /UNSUBSCRIBE?subscr_id=T1"),
    fails("UNSUBSCRIBE missing", "GET /UNSUBSCRIBE?subscr_id=T1", 404, differs="statuses"),
)

REMOVING: Final = (
    done(
        "DISCARD without execute",
        "GET /DISCARD?disk_id={disk:cd.bin}&file_id=cd.bin&file_version=1",
        4065,
    ),
    done(
        "DISCARD execute",
        "GET /DISCARD?disk_id={disk:cd.bin}&file_id=cd.bin&file_version=1&execute=1",
        4066,
    ),
    fails(
        "DISCARD again",
        "GET /DISCARD?disk_id={disk:cd.bin}&file_id=cd.bin&file_version=1&execute=1",
        200,
        4063,
    ),
    fails(
        "DISCARD missing disk",
        "GET /DISCARD?disk_id=nope&file_id=put.bin&file_version=1&execute=1",
        200,
        4063,
    ),
    fails("DISCARD file_id only", "GET /DISCARD?file_id=put.bin&execute=1", 400, 4035),
    fails("DISCARD help", "GET /DISCARD?help", 400, 4035),
    fails(
        "DISCARD path",
        "GET /DISCARD?path={path:put.bin}&execute=1",
        400,
        differs="paths",
    ),
    fails(
        "DISCARD path outside",
        "GET /DISCARD?path={outside}/b.bin&execute=1",
        400,
        differs="paths",
    ),
    fails(
        "REMFILE few copies",
        "GET /REMFILE?disk_id={disk:fv.bin}&file_id=fv.bin&file_version=1",
        200,
        4046,
    ),
    fails(
        "REMFILE few copies, execute",
        "GET /REMFILE?disk_id={disk:fv.bin}&file_id=fv.bin&file_version=1&execute=1",
        200,
        4046,
    ),
    fails("REMDISK few copies", "GET /REMDISK?disk_id={disk:fv.bin}", 400, 4046),
    fails(
        "CACHEDEL without caching",
        "GET /CACHEDEL?disk_id={disk:fv.bin}&file_id=fv.bin&file_version=1",
        400,
    ),
    fails("CACHEDEL without parameters", "GET /CACHEDEL", 400),
    done("CLONE", "GET /CLONE?file_id=fv.bin&async=0", more=JOB),
    done("CLONE async", "GET /CLONE?file_id=fv.bin&async=1", more=REQUEST),
    done("STATUS of the job", "GET /STATUS?request_id={request}", more="RequestId RequestTime"),
    fails("LABEL without host", "GET /LABEL?slot_id=volume1", 400, 4010),
    done("LABEL", "GET /LABEL?slot_id=volume1&host_id={host}"),
    stored(
        "LARCHIVE",
        f"GET /LARCHIVE?fileUri={{outside}}/la.bin&{TYPE}",
        ("la.bin", 1, "a"),
        fields={},
    ),
    fails("LARCHIVE filename", f"GET /LARCHIVE?filename={{outside}}/la.bin&{TYPE}", 400, 4013),
    fails("REARCHIVE without information", "POST /REARCHIVE?filename=b.bin", 400, body="a"),
    done(
        "REGISTER",
        f"GET /REGISTER?path={{volume}}/reg.bin&{TYPE}",
        more="RequestId RequestTime CompletionPercent ActualCount CompletionTime",
    ),
    done(
        "STATUS registered",
        "GET /STATUS?file_id=reg.bin",
        file=("reg.bin", 1, "b"),
        more=f"{DONE} DiskStatus",
    ),
    fails("REGISTER missing", f"GET /REGISTER?path=/nope&{TYPE}", 400, 4055),
)

STATES: Final = (
    other("favicon", "GET /favicon.ico", 200, {}),
    other("robots.txt", "GET /robots.txt", 200, {}, differs="http"),
    done("INIT", "GET /INIT"),
    fails("EXIT when ONLINE", "GET /EXIT", 400, 4015),
    fails("ONLINE when ONLINE", "GET /ONLINE", 400, 4015),
    done("OFFLINE", "GET /OFFLINE", state="OFFLINE"),
    done("STATUS OFFLINE", "GET /STATUS", state="OFFLINE"),
    fails(
        "QARCHIVE OFFLINE",
        "POST /QARCHIVE?filename=off.bin",
        400,
        4015,
        body="a",
        fields=OCTETS,
        state="OFFLINE",
    ),
    fails("RETRIEVE OFFLINE", "GET /RETRIEVE?file_id=crc.bin", 400, 4015, state="OFFLINE"),
    fails("STATUS file OFFLINE", "GET /STATUS?file_id=crc.bin", 400, 4019, state="OFFLINE"),
    other("QUERY OFFLINE", "GET /QUERY?query=files_stats&format=json", 200, JSON),
    fails(
        "DISCARD OFFLINE",
        "GET /DISCARD?file_id=x&disk_id=y&file_version=1",
        200,
        4063,
        state="OFFLINE",
    ),
    fails("OFFLINE again", "GET /OFFLINE", 400, 4015, state="OFFLINE"),
    done("ONLINE", "GET /ONLINE"),
)

CONTAINERS: Final = (
    stored("file a", "POST /QARCHIVE?filename=c_a.bin", ("c_a.bin", 1, "a"), "a"),
    stored("file b", "POST /QARCHIVE?filename=c_b.bin", ("c_b.bin", 1, "b"), "b"),
    done("CCREATE", "GET /CCREATE?container_name=cont1", more="Container"),
    fails("CCREATE twice", "GET /CCREATE?container_name=cont1", 409, differs="containers"),
    done(
        "CCREATE child",
        "GET /CCREATE?container_name=kid&parent_container_id={container:cont1}",
        more="Container",
    ),
    fails(
        "CCREATE child twice",
        "GET /CCREATE?container_name=kid&parent_container_id={container:cont1}",
        409,
        differs="containers",
    ),
    fails(
        "CCREATE unknown parent",
        "GET /CCREATE?container_name=kid2&parent_container_id=nope",
        404,
        differs="containers",
    ),
    done("CCREATE POST", "POST /CCREATE", body="collection", fields=XML, more="Container"),
    fails("CCREATE no name", "GET /CCREATE", 400),
    done("CAPPEND", "GET /CAPPEND?file_id=c_a.bin&container_id={container:cont1}"),
    done("CAPPEND again", "GET /CAPPEND?file_id=c_a.bin&container_id={container:cont1}"),
    fails(
        "CAPPEND to another",
        "GET /CAPPEND?file_id=c_a.bin&container_name=root2",
        409,
        differs="statuses",
    ),
    done(
        "CAPPEND POST",
        "POST /CAPPEND?container_id={container:cont1}",
        body="list of b",
        fields=XML,
    ),
    fails(
        "CAPPEND missing",
        "GET /CAPPEND?file_id=nope&container_id={container:cont1}",
        404,
        differs="statuses",
    ),
    done(
        "CAPPEND close",
        "GET /CAPPEND?file_id=c_b.bin&container_id={container:cont1}&close_container=1",
    ),
    done(
        "CLIST",
        "GET /CLIST?container_id={container:cont1}",
        file=("c_a.bin", 1, "a"),
        more="Container",
    ),
    fails("CLIST missing", "GET /CLIST?container_name=nope", 404, differs="statuses"),
    other(
        "CRETRIEVE",
        "GET /CRETRIEVE?container_id={container:cont1}",
        200,
        {"Content-Type": "ngas/container"},
    ),
    other(
        "CRETRIEVE tar",
        "GET /CRETRIEVE?container_id={container:cont1}&format=application/x-tar",
        200,
        {
            "Content-Type": "application/x-tar",
            "Content-Disposition": 'attachment; filename="cont1"',
        },
    ),
    done("CREMOVE", "GET /CREMOVE?container_id={container:cont1}&file_id=c_b.bin"),
    done(
        "CREMOVE not in it",
        "GET /CREMOVE?container_id={container:cont1}&file_id=c_b.bin",
    ),
    fails(
        "CDESTROY with child",
        "GET /CDESTROY?container_id={container:cont1}",
        409,
        differs="statuses",
    ),
    done("CDESTROY recursive", "GET /CDESTROY?container_id={container:cont1}&recursive=1"),
    fails(
        "CDESTROY missing", "GET /CDESTROY?container_id={container:cont1}", 404, differs="statuses"
    ),
    fails(
        "CARCHIVE without container",
        "POST /CARCHIVE",
        400,
        body="parts",
        fields=OCTETS,
    ),
    stored(
        "QARCHIVE versioning=0",
        "POST /QARCHIVE?filename=c_a.bin&versioning=0",
        ("c_a.bin", 1, "a"),
        "a",
    ),
    stored(
        "QARCHIVE no length",
        "POST /QARCHIVE?filename=nolen.bin",
        ("nolen.bin", 1, "empty"),
        differs="lengths",
    ),
    fails(
        "ARCHIVE pull refused connection",
        f"GET /ARCHIVE?filename=http://127.0.0.1:9/x.bin&{TYPE}",
        403,
        4012,
        differs="pulls",
    ),
    fails(
        "ARCHIVE pull http 404",
        f"GET /ARCHIVE?filename={{source}}/NOSUCH&{TYPE}",
        404,
        4012,
        differs="pulls",
    ),
    done(
        "CARCHIVE",
        "POST /CARCHIVE",
        body="message",
        fields={
            "Content-Type": "ngas/container",
            "Content-Disposition": 'attachment; filename="mpcont"',
        },
        more="RequestId RequestTime Container FileStatus",
        differs="carchive",
    ),
    done("CLIST of it", "GET /CLIST?container_name=mpcont", more="Container FileStatus"),
    done(
        "STATUS of the first part",
        "GET /STATUS?file_id=cfile1.bin",
        more=f"{DONE} DiskStatus FileStatus",
        differs="carchive",
    ),
    bytes_(
        "RETRIEVE the first part",
        "GET /RETRIEVE?file_id=cfile1.bin",
        "cfile1.bin",
        "first part",
        differs="carchive",
    ),
    other(
        "CRETRIEVE of it",
        "GET /CRETRIEVE?container_name=mpcont",
        200,
        {"Content-Type": "ngas/container"},
    ),
)

AUTHORIZATION: Final = (
    fails("nobody", "GET /STATUS", 401),
    done("right", "GET /STATUS", fields={"Authorization": "Basic YWRtaW46YWRtaW4="}),
    fails(
        "wrong password", "GET /STATUS", 401, fields={"Authorization": "Basic YWRtaW46bm9wZQ=="}
    ),
    fails("unknown user", "GET /STATUS", 401, fields={"Authorization": "Basic Zm9vOmJhcg=="}),
    fails(
        "command not allowed",
        "POST /QARCHIVE?filename=x.bin",
        403,
        body="a",
        fields={**OCTETS, "Authorization": "Basic cmVhZGVyOnJlYWRlcg=="},
    ),
    fails("Bearer", "GET /STATUS", 401, fields={"Authorization": "Bearer abc"}),
    done("in the query", "GET /STATUS?authorization=Basic%20YWRtaW46YWRtaW4="),
)

PERMISSIONS: Final = (
    fails("archive", "POST /QARCHIVE?filename=x.bin", 400, 4017, body="a", fields=OCTETS),
    fails("discard", "GET /DISCARD?disk_id=x&file_id=y&file_version=1&execute=1", 400, 4017),
    fails("remove", "GET /REMFILE?disk_id=x&file_id=y&file_version=1&execute=1", 400, 4017),
    fails("remove a disk", "GET /REMDISK?disk_id=x&execute=1", 400, 4017),
)

CACHE: Final = (
    fails("CACHEDEL unknown", "GET /CACHEDEL?disk_id=x&file_id=y&file_version=1", 400, 4019),
    stored("a file", "POST /QARCHIVE?filename=cc.bin", ("cc.bin", 1, "a"), "a"),
    done("CACHEDEL", "GET /CACHEDEL?disk_id={disk:cc.bin}&file_id=cc.bin&file_version=1"),
)

CLUSTER: Final = (
    stored("file on one", "POST /QARCHIVE?filename=on1.bin", ("on1.bin", 1, "a"), "a"),
    stored("file on two", "POST /QARCHIVE?filename=on2.bin", ("on2.bin", 1, "a"), "a", node="two"),
    other(
        "RETRIEVE redirected",
        "GET /RETRIEVE?file_id=on2.bin",
        303,
        {"Location": "{other_url}/RETRIEVE?file_id=on2.bin"},
    ),
    bytes_("RETRIEVE proxied", "GET /RETRIEVE?file_id=on1.bin", "on1.bin", "a", node="two"),
    bytes_(
        "RETRIEVE proxied from 100",
        "GET /RETRIEVE?file_id=on1.bin",
        "on1.bin",
        "a[100:]",
        206,
        node="two",
        fields={"Range": "bytes=100-"},
        headers={"Accept-Ranges": "bytes", "Content-Range": "bytes 100-999/1000"},
        differs="ranges",
    ),
    other(
        "STATUS redirected",
        "GET /STATUS?host_id={other}",
        303,
        {"Location": "{other_url}/STATUS?host_id={other}"},
    ),
    done("STATUS proxied", "GET /STATUS?host_id={host}", node="two"),
    done(
        "STATUS of the other's file",
        "GET /STATUS?file_id=on2.bin",
        file=("on2.bin", 1, "a"),
        more=f"{DONE} DiskStatus",
    ),
    done("STATUS file_access", "GET /STATUS?file_access=on2.bin", 4029),
    other(
        "CHECKFILE redirected",
        "GET /CHECKFILE?file_id=on2.bin",
        303,
        {"Location": "{other_url}/CHECKFILE?file_id=on2.bin"},
    ),
    fails(
        "DISCARD of the other's file",
        "GET /DISCARD?disk_id={disk:on2.bin}&file_id=on2.bin&file_version=1&execute=1",
        400,
    ),
    done(
        "CLONE from the other",
        "GET /CLONE?file_id=on2.bin&file_version=1&disk_id={disk:on2.bin}&async=0",
        more=JOB,
    ),
    done(
        "STATUS after the clone",
        "GET /STATUS?file_id=on2.bin",
        file=("on2.bin", 1, "a"),
        more=f"{DONE} DiskStatus",
    ),
    fails(
        "REMFILE after the clone",
        "GET /REMFILE?disk_id={disk:on2.bin}&file_id=on2.bin&file_version=1&execute=1",
        200,
        4046,
    ),
    other("QUERY hosts_list", "GET /QUERY?query=hosts_list&format=list", 200, TEXT),
    other("QUERY files_location", "GET /QUERY?query=files_location&format=list", 200, TEXT),
    done(
        "SUBSCRIBE the other",
        "GET /SUBSCRIBE?subscr_id=S12&url={other_url}/QARCHIVE&priority=1",
    ),
    done("UNSUBSCRIBE the other", "GET /UNSUBSCRIBE?subscr_id=S12"),
)

APPENDICES: Final[Mapping[str, tuple[Row, ...]]] = {
    "A": (*ARCHIVING, *RETRIEVING, *ASKING, *REMOVING, *STATES),
    "B and C": CONTAINERS,
    "D": AUTHORIZATION,
    "E": PERMISSIONS,
    "F": CACHE,
    "G": CLUSTER,
}
