"""HTTP to one space server, and without credentials to the byte endpoints that it names."""

import asyncio
import base64
import random
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import aiohttp
from yarl import URL

from pyvospace_ngas.client.faults import fault
from pyvospace_ngas.client.wire import CONNECT, Span, Wire
from pyvospace_ngas.errors import InvalidArgument, ServiceUnavailable, VOSpaceError

ATTEMPTS: Final = 3
_AGAIN: Final = frozenset({502, 503, 504})
_LONGEST_PAUSE: Final = 30.0
# What breaks on the way there or back, as opposed to an answer.
BROKEN: Final = (aiohttp.ClientError, TimeoutError, OSError)


class NotConnected(OSError):
    """No connection came about: nothing was sent."""


UNSENT: Final = (aiohttp.ClientConnectorError, NotConnected)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of the space server, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: URL


class Connection:
    """A session with the server at ``url``: what to send it, and how often to try.

    Credentials go to that server's origin and nowhere else: addresses that it names on another
    origin of its own (a public URL, say) are asked at this one.
    """

    def __init__(
        self,
        url: str,
        user: str | None,
        password: str | None,
        *,
        timeout: float,
        pause: float,
    ) -> None:
        self.base = URL(url.rstrip("/"), encoded=True)
        if self.base.scheme not in ("http", "https") or not self.base.host:
            raise InvalidArgument(f"{url} is no http or https address")
        if self.base.user is not None or self.base.password is not None:
            raise InvalidArgument("the address must not hold a user or password")
        self.timeout = timeout
        self.requests = 0  # that were sent, to whichever server
        self._pause = pause
        self._session: aiohttp.ClientSession | None = None
        self._wire: Wire | None = None
        self._basic: str | None = None
        self._cookie: str | None = None
        self.known_as: str | None = None  # who the server last said that we are
        if user is not None:
            self.use_basic(user, password or "")

    def use_basic(self, user: str, password: str) -> None:
        """Show ``user`` and ``password`` from now on."""
        pair = base64.b64encode(f"{user}:{password}".encode()).decode()
        self._basic, self._cookie = f"Basic {pair}", None

    def use_cookie(self, cookie: str) -> None:
        """Show ``cookie``, as ``name=value``, from now on, in place of a password."""
        self._basic, self._cookie = None, cookie

    def use_token(self, token: str) -> None:
        """Show the bearer token ``token`` from now on, in place of a password."""
        self._basic, self._cookie = f"Bearer {token}", None

    def forget(self) -> None:
        """Show no credentials from now on."""
        self._basic = self._cookie = None

    def open(self, shared: aiohttp.ClientSession | None) -> None:
        """Begin; of a ``shared`` session only the pool of connections is used, not its cookies."""
        self._session = aiohttp.ClientSession(
            connector=shared.connector if shared is not None else None,
            connector_owner=shared is None,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=CONNECT, sock_read=self.timeout
            ),
            trust_env=False,
        )

    async def close(self) -> None:
        """End; connections of its own are closed."""
        if self._session is not None:
            await self._session.close()
            self._session = None
        if self._wire is not None:
            self._wire.close()
            self._wire = None

    def here(self, location: str, asked: URL | None = None) -> URL:
        """Return ``location``, which the server named, on the origin that the user named."""
        url = (asked or self.base).join(URL(location, encoded=True))
        if url.origin() == self.base.origin():
            return url
        return self.base.origin().join(URL(url.raw_path_qs, encoded=True))

    async def ask(
        self,
        method: str,
        url: URL,
        body: bytes | None = None,
        *,
        kind: str = "text/xml",
        again: bool = True,
        wait: float = 0,
        fields: Mapping[str, str] | None = None,
    ) -> Answer:
        """Return the space server's answer; raise what it refuses with.

        Repeats a request that brought no answer, or one to come again later, if it may be done
        ``again``; one that never left is always repeated. ``wait`` seconds more are given to it.
        ``fields`` are more of its header.
        """
        attempt = 1
        while True:
            try:
                answer = await self._once(method, url, body, kind, wait, fields or {})
            except BROKEN as error:
                sent = not isinstance(error, UNSENT)
                if attempt == ATTEMPTS or (sent and not again):
                    raise self.unreachable(url, error) from error
                later = 0.0
            else:
                if answer.status < 400:
                    return answer
                if answer.status not in _AGAIN or attempt == ATTEMPTS or not again:
                    raise fault(answer.status, answer.body)
                later = _retry_after(answer.headers)
            await self.pause(attempt, later)
            attempt += 1

    @asynccontextmanager
    async def endpoint(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        data: AsyncIterable[bytes | memoryview] | bytes | None = None,
        *,
        expect: bool = False,
        patience: float | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Give the answer of a byte endpoint, which gets no credentials; one attempt, as it is."""
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=CONNECT, sock_read=patience or self.timeout
        )
        self.requests += 1
        async with self._opened.request(
            method,
            URL(url, encoded=True),
            headers={"Accept-Encoding": "identity", **headers},
            data=data,
            expect100=expect,
            allow_redirects=False,
            timeout=timeout,
        ) as response:
            yield response

    async def fetch(self, url: str, headers: Mapping[str, str], span: Span) -> None:
        """Fill ``span`` from a byte endpoint, which gets no credentials; one attempt."""
        self.requests += 1
        await self._bare.fetch(URL(url, encoded=True), headers, span)

    @property
    def _bare(self) -> Wire:
        if self._wire is None:
            self._wire = Wire(self.timeout)
        return self._wire

    @asynccontextmanager
    async def stream(
        self, url: URL, fields: Mapping[str, str], patience: float
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Give an answer of the space server while it comes, which may be for ever; one attempt.

        It is broken when nothing comes for ``patience`` seconds.
        """
        headers = {**fields, **(self._credentials() if self._is_ours(url) else {})}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT, sock_read=patience)
        self.requests += 1
        async with self._opened.get(
            url, headers=headers, allow_redirects=False, timeout=timeout
        ) as response:
            yield response

    @asynccontextmanager
    async def within(self, seconds: float) -> AsyncIterator[None]:
        """Raise `TimeoutError` in what takes longer."""
        async with asyncio.timeout(seconds):
            yield

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)

    async def pause(self, attempt: int, at_least: float = 0.0) -> None:
        """Wait before the attempt after ``attempt``, longer each time, and never all at once."""
        jitter = random.uniform(0.5, 1.5)  # noqa: S311  no secret
        await self.sleep(
            min(_LONGEST_PAUSE, max(at_least, self._pause * 2 ** (attempt - 1) * jitter))
        )

    def unreachable(self, url: URL | str, error: BaseException) -> VOSpaceError:
        """Return ``error`` in our words; the address's path may be a secret and stays out."""
        origin = URL(url, encoded=True).origin() if isinstance(url, str) else url.origin()
        reason = "it took too long" if isinstance(error, TimeoutError) else type(error).__name__
        return ServiceUnavailable(f"no answer from {origin}: {reason}")

    @property
    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise InvalidArgument("this VOSpace is not open; use it with `async with`")
        return self._session

    async def send(
        self,
        method: str,
        url: URL,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        patience: float | None = None,
    ) -> Answer:
        """Return an answer, read to its end; one attempt, with these headers only.

        It is broken when nothing comes for ``patience`` seconds.
        """
        limits = aiohttp.ClientTimeout(
            total=None, sock_connect=CONNECT, sock_read=patience or self.timeout
        )
        self.requests += 1
        async with self._opened.request(
            method, url, data=body, headers=headers, allow_redirects=False, timeout=limits
        ) as response:
            return Answer(response.status, response.headers, await response.read(), response.url)

    async def _once(
        self,
        method: str,
        url: URL,
        body: bytes | None,
        kind: str,
        wait: float,
        fields: Mapping[str, str],
    ) -> Answer:
        headers = {**fields} if body is None else {"Content-Type": kind, **fields}
        if self._is_ours(url):
            headers |= self._credentials()
        answer = await self.send(method, url, headers, body, patience=self.timeout + wait)
        self.known_as = answer.headers.get("X-VO-Authenticated", self.known_as)
        return answer

    def _is_ours(self, url: URL) -> bool:
        return url.origin() == self.base.origin()

    def _credentials(self) -> dict[str, str]:
        if self._cookie is not None:
            # A server takes a cookie that changes things only if no other site's page sends it.
            return {"Cookie": self._cookie, "Sec-Fetch-Site": "same-origin"}
        return {} if self._basic is None else {"Authorization": self._basic}


def _retry_after(headers: Mapping[str, str]) -> float:
    said = headers.get("Retry-After", "")
    return float(said) if said.isascii() and said.isdigit() else 0.0
