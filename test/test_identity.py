"""Who calls: Basic, sessions, throttling, forged requests; several servers on one database."""

import asyncio
import base64
import ipaddress
import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import ClientSession, CookieJar, encode_basic_auth
from login_support import serve, settings

from pyvospace_ngas.db.connect import Database
from pyvospace_ngas.errors import NotAuthenticated, PermissionDenied, TooManyRequests
from pyvospace_ngas.http import credentials
from pyvospace_ngas.http.credentials import Caller, client_address, parse_basic
from pyvospace_ngas.http.identity import cookie_rule
from pyvospace_ngas.http.safety import Provenance, check_forgery, origin_of, provenance
from pyvospace_ngas.ops import accounts, logins, passwords, sessions

PASSWORD = "correct horse"


def basic(name: str, password: str) -> dict[str, str]:
    return {"Authorization": encode_basic_auth(name, password)}


ANN = basic("ann", PASSWORD)
WRONG = basic("ann", "wrong horse")
OURS, FOREIGN, UNSAID = Provenance.OURS, Provenance.FOREIGN, Provenance.UNSAID


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    """A database with the user ann."""
    async with Database(dsn, 2) as database:
        async with database.acquire() as db:
            await accounts.add(db, "ann", PASSWORD, groups=("staff",))
        yield database


@pytest.fixture
async def http() -> AsyncIterator[ClientSession]:
    async with ClientSession(cookie_jar=CookieJar(unsafe=True)) as session:
        yield session


async def who(http: ClientSession, url: str, **options: Any) -> str | None:
    async with http.get(f"{url}/who", **options) as answer:
        if answer.status != 200:
            return await answer.text()
        told = await answer.json()
        user: str | None = told["user"]
        assert answer.headers.get("X-VO-Authenticated") == user
        return user


async def log_in(http: ClientSession, url: str, **options: Any) -> int:
    async with http.post(f"{url}/login", **options) as answer:
        return answer.status


# Basic


async def test_basic_tells_who_calls_with_every_request(
    http: ClientSession, dsn: str, database: Database
) -> None:
    async with serve(dsn, aliases="example.org~other") as url:
        assert await who(http, url) is None
        assert await who(http, url, headers=ANN) == "ann"
        async with http.put(f"{url}/who", headers=ANN) as answer:
            groups = (await answer.json())["groups"]
        assert groups == "ivo://example.org/gms?staff,ivo://icrar.org/gms?staff,staff"


@pytest.mark.parametrize(
    "header",
    [
        "Basic " + base64.b64encode(b"ann:wrong horse").decode(),
        "Basic " + base64.b64encode(b"nobody:correct horse").decode(),
        "Basic " + base64.b64encode(b"a\0nn:correct horse").decode(),
        "Basic " + base64.b64encode(b"ann").decode(),
        "Basic ann:correct horse",
        "Basic",
        "Bearer something",
    ],
)
async def test_wrong_credentials_are_refused_with_a_challenge(
    http: ClientSession, dsn: str, database: Database, header: str
) -> None:
    async with (
        serve(dsn) as url,
        http.get(f"{url}/who", headers={"Authorization": header}) as answer,
    ):
        assert answer.status == 401
        assert (await answer.text()).startswith("NotAuthenticated ")
        assert answer.headers["WWW-Authenticate"].startswith('Basic realm="icrar.org~ngas"')


async def test_an_unknown_user_and_a_wrong_password_get_the_same_answer(
    http: ClientSession, dsn: str, database: Database
) -> None:
    async with serve(dsn) as url:
        told = {
            await who(http, url, headers=WRONG),
            await who(http, url, headers=basic("nobody", PASSWORD)),
        }
    assert told == {"NotAuthenticated the user or the password is wrong"}


async def test_only_an_anonymous_caller_is_asked_to_log_in_by_a_403(
    http: ClientSession, dsn: str, database: Database
) -> None:
    async with serve(dsn) as url:
        async with http.get(f"{url}/forbidden") as answer:
            assert (answer.status, "WWW-Authenticate" in answer.headers) == (403, True)
        async with http.get(f"{url}/forbidden", headers=ANN) as answer:
            assert (answer.status, "WWW-Authenticate" in answer.headers) == (403, False)


