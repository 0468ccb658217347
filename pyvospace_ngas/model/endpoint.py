"""Signed transfer endpoints: what one is good for, written into its own URL (decision 16)."""

import base64
import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from pyvospace_ngas.errors import EndpointNotFound

LONGEST: Final = 1024
_TAG: Final = 16  # bytes of the signature; forging one needs 2**128 tries


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One permission: this ``method`` on the bytes of this node, for this job, until ``expires``.

    ``size`` is the number of bytes that the client announced, if it did; ``view`` is the form that
    the bytes have, if it is one of our own views.
    """

    job_id: str
    method: str  # GET (and HEAD) or PUT
    node_id: int
    expires: datetime
    size: int | None = None
    view: str | None = None


def derive_key(secret: str, purpose: str) -> bytes:
    """Return the key that the text ``secret`` gives for one ``purpose`` (HKDF, RFC 5869)."""
    kdf = HKDF(
        algorithm=SHA256(), length=32, salt=None, info=b"pyvospace-ngas " + purpose.encode()
    )
    return kdf.derive(secret.encode())


def endpoint_keys(secrets: Sequence[str]) -> list[bytes]:
    """Return the signing keys of ``secrets``: the first one signs, any of them is accepted."""
    return [derive_key(secret, "endpoint") for secret in secrets]


def sign(endpoint: Endpoint, key: bytes) -> str:
    """Return the token of ``endpoint``: URL-safe text, the same each time."""
    fields = [
        endpoint.job_id,
        endpoint.method,
        endpoint.node_id,
        int(endpoint.expires.timestamp()),
        endpoint.size,
        *([] if endpoint.view is None else [endpoint.view]),
    ]
    payload = json.dumps(fields, separators=(",", ":")).encode()
    return _encode(payload + _tag(payload, key))


def read(token: str, keys: Sequence[bytes], now: datetime) -> Endpoint:
    """Return what ``token`` permits, or raise `EndpointNotFound` for any that is not good now."""
    try:
        raw = base64.urlsafe_b64decode(token[:LONGEST] + "=" * (-len(token) % 4))
    except ValueError:
        raise EndpointNotFound("this is no transfer endpoint") from None
    payload, tag = raw[:-_TAG], raw[-_TAG:]
    if not any(hmac.compare_digest(tag, _tag(payload, key)) for key in keys):
        raise EndpointNotFound("this is no transfer endpoint")
    job_id, method, node_id, expires, size, *view = json.loads(payload)
    endpoint = Endpoint(
        job_id,
        method,
        node_id,
        datetime.fromtimestamp(expires, UTC),
        size,
        view[0] if view else None,
    )
    if endpoint.expires <= now:
        raise EndpointNotFound("this transfer endpoint has expired; ask for a new one")
    return endpoint


def _tag(payload: bytes, key: bytes) -> bytes:
    return hmac.new(key, payload, hashlib.sha256).digest()[:_TAG]


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
