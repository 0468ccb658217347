"""What the service says of itself."""

from datetime import UTC, datetime

import pytest
from lxml import etree
from validation import valid

from pyvospace_ngas.model import standard
from pyvospace_ngas.model.uri import Space
from pyvospace_ngas.xml import metadata, vosi
from pyvospace_ngas.xml.answers import read_capabilities

SPACE = Space("icrar.org~ngas")

METHODS = [standard.BASIC, standard.COOKIE]
BASE = "https://example.org/vospace"


def interfaces(document: str, standard_id: str) -> list[etree._Element]:
    root = etree.fromstring(document)
    return root.findall(f"capability[@standardID='{standard_id}']/interface")


def test_the_capabilities_are_valid_and_complete() -> None:
    written = vosi.capabilities(BASE, METHODS, [(vosi.FILES, "files")])
    valid(written)
    assert read_capabilities(written.encode()) == {
        "ivo://ivoa.net/std/VOSI#capabilities": f"{BASE}/capabilities",
        "ivo://ivoa.net/std/VOSI#availability": f"{BASE}/availability",
        "ivo://ivoa.net/std/VOSpace/v2.0#nodes": f"{BASE}/nodes",
        "ivo://ivoa.net/std/VOSpace/v2.0#transfers": f"{BASE}/transfers",
        "ivo://ivoa.net/std/VOSpace#sync-2.1": f"{BASE}/synctrans",
        "ivo://ivoa.net/std/VOSpace/v2.0#sync": f"{BASE}/synctrans",
        "ivo://ivoa.net/std/VOSpace/v2.0#properties": f"{BASE}/properties",
        "ivo://ivoa.net/std/VOSpace/v2.0#views": f"{BASE}/views",
        "ivo://ivoa.net/std/VOSpace/v2.0#protocols": f"{BASE}/protocols",
        "ivo://ivoa.net/std/VOSpace#files-proto": f"{BASE}/files",
    }


def test_the_anonymous_interface_comes_first_and_each_method_has_one() -> None:
    found = interfaces(vosi.capabilities(BASE, METHODS), vosi.NODES)
    methods = [part.findall("securityMethod") for part in found]
    assert [[method.get("standardID") for method in each] for each in methods] == [
        [],
        [standard.BASIC],
        [standard.COOKIE],
    ]
    assert {part.get("role") for part in found} == {"std"}


def test_the_capabilities_themselves_need_no_log_in() -> None:
    assert len(interfaces(vosi.capabilities(BASE, METHODS), vosi.CAPABILITIES)) == 1


def test_names_are_appended_to_a_base() -> None:
    written = vosi.capabilities(BASE, METHODS)
    uses = {
        id_: interfaces(written, id_)[0].find("accessURL").get("use")  # type: ignore[union-attr]
        for id_ in (vosi.NODES, vosi.TRANSFERS, vosi.SYNC, vosi.CAPABILITIES)
    }
    assert list(uses.values()) == ["base", "base", "full", "full"]


def test_the_root_declares_xsi_for_clients_that_look_there() -> None:
    assert "xsi" in etree.fromstring(vosi.capabilities(BASE, METHODS)).nsmap


@pytest.mark.parametrize("since", [None, datetime(2026, 1, 1, tzinfo=UTC)])
@pytest.mark.parametrize("note", [None, "", "a <b> & c"])
@pytest.mark.parametrize("available", [True, False])
def test_the_availability_is_valid(
    available: bool, since: datetime | None, note: str | None
) -> None:
    written = vosi.availability(available, since, note)
    valid(written)
    assert etree.fromstring(written).findtext("{*}available") == str(available).lower()


def test_the_metadata_are_valid() -> None:
    for written in (
        metadata.protocols(),
        metadata.protocols([standard.HTTP_GET]),
        metadata.views(SPACE),
        metadata.properties([]),
        metadata.properties(["urn:a&b", standard.LENGTH]),
    ):
        valid(written)


def test_views_stand_on_their_side_only() -> None:
    root = etree.fromstring(metadata.views(SPACE))
    accepts, provides = ([view.get("uri") for view in side] for side in root)
    assert standard.DEFAULT_VIEW not in accepts
    assert standard.ANY_VIEW not in provides


def test_what_is_in_use_is_contained() -> None:
    root = etree.fromstring(metadata.properties(["urn:mine"]))
    assert [part.get("uri") for part in root.findall("{*}contains/{*}property")] == ["urn:mine"]
