"""Under which URL a client reaches this server: what is configured, else what a proxy says."""

import ipaddress
import re
from functools import lru_cache
from typing import Final

from aiohttp import web

from pyvospace_ngas.http.keys import CONFIG

_HOST: Final = re.compile(
    r"(?:[A-Za-z0-9_-][A-Za-z0-9._-]{0,252}|\[[0-9A-Fa-f:.]{2,45}\])(?::\d{1,5})?"
)


def public_url(request: web.Request) -> str:
    """Return scheme and host (and path, if one is configured) of our URLs for this client.

    ``public_url`` counts where it is set. Else ``X-Forwarded-Proto`` and ``X-Forwarded-Host`` do,
    as the nearest proxy wrote them, if that is a trusted one.
    """
    config = request.app[CONFIG].space
    if config.listen.has_public_url or not _is_trusted(
        request.remote or "", config.trusted_proxies
    ):
        return config.listen.public_url
    proto, host = _said(request, "X-Forwarded-Proto").lower(), _said(request, "X-Forwarded-Host")
    if not proto and not host:
        return config.listen.public_url
    scheme = proto if proto in ("http", "https") else request.scheme
    name = host or request.host
    return f"{scheme}://{name}" if _HOST.fullmatch(name) else config.listen.public_url


def _said(request: web.Request, name: str) -> str:
    return ",".join(request.headers.getall(name, ())).rpartition(",")[2].strip()


@lru_cache(maxsize=1024)  # the peers of one moment; every request asks
def _is_trusted(peer: str, proxies: tuple[str, ...]) -> bool:
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return any(address in network for network in (ipaddress.ip_network(word) for word in proxies))
