"""The resource ``/tokens``: bearer tokens of the caller's own, which programs log in with."""

from aiohttp import web

from pyvospace_ngas.http.keys import DATABASE, IDENTITY
from pyvospace_ngas.model import token as model
from pyvospace_ngas.model.properties import timestamp
from pyvospace_ngas.model.token import Token
from pyvospace_ngas.ops import tokens
from pyvospace_ngas.space.parameters import one, parameters

routes = web.RouteTableDef()


@routes.post("/tokens")
@routes.post("/vospace/tokens")
@routes.post("/vospace/auth/tokens")
async def create(request: web.Request) -> web.Response:
    """POST a form of ``scope``, ``path`` and ``expires``, all optional; shows the token, once."""
    given = parameters(request.query.items(), await request.read())
    scope = model.scope(one(given, "SCOPE"), one(given, "PATH"))
    lifetime = model.lifetime(one(given, "EXPIRES"))
    async with request.app[DATABASE].acquire() as db:
        token, secret = await tokens.create(db, request[IDENTITY], scope, lifetime)
    return _answer({"token": secret, **_shown(token)}, 201)


@routes.get("/tokens")
@routes.get("/vospace/tokens")
@routes.get("/vospace/auth/tokens")
async def list_tokens(request: web.Request) -> web.Response:
    """GET: the caller's tokens, without what they are."""
    async with request.app[DATABASE].acquire() as db:
        found = await tokens.listed(db, request[IDENTITY])
    return _answer([_shown(token) for token in found])


@routes.delete("/tokens/{id}")
@routes.delete("/vospace/tokens/{id}")
@routes.delete("/vospace/auth/tokens/{id}")
async def revoke(request: web.Request) -> web.Response:
    """DELETE: end a token, and those that were made by it; 204."""
    async with request.app[DATABASE].acquire() as db:
        await tokens.revoke(db, request[IDENTITY], request.match_info["id"])
    return web.Response(status=204)


def _shown(token: Token) -> dict[str, str | None]:
    return {
        "id": token.id,
        "scope": "read" if token.scope.read_only else "write",
        "path": str(token.scope.path),
        "created": timestamp(token.created),
        "expires": timestamp(token.expires),
        "used": None if token.used is None else timestamp(token.used),
        "parent": token.parent,
    }


def _answer(value: object, status: int = 200) -> web.Response:
    return web.json_response(value, status=status, headers={"Cache-Control": "no-store"})
