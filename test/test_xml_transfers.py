"""Transfer documents, both ways."""

import random

import pytest
from validation import EXAMPLES, valid

from pyvospace_ngas.errors import InvalidArgument
from pyvospace_ngas.model.transfer import Direction, Protocol, Transfer, View
from pyvospace_ngas.xml.escaping import VOS
from pyvospace_ngas.xml.transfers import read_and_keep, read_transfer, write_transfer

FULL = Transfer(
    target="vos://example.org~space/d/a&b.fits",
    direction="pushToVoSpace",
    view=View("urn:view?a&b", original=False, params=(("urn:p", " x "),)),
    protocols=(
        Protocol("urn:a", "http://x/?a&b", ("urn:s1", "urn:s2"), (("urn:q", "<&>"),)),
        Protocol("urn:b"),
    ),
    keep_bytes=True,
    params=(("ivo://ivoa.net/vospace/core#length", "8640"),),
    version="2.1",
)


def transfer(inner: str, attributes: str = "") -> bytes:
    return f'<t:transfer xmlns:t="{VOS}" {attributes}>{inner}</t:transfer>'.encode()


def test_a_full_document_survives_both_ways() -> None:
    written = write_transfer(FULL, FULL.protocols)
    valid(written)
    assert read_transfer(written.encode()) == FULL
    assert FULL.size == 8640
    assert FULL.known_direction is Direction.PUSH_TO


def test_elements_may_stand_in_any_order() -> None:
    body = transfer(
        "<t:keepBytes> 0 </t:keepBytes><t:protocol uri='urn:p'><t:securityMethod uri='urn:s'/>"
        "<t:endpoint> http://x/ </t:endpoint></t:protocol>"
        "<t:direction>\n pullFromVoSpace\n</t:direction><t:target> vos://a~b/c </t:target>"
    )
    assert read_transfer(body) == Transfer(
        "vos://a~b/c",
        "pullFromVoSpace",
        protocols=(Protocol("urn:p", "http://x/", ("urn:s",)),),
        keep_bytes=False,
    )


@pytest.mark.parametrize(
    "inner",
    [
        "",
        "<t:target>x</t:target>",
        "<t:direction>x</t:direction>",
        "<t:target> </t:target><t:direction>x</t:direction>",
        "<t:target>x</t:target><t:target>y</t:target><t:direction>x</t:direction>",
        "<t:target>x</t:target><t:direction>x</t:direction><t:keepBytes>yes</t:keepBytes>",
        "<t:target>x</t:target><t:direction>x</t:direction><t:protocol/>",
        "<t:target>x</t:target><t:direction>x</t:direction><t:view/>",
        "<t:target>x</t:target><t:direction>x</t:direction><t:param>1</t:param>",
        "<t:target><t:b/></t:target><t:direction>x</t:direction>",
    ],
)
def test_an_incomplete_transfer_is_refused(inner: str) -> None:
    with pytest.raises(InvalidArgument):
        read_transfer(transfer(inner))


def test_without_protocols_the_answer_says_that_it_failed() -> None:
    written = write_transfer(FULL, ())
    valid(written)
    assert read_transfer(written.encode()).protocols == ()


def test_a_job_keeps_the_document_without_its_declaration() -> None:
    document = write_transfer(FULL, FULL.protocols)
    sent = f"<?xml version='1.0' encoding='utf-8'?><?pi x?><!-- c -->\n{document}\n".encode()
    read, kept = read_and_keep(sent)
    assert read == FULL
    assert kept.startswith("<vos:transfer ")
    assert kept.endswith("</vos:transfer>")
    assert read_transfer(kept.encode()) == FULL


def test_odd_characters_survive() -> None:
    source = random.Random(7)
    for _ in range(200):
        value = "".join(source.choices("ab #%+'\"&<>\r\n\té中\U0001f600", k=12))
        asked = Transfer("vos://a~b/c", "vos://a~b/d", params=(("urn:p", value),), version="2.1")
        assert read_transfer(write_transfer(asked, ()).encode()) == asked


@pytest.mark.skipif(not EXAMPLES.is_dir(), reason="the reference examples are not at hand")
def test_the_reference_examples_survive_both_ways() -> None:
    found = sorted(EXAMPLES.glob("transfer-*.xml"))
    assert found
    for file in found:
        read = read_transfer(file.read_bytes())
        written = write_transfer(read, read.protocols)
        valid(written)
        assert read_transfer(written.encode()) == read
