"""The ini file as frozen values. Every key is checked once, here, and named with its section."""

import configparser
import ipaddress
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

SAMPLE_SECRET_KEY: Final = "ZlmNyXdQgRhhrC2Wwy-gLZj7Wv6ZtoKH"  # noqa: S105 - public, see loopback_only
SHORTEST_SECRET: Final = 32
_HOST: Final = re.compile(r"\.?[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*")
DISCARD_POLICIES: Final = ("refuse", "queue")


class ConfigError(Exception):
    """The configuration cannot be used; the text says which section and key, and what to write."""


@dataclass(frozen=True, slots=True)
class NgasServer:
    """One entry of ``ngas_servers``: where a node of the federation listens."""

    hostname: str
    port: int
    host_id: str | None = None


@dataclass(frozen=True, slots=True)
class Listener:
    """Where a server listens, and the URL under which its clients reach it."""

    host: str
    port: int
    public_url: str
    use_ssl: bool = False
    cert_file: Path | None = None
    key_file: Path | None = None
    has_public_url: bool = False  # the ini says it; else it is made of host and port


@dataclass(frozen=True, slots=True)
class SpaceConfig:
    """The section ``[Space]``: the tree, who may use it, and the keys that both servers share."""

    name: str
    uri: str
    dsn: str
    listen: Listener
    secret_key: str
    old_secret_keys: tuple[str, ...] = ()
    domain: str = ""
    aliases: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    trash_delay: int = 604_800  # seconds for which what was deleted can be had back
    delete_limit: int = 100_000  # containers below a node that one DELETE may take along
    parameters: Mapping[str, object] | None = None

    @property
    def authority(self) -> str:
        """Return the authority of our node URIs, as we write it."""
        return f"{self.uri}~{self.name}"


@dataclass(frozen=True, slots=True)
class StorageConfig:
    """The section ``[Storage]``: the bytes, and the NGAS federation that keeps them."""

    name: str
    listen: Listener
    ngas_servers: tuple[NgasServer, ...]
    staging_dir: Path
    staging_limit: int  # bytes that bodies of unknown length may take in staging_dir at once
    discard: str = "refuse"
    discard_delay: int = 86_400  # seconds
    node_cap: int = 16  # requests at once at one NGAS node; a real one refuses at about 20
    allow_no_checksum: bool = False
    endpoint_lifetime: int = 43_200  # seconds
    allow_hosts: tuple[str, ...] = ()  # that third-party transfers may call though not public
    third_party_jobs: int = 2  # at once in one server
    third_party_limit: int = 0  # bytes that one may fetch, 0 for no limit


@dataclass(frozen=True, slots=True)
class Config:
    """Both sections, checked against each other."""

    space: SpaceConfig
    storage: StorageConfig


def loopback_only(config: SpaceConfig) -> bool:
    """Tell whether the servers may listen on loopback only: the sample's key is known to all."""
    return SAMPLE_SECRET_KEY in (config.secret_key, *config.old_secret_keys)


