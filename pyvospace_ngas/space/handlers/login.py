"""Log-in and log-out: a session for browsers; programs may send Basic with every request."""

from typing import Final

from aiohttp import web

from pyvospace_ngas.errors import InvalidArgument, NotAuthenticated, PermissionDenied
from pyvospace_ngas.http import identity, safety
from pyvospace_ngas.http.forwarding import public_url
from pyvospace_ngas.http.keys import IDENTITIES, IDENTITY
from pyvospace_ngas.model.access import Identity

routes = web.RouteTableDef()

_FORM: Final = "application/x-www-form-urlencoded"


@routes.post("/login")
@routes.post("/vospace/login")
@routes.post("/vospace/auth/login")
async def log_in(request: web.Request) -> web.Response:
    """Begin a session for Basic credentials, or for the fields user and password of a form."""
    who = await _proven(request)
    identities = request.app[IDENTITIES]
    request[IDENTITY] = who
    cookie = await identities.begin_session(who, identity.cookie_of(request))
    response = web.Response(text=f"logged in as {who.user}\n")
    response.headers["Cache-Control"] = "no-store"
    identity.set_cookie(request, response, cookie)
    return response


@routes.post("/logout")
@routes.post("/vospace/logout")
@routes.post("/vospace/auth/logout")
async def log_out(request: web.Request) -> web.Response:
    """End the session of the cookie, on every server."""
    cookie = identity.cookie_of(request)
    if cookie:
        await request.app[IDENTITIES].end_session(cookie)
    response = web.Response(text="logged out\n")
    identity.drop_cookie(request, response)
    return response


async def _proven(request: web.Request) -> Identity:
    """Return who proves to be with this very request: a cookie does not make another cookie."""
    who = request[IDENTITY]
    if who.token is not None:
        raise PermissionDenied("a token begins no session, which would be good for more than it")
    if "Authorization" in request.headers:
        return who  # verified by the middleware
    # Another site could log a person in as somebody else, to see what they do.
    source = safety.source_of(request, public_url(request))
    safety.check_forgery(request.method, source, by_cookie=False)
    if request.content_type != _FORM:
        raise NotAuthenticated("log in with Basic, or with a form's user and password")
    try:
        form = await request.post()
    except (UnicodeDecodeError, LookupError):
        raise InvalidArgument("this is no form in UTF-8") from None
    name, password = form.get("user"), form.get("password")
    if not isinstance(name, str) or not isinstance(password, str):
        raise NotAuthenticated("log in with Basic, or with a form's user and password")
    caller = identity.caller_of(request)
    return await request.app[IDENTITIES].by_password(name, password, caller)
