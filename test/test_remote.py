"""The client that calls others: patience, pinned addresses, TLS, peers that misbehave."""

import asyncio
import datetime
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import peer as peers
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from peer import DATA, Peer
from stack import CORE

from pyvospace_ngas.model.addresses import read_allowed
from pyvospace_ngas.model.transfer import Protocol
from pyvospace_ngas.storage.digests import Expected
from pyvospace_ngas.storage.remote import EndpointFailed, Limits, Remote

pytestmark = pytest.mark.row("PTV-11")
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    async with peers.running_peer() as running:
        yield running


def remote(*allowed: str, idle: float = 30.0, largest: int = 0) -> Remote:
    return Remote([read_allowed(word) for word in allowed], Limits(10.0, idle, 60.0, largest))


def protocol(url: str, name: str = "httpget") -> Protocol:
    return Protocol(CORE + name, url)


async def fetched(rules: Remote, url: str) -> bytes:
    async with rules.fetch(protocol(url)) as got:
        return b"".join([piece async for piece in got.pieces])


async def sent(rules: Remote, url: str, data: bytes, pieces: int = 4) -> Expected:
    async def body() -> AsyncIterator[bytes]:
        size = -(-len(data) // pieces)
        for start in range(0, len(data), size):
            yield data[start : start + size]

    return await rules.send(protocol(url, "httpput"), len(data), {}, body())


@asynccontextmanager
async def bare(serve: Serve) -> AsyncIterator[str]:
    """Run a server that speaks for itself; give its URL."""
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await serve(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def names(*answers: Sequence[str]) -> Callable[..., Any]:
    """Return a getaddrinfo that gives one list of addresses after the other."""
    left = list(answers)

    async def getaddrinfo(host: str, port: int, **_: object) -> list[tuple[Any, ...]]:
        if len(left) == 0:
            raise socket.gaierror("asked once too often")
        family = {4: socket.AF_INET, 6: socket.AF_INET6}
        return [
            (family[ipaddress.ip_address(one).version], socket.SOCK_STREAM, 6, "", (one, port))
            for one in left.pop(0)
        ]

    return getaddrinfo


async def test_a_name_is_resolved_once_and_called_where_it_was_checked(
    peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        asyncio.get_running_loop(), "getaddrinfo", names(["127.0.0.1"], ["169.254.169.254"])
    )
    rules = remote(f"data.example.org:{peer.port}")
    assert await fetched(rules, peer.url("file", "data.example.org")) == DATA
    assert peer.headers[0]["Host"] == f"data.example.org:{peer.port}"
    with pytest.raises(EndpointFailed):
        await fetched(remote(f"127.0.0.1:{peer.port}"), peer.url("file", "data.example.org"))
    assert len(peer.log) == 1


async def test_one_private_address_among_public_ones_is_enough_to_refuse(
    peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        asyncio.get_running_loop(), "getaddrinfo", names(["127.0.0.1", "10.0.0.1"])
    )
    with pytest.raises(EndpointFailed, match="third-party"):
        await fetched(remote(f"127.0.0.1:{peer.port}"), peer.url("file", "data.example.org"))
    assert peer.log == []


async def test_a_number_that_stands_for_loopback_is_not_called(peer: Peer) -> None:
    rules = remote()
    for host in ("2130706433", "0x7f000001", "0177.0.0.1", "127.1", "localhost", "LOCALHOST."):
        with pytest.raises(EndpointFailed):
            await fetched(rules, f"http://{host}:80/file")
        with pytest.raises(EndpointFailed):
            await fetched(rules, peer.url("file", host))
    assert peer.log == []


async def test_closed_open_and_silent_ports_look_the_same(peer: Peer) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 smtp.internal ready\r\n")
        await writer.drain()

    rules = Remote([read_allowed("127.0.0.1:*")], Limits(0.3, 0.3, 60.0))
    reasons = set()
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        urls = [f"http://127.0.0.1:{closed.getsockname()[1]}/"]
        async with bare(silent) as one, bare(rude) as other:
            for url in (*urls, one, other):
                with pytest.raises(EndpointFailed) as failure:
                    await fetched(rules, url)
                reasons.add(str(failure.value))
                with pytest.raises(EndpointFailed) as failure:
                    await sent(rules, url, DATA)
                reasons.add(str(failure.value))
    assert len(reasons) == 1


async def test_a_peer_that_stops_in_the_middle_is_left(peer: Peer) -> None:
    rules = remote(f"127.0.0.1:{peer.port}", idle=0.3)
    with pytest.raises(EndpointFailed, match="broke off"):
        await fetched(rules, peer.url("slow"))
    await peer.gone.wait()


async def test_a_peer_that_stops_reading_is_left() -> None:
    async def stuck(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.Event().wait()

    async with bare(stuck) as url:
        with pytest.raises(EndpointFailed, match="no usable answer"):
            await sent(remote("127.0.0.1:*", idle=0.3), url, bytes(32 * 2**20), 200)


async def test_an_answer_before_the_end_of_a_file_is_no_success() -> None:
    async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
        await asyncio.sleep(10)

    async with bare(early) as url:
        with pytest.raises(EndpointFailed, match="before it had the whole file"):
            await sent(remote("127.0.0.1:*"), url, bytes(32 * 2**20), 200)


async def test_a_limit_holds_for_bodies_of_any_kind(peer: Peer) -> None:
    rules = remote(f"127.0.0.1:{peer.port}", largest=len(DATA))
    assert await fetched(rules, peer.url("chunked")) == DATA
    for name in ("large", "large-chunked"):
        with pytest.raises(EndpointFailed, match="more than the"):
            await fetched(rules, peer.url(name))


def certificate(folder: Path, name: str) -> Path:
    """Write a certificate that nobody trusts, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path = folder / "tls.pem"
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


async def test_tls_is_asked_for_by_name_and_an_untrusted_certificate_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str | None] = []

    def note(_: ssl.SSLObject, name: str | None, __: ssl.SSLContext) -> None:
        asked.append(name)

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate(tmp_path, "data.example.org"))
    context.sni_callback = note
    server = await asyncio.start_server(lambda _, w: w.close(), "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", names(["127.0.0.1"]))
    try:
        with pytest.raises(EndpointFailed):
            await fetched(remote("data.example.org:*"), f"https://data.example.org:{port}/x")
    finally:
        server.close()
    assert asked == ["data.example.org"]
