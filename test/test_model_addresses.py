"""Which addresses third-party transfers may call: a table, no network."""

from ipaddress import ip_address

import pytest

from pyvospace_ngas.model.addresses import Refused, check, is_public, read_allowed, read_url

pytestmark = pytest.mark.row("PTV-11")


@pytest.mark.parametrize(
    "address",
    [
        *("1.1.1.1", "8.8.8.8", "134.171.1.1", "172.15.255.255", "172.32.0.0", "100.63.255.255"),
        *("100.128.0.0", "223.255.255.255", "2606:4700::1111", "2a00:1450:4001::1", "2001:500::"),
    ],
)
def test_hosts_of_the_open_internet_are_public(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "0.1.2.3", "127.0.0.1", "127.255.255.254", "10.0.0.1", "192.168.1.1"),
        *("172.16.0.1", "172.31.255.255", "169.254.169.254", "100.64.0.1", "100.127.255.255"),
        *("192.0.0.8", "192.0.2.1", "198.18.0.1", "198.51.100.7", "203.0.113.7", "192.88.99.1"),
        *("224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255"),
        *("::", "::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "::ffff:0:8.8.8.8"),
        *("64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::1", "100::1", "fe80::1"),
        *("fe80::1%eth0", "fec0::1", "fc00::1", "fd12:3456::1", "ff02::1", "ff0e::1"),
        *("2001::1", "2001:0:4136:e378::", "2001:db8::1", "2001:10::1", "2001:2::1", "3fff::1"),
        *("2002:7f00:1::", "2002:808:808::1", "4000::1", "2606:4700::1%lo"),
    ],
)
def test_all_others_are_not(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("http://example.org/a?b=c", "example.org", 80),
        ("https://example.org", "example.org", 443),
        ("HTTPS://Example.ORG.:8443/x", "example.org", 8443),
        ("http://[2606:4700::1111]/x", "2606:4700::1111", 80),
        ("http://1.1.1.1:80/", "1.1.1.1", 80),
        ("http://a_b.example-x.org/", "a_b.example-x.org", 80),
    ],
)
def test_a_url_names_a_host_and_a_port(url: str, host: str, port: int) -> None:
    target = read_url(url)
    assert (target.host, target.port) == (host, port)


@pytest.mark.parametrize(
    "url",
    [
        *("", "example.org", "//example.org/", "http:", "http://", "http:///x", "http://:80/"),
        *("file:///etc/passwd", "ftp://example.org/", "gopher://x/", "data:,x", "vos://a~b/c"),
        *("http://user@example.org/", "http://user:pw@example.org/", "http://@example.org/"),
        *(
            "http://example.org\\@127.0.0.1/",
            "http://exa mple.org/",
            "http://example.org/\r\nX: y",
        ),
        *("http://example.org:0/", "http://example.org:99999/", "http://example.org:x/"),
        *("http://[::1/", "http://[fe80::1%25eth0]/", "http://ex%61mple.org/", "http://a..b/"),
        *("http://exämple.org/", "http://-/", "http://example.org/ü", "http://" + "a" * 9000),
        "http://[v1.x]/",
    ],
)
def test_what_is_no_plain_web_address_is_refused(url: str) -> None:
    with pytest.raises(Refused):
        read_url(url)


@pytest.mark.parametrize(
    ("url", "found", "allowed", "good"),
    [
        ("http://example.org/", ["1.1.1.1"], [], True),
        ("https://example.org:80/", ["1.1.1.1"], [], True),
        ("http://example.org/", [], [], False),
        # One address that is not public is enough: which one is called is up to chance.
        ("http://example.org/", ["1.1.1.1", "10.0.0.1"], [], False),
        ("http://example.org/", ["1.1.1.1", "::ffff:1.1.1.1"], [], False),
        ("http://example.org:8080/", ["1.1.1.1"], [], False),
        ("http://example.org:22/", ["1.1.1.1"], ["example.org:8080"], False),
        ("http://example.org:8080/", ["1.1.1.1"], ["example.org:8080"], True),
        ("http://example.org:8080/", ["1.1.1.1"], ["example.org"], False),
        ("http://other.org:8080/", ["1.1.1.1"], ["example.org:8080"], False),
        ("http://example.org/", ["10.0.0.1"], ["example.org"], True),
        ("http://EXAMPLE.org./", ["10.0.0.1"], ["Example.org"], True),
        ("http://x.example.org/", ["10.0.0.1"], ["example.org"], False),
        ("http://example.org/", ["10.0.0.1"], ["10.0.0.0/8"], True),
        ("http://example.org/", ["10.0.0.1", "192.168.0.1"], ["10.0.0.0/8"], False),
        ("http://example.org:81/", ["10.0.0.1"], ["10.0.0.0/8"], False),
        ("http://example.org:81/", ["10.0.0.1"], ["10.0.0.0/8:81"], True),
        ("http://example.org:81/", ["10.0.0.1"], ["10.0.0.0/8:*"], True),
        ("http://127.0.0.1:9/", ["127.0.0.1"], ["127.0.0.1:*"], True),
        ("http://127.0.0.1:9/", ["127.0.0.1"], ["127.0.0.1:8"], False),
        ("http://localhost/", ["127.0.0.1", "::1"], ["127.0.0.1"], False),
        ("http://localhost/", ["127.0.0.1", "::1"], ["127.0.0.1", "::1"], True),
        ("http://localhost:81/", ["::1"], ["[::1]:81"], True),
        ("http://localhost/", ["::ffff:127.0.0.1"], ["127.0.0.0/8"], False),
    ],
)
def test_all_addresses_of_a_host_must_be_fit(
    url: str, found: list[str], allowed: list[str], good: bool
) -> None:
    entries = [read_allowed(word) for word in allowed]
    addresses = [ip_address(address) for address in found]
    if good:
        check(read_url(url), addresses, entries)
        return
    with pytest.raises(Refused, match="third-party"):
        check(read_url(url), addresses, entries)


@pytest.mark.parametrize(
    "word",
    ["10.0.0.1/8", "300.1.1.1", "a:b", "a:0", "a:70000", "http://a", "a/b", "[::1]:x", ":80", "*"],
)
def test_what_is_no_entry_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        read_allowed(word)
