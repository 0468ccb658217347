"""The one way in for XML: what is refused, and that a refusal tells nothing of the document."""

import pytest

from pyvospace_ngas.errors import DocumentTooLarge, InvalidArgument, VOSpaceError
from pyvospace_ngas.xml import parsing
from pyvospace_ngas.xml.escaping import VOS, attribute, text

NODE = f'<node xmlns="{VOS}"'


def test_a_document_of_the_right_kind_is_read() -> None:
    assert parsing.parse(f"{NODE} uri='x'/>".encode(), "node").get("uri") == "x"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<",
        b"hello",
        b"<vos:node",
        b"<node/>",
        b'<node xmlns="http://www.ivoa.net/xml/VOSpace/v2.1"/>',
        f'<transfer xmlns="{VOS}"/>'.encode(),
        f"{NODE}>&secret;</node>".encode(),
        f"{NODE}>\x01</node>".encode(),
        f"{NODE}>".encode() + b"\xff</node>",
        f"{NODE}/><more/>".encode(),
        f'<?xml version="1.0" encoding="utf-7"?>{NODE}/>'.encode(),
        f'<?xml version="1.0" encoding="utf-16"?>{NODE}/>'.encode(),
        b"\xff\xfe<",
        f"{NODE}>{'<a>' * 40}{'</a>' * 40}</node>".encode(),
        f"{NODE}>{'<a>' * 1000}{'</a>' * 1000}</node>".encode(),
    ],
)
def test_anything_else_is_an_invalid_argument(body: bytes) -> None:
    with pytest.raises(InvalidArgument):
        parsing.parse(body, "node")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-be"])
def test_a_document_type_is_refused_before_it_is_read(encoding: str) -> None:
    bomb = (
        '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">'
        f'<!ENTITY e SYSTEM "file:///etc/passwd">]>{NODE} uri="&b;">&e;</node>'
    )
    body = bomb.encode(encoding)
    with pytest.raises(InvalidArgument) as refusal:
        parsing.parse(b"\xfe\xff" + body if encoding.endswith("be") else body, "node")
    assert "root:" not in str(refusal.value)


def test_a_document_above_the_limit_is_refused() -> None:
    with pytest.raises(DocumentTooLarge):
        parsing.parse(b" " * (parsing.LARGEST + 1), "node")


def test_a_document_with_too_many_elements_is_refused() -> None:
    with pytest.raises(DocumentTooLarge):
        parsing.parse(f"{NODE}>{'<a/>' * parsing.MOST_MARKUP}</node>".encode(), "node")


def test_a_refusal_never_repeats_the_document() -> None:
    for body in (f"{NODE}>my-secret<", f"<my-secret xmlns='{VOS}'/>", f"{NODE}>&my-secret;"):
        with pytest.raises(VOSpaceError) as refusal:
            parsing.parse(body.encode(), "node")
        assert "my-secret" not in str(refusal.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "iso-8859-1", "UTF8"])
def test_encodings_that_clients_use_are_read(encoding: str) -> None:
    body = f'<?xml version="1.0" encoding="{encoding}"?>{NODE} uri="é"/>'.encode(encoding)
    assert parsing.parse(body, "node").get("uri") == "é"


def test_comments_and_instructions_do_not_part_a_text() -> None:
    root = parsing.parse(f"<?x y?><!-- a -->{NODE}>a<!-- b -->b<?c d?>c</node>".encode(), "node")
    assert parsing.content(root) == "abc"


def test_character_data_is_text() -> None:
    root = parsing.parse(f"{NODE}> <![CDATA[<b> &amp;]]> </node>".encode(), "node")
    assert parsing.content(root) == " <b> &amp; "


def test_an_element_of_text_holds_no_elements() -> None:
    root = parsing.parse(f"{NODE}>a<b/></node>".encode(), "node")
    with pytest.raises(InvalidArgument):
        parsing.content(root)


@pytest.mark.parametrize(
    ("value", "as_text", "as_attribute"),
    [
        ("plain", "plain", "plain"),
        ("a<b&c>\"d'", "a&lt;b&amp;c&gt;\"d'", "a&lt;b&amp;c&gt;&quot;d'"),
        ("a\r\n\tb", "a&#13;\n\tb", "a&#13;&#10;&#9;b"),
        ("\x00\ud800\ufffe", "\ufffd\ufffd\ufffd", "\ufffd\ufffd\ufffd"),
        ("é\U0001f600", "é\U0001f600", "é\U0001f600"),
    ],
)
def test_text_is_escaped(value: str, as_text: str, as_attribute: str) -> None:
    assert text(value) == as_text
    assert attribute(value) == as_attribute
