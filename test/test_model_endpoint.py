"""Signed endpoints: what a token permits, and that nothing else passes for one."""

from datetime import UTC, datetime, timedelta

import pytest

from pyvospace_ngas.errors import EndpointNotFound
from pyvospace_ngas.model.endpoint import (
    LONGEST,
    Endpoint,
    derive_key,
    endpoint_keys,
    read,
    sign,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
KEYS = endpoint_keys(["a secret of more than thirty-two characters", "the one before, also long"])
PUT = Endpoint("j1", "PUT", 2**62, NOW + timedelta(hours=1), 2**63 - 1)
GET = Endpoint("j2", "GET", 7, NOW + timedelta(seconds=1))


@pytest.mark.parametrize("endpoint", [PUT, GET])
@pytest.mark.parametrize("key", KEYS)
def test_any_of_our_keys_opens_what_it_signed(endpoint: Endpoint, key: bytes) -> None:
    assert read(sign(endpoint, key), KEYS, NOW) == endpoint


def test_a_token_stands_in_a_path_as_it_is() -> None:
    token = sign(PUT, KEYS[0])
    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    assert len(token) < LONGEST
    assert sign(PUT, KEYS[0]) == token


def test_every_changed_letter_spoils_it() -> None:
    token = sign(GET, KEYS[0])
    for place in range(len(token) - 1):  # the last letter has bits that carry nothing
        other = "A" if token[place] != "A" else "B"
        with pytest.raises(EndpointNotFound):
            read(token[:place] + other + token[place + 1 :], KEYS, NOW)


@pytest.mark.parametrize("token", ["", "x", "é", "....", "A" * 10_000, "=" * 9, "\x00", "AAAA="])
def test_nonsense_is_no_endpoint(token: str) -> None:
    with pytest.raises(EndpointNotFound):
        read(token, KEYS, NOW)


def test_a_stranger_cannot_sign() -> None:
    with pytest.raises(EndpointNotFound):
        read(sign(GET, derive_key("guess", "endpoint")), KEYS, NOW)


def test_a_key_serves_one_purpose() -> None:
    secret = "a secret of more than thirty-two characters"
    assert derive_key(secret, "endpoint") != derive_key(secret, "session")
    with pytest.raises(EndpointNotFound):
        read(sign(GET, derive_key(secret, "session")), KEYS, NOW)


def test_it_ends_with_its_time() -> None:
    token = sign(GET, KEYS[0])
    assert read(token, KEYS, GET.expires - timedelta(milliseconds=1)) == GET
    with pytest.raises(EndpointNotFound, match="expired"):
        read(token, KEYS, GET.expires)
