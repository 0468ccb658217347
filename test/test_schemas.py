"""The schemas that every answer is held to: they take what is right, and refuse what is not."""

from datetime import UTC, datetime

import pytest
from validation import IVOA, valid

from pyvospace_ngas.model.job import Failure, Job, Kind, Phase
from pyvospace_ngas.xml import uws, vosi

NOW = datetime(2026, 3, 4, 5, 6, 7, 89, tzinfo=UTC)
DOCUMENT = (
    '<vos:transfer xmlns:vos="http://www.ivoa.net/xml/VOSpace/v2.0" version="2.1"><vos:target>'
    "vos://x.org~y/f</vos:target><vos:direction>pushToVoSpace</vos:direction></vos:transfer>"
)
JOB = uws.write_job(
    Job(
        "j",
        Kind.PUSH,
        None,
        Phase.ERROR,
        DOCUMENT,
        NOW,
        run_id="r",
        results=[("dataNode", "vos://x.org~y/f")],
        failure=Failure("NodeBusy", "Node Busy", "x"),
    ),
    "http://x.org/transfers/j",
    NOW,
)
CAPABILITIES = vosi.capabilities("http://x.org/vospace", ["ivo://ivoa.net/sso#BasicAA"])
AVAILABLE = vosi.availability(True, NOW, "well")


@pytest.mark.parametrize("document", [JOB, CAPABILITIES, AVAILABLE])
def test_our_documents_are_right(document: str) -> None:
    valid(document)


@pytest.mark.parametrize(
    ("document", "right", "wrong"),
    [
        (JOB, ' version="1.1"', ""),
        (JOB, "<uws:phase>ERROR", "<uws:phase>FAILED"),
        (JOB, ".000089Z", ".000089"),
        (JOB, '<uws:ownerId xsi:nil="true"/>', ""),
        (JOB, '<uws:ownerId xsi:nil="true"/>', "<uws:owner>x</uws:owner>"),
        (JOB, '<uws:startTime xsi:nil="true"/>', "<uws:startTime/>"),
        (JOB, ' hasDetail="true"', ""),
        (JOB, 'id="dataNode"', 'id="transferDetails"'),
        (JOB, 'xlink:href="vos://x.org~y/f"', ""),
        (JOB, "<uws:jobInfo>", "<uws:jobInfo>text"),
        (CAPABILITIES, "<capability ", '<capability xmlns="urn:x" '),
        (CAPABILITIES, "vs:ParamHTTP", "vs:Other"),
        (CAPABILITIES, ' use="base"', ' use="some"'),
        (CAPABILITIES, ' standardID="ivo://ivoa.net/std/VOSI#capabilities"', ""),
        (AVAILABLE, "true", "yes"),
        (AVAILABLE, "vosi:upSince", "vosi:since"),
    ],
)
def test_what_is_wrong_is_found(document: str, right: str, wrong: str) -> None:
    assert right in document
    with pytest.raises(AssertionError):
        valid(document.replace(right, wrong))


@pytest.mark.skipif(not IVOA.is_dir(), reason="the IVOA's schemas are not at hand")
@pytest.mark.parametrize("document", [JOB, CAPABILITIES, AVAILABLE])
def test_the_schemas_of_the_ivoa_are_asked_too(document: str) -> None:
    valid(document)
