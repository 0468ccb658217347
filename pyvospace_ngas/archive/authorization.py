"""Who may run which command: HTTP's Basic scheme against the users of the configuration.

A password that is kept as its hash costs some 20 ms of a core to check. So it is checked in a few
threads, what was right stays known for a while, and when too many checks wait, more are turned
away: guessing does not keep those out who are known.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import logging
import secrets
import time
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from aiohttp import web
from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from pyvospace_ngas.archive.parameters import CREDENTIAL
from pyvospace_ngas.archive.refusals import Refused
from pyvospace_ngas.archive.settings.serving import HASHED, Authorization, User

log = logging.getLogger(__name__)

# OWASP's smallest setting: 19 MiB each. Two at a time bound memory and CPU.
HASHER: Final = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1, type=Type.ID)
THREADS: Final = ThreadPoolExecutor(2, thread_name_prefix="argon2")
WAITING: Final = 32  # checks at once, those that wait included
KNOWN_SECONDS: Final = 300.0
MOST_KNOWN: Final = 1024
LONGEST_PASSWORD: Final = 1024


@dataclass(frozen=True, slots=True)
class Credential:
    """What a request says of who sends it."""

    name: str
    password: str


class Gate:
    """Lets requests through as one configuration says; a new configuration is a new gate."""

    def __init__(self, settings: Authorization) -> None:
        self._settings = settings
        self._hashes = [
            user.password for user in settings.users.values() if user.password.startswith(HASHED)
        ]
        self._key = secrets.token_bytes(32)
        self._known: dict[bytes, float] = {}  # marks of right credentials, with their end
        self._checking = 0

    async def admit(self, request: web.Request, command: str) -> None:
        """Refuse the request unless its user may run the command; its body is not touched."""
        settings = self._settings
        if not settings.enabled or command in settings.excluded:
            return
        credential = read(request)
        user = settings.users.get(credential.name)
        if not await self._is_right(user, credential):
            # Not the name: it may be a password in the wrong place.
            log.warning("a wrong name or password came from %s", request.remote)
            raise _unknown("Unauthorized request received")
        if user is None or not user.may(command):
            raise Refused("Unauthorized access denied", 403, close=True)

    async def _is_right(self, user: User | None, credential: Credential) -> bool:
        if not self._hashes:
            return _same(user, credential.password)
        mark = self._mark(credential)
        if self._known.get(mark, 0.0) > time.monotonic():
            return True
        if self._checking >= WAITING:
            raise Refused("This node is checking as many passwords as it can.", 503, close=True)
        self._checking += 1
        try:
            loop = asyncio.get_running_loop()
            right = await loop.run_in_executor(THREADS, self._check, user, credential.password)
        finally:
            self._checking -= 1
        if right:
            self._remember(mark)
        return right

    def _check(self, user: User | None, password: str) -> bool:
        """Check one hash in any case: how long it takes does not tell which users there are."""
        if user is not None and user.password.startswith(HASHED):
            return _matches(user.password, password)
        right = _same(user, password)
        _matches(self._hashes[0], password)
        return right

    def _mark(self, credential: Credential) -> bytes:
        text = f"{len(credential.name)}:{credential.name}{credential.password}"
        return hmac.digest(self._key, text.encode("utf-8", "surrogatepass"), "sha256")

    def _remember(self, mark: bytes) -> None:
        self._known.pop(mark, None)
        if len(self._known) >= MOST_KNOWN:
            del self._known[next(iter(self._known))]  # the oldest
        self._known[mark] = time.monotonic() + KNOWN_SECONDS


def read(request: web.Request) -> Credential:
    """Return the credential of the header or, as NGAS has it, of the query."""
    value = request.headers.get("Authorization") or request.query.get(CREDENTIAL)
    if not value:
        raise _unknown("Unauthorized request received")
    scheme, _, token = value.partition(" ")
    if scheme.lower() != "basic":
        raise _unknown(f"Invalid authentication scheme: {scheme[:32]}")
    token = token.strip().replace(" ", "+")  # what a query makes of a plus
    try:
        text = base64.b64decode(token, validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        raise _unknown("Unauthorized request received") from None
    name, _, password = text.partition(":")
    return Credential(name, password[:LONGEST_PASSWORD])


def hashed(password: str) -> str:
    """Return what may stand for a password in the configuration."""
    return HASHER.hash(_normal(password))


def _same(user: User | None, password: str) -> bool:
    """Compare in a time that tells nothing, not even how long the right password is."""
    right = "" if user is None else user.password
    equal = hmac.compare_digest(_digest(right), _digest(password))
    return equal and user is not None


def _digest(password: str) -> bytes:
    return hashlib.sha256(_normal(password).encode("utf-8", "surrogatepass")).digest()


def _matches(stored: str, password: str) -> bool:
    try:
        return HASHER.verify(stored, _normal(password))
    except (VerificationError, InvalidHashError):
        return False


def _normal(password: str) -> str:
    # The same letters in two forms of Unicode are one password (RFC 8265, OpaqueString).
    return unicodedata.normalize("NFC", password)


def _unknown(message: str) -> Refused:
    return Refused(message, 401, close=True)
