"""Names of nodes: which URIs and paths mean what, and which mean nothing."""

import random
from urllib.parse import quote

import pytest

from pyvospace_ngas.errors import InvalidURI
from pyvospace_ngas.model.uri import (
    DEEPEST,
    LONGEST_NAME,
    LONGEST_PATH,
    PLAIN,
    ROOT,
    NodePath,
    Space,
    encode,
    encode_name,
    parse_path,
)

SPACE = Space("icrar.org~ngas", frozenset({"cadc.nrc.ca~ngas"}))


@pytest.mark.parametrize(
    ("uri", "parts"),
    [
        ("vos://icrar.org~ngas", ()),
        ("vos://icrar.org~ngas/", ()),
        ("vos://icrar.org!ngas/a", ("a",)),
        ("vos://ICRAR.org~NGAS/a", ("a",)),
        ("vos://cadc.nrc.ca!ngas/a", ("a",)),
        ("vos://icrar.org~ngas/a/", ("a",)),
        ("vos://icrar.org~ngas/a/b#fragment", ("a", "b")),
        ("vos://icrar.org~ngas/a%20b", ("a b",)),
        ("vos://icrar.org~ngas/a%2520b", ("a%20b",)),
        ("vos://icrar.org~ngas/%C3%A9", ("é",)),
        ("vos://icrar.org~ngas/é", ("é",)),
        ("vos://icrar.org~ngas/a!b~c", ("a!b~c",)),
        ("vos://icrar.org~ngas/a+b=c,d(1)~e@f.txt", ("a+b=c,d(1)~e@f.txt",)),
        ("vos://icrar.org~ngas/...", ("...",)),
        ("vos://icrar.org~ngas/%3F%23", ("?#",)),
        ("vos://icrar.org~ngas/a/.auto", ("a", ".auto")),
        ("vos://icrar.org~ngas/.null", (".null",)),
    ],
)
def test_a_uri_names_a_path(uri: str, parts: tuple[str, ...]) -> None:
    assert SPACE.parse(uri) == NodePath(parts)


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "a",
        "vos:",
        "vos://",
        "VOS://icrar.org~ngas/a",
        "ivo://icrar.org/ngas/a",
        "http://icrar.org~ngas/a",
        "vos://other.org~ngas/a",
        "vos://icrar.org~ngas~more/a",
        "vos://icrar.org/ngas/a",
        "vos://icrar.org~ngas/a b",
        "vos://icrar.org~ngas/a\n",
        "vos://icrar.org~ngas/a?b",
        "vos://icrar.org~ngas/a//",
        "vos://icrar.org~ngas//a",
        "vos://icrar.org~ngas/.",
        "vos://icrar.org~ngas/a/../b",
        "vos://icrar.org~ngas/%2e%2e/b",
        "vos://icrar.org~ngas/a%2Fb",
        "vos://icrar.org~ngas/a%00",
        "vos://icrar.org~ngas/a%7f",
        "vos://icrar.org~ngas/%",
        "vos://icrar.org~ngas/%4",
        "vos://icrar.org~ngas/%gg",
        "vos://icrar.org~ngas/%ff",
        "vos://icrar.org~ngas/%ed%a0%80",
        "vos://icrar.org~ngas/.auto/b",
        "vos://icrar.org~ngas/.null/b",
        "vos://icrar.org~ngas/" + "a" * (LONGEST_NAME + 1),
        "vos://icrar.org~ngas/" + "é" * (LONGEST_NAME // 2 + 1),
        "vos://icrar.org~ngas" + "/a" * (DEEPEST + 1),
        "vos://icrar.org~ngas" + ("/" + "a" * 200) * (LONGEST_PATH // 200 + 1),
        "vos://icrar.org~ngas/" + "%41" * 100_000,
    ],
)
def test_anything_else_is_no_uri_of_this_space(uri: str) -> None:
    with pytest.raises(InvalidURI):
        SPACE.parse(uri)


def test_the_longest_name_and_the_deepest_path_are_allowed() -> None:
    name = "é" * (LONGEST_NAME // 2)
    assert SPACE.parse(SPACE.uri(ROOT / name)) == ROOT / name
    deep = NodePath(("a",) * DEEPEST)
    assert SPACE.parse(SPACE.uri(deep)) == deep


def test_only_what_needs_it_is_escaped() -> None:
    assert encode(NodePath((PLAIN,))) == f"/{PLAIN}"
    assert encode(NodePath(("a b", "é", "%", "?#", '"<>'))) == "/a%20b/%C3%A9/%25/%3F%23/%22%3C%3E"
    assert encode(ROOT) == ""


def test_each_character_is_escaped_as_the_standard_library_does() -> None:
    for name in (f"a{chr(code)}b" for code in range(0x250)):
        assert encode_name(name) == quote(name, safe=PLAIN)


def test_any_name_survives_its_uri() -> None:
    source = random.Random(11)
    for _ in range(500):
        name = "".join(source.choices("aZ0 %#?&<>\"'+;=:@!~$*()[]{}|\\^`é中\U0001f600\u0301", k=8))
        path = ROOT / "d" / name
        assert SPACE.parse(SPACE.uri(path)) == path
        assert parse_path(encode(path)) == path


def test_paths_know_their_relatives() -> None:
    path = NodePath(("a", "b"))
    assert str(path) == "/a/b"
    assert str(ROOT) == "/"
    assert (path.name, ROOT.name) == ("b", "")
    assert (path.parent, ROOT.parent) == (NodePath(("a",)), ROOT)
    assert path.is_below(path)
    assert path.is_below(ROOT)
    assert not path.is_below(NodePath(("a", "bb")))
    assert not path.parent.is_below(path)
