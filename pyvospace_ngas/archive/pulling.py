"""Where a node fetches what it is asked to archive: only from where the configuration allows."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Final, TypeAlias
from urllib.parse import unquote

from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout
from yarl import URL

from pyvospace_ngas.archive import local
from pyvospace_ngas.archive.configuration import NodeConfig
from pyvospace_ngas.archive.parameters import CONTROL
from pyvospace_ngas.archive.receiving import Source
from pyvospace_ngas.archive.refusals import Refused, coded

log = logging.getLogger(__name__)

Opened: TypeAlias = AbstractAsyncContextManager[Source]

CONNECT_SECONDS: Final = 10.0
REDIRECTS: Final = 5
REDIRECTING: Final = frozenset({301, 302, 303, 307, 308})
# The bytes are archived as they are: nothing may be packed for the way.
HEADERS: Final = {"Accept-Encoding": "identity"}


@asynccontextmanager
async def opened(config: NodeConfig, uri: str) -> AsyncIterator[Source]:
    """Open what a URI names, or refuse it."""
    url = _url(uri)
    async with AsyncExitStack() as stack:
        match url.scheme:
            case "file":
                manager = local.opened(config.handling.pull_roots, path_of(uri))
                _, source = await stack.enter_async_context(manager)
            case "http" | "https":
                source = await stack.enter_async_context(_fetched(config, url))
            case "ftp":
                raise refused("ftp is not spoken here; fetch the file and send it", 400)
            case _:
                raise refused("GET archives from file://, http:// and https:// URLs", 400)
        yield source


def path_of(uri: str) -> str:
    """Return the path that a ``file:`` URL or a bare path stands for."""
    if not uri.startswith("file:"):
        return uri
    rest = uri.removeprefix("file:")
    if rest.startswith("//"):
        host, _, rest = rest[2:].partition("/")
        if host not in {"", "localhost"}:
            raise refused("a file: URL names no other host", 400)
        rest = f"/{rest}"
    return unquote(rest)


def refused(text: str, status: int) -> Refused:
    """Return the refusal of a pull."""
    return Refused(coded("NGAMS_ER_ARCHIVE_PULL_REQ", f"Nothing is archived: {text}."), status)


@asynccontextmanager
async def _fetched(config: NodeConfig, url: URL) -> AsyncIterator[Source]:
    timeout = ClientTimeout(total=None, connect=CONNECT_SECONDS, sock_read=config.server.timeout)
    async with ClientSession(timeout=timeout, auto_decompress=False, headers=HEADERS) as session:
        answer = await _answer(session, config.handling.pull_hosts, url)
        async with answer:
            yield Source(answer.content, answer.content_length, pulled=True)


async def _answer(session: ClientSession, hosts: Sequence[str], url: URL) -> ClientResponse:
    """Return the answer of the host, after redirects to hosts that are allowed as well."""
    for _ in range(REDIRECTS + 1):
        _check(hosts, url)
        try:
            answer = await session.get(url, allow_redirects=False)
        except TimeoutError as error:
            raise refused(f"{url.host} does not answer in time", 504) from error
        except (ClientError, OSError, ValueError) as error:
            log.warning("%s was not fetched: %r", url, error)
            raise refused(f"{url.host} cannot be reached", 502) from error
        if answer.status not in REDIRECTING:
            return _usable(answer)
        answer.release()
        url = url.join(_url(answer.headers.get("Location", "")))
    raise refused("the source redirects too often", 502)


def _usable(answer: ClientResponse) -> ClientResponse:
    """Refuse what is no file, and a file whose end could not be told from a broken line."""
    chunked = "chunked" in answer.headers.get("Transfer-Encoding", "").lower()
    status = answer.status
    if status == 200 and (answer.content_length is not None or chunked):
        return answer
    answer.close()
    if status == 200:
        raise refused("the source does not say how long the file is", 502)
    raise refused(f"the source answers {status}", 404 if status in {404, 410} else 502)


def _check(hosts: Sequence[str], url: URL) -> None:
    """Refuse all but the hosts that are configured; a bare name stands for the usual ports."""
    if url.scheme not in {"http", "https"}:
        raise refused("the source redirects to what is no http URL", 502)
    if url.user or url.password:
        raise refused("a URL must not hold a user or password", 400)
    names = {f"{_bracketed(url.host)}:{url.port}"}
    if url.is_default_port():
        names.add(_bracketed(url.host))
    if names.isdisjoint(host.lower() for host in hosts):
        raise refused("files are fetched only from the hosts in ArchiveHandling PullHosts", 403)


def _bracketed(host: str | None) -> str:
    host = (host or "").lower()
    return f"[{host}]" if ":" in host else host


def _url(text: str) -> URL:
    if CONTROL.search(text):
        raise refused("the URL has control characters", 400)
    try:
        return URL(text, encoded=True) if "%" in text else URL(text)
    except ValueError as error:
        raise refused("the URL cannot be read", 400) from error
