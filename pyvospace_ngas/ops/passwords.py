"""Passwords: argon2id hashes, made and checked off the event loop."""

import asyncio
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Final

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from pyvospace_ngas.model.account import LONGEST_PASSWORD

# OWASP's smallest setting: 19 MiB and about 22 ms each. Two at a time bound memory and CPU.
AT_ONCE: Final = 2
_HASHER: Final = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1, type=Type.ID)
_THREADS: Final = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="argon2")


async def hashed(password: str) -> str:
    """Return the hash to store of ``password``."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_THREADS, _HASHER.hash, _normal(password))


async def verify(stored: str | None, password: str) -> bool:
    """Tell whether ``password`` is the one of the hash ``stored``.

    Where nothing is stored the answer is no, but takes as long: how long it takes does not tell
    which users there are.
    """
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_THREADS, _verify, stored, password)


def _verify(stored: str | None, password: str) -> bool:
    decoy = _decoy()
    try:
        _HASHER.verify(decoy if stored is None else stored, _normal(password[:LONGEST_PASSWORD]))
    except (VerificationError, InvalidHashError):
        return False
    return stored is not None


@cache
def _decoy() -> str:
    return _HASHER.hash("nobody's")


def _normal(password: str) -> str:
    # The same letters in two forms of Unicode are one password (RFC 8265, OpaqueString).
    return unicodedata.normalize("NFC", password)
