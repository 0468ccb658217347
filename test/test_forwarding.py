"""TLS for both servers, and URLs behind a proxy: what clients reach is what they are told."""

from pathlib import Path

import pytest
import stack
from aiohttp import ClientConnectorCertificateError, ClientSession, TCPConnector
from authority_support import certified
from stack import Caller

DATA = b"some bytes"
PROXY = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "vo.example.org"}


@pytest.mark.parametrize(
    ("keys", "headers", "base"),
    [
        ({}, {}, None),
        ({}, PROXY, None),  # from anybody it is not believed
        ({"trusted_proxies": "10.0.0.0/8"}, PROXY, None),
        ({"trusted_proxies": "127.0.0.0/8"}, PROXY, "https://vo.example.org"),
        ({"trusted_proxies": "10.0.0.0/8 127.0.0.1"}, PROXY, "https://vo.example.org"),
        (
            {"trusted_proxies": "127.0.0.1"},
            {"X-Forwarded-Proto": "https", "Host": "vo.example.org:444"},
            "https://vo.example.org:444",
        ),
        (
            {"trusted_proxies": "127.0.0.1"},
            {"X-Forwarded-Host": "evil.org, vo.example.org:81"},
            "http://vo.example.org:81",
        ),
        ({"trusted_proxies": "127.0.0.1"}, {"X-Forwarded-Host": "a/b"}, None),
        ({"trusted_proxies": "127.0.0.1"}, {"X-Forwarded-Host": 'a"><b'}, None),
        ({"trusted_proxies": "127.0.0.1"}, {}, None),
        (
            {"trusted_proxies": "127.0.0.1", "public_url": "https://space.icrar.org"},
            PROXY,
            "https://space.icrar.org",
        ),
    ],
)
async def test_urls_are_those_that_the_client_can_reach(
    dsn: str, tmp_path: Path, keys: dict[str, str], headers: dict[str, str], base: str | None
) -> None:
    sections = stack.settings(dsn, tmp_path, space={"aliases": "cadc.nrc.ca~ngas", **keys})
    config = stack.parsed(sections)
    root = f"http://127.0.0.1:{config.space.listen.port}"
    wanted = base or root
    await stack.add_user(dsn, "alice")
    async with stack.space_server(config), ClientSession() as http:
        alice = Caller(http, f"{root}/vospace", "alice")
        listed = await alice.get(f"{root}/reg/resource-caps", **headers)
        assert listed.headers["Content-Type"].startswith("text/plain")
        assert listed.text.splitlines() == [
            f"ivo://icrar.org/ngas = {wanted}/vospace/capabilities",
            f"ivo://cadc.nrc.ca/ngas = {wanted}/vospace/capabilities",
        ]
        shown = await alice.get("/auth/capabilities", **headers)
        assert f">{wanted}/vospace/auth/nodes<" in shown.text
        cookie = (await alice.request("POST", "/login", "", headers)).headers["Set-Cookie"]
        secure = wanted.startswith("https:")
        assert (cookie.startswith("__Host-"), "; Secure" in cookie) == (secure, secure)
        # The cookie is found again, and a page of that origin is one of ours.
        sent = {**headers, "Cookie": cookie.partition(";")[0], "Origin": wanted}
        assert (await alice(None).request("POST", "/tokens", "", sent)).status == 201


async def test_both_servers_speak_tls(dsn: str, tmp_path: Path) -> None:
    files = certified(tmp_path / "tls")
    await stack.add_user(dsn, "alice")
    async with (
        stack.whole_stack(
            dsn, tmp_path / "servers", 1, space=files.keys, storage=files.keys
        ) as running,
        ClientSession(connector=TCPConnector(ssl=files.trusting())) as http,
        ClientSession() as distrustful,
    ):
        assert running.url.startswith("https://localhost:")
        alice = Caller(http, running.url, "alice")
        endpoint = await alice.endpoint("/home/alice/f", "pushToVoSpace", "httpsput")
        assert endpoint.startswith(running.storage)
        assert running.storage.startswith("https://localhost:")
        assert (await alice.request("PUT", endpoint, DATA)).status == 201
        found = await alice.get("/files/home/alice/f")
        assert (await alice.get(found.location)).body == DATA
        cookie = (await alice.form("/login", "")).headers["Set-Cookie"]
        assert "Secure" in cookie
        with pytest.raises(ClientConnectorCertificateError):
            await Caller(distrustful, running.url).get("/capabilities")
