"""What the answer to a download says of the file."""

from datetime import UTC, datetime

import pytest

from pyvospace_ngas.errors import InvalidArgument
from pyvospace_ngas.storage import headers
from pyvospace_ngas.storage.digests import Expected, digest_header, expected

EMPTY = bytes.fromhex(headers.EMPTY_MD5)


@pytest.mark.parametrize(
    ("said", "name", "content_type"),
    [
        ("image/png", "a.txt", "image/png"),
        (' text/plain; charset="utf-8" ', "a", 'text/plain; charset="utf-8"'),
        ("image/png\r\nX-Evil: 1", "a.txt", "text/plain"),
        ("no type", "a.fits", "application/fits"),
        (None, "a.FITS", "application/fits"),
        (None, "a.tar.gz", "application/gzip"),
        (None, "a.csv.Z", "application/octet-stream"),
        (None, "http://x/y.html", "text/html"),
        (None, "data:,x", "application/octet-stream"),
        (None, "README", "application/octet-stream"),
    ],
)
def test_the_owner_is_believed_before_the_name(
    said: str | None, name: str, content_type: str
) -> None:
    assert headers.media_type(said, name) == content_type


@pytest.mark.parametrize(
    ("name", "content_type", "kind", "plain", "full"),
    [
        ("a.fits", "application/fits", "inline", "a.fits", "a.fits"),
        ('a"\r\n.txt', "text/plain", "inline", "a___.txt", "a%22%0D%0A.txt"),
        ("é.html", "text/html; x=y", "attachment", "_.html", "%C3%A9.html"),
        ("a", "image/svg+xml", "attachment", "a", "a"),
        ("a", "TEXT/XML", "attachment", "a", "a"),
        ("a", "multipart/x-mixed-replace", "attachment", "a", "a"),
    ],
)
def test_names_are_escaped_and_pages_are_only_saved(
    name: str, content_type: str, kind: str, plain: str, full: str
) -> None:
    assert headers.disposition(name, content_type) == (
        f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{full}"
    )


def test_the_entity_tag_is_the_md5() -> None:
    moment = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
    assert headers.validators("ab" * 16, moment).etag == f'"{"ab" * 16}"'
    assert headers.validators(None, moment).etag == f'"{headers.EMPTY_MD5}"'


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, Expected()),
        ({"Content-MD5": "1B2M2Y8AsgTpgAmY7PhCfg=="}, Expected(EMPTY)),
        ({"Digest": digest_header(headers.EMPTY_MD5)}, Expected(EMPTY)),
        ({"Digest": f"md5={headers.EMPTY_MD5}"}, Expected(EMPTY)),
        ({"Digest": "crc32c=AAAA, SHA-256=" + "00" * 32}, Expected(None, bytes(32))),
        ({"Digest": "unixsum=1"}, Expected()),
    ],
)
def test_digests_are_read_in_base64_or_hexadecimal(
    given: dict[str, str], wanted: Expected
) -> None:
    assert expected(given) == wanted


@pytest.mark.parametrize(
    "given",
    [
        {"Content-MD5": "AAAA"},
        {"Digest": "md5="},
        {"Digest": "md5=ééé"},
        {"Digest": "md5=" + "zz" * 16},
        {"Digest": digest_header("00" * 16), "Content-MD5": "1B2M2Y8AsgTpgAmY7PhCfg=="},
    ],
)
def test_a_digest_that_cannot_be_is_refused(given: dict[str, str]) -> None:
    with pytest.raises(InvalidArgument):
        expected(given)
