"""UWS documents of jobs in every phase, written and read back."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from lxml import etree
from validation import valid

from pyvospace_ngas.errors import InvalidArgument
from pyvospace_ngas.model.job import RECURSIVE, Failure, Job, Kind, Phase
from pyvospace_ngas.model.node import NodeTemplate
from pyvospace_ngas.model.transfer import Protocol, Transfer, View
from pyvospace_ngas.model.uri import NodePath, Space
from pyvospace_ngas.xml import uws
from pyvospace_ngas.xml.answers import read_job, read_jobs
from pyvospace_ngas.xml.escaping import UWS, XLINK
from pyvospace_ngas.xml.nodes import write_template
from pyvospace_ngas.xml.transfers import write_transfer

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ASKED = Transfer(
    "vos://example.org~space/a&b",
    "pushToVoSpace",
    View("urn:v"),
    (Protocol("urn:p"), Protocol("urn:q")),
    version="2.1",
)
JOB = Job(
    id="j1",
    kind=Kind.PUSH,
    owner="alice",
    phase=Phase.EXECUTING,
    document=write_transfer(ASKED, ASKED.protocols),
    created=NOW,
    run_id="my <run>",
    started=NOW + timedelta(seconds=1),
    duration=3600,
    destruction=NOW + timedelta(days=7),
    deadline=NOW + timedelta(hours=1),
    results=(("dataNode", "vos://example.org~space/a&b"),),
)
NODE = write_template(
    NodeTemplate(NodePath(("a&b",)), properties={"urn:p": "v", "urn:q": None}),
    Space("example.org~space"),
)
SEARCH = (
    '<vos:search xmlns:vos="http://www.ivoa.net/xml/VOSpace/v2.0">'
    "<vos:matches>urn:p='&amp;'</vos:matches></vos:search>"
)
URL = "https://example.org/vospace/transfers/j1"


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("phase", list(Phase))
def test_every_job_document_is_valid(kind: Kind, phase: Phase) -> None:
    failure = Failure("NodeNotFound", "Node Not Found", "x") if phase is Phase.ERROR else None
    document = SEARCH if kind is Kind.SEARCH else NODE if kind in RECURSIVE else JOB.document
    job = replace(JOB, kind=kind, phase=phase, failure=failure, document=document)
    for written in (
        uws.write_job(job, URL, NOW),
        uws.write_jobs(
            [job, replace(job, id="j2", owner=None, run_id=None)], "https://x/transfers"
        ),
        uws.write_results(job, URL),
        uws.write_parameters(job),
    ):
        valid(written)


def test_a_job_is_read_as_it_was_written() -> None:
    read = read_job(uws.write_job(JOB, URL, NOW).encode())
    assert (read.id, read.phase, read.owner, read.run_id) == ("j1", JOB.phase, "alice", "my <run>")
    assert (read.created, read.started, read.ended) == (NOW, JOB.started, None)
    assert read.destruction == JOB.destruction
    assert read.results == {
        "transferDetails": f"{URL}/results/transferDetails",
        "dataNode": "vos://example.org~space/a&b",
    }
    assert read.transfer == ASKED
    assert read.message is None


def test_the_elements_stand_in_the_order_of_the_schema() -> None:
    job = replace(JOB, phase=Phase.ERROR, failure=Failure("NodeBusy", "Node Busy", ""))
    root = etree.fromstring(uws.write_job(job, URL, NOW))
    assert [etree.QName(part).localname for part in root] == [
        "jobId", "runId", "ownerId", "phase", "quote", "creationTime", "startTime", "endTime",
        "executionDuration", "destruction", "parameters", "results", "errorSummary", "jobInfo",
    ]  # fmt: skip


def test_a_failed_job_says_why() -> None:
    failure = Failure("NodeNotFound", "Node Not Found", "vos://x~y/z")
    written = uws.write_job(replace(JOB, phase=Phase.ERROR, failure=failure), URL, NOW)
    assert read_job(written.encode()).message == "Node Not Found"
    assert 'type="fatal" hasDetail="true"' in written
    busy = Failure("NodeBusy", "Node Busy", "vos://x~y/z")
    written = uws.write_job(replace(JOB, phase=Phase.ERROR, failure=busy), URL, NOW)
    assert 'type="transient" hasDetail="true"' in written


def test_a_job_that_did_not_run_has_no_details() -> None:
    results = etree.fromstring(uws.write_results(replace(JOB, phase=Phase.PENDING), URL))
    assert [result.get("id") for result in results] == ["dataNode"]


def test_a_move_has_no_details() -> None:
    results = etree.fromstring(uws.write_results(replace(JOB, kind=Kind.MOVE), URL))
    assert [result.get("id") for result in results] == ["dataNode"]


@pytest.mark.parametrize(
    ("phase", "hours", "told"),
    [(Phase.EXECUTING, 0, True), (Phase.EXECUTING, 2, False), (Phase.COMPLETED, 0, False)],
)
def test_the_quote_is_the_end_of_the_endpoints(phase: Phase, hours: int, told: bool) -> None:
    written = uws.write_job(replace(JOB, phase=phase), URL, NOW + timedelta(hours=hours))
    assert ("<uws:quote>2026-01-02T04:04:05.000Z</uws:quote>" in written) is told


def test_the_parameters_are_those_of_the_parameter_mode() -> None:
    root = etree.fromstring(uws.write_parameters(JOB))
    assert [(part.get("id"), part.text) for part in root] == [
        ("TARGET", "vos://example.org~space/a&b"),
        ("DIRECTION", "pushToVoSpace"),
        ("PROTOCOL", "urn:p"),
        ("PROTOCOL", "urn:q"),
        ("VIEW", "urn:v"),
    ]


@pytest.mark.parametrize("declaration", ["", "<?xml version='1.0'?>\n", "\ufeff<?xml x='y'?>"])
def test_the_document_as_sent_is_in_the_job(declaration: str) -> None:
    written = uws.write_job(replace(JOB, document=declaration + JOB.document), URL, NOW)
    valid(written)
    assert read_job(written.encode()).transfer == ASKED


def test_a_job_without_a_document_is_shown() -> None:
    written = uws.write_job(replace(JOB, document=""), URL, NOW)
    valid(written)
    assert read_job(written.encode()).transfer is None


def test_a_list_refers_to_each_job() -> None:
    written = uws.write_jobs([JOB, replace(JOB, id="j2", owner=None)], "https://x/transfers")
    first, second = read_jobs(written.encode())
    assert (first.id, first.phase, first.owner, first.created) == ("j1", JOB.phase, "alice", NOW)
    assert (second.id, second.owner) == ("j2", None)
    hrefs = [entry.get(f"{{{XLINK}}}href") for entry in etree.fromstring(written)]
    assert hrefs == ["https://x/transfers/j1", "https://x/transfers/j2"]


def test_a_phase_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InvalidArgument):
        read_job(f'<job xmlns="{UWS}"><phase>RUNNING</phase></job>'.encode())
