"""Rows PRP: properties, the standard's 24 and any other."""

import re

import pytest
from stack import AUTHORITY, CORE, NAMESPACES, properties

from conformance.world import Witness, of_uri
from pyvospace_ngas.model.standard import READ_ONLY, SETTABLE

row = pytest.mark.row

STANDARD = [
    "title", "creator", "subject", "description", "publisher", "contributor", "date", "type",
    "format", "identifier", "source", "language", "relation", "coverage", "rights",
    "availableSpace", "groupread", "groupwrite", "publicread", "quota", "length", "mtime",
    "ctime", "btime",
]  # fmt: skip
OF_THE_SERVICE = (
    "creator",
    "date",
    "availableSpace",
    "quota",
    "length",
    "mtime",
    "ctime",
    "btime",
)
FREE = [name for name in STANDARD if name not in OF_THE_SERVICE]
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z?")


def raw(inner: str, path: str) -> str:
    """Return a node document with these elements as its properties."""
    return (
        f'<vos:node {NAMESPACES} uri="{AUTHORITY}{path}"><vos:properties>{inner}'
        "</vos:properties></vos:node>"
    )


@row("PRP-01")
@pytest.mark.parametrize(
    "uri", ["urn:example:p", "http://example.org/p?a=1", "quality", "ivo://x/y#z"]
)
async def test_an_unknown_property_is_kept_as_text(alice: Witness, home: str, uri: str) -> None:
    document = raw(f'<vos:property uri="{uri}">v</vos:property>', home)
    assert (await alice.request("POST", f"/nodes{home}", document)).status == 200
    assert f'<vos:property uri="{uri}">v</vos:property>' in (await alice.get(f"/nodes{home}")).text


@row("PRP-02")
@pytest.mark.parametrize(
    "attribute", ["", ' uri=""', ' uri="a b"', ' uri="1a:b"', ' uri="a[b"', ' uri="a%b"']
)
async def test_a_property_needs_a_uri(alice: Witness, home: str, attribute: str) -> None:
    document = raw(f"<vos:property{attribute}>v</vos:property>", home)
    before = await alice.get(f"/nodes{home}")
    refused = await alice.request("POST", f"/nodes{home}", document)
    assert (refused.status, refused.fault) == (400, "InvalidArgument")
    assert (await alice.get(f"/nodes{home}")).body == before.body


@row("PRP-03")
async def test_what_the_service_sets_is_read_only(alice: Witness, home: str) -> None:
    await alice.push(f"{home}/f", b"12345")
    shown = (await alice.set(f"{home}/f", properties(title="T"))).text
    marked = set(re.findall(rf'uri="{CORE}(\w+)" readOnly="true"', shown))
    assert {"length", "mtime", "ctime", "btime", "date", "creator", "MD5"} <= marked
    assert not marked & {"title", "description", "groupread"}


@row("PRP-04")
@pytest.mark.parametrize("value", ["g1,g2", "ivo://icrar.org/gms?a ivo://icrar.org/gms?b"])
async def test_several_values_stand_in_one_element(alice: Witness, home: str, value: str) -> None:
    await alice.set(home, properties(groupread=value))
    assert of_uri(await alice.get(f"/nodes{home}"), "groupread") == value


@row("PRP-05")
async def test_standard_names_mean_what_the_standard_says(alice: Witness, home: str) -> None:
    await alice.push(f"{home}/f", 1234 * b"x")
    shown = await alice.get(f"/nodes{home}/f")
    assert of_uri(shown, "length") == "1234"
    assert of_uri(shown, "creator") == "alice"
    assert of_uri(shown, "publicread") in ("false", None)
    assert (await alice("bob").get(f"/nodes{home}/f")).status == 403
    await alice.set(home, properties(publicread="true"))
    await alice.set(f"{home}/f", properties(publicread="true"))
    assert (await alice("bob").get(f"/nodes{home}/f")).status == 200


@row("PRP-06")
@pytest.mark.parametrize("name", STANDARD)
async def test_all_standard_properties_are_known(alice: Witness, home: str, name: str) -> None:
    value = "true" if name == "publicread" else "7"
    made = await alice.make(f"{home}/f", "DataNode", properties(**{name: value}))
    assert CORE + name in SETTABLE + READ_ONLY
    if name in OF_THE_SERVICE:
        assert (made.status, made.fault) == (403, "PermissionDenied")
        assert CORE + name in made.text
        assert (await alice.get(f"/nodes{home}/f")).status == 404
    else:
        assert (made.status, of_uri(made, name)) == (201, value)


def test_the_standard_has_24_properties() -> None:
    assert len(set(STANDARD)) == 24


@row("PRP-07", "UWS-37")
async def test_times_are_iso_8601(alice: Witness, home: str) -> None:
    shown = await alice.get(f"/nodes{home}")
    for name in ("mtime", "ctime", "btime", "date"):
        assert TIME.fullmatch(of_uri(shown, name) or ""), name


@row("PRP-08", "SET-12")
@pytest.mark.parametrize(
    ("name", "value"), [("publicread", "maybe"), ("publicread", "2"), ("title", "x" * 70_000)]
)
async def test_values_that_cannot_be_are_refused(
    alice: Witness, home: str, name: str, value: str
) -> None:
    for answer in (
        await alice.set(home, properties(**{name: value})),
        await alice.make(f"{home}/x", "DataNode", properties(**{name: value})),
    ):
        assert (answer.status, answer.fault) == (400, "InvalidArgument")
        assert CORE + name in answer.text
    assert (await alice.get(f"/nodes{home}/x")).status == 404


@row("PRP-09")
async def test_one_property_twice_is_refused(alice: Witness, home: str) -> None:
    twice = '<vos:property uri="urn:p">1</vos:property><vos:property uri="urn:p">2</vos:property>'
    refused = await alice.request("POST", f"/nodes{home}", raw(twice, home))
    assert (refused.status, refused.fault) == (400, "InvalidArgument")
    assert "urn:p" not in (await alice.get(f"/nodes{home}")).text


@row("PRP-10")
@pytest.mark.parametrize("value", [" a  b ", "a\n\tb\n", " "])
async def test_white_space_is_kept(alice: Witness, home: str, value: str) -> None:
    await alice.set(home, properties(title=value))
    assert of_uri(await alice.get(f"/nodes{home}"), "title") == value