def is_loopback(host: str) -> bool:
    """Tell whether ``host`` names this machine only."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def load(path: str | Path) -> Config:
    """Read and check the ini file ``path``; raise `ConfigError` with a sentence for the person."""
    parser = configparser.RawConfigParser(strict=True)
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"cannot read the configuration {path}: {reason}") from error
    try:
        parser.read_string(text, source=str(path))
    except configparser.Error as error:
        # Not "from error": its text repeats the line, which may be the one with the secret.
        raise ConfigError(f"{path} is not an ini file: {_mistake(error)}") from None
    return parse({name: dict(parser[name]) for name in parser.sections()})


def _mistake(error: configparser.Error) -> str:
    """Return what is wrong with a file, without its text."""
    if isinstance(error, configparser.MissingSectionHeaderError):
        return f"line {error.lineno} comes before any section; [Space] or [Storage] is missing"
    if isinstance(error, configparser.ParsingError):
        # Python 3.13 has a kind with the one line's number in place of the list.
        number = getattr(error, "lineno", None) or error.errors[0][0]
        return f"line {number} is neither KEY = VALUE nor a [Section]"
    return str(error)


def parse(sections: Mapping[str, Mapping[str, str]]) -> Config:
    """Return the configuration that ``sections`` (name to key to text) hold."""
    for name in sections:
        if name not in ("Space", "Storage"):
            raise ConfigError(f"unknown section [{name}]: there are [Space] and [Storage]")
    for name in ("Space", "Storage"):
        if name not in sections:
            raise ConfigError(f"the section [{name}] is missing")
    config = Config(_space(_Section("Space", sections)), _storage(_Section("Storage", sections)))
    if config.space.name != config.storage.name:
        raise ConfigError(
            f"[Storage] name = {config.storage.name} and [Space] name = {config.space.name}"
            " must be the same"
        )
    _check_exposure(config)
    return config


def _check_exposure(config: Config) -> None:
    """Refuse to be reachable from outside with a key that everybody knows."""
    if not loopback_only(config.space):
        return
    for section, listen in (("Space", config.space.listen), ("Storage", config.storage.listen)):
        if not is_loopback(listen.host):
            raise ConfigError(
                f"[{section}] host = {listen.host}: with the sample's public secret_key the"
                " servers listen on localhost only; put 32 or more random characters into"
                " [Space] secret_key first"
            )


class _Section:
    """The keys of one section; each is taken once, and what is left over is unknown."""

    def __init__(self, name: str, sections: Mapping[str, Mapping[str, str]]) -> None:
        self.name = name
        self._left = dict(sections[name])

    def fail(self, key: str, why: str) -> ConfigError:
        return ConfigError(f"[{self.name}] {key}: {why}")

    def text(self, key: str, default: str | None = None) -> str:
        value = self._left.pop(key, None)
        value = value.strip() if value is not None else default
        if value is None:
            raise self.fail(key, "this key is missing")
        return value

    def required(self, key: str) -> str:
        value = self.text(key)
        if not value:
            raise self.fail(key, "a value is needed")
        return value

    def integer(self, key: str, default: int | None, low: int, high: int) -> int:
        text = self.text(key, None if default is None else str(default))
        try:
            number = int(text)
        except ValueError:
            raise self.fail(key, f"{text!r} is not a whole number") from None
        if not low <= number <= high:
            raise self.fail(key, f"{number} is not between {low} and {high}")
        return number

    def boolean(self, key: str) -> bool:
        text = self.text(key, "0").lower()
        if text in ("1", "true", "yes", "on"):
            return True
        if text in ("", "0", "false", "no", "off"):
            return False
        raise self.fail(key, f"{text!r} is neither 0 nor 1")

    def words(self, key: str) -> tuple[str, ...]:
        return tuple(self.text(key, "").replace(",", " ").split())

    def json(self, key: str, default: str) -> object:
        text = self.text(key, default) or default
        try:
            value: object = json.loads(text)
        except ValueError as error:
            raise self.fail(key, f"this is not JSON ({error})") from error
        return value

    def mapping(self, key: str) -> dict[str, object]:
        value = self.json(key, "{}")
        if not isinstance(value, dict):
            raise self.fail(
                key, 'a JSON object is needed, such as {"staging_dir": "/tmp/staging"}'
            )
        return value

    def file(self, key: str) -> Path | None:
        text = self.text(key, "")
        return Path(text) if text else None

    def done(self) -> None:
        if self._left:
            raise self.fail(sorted(self._left)[0], "this key is unknown; README.md lists all keys")


def _listener(section: _Section) -> Listener:
    host = section.required("host")
    port = section.integer("port", None, 1, 65_535)
    use_ssl = section.boolean("use_ssl")
    cert, key = section.file("cert_file"), section.file("key_file")
    if use_ssl and (cert is None or key is None):
        raise section.fail("use_ssl", "TLS needs cert_file and key_file (PEM files) as well")
    for name, file in (("cert_file", cert), ("key_file", key)):
        if use_ssl and file is not None and not file.is_file():
            raise section.fail(name, f"there is no file {file}")
    shown = f"[{host}]" if ":" in host and not host.startswith("[") else host
    default = f"{'https' if use_ssl else 'http'}://{shown}:{port}"
    said = section.text("public_url", "")
    url = (said or default).rstrip("/")
    parts = urlsplit(url)
    if (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or parts.query
        or parts.fragment
    ):
        raise section.fail("public_url", f"{url!r} is no http or https URL")
    return Listener(host.strip("[]"), port, url, use_ssl, cert, key, bool(said))


def _space(section: _Section) -> SpaceConfig:
    name, uri = section.required("name"), section.required("uri")
    for key, value in (("name", name), ("uri", uri)):
        if not value.isascii() or any(c in " /!~?#%:@\\\"'<>" for c in value):
            raise section.fail(key, f"{value!r} cannot be a part of an IVO identifier")
    dsn = section.required("dsn")
    if urlsplit(dsn).scheme not in ("postgres", "postgresql"):
        raise section.fail("dsn", "write postgres://USER:PASSWORD@HOST:PORT/DATABASE")
    parameters = section.mapping("parameters")
    if parameters:
        raise section.fail("parameters", f"{sorted(parameters)[0]!r} is not a parameter here")
    config = SpaceConfig(
        name=name,
        uri=uri.lower(),
        dsn=dsn,
        listen=_listener(section),
        secret_key=_secret(section, "secret_key", section.required("secret_key")),
        old_secret_keys=tuple(
            _secret(section, "old_secret_keys", old) for old in section.words("old_secret_keys")
        ),
        domain=_domain(section),
        aliases=_aliases(section),
        trusted_proxies=_networks(section, "trusted_proxies"),
        trash_delay=section.integer("trash_delay", 604_800, 0, 10 * 365 * 86_400),
        delete_limit=section.integer("delete_limit", 100_000, 1, 100_000_000),
        parameters=parameters,
    )
    section.done()
    return config


def _domain(section: _Section) -> str:
    """Return the cookie's domain, which goes into a header as it is."""
    domain = section.text("domain", "")
    if domain and not _HOST.fullmatch(domain):
        raise section.fail("domain", f"{domain!r} is no name of a host such as example.org")
    return domain


