"""Which addresses of others this service may call on behalf of its users; pure.

Whoever can name a URL that a server fetches can have it knock at doors that only the server
reaches (its own machine, its network, a cloud's metadata): such addresses are refused unless the
configuration allows them.
"""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final, TypeAlias
from urllib.parse import urlsplit

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

LONGEST: Final = 8192
USUAL_PORTS: Final = {"http": 80, "https": 443}
ANY_PORT: Final = -1
_PRINTABLE: Final = re.compile(r"[!-~]+")
_NAME: Final = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]{0,62})?(\.[a-z0-9_][a-z0-9_-]{0,62})*"
)
_IN_BRACKETS: Final = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::(\d+|\*))?")

# IANA's special-purpose registries and what is left of classes D and E. Written out, since what
# the library calls global has changed from one patch release to the next.
_NOT_PUBLIC_4: Final = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network, unspecified
        "10.0.0.0/8",
        "100.64.0.0/10",  # shared by a carrier's customers
        "127.0.0.0/8",
        "169.254.0.0/16",  # link-local; 169.254.169.254 tells a cloud's secrets
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
_PUBLIC_6: Final = IPv6Network("2000::/3")  # all else is loopback, local, mapped, NAT64, multicast
_NOT_PUBLIC_6: Final = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # Teredo, benchmarking, ORCHID and other protocols
        "2001:db8::/32",
        "2002::/16",  # 6to4: an IPv4 address in disguise
        "2620:4f:8000::/48",
        "3fff::/20",
    )
)


class Refused(Exception):
    """A URL or address that must not be called; the text says why, and nothing of our network."""


@dataclass(frozen=True, slots=True)
class Target:
    """A URL taken apart: what is called, under which name, at which port."""

    url: str
    scheme: str
    host: str  # lower case, without brackets
    port: int

    @property
    def literal(self) -> Address | None:
        """Return the host as the address that it is, ``None`` for a name."""
        try:
            return ipaddress.ip_address(self.host)
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class Allowed:
    """One entry of ``allow_hosts``: a name or a network, at one port, any, or the usual ones."""

    place: str | Network
    port: int | None = None

    def covers(self, host: str, port: int, address: Address) -> bool:
        """Tell whether ``address``, which stands for ``host``, may be called at ``port``."""
        usual = self.port is None and port in USUAL_PORTS.values()
        fits = usual or self.port in (ANY_PORT, port)
        if isinstance(self.place, str):
            return fits and self.place == host
        return fits and address in self.place


def read_url(url: str) -> Target:
    """Take a URL apart that is to be called; raise `Refused` for what is no plain web address."""
    if len(url) > LONGEST or not _PRINTABLE.fullmatch(url) or "\\" in url:
        raise Refused("this is no URL")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise Refused("this is no URL") from None
    if parts.scheme not in USUAL_PORTS:
        raise Refused("only http and https are spoken")
    if "@" in parts.netloc:
        raise Refused("a user or password in the URL is not passed on")
    if not host or port == 0 or not _is_host(host) or ("[" in parts.netloc) != (":" in host):
        raise Refused("this URL names no host")
    return Target(url, parts.scheme, host.rstrip("."), port or USUAL_PORTS[parts.scheme])


def check(target: Target, found: Sequence[Address], allowed: Iterable[Allowed]) -> None:
    """Raise `Refused` unless every address in ``found`` that the host has may be called."""
    entries = tuple(allowed)
    if not found or not all(_may_call(target, address, entries) for address in found):
        raise Refused("this address is not one that third-party transfers may use")


def is_public(address: Address) -> bool:
    """Tell whether an address belongs to one host of the open internet."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_4)
    if address.scope_id is not None or address not in _PUBLIC_6:
        return False
    return not any(address in network for network in _NOT_PUBLIC_6)


def read_allowed(word: str) -> Allowed:
    """Return the entry that ``word`` is; raise `ValueError` for none.

    ``NAME``, ``ADDRESS`` or ``NETWORK``, each also with ``:PORT`` or ``:*`` (IPv6 in brackets).
    """
    if (bracketed := _IN_BRACKETS.fullmatch(word)) is not None:
        return Allowed(ipaddress.ip_network(bracketed[1]), _port(bracketed[2]))
    try:
        return Allowed(ipaddress.ip_network(word))
    except ValueError:
        place, _, port = word.rpartition(":") if ":" in word else (word, "", None)
    try:
        return Allowed(ipaddress.ip_network(place), _port(port))
    except ValueError:
        name = place.lower().rstrip(".")
        if not _NAME.fullmatch(name) or re.fullmatch(r"[0-9.]+", name):
            raise ValueError(f"{word!r} is no name, address or network") from None
        return Allowed(name, _port(port))


def _port(text: str | None) -> int | None:
    if text is None:
        return None
    if text == "*":
        return ANY_PORT
    if not text.isdecimal() or not 0 < int(text) < 65_536:
        raise ValueError(f"{text!r} is no port")
    return int(text)


def _is_host(host: str) -> bool:
    try:
        return getattr(ipaddress.ip_address(host), "scope_id", None) is None
    except ValueError:
        return _NAME.fullmatch(host.rstrip(".")) is not None


def _may_call(target: Target, address: Address, allowed: Sequence[Allowed]) -> bool:
    if any(entry.covers(target.host, target.port, address) for entry in allowed):
        return True
    return target.port in USUAL_PORTS.values() and is_public(address)
