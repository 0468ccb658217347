"""Requests without an event loop, over real sockets, to servers that do as they like."""

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path

import pytest
from aiohttp.test_utils import TestServer
from authority_support import certified
from ports import free_port
from rude_space import RudeSpace
from waiting_support import PATIENCE
from yarl import URL

from pyvospace_ngas import errors
from pyvospace_ngas.client import direct
from pyvospace_ngas.client.blocking import BlockingConnection, done
from pyvospace_ngas.client.connection import Answer, NotConnected
from pyvospace_ngas.errors import VOSpaceError

Behaviour = Callable[[socket.socket, bytes], None]  # with a connection, and a request's header
OK = b"HTTP/1.1 200 OK\r\nX-VO-Authenticated: alice\r\nContent-Length: 5\r\n\r\nhello"


class Server:
    """Listens, and behaves with each request as it is told; ``requests`` are their headers."""

    def __init__(self) -> None:
        self.behaviour: Behaviour = lambda line, _: line.sendall(OK)
        self.requests: list[bytes] = []
        self.connections = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}/vospace"
        self._lines: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def end(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.hang_up()
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()

    def hang_up(self) -> None:
        for line in self._lines:
            try:
                line.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def _accept(self) -> None:
        while True:
            try:
                line, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            self._lines.append(line)
            self._threads.append(threading.Thread(target=self._serve, args=[line]))
            self._threads[-1].start()

    def _serve(self, line: socket.socket) -> None:
        with line:
            held = b""
            while True:
                try:
                    got = line.recv(65536)
                except OSError:
                    return
                held += got
                header, end, rest = held.partition(b"\r\n\r\n")
                if not got:
                    return
                if end:
                    held = b"" if b"Content-Length" in header else rest
                    self.requests.append(header)
                    try:
                        self.behaviour(line, header)
                    except OSError:
                        return


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.end()


@pytest.fixture
def connection(server: Server) -> Iterator[BlockingConnection]:
    made = BlockingConnection(server.url, "alice", "secret", timeout=PATIENCE, pause=0.001)
    yield made
    done(made.close())


def ask(
    connection: BlockingConnection,
    method: str = "GET",
    body: bytes | None = None,
    *,
    again: bool = True,
) -> Answer:
    return done(connection.ask(method, connection.base / "nodes", body, again=again))


def within(connection: BlockingConnection, seconds: float) -> Answer:
    async def work() -> Answer:
        async with connection.within(seconds):
            return await connection.ask("GET", connection.base / "nodes", again=False)

    return done(work())


def test_answers_come_over_one_connection(server: Server, connection: BlockingConnection) -> None:
    first = ask(connection)
    assert (first.status, first.body, first.headers["x-vo-authenticated"]) == (
        200, b"hello", "alice",
    )  # fmt: skip
    assert connection.known_as == "alice"
    server.behaviour = lambda line, _: line.sendall(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"
    )
    assert ask(connection, "POST", b"data").body == b"hello"
    server.behaviour = lambda line, _: line.sendall(
        b'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\n\r\n'
    )
    assert (ask(connection).status, ask(connection).headers["etag"]) == (304, '"x"')
    assert (connection.requests, server.connections) == (4, 1)
    assert all(b"\r\nAuthorization: Basic " in request for request in server.requests)
    assert b"\r\nContent-Type: text/xml" in server.requests[1]


def test_credentials_go_to_nobody_else(server: Server, connection: BlockingConnection) -> None:
    elsewhere = BlockingConnection("http://127.0.0.1:9/", "a", "b", timeout=1, pause=0.001)
    done(elsewhere.ask("GET", URL(f"{server.url}/nodes")))
    done(connection.send("PUT", URL(f"{server.url}/files/x"), {}, b"data"))
    assert not any(b"authorization" in request.lower() for request in server.requests)
    done(elsewhere.close())


def test_a_connection_that_the_server_ended_is_not_used(
    server: Server, connection: BlockingConnection
) -> None:
    ask(connection)
    server.hang_up()
    time.sleep(0.05)
    assert ask(connection, again=False).status == 200
    assert server.connections == 2


def test_what_breaks_is_tried_again_if_it_may_be(
    server: Server, connection: BlockingConnection
) -> None:
    def rude(line: socket.socket, _: bytes) -> None:
        server.behaviour = lambda line, _: line.sendall(OK)
        line.shutdown(socket.SHUT_RDWR)

    server.behaviour = rude
    assert ask(connection).body == b"hello"
    server.behaviour = rude
    with pytest.raises(errors.ServiceUnavailable) as broken:
        ask(connection, again=False)
    assert direct.may_have_happened(broken.value)
    assert len(server.requests) == 3


def test_who_is_not_there_was_told_nothing() -> None:
    absent = BlockingConnection(
        f"http://127.0.0.1:{free_port()}/", None, None, timeout=1, pause=0.001
    )
    with pytest.raises(errors.ServiceUnavailable) as refused:
        ask(absent, again=False)
    assert not direct.may_have_happened(refused.value)


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\nConte", OK[:-2]])
def test_what_is_no_answer_is_an_error(
    server: Server, connection: BlockingConnection, answer: bytes
) -> None:
    def talk(line: socket.socket, _: bytes) -> None:
        line.sendall(answer)
        line.shutdown(socket.SHUT_WR)

    server.behaviour = talk
    with pytest.raises(errors.ServiceUnavailable, match="no answer from"):
        ask(connection)


def test_a_refusal_in_the_middle_of_a_body_is_read(
    server: Server, connection: BlockingConnection
) -> None:
    refusal = (
        b"HTTP/1.1 507 Full\r\nConnection: close\r\nContent-Length: 16\r\n\r\nQuotaExceeded /a"
    )
    server.behaviour = lambda line, _: line.sendall(refusal)
    with pytest.raises(errors.QuotaExceeded):
        ask(connection, "PUT", bytes(256 << 10))


def trickle(line: socket.socket, _: bytes) -> None:
    line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        line.sendall(b".")
        time.sleep(0.01)


@pytest.fixture
def watched(connection: BlockingConnection) -> Iterator[BlockingConnection]:
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            connection.cut_overdue()

    watching = threading.Thread(target=watch)
    watching.start()
    yield connection
    over.set()
    watching.join()


def test_what_trickles_has_its_end(server: Server, watched: BlockingConnection) -> None:
    server.behaviour = trickle
    begun = time.monotonic()
    with pytest.raises(errors.ServiceUnavailable, match="it took too long"):
        within(watched, 0.3)
    assert time.monotonic() - begun < PATIENCE / 2
    server.behaviour = lambda line, _: line.sendall(OK)
    assert within(watched, PATIENCE).body == b"hello"


def test_a_long_answer_that_breaks_is_no_answer(
    server: Server, connection: BlockingConnection
) -> None:
    def break_off(line: socket.socket, _: bytes) -> None:
        line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4000000\r\n\r\n" + bytes(1_000_000))
        line.shutdown(socket.SHUT_RDWR)

    server.behaviour = break_off
    with pytest.raises(errors.ServiceUnavailable):
        ask(connection)


@pytest.mark.parametrize("length", [5, 256 << 10, (512 << 10) + 5, 1 << 20])
def test_a_chunked_answer_of_any_length_is_whole(
    server: Server, connection: BlockingConnection, length: int
) -> None:
    def chunks(line: socket.socket, _: bytes) -> None:
        line.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        line.sendall(b"%x\r\n%b\r\n0\r\n\r\n" % (length, bytes(length)))

    server.behaviour = chunks
    assert [ask(connection).body for _ in range(2)] == [bytes(length)] * 2
    assert server.connections == 1


def test_a_long_answer_by_a_slow_link_has_its_time(
    server: Server, watched: BlockingConnection
) -> None:
    def slow(line: socket.socket, _: bytes) -> None:
        line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4000000\r\n\r\n")
        for part in [bytes(100_000)] * 40:
            time.sleep(0.1)
            line.sendall(part)

    server.behaviour = slow
    assert within(watched, 2.0).body == bytes(4_000_000)


def test_silence_has_its_end_without_anybody_who_looks(
    server: Server, connection: BlockingConnection
) -> None:
    server.behaviour = lambda _line, _: None
    with pytest.raises(errors.ServiceUnavailable, match="it took too long"):
        within(connection, 0.2)


def test_all_can_be_given_up(server: Server, connection: BlockingConnection) -> None:
    arrived = threading.Semaphore(0)

    def hang(_line: socket.socket, _: bytes) -> None:
        arrived.release()

    async def doze() -> Answer:
        async with connection.within(PATIENCE):
            arrived.release()
            await connection.sleep(PATIENCE)
            return await connection.ask("GET", connection.base)

    server.behaviour = hang
    with ThreadPoolExecutor(4) as threads:
        jobs = [threads.submit(within, connection, PATIENCE) for _ in range(3)]
        jobs.append(threads.submit(lambda: done(doze())))
        for _ in jobs:
            assert arrived.acquire(timeout=PATIENCE)
        connection.abandon()
        for job in jobs:
            with pytest.raises(CancelledError):
                job.result(PATIENCE / 2)
    server.behaviour = lambda line, _: line.sendall(OK)
    assert within(connection, PATIENCE).body == b"hello"


def test_many_threads_get_their_own_answers(
    server: Server, connection: BlockingConnection
) -> None:
    def echo(line: socket.socket, header: bytes) -> None:
        path = header.split()[1]
        line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(path), path))

    def work(number: int) -> None:
        for each in range(50):
            url = connection.base / f"{number}-{each}"
            assert done(connection.ask("GET", url)).body == url.raw_path.encode()

    server.behaviour = echo
    with ThreadPoolExecutor(20) as threads:
        list(threads.map(work, range(20)))
    assert (connection.requests, len(server.requests)) == (1000, 1000)
    assert server.connections < 100


def test_what_waits_for_an_event_loop_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="event loop"):
        done(asyncio.sleep(1))


@pytest.mark.parametrize("url", ["ftp://a/", "http://u:p@a/"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(VOSpaceError):
        BlockingConnection(url, None, None, timeout=1, pause=1)


async def test_with_tls_the_server_must_be_who_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = certified(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.certificate, files.key)
    rude = RudeSpace(files={"/a": b"hello"})
    server = TestServer(rude.app(), host="localhost")
    await server.start_server(ssl=context)
    url = server.make_url("/files/x/a")

    def get() -> list[bytes]:
        line = BlockingConnection(str(url), None, None, timeout=PATIENCE, pause=0.001)
        bodies = [done(line.send("GET", url, {})).body for _ in range(2)]
        assert len(line._idle[url.origin()]) == 1  # which was used twice
        done(line.close())
        return bodies

    with pytest.raises(NotConnected, match="certificate verify failed"):
        await asyncio.to_thread(get)
    monkeypatch.setenv("SSL_CERT_FILE", str(files.authority))
    assert await asyncio.to_thread(get) == [b"hello", b"hello"]
    rude.over.set()
    await server.close()
