"""The ini file: every key works, and what is wrong with one is said by section and name."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from pyvospace_ngas import config
from pyvospace_ngas.config import Config, ConfigError, NgasServer

SAMPLE = Path(__file__).parent.parent / "test_vo_ngas.ini"
SPACE = {
    "host": "localhost",
    "port": "8082",
    "name": "ngas",
    "uri": "icrar.org",
    "dsn": "postgres://vos_user:vos_user@localhost:5435/vospace",
    "secret_key": "0123456789abcdef0123456789abcdef",
}
STORAGE = {
    "name": "ngas",
    "host": "localhost",
    "port": "8083",
    "ngas_servers": '[{"hostname": "localhost", "port": 7777}]',
}


def parsed(
    space: Mapping[str, str | None] | None = None, storage: Mapping[str, str | None] | None = None
) -> Config:
    """Parse the smallest file with changes; None takes a key away."""
    sections = {"Space": SPACE | dict(space or {}), "Storage": STORAGE | dict(storage or {})}
    return config.parse(
        {
            name: {key: value for key, value in keys.items() if value is not None}
            for name, keys in sections.items()
        }
    )


def test_the_sample_is_read_as_it_stands() -> None:
    settings = config.load(SAMPLE)
    space, storage = settings.space, settings.storage
    assert (space.name, space.uri, space.authority) == ("ngas", "icrar.org", "icrar.org~ngas")
    assert space.dsn == "postgres://vos_user:vos_user@localhost:5435/vospace"
    assert (space.listen.host, space.listen.port) == ("localhost", 8082)
    assert space.listen.public_url == "http://localhost:8082"
    assert storage.listen.public_url == "http://localhost:8083"
    assert not space.listen.use_ssl
    assert not storage.listen.use_ssl
    assert space.domain == ""
    assert storage.staging_dir == Path("/tmp/ngas/staging")
    assert storage.ngas_servers == (NgasServer("localhost", 7777),)  # named twice, one node
    assert config.loopback_only(space)


def test_keys_beyond_the_sample_have_their_effect(tmp_path: Path) -> None:
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).touch()
    tls = {
        "use_ssl": "1",
        "cert_file": str(tmp_path / "cert.pem"),
        "key_file": str(tmp_path / "key.pem"),
    }
    settings = parsed(
        {
            **tls,
            "host": "0.0.0.0",
            "public_url": "https://vo.example.org/",
            "old_secret_keys": f"{'a' * 32}, {'b' * 40}",
            "domain": "example.org",
            "aliases": "example.org!vospace other.org~x",
            "trusted_proxies": "10.0.0.0/8, ::1",
            "trash_delay": "60",
        },
        {
            **tls,
            "host": "::",
            "discard": "queue",
            "discard_delay": "0",
            "node_cap": "4",
            "allow_no_checksum": "yes",
            "endpoint_lifetime": "600",
            "parameters": '{"staging_dir": "/var/tmp/x", "staging_limit": 10}',
            "ngas_servers": '[{"hostname": "a", "port": 1, "host_id": "A:1"},'
            ' {"hostname": "a", "port": 2}]',
        },
    )
    space, storage = settings.space, settings.storage
    assert space.listen.use_ssl
    assert space.listen.public_url == "https://vo.example.org"
    assert space.listen.cert_file == tmp_path / "cert.pem"
    assert space.old_secret_keys == ("a" * 32, "b" * 40)
    assert space.aliases == ("example.org~vospace", "other.org~x")
    assert space.trusted_proxies == ("10.0.0.0/8", "::1")
    assert space.trash_delay == 60
    assert storage.listen.public_url == "https://[::]:8083"
    assert (storage.discard, storage.discard_delay, storage.node_cap) == ("queue", 0, 4)
    assert storage.allow_no_checksum
    assert storage.endpoint_lifetime == 600
    assert (storage.staging_dir, storage.staging_limit) == (Path("/var/tmp/x"), 10)
    assert storage.ngas_servers == (NgasServer("a", 1, "A:1"), NgasServer("a", 2))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("host", None),
        ("host", ""),
        ("port", None),
        ("port", "eighty"),
        ("port", "0"),
        ("port", "65536"),
        ("name", "two words"),
        ("name", "sl/ash"),
        ("uri", ""),
        ("uri", "icrar.org~ngas"),
        ("dsn", None),
        ("dsn", "mysql://localhost/x"),
        ("parameters", "{"),
        ("parameters", "[]"),
        ("parameters", '{"staging_dir": "/tmp"}'),
        ("secret_key", None),
        ("secret_key", "short"),
        ("old_secret_keys", "short"),
        ("use_ssl", "perhaps"),
        ("use_ssl", "1"),
        ("public_url", "ftp://example.org"),
        ("public_url", "https:///nothing"),
        ("trusted_proxies", "proxy.example.org"),
        ("trash_delay", "-1"),
        ("domain", "example.org; Path=/x"),
        ("domain", "exämple.org"),
        ("aliases", "vos://cadc.nrc.ca~ngas"),
        ("colour", "blue"),
    ],
)
def test_a_bad_key_of_space_is_named_with_its_section(key: str, value: str | None) -> None:
    with pytest.raises(ConfigError, match=rf"^\[Space\] {key}: "):
        parsed({key: value})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("port", None),
        ("use_ssl", "2"),
        ("parameters", '{"staging_dir": "relative"}'),
        ("parameters", '{"staging_dir": 1}'),
        ("parameters", '{"staging_limit": true}'),
        ("parameters", '{"staging_limit": -1}'),
        ("parameters", '{"depth": 1}'),
        ("ngas_servers", None),
        ("ngas_servers", "[]"),
        ("ngas_servers", "localhost:7777"),
        ("ngas_servers", '{"hostname": "localhost", "port": 7777}'),
        ("ngas_servers", '["localhost:7777"]'),
        ("ngas_servers", '[{"hostname": "localhost"}]'),
        ("ngas_servers", '[{"hostname": "", "port": 7777}]'),
        ("ngas_servers", '[{"hostname": "localhost", "port": "7777"}]'),
        ("ngas_servers", '[{"hostname": "localhost", "port": true}]'),
        ("ngas_servers", '[{"hostname": "localhost", "port": 7777, "weight": 1}]'),
        ("discard", "maybe"),
        ("discard_delay", "soon"),
        ("node_cap", "0"),
        ("endpoint_lifetime", "1"),
        ("dsn", "postgres://a:b@localhost/c"),
    ],
)
def test_a_bad_key_of_storage_is_named_with_its_section(key: str, value: str | None) -> None:
    with pytest.raises(ConfigError, match=rf"^\[Storage\] {key}: "):
        parsed(storage={key: value})


def test_a_certificate_that_does_not_exist_is_named(tmp_path: Path) -> None:
    files = {"cert_file": str(tmp_path / "no.pem"), "key_file": str(tmp_path / "no.key")}
    with pytest.raises(ConfigError, match=r"\[Space\] cert_file: there is no file .*no\.pem"):
        parsed({"use_ssl": "1", **files})


def test_both_sections_carry_one_name() -> None:
    with pytest.raises(ConfigError, match=r"\[Storage\] name = other and \[Space\] name = ngas"):
        parsed(storage={"name": "other"})


@pytest.mark.parametrize(
    ("sections", "sentence"),
    [
        ({"Space": SPACE}, r"the section \[Storage\] is missing"),
        ({"Storage": STORAGE}, r"the section \[Space\] is missing"),
        (
            {"Space": SPACE, "Storage": STORAGE, "Extra": {}},
            r"unknown section \[Extra\]: there are \[Space\] and \[Storage\]",
        ),
    ],
)
def test_a_wrong_set_of_sections_is_refused(
    sections: dict[str, dict[str, str]], sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        config.parse(sections)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "127.1.2.3", "::1"])
def test_the_public_key_may_serve_this_machine(host: str) -> None:
    assert parsed({"secret_key": config.SAMPLE_SECRET_KEY, "host": host}).space.listen.port == 8082


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "vo.example.org", "localhost.x"])
@pytest.mark.parametrize("section", ["Space", "Storage"])
@pytest.mark.parametrize("key", ["secret_key", "old_secret_keys"])
def test_the_public_key_may_serve_nobody_else(host: str, section: str, key: str) -> None:
    space = {key: config.SAMPLE_SECRET_KEY}
    storage: dict[str, str] = {}
    (space if section == "Space" else storage)["host"] = host
    with pytest.raises(ConfigError, match=rf"^\[{section}\] host = .*\[Space\] secret_key"):
        parsed(space, storage)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the configuration .*no\.ini: No such"):
        config.load(tmp_path / "no.ini")
    (tmp_path / "latin.ini").write_bytes(b"[Space]\nname = \xe9\n")
    with pytest.raises(ConfigError, match=r"latin\.ini: it is not UTF-8 text"):
        config.load(tmp_path / "latin.ini")
    (tmp_path / "twice.ini").write_text("[Space]\nname = a\nname = b\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"twice\.ini is not an ini file: .*name"):
        config.load(tmp_path / "twice.ini")


def test_a_percent_sign_is_only_a_character(tmp_path: Path) -> None:
    text = SAMPLE.read_text(encoding="utf-8").replace("vos_user:vos_user", "vos_user:a%40b%%")
    (tmp_path / "percent.ini").write_text(text, encoding="utf-8")
    assert "vos_user:a%40b%%@" in config.load(tmp_path / "percent.ini").space.dsn


def test_a_short_secret_is_not_shown() -> None:
    with pytest.raises(ConfigError) as caught:
        parsed({"secret_key": "only-26-characters-of-this"})
    assert "only-26" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("secret_key = 0123456789abcdef0123456789abcdef\n", r"line 1 comes before any section"),
        ("[Space]\nname = a\nsecret_key 0123456789abcdef\n", r"line 3 is neither KEY = VALUE"),
    ],
)
def test_a_file_that_is_no_ini_never_shows_the_secret_key(
    tmp_path: Path, text: str, reason: str
) -> None:
    (tmp_path / "bad.ini").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=rf"bad\.ini is not an ini file: {reason}") as caught:
        config.load(tmp_path / "bad.ini")
    assert "0123456789abcdef" not in str(caught.value)