async def test_a_verified_header_is_not_hashed_again(
    http: ClientSession, dsn: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed = count_verifications(monkeypatch)
    async with serve(dsn, staleness=0) as url:  # every request looks the account up again
        for _ in range(3):
            assert await who(http, url, headers=ANN) == "ann"
        async with database.acquire() as db:
            await accounts.set_groups(db, "ann", ["others"])
        async with http.get(f"{url}/who", headers=ANN) as answer:
            assert "others" in (await answer.json())["groups"]
    assert hashed == ["ann"]


async def test_of_many_first_requests_one_checks_the_password(
    http: ClientSession, dsn: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed = count_verifications(monkeypatch)
    async with serve(dsn) as url:
        users = await asyncio.gather(*(who(http, url, headers=ANN) for _ in range(20)))
    assert users == ["ann"] * 20
    assert hashed == ["ann"]


async def test_no_endless_queue_of_passwords_is_checked(
    http: ClientSession, dsn: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "MOST_WAITING", 0)
    async with serve(dsn) as url, http.get(f"{url}/who", headers=ANN) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (429, "1")


def count_verifications(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that grows with each password that is really checked."""
    names: list[str] = []
    original = logins.log_in

    async def counting(database: Database, name: str, password: str, address: str) -> Any:
        names.append(name)
        return await original(database, name, password, address)

    monkeypatch.setattr(logins, "log_in", counting)
    return names


async def test_a_header_is_remembered_for_as_long_as_is_promised_and_no_longer(
    http: ClientSession, dsn: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(credentials, "monotonic", lambda: clock[0])
    async with serve(dsn) as one, serve(dsn) as other:
        assert await who(http, one, headers=ANN) == await who(http, other, headers=ANN) == "ann"
        async with database.acquire() as db:
            await accounts.set_password(db, "ann", "another horse")
        clock[0] += credentials.STALENESS - 0.1
        assert await who(http, one, headers=ANN) == "ann"
        clock[0] += 0.1
        for url in (one, other):
            assert "NotAuthenticated" in str(await who(http, url, headers=ANN))
            assert await who(http, url, headers=basic("ann", "another horse")) == "ann"


async def test_a_user_who_was_removed_and_added_anew_needs_the_new_password(
    http: ClientSession, dsn: str, database: Database
) -> None:
    async with serve(dsn, staleness=0) as url:
        assert await who(http, url, headers=ANN) == "ann"
        async with database.acquire() as db:
            await accounts.remove(db, "ann")
        assert "NotAuthenticated" in str(await who(http, url, headers=ANN))
        async with database.acquire() as db:
            await accounts.add(db, "ann", "another horse")
        assert "NotAuthenticated" in str(await who(http, url, headers=ANN))


async def test_no_more_headers_are_remembered_than_is_stated(
    dsn: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "REMEMBERED", 1)
    known = credentials.Identities(settings().space, database)
    for case in ("Basic", "basic", "BASIC"):
        header = f"{case} {base64.b64encode(f'ann:{PASSWORD}'.encode()).decode()}"
        assert (await known.by_basic(header, Caller("::1"))).user == "ann"
    assert len(known._known) == 1


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"ann:pass:word", ("ann", "pass:word")),
        ("änn:pässword".encode(), ("änn", "pässword")),
        ("änn:pässword".encode("latin-1"), ("änn", "pässword")),
        (b":", ("", "")),
    ],
)
def test_basic_credentials_are_read(raw: bytes, expected: tuple[str, str]) -> None:
    assert parse_basic("Basic " + base64.b64encode(raw).decode()) == expected


async def test_two_forms_of_the_same_letters_are_one_password() -> None:
    stored = await passwords.hashed("pa\u0308ssword")
    assert await passwords.verify(stored, "p\u00e4ssword")
    assert not await passwords.verify(stored, "passsword")
    assert not await passwords.verify(None, "p\u00e4ssword")
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")


# Throttling


async def test_guessing_is_slowed_down_at_every_server_even_with_the_right_password(
    http: ClientSession, dsn: str, database: Database
) -> None:
    async with serve(dsn) as one, serve(dsn) as other:
        for _ in range(logins.FREE_OF_USER):
            assert "NotAuthenticated" in str(await who(http, one, headers=WRONG))
        await stretch_pause(database, "user ann")
        for url in (one, other):
            async with http.get(f"{url}/who", headers=ANN) as answer:
                assert answer.status == 429
                assert 1 <= int(answer.headers["Retry-After"]) <= 3601
        await end_pauses(database)
        assert await who(http, other, headers=ANN) == "ann"
        # A success forgives the user, not the address.
        async with database.acquire() as db:
            left = await db.fetch("select subject, count from login_failure")
    assert [(row["subject"], row["count"]) for row in left] == [("address 127.0.0.1", 5)]


async def stretch_pause(database: Database, subject: str) -> None:
    """Make the pause that there is last an hour, so that no test has to be quick."""
    async with database.acquire() as db:
        stretched = await db.execute(
            "update login_failure set until = now() + interval '1 hour'"
            " where subject = $1 and until > now() - interval '1 minute' and count >= 5",
            subject,
        )
    assert stretched == "UPDATE 1"


async def end_pauses(database: Database) -> None:
    async with database.acquire() as db:
        await db.execute("update login_failure set until = now()")


async def test_a_pause_doubles_to_a_minute_and_is_forgotten_in_the_end(
    database: Database,
) -> None:
    lengths = []
    for _ in range(13):
        with pytest.raises(NotAuthenticated):
            await logins.log_in(database, "ann", "wrong horse", "192.0.2.1")
        async with database.transaction() as db:
            lengths.append(
                await db.fetchval(
                    "update login_failure set until = now() from login_failure as before"
                    " where before.subject = login_failure.subject"
                    " and before.subject = 'user ann'"
                    " returning round(extract(epoch from before.until - now()))::int"
                )
            )
            await db.execute("delete from login_failure where subject <> 'user ann'")
    assert lengths[4:] == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert all(length <= 0 for length in lengths[:4])
    async with database.acquire() as db:
        await db.execute("update login_failure set until = now() - interval '16 minutes'")
    with pytest.raises(NotAuthenticated):
        await logins.log_in(database, "ann", "wrong horse", "192.0.2.1")
    async with database.acquire() as db:
        assert set(await counts(database)) == {1}


async def counts(database: Database) -> list[int]:
    async with database.acquire() as db:
        return [row["count"] for row in await db.fetch("select count from login_failure")]


async def test_an_address_that_tries_many_names_is_slowed_down(database: Database) -> None:
    for number in range(logins.FREE_OF_ADDRESS):
        with pytest.raises(NotAuthenticated):
            await logins.log_in(database, f"user{number}", PASSWORD, "192.0.2.1")
    await stretch_pause(database, "address 192.0.2.1")
    with pytest.raises(TooManyRequests):
        await logins.log_in(database, "ann", PASSWORD, "192.0.2.1")
    assert (await logins.log_in(database, "ann", PASSWORD, "192.0.2.2")).name == "ann"


async def test_one_who_knows_the_password_gets_in_while_others_guess(
    http: ClientSession, dsn: str, database: Database
) -> None:
    async with serve(dsn) as url:
        assert await who(http, url, headers=ANN) == "ann"
        for _ in range(logins.FREE_OF_USER):
            await who(http, url, headers=WRONG)
        await stretch_pause(database, "user ann")
        assert await who(http, url, headers=ANN) == "ann"  # remembered: no password is checked


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("192.0.2.1", "", "192.0.2.1"),
        ("192.0.2.1", "198.51.100.7", "192.0.2.1"),
        ("10.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", "203.0.113.5, 198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", "203.0.113.5, 198.51.100.7, 10.0.0.2", "198.51.100.7"),
        ("10.0.0.1", "nonsense", "10.0.0.1"),
        ("::ffff:10.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("2001:db8::1:2:3:4", "", "2001:db8::/64"),
        ("fe80::1%eth0", "", "fe80::/64"),
        ("", "198.51.100.7", "unknown"),
    ],
)
def test_only_trusted_proxies_are_believed(peer: str, forwarded: str, expected: str) -> None:
    proxies = [ipaddress.ip_network("10.0.0.0/8")]
    assert client_address(Caller(peer, forwarded), proxies) == expected


# Sessions


async def test_a_log_out_ends_the_session_at_another_server(
    http: ClientSession, dsn: str, database: Database
) -> None:
    async with serve(dsn) as one, serve(dsn) as other:
        assert await log_in(http, one, headers=ANN) == 200
        assert await who(http, one) == await who(http, other) == "ann"
        kept = {cookie.key: cookie.value for cookie in http.cookie_jar}
        async with http.post(f"{one}/logout", headers={"Origin": one}) as answer:
            assert answer.status == 200
        assert not list(http.cookie_jar)
        for url in (one, other):
            assert await who(http, url, cookies=kept) is None


async def test_the_cookie_is_random_and_only_its_hash_is_stored(
    http: ClientSession, dsn: str, database: Database
) -> None:
    async with serve(dsn) as url:
        async with http.post(f"{url}/vospace/login", headers=ANN) as answer:
            cookie = answer.cookies["ngas_session"]
            first = cookie.value
        assert len(first) >= 43
        assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Lax", "/")
        assert await log_in(http, url, headers=ANN) == 200
        second = next(iter(http.cookie_jar)).value
    assert first != second
    async with database.acquire() as db:
        rows = await db.fetch("select id, account from session")
    assert [row["account"] for row in rows] == ["ann"]  # the new session took the old one's place
    assert second.encode() not in rows[0]["id"]


async def test_a_form_logs_in_as_well(http: ClientSession, dsn: str, database: Database) -> None:
    async with serve(dsn) as url:
        form = {"user": "ann", "password": PASSWORD}
        assert await log_in(http, url, data=form, headers={"Origin": "http://evil.test"}) == 403
        assert await log_in(http, url, data=form | {"password": "no"}) == 401
        assert await log_in(http, url, data={"user": "ann"}) == 401
        assert await log_in(http, url, json=form) == 401
        assert await log_in(http, url) == 401
        assert await who(http, url) is None
        assert await log_in(http, url, data=form, headers={"Origin": url}) == 200
        assert await who(http, url) == "ann"
        assert await log_in(http, url, headers={"Origin": url}) == 401  # by the cookie alone


@pytest.mark.parametrize("how", ["passwd", "remove", "idle", "old"])
async def test_a_session_ends(http: ClientSession, dsn: str, database: Database, how: str) -> None:
    async with serve(dsn) as url:
        assert await log_in(http, url, headers=ANN) == 200
        async with database.acquire() as db:
            if how == "passwd":
                await accounts.set_password(db, "ann", "another horse")
            elif how == "remove":
                await accounts.remove(db, "ann")
            elif how == "idle":
                await db.execute("update session set used = now() - $1::interval", sessions.IDLE)
            else:
                await db.execute("update session set expires = now()")
        assert await who(http, url) is None
        async with database.acquire() as db:
            await sessions.sweep(db)
            assert await db.fetchval("select count(*) from session") == 0


async def test_use_keeps_a_session_from_falling_idle(
    http: ClientSession, dsn: str, database: Database
) -> None:
    async with serve(dsn) as url:
        assert await log_in(http, url, headers=ANN) == 200
        nearly = sessions.IDLE - timedelta(minutes=1)
        for _ in range(3):
            async with database.acquire() as db:
                await db.execute("update session set used = now() - $1::interval", nearly)
            assert await who(http, url) == "ann"
        async with database.acquire() as db:
            await sessions.sweep(db)
            recent = "select used > now() - interval '1 hour' from session"
            assert await db.fetchval(recent) is True


async def test_a_user_has_a_bounded_number_of_sessions(database: Database) -> None:
    async with database.acquire() as db:
        cookies = [await sessions.begin(db, "ann") for _ in range(sessions.MOST + 2)]
        assert await db.fetchval("select count(*) from session") == sessions.MOST
        assert await sessions.find(db, cookies[0]) is None
        assert await sessions.find(db, cookies[-1]) is not None


@pytest.mark.parametrize(
    ("keys", "name", "secure", "domain"),
    [
        ({}, "ngas_session", False, None),
        ({"public_url": "https://space.icrar.org"}, "__Host-ngas_session", True, None),
        (
            {"public_url": "https://space.icrar.org", "domain": "icrar.org"},
            "ngas_session",
            True,
            "icrar.org",
        ),
    ],
)
def test_the_cookie_is_as_strict_as_the_configuration_allows(
    keys: dict[str, str], name: str, secure: bool, domain: str | None
) -> None:
    config = settings(**keys).space
    rule = cookie_rule(config, config.listen.public_url)
    assert (rule.name, rule.secure, rule.domain) == (name, secure, domain)


async def test_over_https_the_cookie_is_secure(
    http: ClientSession, dsn: str, database: Database
) -> None:
    public_url = "https://space.icrar.org"
    async with (
        serve(dsn, public_url=public_url, domain="icrar.org") as url,
        http.post(f"{url}/login", headers=ANN) as answer,
    ):
        written = answer.headers["Set-Cookie"]
    assert "; Secure" in written
    assert "Domain=icrar.org" in written


# Forged requests


@pytest.mark.parametrize(
    ("origin", "site", "expected"),
    [
        (None, None, UNSAID),
        ("http://localhost:8082", None, OURS),
        ("HTTP://LOCALHOST:8082", None, OURS),
        ("http://localhost:8083", None, FOREIGN),
        ("https://localhost:8082", None, FOREIGN),
        ("http://localhost:8082.evil.test", None, FOREIGN),
        ("null", None, FOREIGN),
        ("", None, FOREIGN),
        (None, "same-origin", OURS),
        ("http://localhost:8082", "same-origin", OURS),
        (None, "none", OURS),
        ("http://localhost:8082", "none", FOREIGN),
        ("http://evil.test", "none", FOREIGN),
        (None, "same-site", FOREIGN),
        (None, "cross-site", FOREIGN),
        ("http://localhost:8082", "cross-site", FOREIGN),
        (None, "rubbish", FOREIGN),
    ],
)
def test_a_request_tells_whose_page_sent_it(
    origin: str | None, site: str | None, expected: Provenance
) -> None:
    assert provenance(origin, site, {"http://localhost:8082"}) is expected


@pytest.mark.parametrize(
    ("method", "source", "by_cookie", "allowed"),
    [
        ("GET", FOREIGN, True, True),
        ("HEAD", UNSAID, True, True),
        ("OPTIONS", FOREIGN, True, True),
        ("PUT", OURS, True, True),
        ("PUT", UNSAID, True, False),
        ("PUT", FOREIGN, True, False),
        ("POST", UNSAID, True, False),
        ("DELETE", FOREIGN, False, False),
        ("DELETE", UNSAID, False, True),
        ("DELETE", OURS, False, True),
    ],
)
def test_a_change_must_not_be_forged(
    method: str, source: Provenance, by_cookie: bool, allowed: bool
) -> None:
    if allowed:
        check_forgery(method, source, by_cookie=by_cookie)
    else:
        with pytest.raises(PermissionDenied):
            check_forgery(method, source, by_cookie=by_cookie)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://Space.icrar.org/base", "https://space.icrar.org"),
        ("https://space.icrar.org:443", "https://space.icrar.org"),
        ("http://space.icrar.org:80/", "http://space.icrar.org"),
        ("http://[::1]:8082", "http://[::1]:8082"),
    ],
)
def test_the_origin_of_a_url(url: str, expected: str) -> None:
    assert origin_of(url) == expected


async def test_a_change_with_a_cookie_needs_our_own_origin(
    http: ClientSession, dsn: str, database: Database
) -> None:
    async with serve(dsn) as url:
        assert await log_in(http, url, headers=ANN) == 200
        for headers, status in (
            ({}, 403),
            ({"Origin": "http://evil.test"}, 403),
            ({"Sec-Fetch-Site": "same-site"}, 403),
            ({"Sec-Fetch-Site": "same-origin"}, 200),
            ({"Origin": url}, 200),
            ({"Origin": "http://localhost:8082"}, 200),  # public_url
        ):
            async with http.put(f"{url}/who", headers=headers) as answer:
                assert answer.status == status, headers
        async with http.put(f"{url}/who", headers=ANN) as answer:
            assert answer.status == 200
        forged = ANN | {"Origin": "http://evil.test"}
        async with http.put(f"{url}/who", headers=forged) as answer:
            assert answer.status == 403


async def test_no_secret_reaches_a_log(
    http: ClientSession, dsn: str, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        async with serve(dsn) as url:
            assert await log_in(http, url, headers=ANN) == 200
            cookie = next(iter(http.cookie_jar)).value
            assert await who(http, url) == "ann"
            await who(http, url, headers=WRONG)
            await who(http, url, headers=basic("my-secret-password", ""))
            await log_in(http, url, data={"user": "ann", "password": "form-secret"})
    text = "\n".join(record.getMessage() for record in caplog.records)
    assert "failed log-in as ann from 127.0.0.1" in text
    for secret in (PASSWORD, "wrong horse", "form-secret", "my-secret-password", cookie, "Basic "):
        assert secret not in text