def _aliases(section: _Section) -> tuple[str, ...]:
    words = section.words("aliases")
    for word in words:
        if "/" in word or ":" in word:
            raise section.fail("aliases", f"{word!r} is no authority such as cadc.nrc.ca~ngas")
    return tuple(word.lower().replace("!", "~") for word in words)


def _secret(section: _Section, key: str, value: str) -> str:
    if len(value) < SHORTEST_SECRET:
        raise section.fail(key, f"a secret has {SHORTEST_SECRET} characters or more")
    return value


def _networks(section: _Section, key: str) -> tuple[str, ...]:
    words = section.words(key)
    for word in words:
        try:
            ipaddress.ip_network(word)
        except ValueError as error:
            raise section.fail(key, f"{word!r} is no address or network") from error
    return words


def _storage(section: _Section) -> StorageConfig:
    parameters = section.mapping("parameters")
    staging = parameters.pop("staging_dir", "/tmp/ngas/staging/")  # noqa: S108 - made 0700, owner checked
    limit = parameters.pop("staging_limit", 64 * 2**30)
    if not isinstance(staging, str) or not staging.startswith("/"):
        raise section.fail("parameters", "staging_dir must be an absolute path")
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 0:
        raise section.fail("parameters", "staging_limit must be a number of bytes")
    if parameters:
        raise section.fail("parameters", f"{sorted(parameters)[0]!r} is not a parameter here")
    policy = section.text("discard", "refuse")
    if policy not in DISCARD_POLICIES:
        raise section.fail("discard", f"{policy!r} is neither of: {', '.join(DISCARD_POLICIES)}")
    config = StorageConfig(
        name=section.required("name"),
        listen=_listener(section),
        ngas_servers=_servers(section),
        staging_dir=Path(staging),
        staging_limit=limit,
        discard=policy,
        discard_delay=section.integer("discard_delay", 86_400, 0, 10 * 365 * 86_400),
        node_cap=section.integer("node_cap", 16, 1, 10_000),
        allow_no_checksum=section.boolean("allow_no_checksum"),
        endpoint_lifetime=section.integer("endpoint_lifetime", 43_200, 10, 30 * 86_400),
        allow_hosts=section.words("allow_hosts"),
        third_party_jobs=section.integer("third_party_jobs", 2, 0, 1000),
        third_party_limit=section.integer("third_party_limit", 0, 0, 2**62),
    )
    section.done()
    return config


def _servers(section: _Section) -> tuple[NgasServer, ...]:
    """Return the federation: each node once, though the sample names one twice."""
    key = "ngas_servers"
    listed = section.json(key, "null")
    if not isinstance(listed, list) or not listed:
        raise section.fail(
            key, 'a list such as [{"hostname": "localhost", "port": 7777}] is needed'
        )
    checks: dict[str, Callable[[object], bool]] = {
        "hostname": lambda value: isinstance(value, str) and bool(value.strip()),
        "port": lambda value: type(value) is int and 0 < value < 65_536,
        "host_id": lambda value: isinstance(value, str) and bool(value.strip()),
    }
    servers: dict[tuple[str, int], NgasServer] = {}
    for number, entry in enumerate(listed, start=1):
        if not isinstance(entry, dict) or not {"hostname", "port"} <= set(entry):
            raise section.fail(key, f'entry {number} needs a "hostname" and a "port"')
        for name, value in entry.items():
            if name not in checks:
                raise section.fail(key, f"entry {number} has an unknown name {name!r}")
            if not checks[name](value):
                raise section.fail(key, f"entry {number}: {name} = {value!r} cannot be used")
        server = NgasServer(entry["hostname"], entry["port"], entry.get("host_id"))
        servers.setdefault((server.hostname, server.port), server)
    return tuple(servers.values())
