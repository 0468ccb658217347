"""Who a request's credentials stand for, remembered for as short as is promised."""

import asyncio
import base64
import hashlib
import ipaddress
import secrets
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import monotonic
from typing import Final
from weakref import WeakValueDictionary

from pyvospace_ngas.config import SpaceConfig
from pyvospace_ngas.db.connect import Database
from pyvospace_ngas.errors import NotAuthenticated, TooManyRequests
from pyvospace_ngas.model.access import ANONYMOUS, Identity
from pyvospace_ngas.model.account import Account
from pyvospace_ngas.model.token import LONGEST
from pyvospace_ngas.ops import accounts, logins, passwords, sessions, tokens

STALENESS: Final = 10.0  # seconds until a changed password, group or account is seen everywhere
REMEMBERED: Final = 4096
MOST_WAITING: Final = 128  # passwords to check; some two seconds' worth

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Caller:
    """Where a request came from: the peer's address, and what proxies say of the client's."""

    peer: str
    forwarded: str = ""


@dataclass(frozen=True, slots=True)
class _Remembered:
    password: str  # the hash that the header was verified against
    who: Identity
    checked: float


class Identities:
    """The callers that this process knows: verified Basic headers, each under a keyed hash."""

    def __init__(
        self, config: SpaceConfig, database: Database, staleness: float = STALENESS
    ) -> None:
        self._database = database
        self._authorities = accounts.authorities(config.uri, config.aliases)
        self._proxies = [ipaddress.ip_network(text) for text in config.trusted_proxies]
        self._staleness = staleness
        self._key = secrets.token_bytes(32)
        self._known: OrderedDict[bytes, _Remembered] = OrderedDict()
        self._tokens: OrderedDict[bytes, tuple[Identity, float]] = OrderedDict()
        self._checking: WeakValueDictionary[bytes, asyncio.Lock] = WeakValueDictionary()
        self._slots = asyncio.Semaphore(passwords.AT_ONCE)
        self._waiting = 0

    async def by_basic(self, header: str, caller: Caller) -> Identity:
        """Return whose ``Authorization`` this is, or raise `NotAuthenticated`."""
        key = self._hidden(header)
        known = self._known.get(key)
        if known is not None and monotonic() - known.checked < self._staleness:
            return known.who
        name, password = parse_basic(header)
        if known is not None and (who := await self._renewed(key, known, name)) is not None:
            return who
        # Several requests may come at once with a header that is new here: one checks it.
        async with self._checking.setdefault(key, asyncio.Lock()):
            now = monotonic()
            known = self._known.get(key)
            if known is not None and now - known.checked < self._staleness:
                return known.who
            account = await self._log_in(name, password, caller)
            return self._remember(key, account, now)

    async def by_password(self, name: str, password: str, caller: Caller) -> Identity:
        """Return who logs in with a form."""
        return self._identity(await self._log_in(name, password, caller))

    async def by_cookie(self, cookie: str) -> Identity:
        """Return whose session it is, or nobody. Never remembered: a log-out ends it at once."""
        async with self._database.acquire() as db:
            account = await sessions.find(db, cookie)
        return ANONYMOUS if account is None else self._identity(account)

    async def by_token(self, secret: str) -> Identity:
        """Return whose token it is, narrowed as it is, or raise `NotAuthenticated`.

        Remembered like a password: one that is revoked may be good for `STALENESS` here.
        """
        key, now = self._hidden(secret), monotonic()
        known = self._tokens.get(key)
        if known is not None and now < known[1]:
            return known[0]
        self._tokens.pop(key, None)
        async with self._database.acquire() as db:
            found = await tokens.find(db, secret)
        if found is None:
            raise NotAuthenticated("this token is not good (any more): ask for a new one")
        token, account, seconds = found
        who = replace(self._identity(account), scope=token.scope, token=token.id)
        self._tokens[key] = (who, now + min(seconds, self._staleness))
        if len(self._tokens) > REMEMBERED:
            self._tokens.popitem(last=False)
        return who

    async def begin_session(self, who: Identity, old: str | None) -> str:
        """Begin a session in place of ``old``; return its cookie."""
        async with self._database.acquire() as db:
            return await sessions.begin(db, str(who.user), old)

    async def end_session(self, cookie: str) -> None:
        """End the session for every server."""
        async with self._database.acquire() as db:
            await sessions.end(db, cookie)

    def address(self, caller: Caller) -> str:
        """Return the address that what ``caller`` does counts against."""
        return client_address(caller, self._proxies)

    async def _renewed(self, key: bytes, known: _Remembered, name: str) -> Identity | None:
        """Look the account up again; the password is still right while its hash is the same."""
        now = monotonic()
        async with self._database.acquire() as db:
            account = await accounts.find(db, name)
        if account is not None and account.password == known.password:
            return self._remember(key, account, now)
        self._known.pop(key, None)
        return None

    def _remember(self, key: bytes, account: Account, now: float) -> Identity:
        who = self._identity(account)
        self._known[key] = _Remembered(account.password, who, now)
        self._known.move_to_end(key)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return who

    def _hidden(self, secret: str) -> bytes:
        """Return what a secret is remembered by, which is of no use outside of this process."""
        text = secret.encode("utf-8", "replace")
        return hashlib.blake2b(text, key=self._key, digest_size=16).digest()

    def _identity(self, account: Account) -> Identity:
        return accounts.as_identity(account, self._authorities)

    async def _log_in(self, name: str, password: str, caller: Caller) -> Account:
        """Check a password when it is its turn: few at a time, and no endless queue."""
        if self._waiting >= MOST_WAITING:
            raise TooManyRequests("too many log-ins at once; try again", 1)
        address = self.address(caller)
        self._waiting += 1
        try:
            async with self._slots:
                return await logins.log_in(self._database, name, password, address)
        finally:
            self._waiting -= 1


def parse_basic(header: str) -> tuple[str, str]:
    """Return the user and the password out of an ``Authorization`` header (RFC 7617)."""
    scheme, _, value = header.partition(" ")
    if scheme.lower() != "basic":
        raise NotAuthenticated("the credentials understood here are Basic and Bearer ones")
    try:
        raw = base64.b64decode(value.strip(), validate=True)
    except ValueError:
        raise NotAuthenticated("these are no Basic credentials") from None
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")  # older clients
    name, colon, password = text.partition(":")
    if not colon:
        raise NotAuthenticated("these are no Basic credentials")
    return name, password


def parse_bearer(header: str) -> str | None:
    """Return the token in an ``Authorization`` header (RFC 6750), ``None`` in another scheme."""
    scheme, _, value = header.partition(" ")
    return value.strip()[:LONGEST] if scheme.lower() == "bearer" else None


def client_address(caller: Caller, proxies: Sequence[Network]) -> str:
    """Return the address that failed log-ins, say, count against; a whole /64 of IPv6 is one.

    ``X-Forwarded-For`` is believed from the right, as far as trusted proxies wrote it.
    """
    address = _parsed(caller.peer)
    for text in reversed(caller.forwarded.split(",")):
        if address is None or not any(address in network for network in proxies):
            break
        nearer = _parsed(text.strip())
        if nearer is None:
            break
        address = nearer
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False))
    return "unknown" if address is None else str(address)


def _parsed(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (address.version == 6 and address.ipv4_mapped) or address
