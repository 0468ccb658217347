"""The middleware that says who calls, and the cookie of a session."""

from dataclasses import dataclass
from typing import Final

from aiohttp import web

from pyvospace_ngas.config import SpaceConfig
from pyvospace_ngas.http import safety
from pyvospace_ngas.http.credentials import Caller, parse_bearer
from pyvospace_ngas.http.faults import Handler
from pyvospace_ngas.http.forwarding import public_url
from pyvospace_ngas.http.keys import CONFIG, IDENTITIES, IDENTITY
from pyvospace_ngas.model.access import ANONYMOUS, Identity
from pyvospace_ngas.model.token import LONGEST
from pyvospace_ngas.ops import sessions

DELEGATION: Final = "X-CADC-DelegationToken"  # where CADC's clients say a token once more
_HEADERS: Final = ("Authorization", DELEGATION)  # each comes before a cookie
_LIFETIME: Final = int(sessions.LIFETIME.total_seconds())


@web.middleware
async def authenticate(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Set ``request[IDENTITY]``: by Basic or a token, else by the session's cookie, else nobody.

    Wrong credentials are refused, whatever is asked for. Stands inside of `faults`.
    """
    request[IDENTITY] = ANONYMOUS
    request[IDENTITY] = who = await identify(request)
    if request.method not in safety.SAFE and who.user is not None:
        source = safety.source_of(request, public_url(request))
        by_cookie = not any(name in request.headers for name in _HEADERS)
        safety.check_forgery(request.method, source, by_cookie=by_cookie)
    return await handler(request)


async def identify(request: web.Request) -> Identity:
    """Return who calls, as their credentials are worth now; an answer may take long to give."""
    headers = request.headers
    identities = request.app[IDENTITIES]
    if (header := headers.get("Authorization")) is not None:
        token = parse_bearer(header)
        if token is None:
            return await identities.by_basic(header, caller_of(request))
        return await identities.by_token(token)
    if (header := headers.get(DELEGATION)) is not None:
        return await identities.by_token(header.strip()[:LONGEST])
    if "Cookie" in headers and (cookie := cookie_of(request)):
        return await identities.by_cookie(cookie)
    return ANONYMOUS


def caller_of(request: web.Request) -> Caller:
    """Return where ``request`` came from."""
    return Caller(request.remote or "", ",".join(request.headers.getall("X-Forwarded-For", ())))


@dataclass(frozen=True, slots=True)
class CookieRule:
    """How the session's cookie is set."""

    name: str
    secure: bool
    domain: str | None


def cookie_rule(config: SpaceConfig, url: str) -> CookieRule:
    """Return the rule for a client that reaches us at ``url``: over https, if that is such a one.

    For this host only, where that is possible.

    Browsers take a cookie named ``__Host-...`` only over https, for ``/`` and without a domain, so
    that no neighbour of the domain can plant one.
    """
    secure = url.startswith("https:")
    name = "__Host-ngas_session" if secure and not config.domain else "ngas_session"
    return CookieRule(name, secure, config.domain or None)


def cookie_of(request: web.Request) -> str | None:
    """Return the session's cookie that came with ``request``."""
    return request.cookies.get(_rule(request).name)


def _rule(request: web.Request) -> CookieRule:
    return cookie_rule(request.app[CONFIG].space, public_url(request))


def set_cookie(request: web.Request, response: web.StreamResponse, value: str) -> None:
    """Let the browser keep the session's cookie."""
    rule = _rule(request)
    response.set_cookie(
        rule.name,
        value,
        max_age=_LIFETIME,
        path="/",
        domain=rule.domain,
        secure=rule.secure,
        httponly=True,
        samesite="Lax",
    )


def drop_cookie(request: web.Request, response: web.StreamResponse) -> None:
    """Let the browser forget the session's cookie."""
    rule = _rule(request)
    response.del_cookie(
        rule.name,
        path="/",
        domain=rule.domain,
        secure=rule.secure,
        httponly=True,
        samesite="Lax",
    )
