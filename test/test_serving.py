"""What the server commands share, tried as processes: sockets, TLS, signals, messages."""

import asyncio
import datetime
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from ports import free_port

from pyvospace_ngas.cli import serving
from pyvospace_ngas.cli.serving import CannotServe

KEY = "another key of thirty-two letters"
SERVER = """
import asyncio, sys
from aiohttp import web
from pyvospace_ngas.cli import serving

async def hello(request):
    return web.Response(text="hello")

async def slow(request):
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"begun ")
    await asyncio.sleep(0.5)
    await response.write(b"and ended")
    return response

async def waits_for_ever(app):
    print("waiting", file=sys.stderr)
    await asyncio.Event().wait()
    yield

def create_app(config):
    app = web.Application()
    app.add_routes([web.get("/", hello), web.get("/slow", slow)])
    if config.space.delete_limit == 1:
        app.cleanup_ctx.append(waits_for_ever)
    return app

sys.exit(serving.main(None, "Space", create_app, lambda config: config.space.listen))
"""


def write_ini(home: Path, port: int, *lines: str, key: str = KEY, host: str = "localhost") -> Path:
    ini = home / "site.ini"
    ini.write_text(
        "\n".join(
            [
                "[Space]",
                *(f"host = {host}", f"port = {port}", "name = ngas", "uri = icrar.org"),
                *("dsn = postgres://a:b@localhost/c", f"secret_key = {key}", *lines),
                "[Storage]",
                *("name = ngas", "host = localhost", "port = 8083"),
                'ngas_servers = [{"hostname": "localhost", "port": 7777}]',
            ]
        )
    )
    return ini


@asynccontextmanager
async def server(ini: Path, until: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the small server until it logged ``until``."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SERVER, "--cfg", str(ini)), stderr=subprocess.PIPE
    )
    try:
        assert process.stderr is not None
        said = ""
        while until not in said:
            line = (await process.stderr.readline()).decode()
            assert line, said
            said += line
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def run(ini: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", SERVER, "--cfg", str(ini)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def certificate(home: Path, password: bytes | None = None) -> tuple[Path, Path]:
    """Write a certificate for localhost and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password is not None:
        encryption = serialization.BestAvailableEncryption(password)
    files = home / "cert.pem", home / "key.pem"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
        )
    )
    return files


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_lets_a_request_finish_and_ends_the_server(
    tmp_path: Path, number: signal.Signals
) -> None:
    port = free_port()
    async with (
        server(write_ini(tmp_path, port), f"ready at http://localhost:{port}") as process,
        aiohttp.ClientSession() as session,
        session.get(f"http://localhost:{port}/slow") as answer,
    ):
        assert await answer.content.readexactly(6) == b"begun "
        process.send_signal(number)
        assert await answer.content.read() == b"and ended"
        assert await process.wait() == 0


async def test_a_signal_ends_a_server_that_still_waits_for_its_database(tmp_path: Path) -> None:
    ini = write_ini(tmp_path, free_port(), "delete_limit = 1")
    async with server(ini, "waiting") as process:
        process.terminate()
        assert await process.wait() == 0


async def test_localhost_is_every_loopback_address_of_the_machine(tmp_path: Path) -> None:
    port = free_port()
    families = {found[0] for found in socket.getaddrinfo("localhost", None)}
    async with server(write_ini(tmp_path, port), "ready"):
        for family in families:
            with socket.socket(family) as probe:
                probe.connect(("::1" if family == socket.AF_INET6 else "127.0.0.1", port))


async def test_tls_is_what_use_ssl_says(tmp_path: Path) -> None:
    port = free_port()
    cert, key = certificate(tmp_path)
    lines = ("use_ssl = 1", f"cert_file = {cert}", f"key_file = {key}")
    trusting = ssl.create_default_context(cafile=str(cert))
    async with (
        server(write_ini(tmp_path, port, *lines), f"ready at https://localhost:{port}"),
        aiohttp.ClientSession() as session,
        session.get(f"https://localhost:{port}/", ssl=trusting) as answer,
    ):
        assert await answer.text() == "hello"


def test_a_certificate_that_cannot_be_used_is_named_without_a_prompt(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path, b"a password")
    lines = ("use_ssl = 1", f"cert_file = {cert}", f"key_file = {key}")
    done = run(write_ini(tmp_path, free_port(), *lines))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "key_file is encrypted" in done.stderr
    key.write_text("no key")
    done = run(write_ini(tmp_path, free_port(), *lines))
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("ngas_space: [Space] cert_file and key_file: ")


def test_a_port_in_use_is_one_clear_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run(write_ini(tmp_path, port))
    assert done.returncode == 1
    assert done.stderr == (
        f"ngas_space: [Space] port = {port} at localhost: the port is in use by another program;"
        " stop it, or change the port\n"
    )


def test_a_bad_key_is_one_clear_line(tmp_path: Path) -> None:
    done = run(write_ini(tmp_path, free_port(), "colour = blue"))
    assert done.returncode == 1
    assert done.stderr == (
        "ngas_space: [Space] colour: this key is unknown; README.md lists all keys\n"
    )


async def test_the_sample_s_key_is_warned_of(tmp_path: Path) -> None:
    ini = write_ini(tmp_path, free_port(), key="ZlmNyXdQgRhhrC2Wwy-gLZj7Wv6ZtoKH")
    async with server(ini, "secret_key is the sample's"):
        pass


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(CannotServe, match=r"at 192\.0\.2\.1: this is no address of this machine"):
        serving.bind("[Space] port", "192.0.2.1", 0)
    with pytest.raises(CannotServe, match="the host is unknown"):
        serving.bind("[Space] port", "nothing.invalid", 0)


def test_a_process_that_stays_may_open_as_many_files_as_there_is_use_for() -> None:
    program = """if True:
        import resource
        from pyvospace_ngas.cli.process import allow_many_files

        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
        allow_many_files()
        print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    """
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert int(done.stdout) > 64
