"""ngas_up as a user meets it: one command that starts everything, and what can go wrong."""

import asyncio
import os
import re
import signal
import socket
import stat
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import asyncpg
import pytest
from postgres_support import administer
from stack_support import PASSWORD, Site, command, forget, left_over, make_site, up
from waiting_support import alive, until, until_true

from pyvospace_ngas.cli import folder, probes
from pyvospace_ngas.client.vospace import VOSpace

CONTENT = os.urandom(300_000)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A configuration on free ports; all that it leaves is removed."""
    made = make_site(tmp_path)
    yield made
    forget(made.data)


def part(site: Site, name: str) -> int:
    """Return the process of a part: a module that Python runs, or PostgreSQL's first process."""
    for pid in left_over(site.data):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
        if name in words or Path(words[0]).name == name:
            return pid
    raise AssertionError(f"no process of {name}")


async def archive(port: int, file_id: str, content: bytes) -> None:
    """Put a file into a node."""
    where = f"http://localhost:{port}/QARCHIVE?filename={file_id}&mime_type=application/x-test"
    async with aiohttp.ClientSession() as session, session.post(where, data=content) as answer:
        assert answer.status == 200, await answer.text()


async def retrieve(port: int, file_id: str) -> bytes:
    """Get a file from a node."""
    where = f"http://localhost:{port}/RETRIEVE?file_id={file_id}"
    async with aiohttp.ClientSession() as session, session.get(where) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.read()


async def get(where: str, password: str | None = None, user: str = "admin") -> int:
    """Return the status of a GET."""
    headers = {}
    if password is not None:
        headers["Authorization"] = aiohttp.encode_basic_auth(user, password)
    async with aiohttp.ClientSession(headers=headers) as session, session.get(where) as answer:
        return answer.status


def nobody_listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


async def fails(site: Site, *arguments: str) -> str:
    """Run ngas_up, which must refuse; return its last line."""
    async with up(site, *arguments, ready=False) as running:
        async with asyncio.timeout(90):
            assert await running.process.wait() == 1
    assert "Traceback" not in running.said
    last = running.lines[-1]
    assert last.startswith("ngas_up: ")
    return last


async def test_everything_that_the_configuration_names_starts_and_stops(site: Site) -> None:
    async with up(site) as running:
        assert await get(f"{site.vospace}/availability") == 200
        assert await get(f"http://localhost:{site.storage}/health") == 200
        for port in site.nodes:
            assert await probes.node_is_online("localhost", port)
        db = await asyncpg.connect(site.dsn)
        await db.close()
        for said in (site.vospace, f":{site.storage}", str(site.data), "curl --user admin"):
            assert said in running.said
        for name in ("space", "storage", f"node {site.nodes[0]}", "postgres"):
            assert re.search(rf"^{name} +\| ", running.said, re.MULTILINE)
        await archive(site.nodes[0], "one", CONTENT)
        assert await retrieve(site.nodes[1], "one") == CONTENT
        assert stat.S_IMODE(site.data.stat().st_mode) == 0o700
        parts = left_over(site.data)
        assert await running.end() == 0
    assert not any(alive(pid) for pid in parts)
    assert all(nobody_listens(port) for port in site.ports)
    assert running.lines[-1] == "ngas_up    | stopped"


async def test_a_database_that_does_not_let_us_make_tables_is_named(
    site: Site, postgres: str
) -> None:
    await administer(postgres, "CREATE ROLE guest LOGIN PASSWORD 'guest'")
    try:
        dsn = f"postgres://guest:guest@{postgres.rpartition('@')[2]}"
        site.ini.write_text(site.ini.read_text().replace(site.dsn, dsn))
        said = await fails(site)
    finally:
        await administer(postgres, "DROP ROLE guest")
    assert "the database of the dsn refuses: permission denied" in said
    assert "guest:guest" not in said


async def test_a_log_in_that_a_running_postgresql_refuses_is_named(
    site: Site, postgres: str
) -> None:
    dsn = f"postgres://nobody_here:secret@{postgres.rpartition('@')[2]}"
    site.ini.write_text(site.ini.read_text().replace(site.dsn, dsn))
    said = await fails(site)
    assert re.search(r"a PostgreSQL answers at 127\.0\.0\.1:\d+, but not to the dsn", said)
    assert "secret" not in said


async def test_the_password_is_generated_and_shown_once(site: Site) -> None:
    async with up(site, "--admin", "astrid", password=None) as running:
        found = re.search(r"password +(\S+) ", running.said)
        assert found is not None
        nodes = f"{site.vospace}/nodes"
        assert await get(nodes, found[1], "astrid") == 200
        assert await get(nodes, "a guess of mine", "astrid") == 401
    assert running.said.count(found[1]) == 1
    async with up(site, "--admin", "astrid", password=None) as again:
        assert not re.search(r"\| +password ", again.said)
        assert await get(nodes, found[1], "astrid") == 200


async def test_a_given_password_is_never_shown_and_no_part_inherits_it(
    site: Site, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text("out of a file\n")
    async with up(site, "--admin-password-file", str(file)) as running:
        assert await get(f"{site.vospace}/nodes", "out of a file") == 200
        for pid in left_over(site.data) - {running.process.pid}:
            assert PASSWORD.encode() not in Path(f"/proc/{pid}/environ").read_bytes()
    assert "out of a file" not in running.said
    assert PASSWORD not in running.said


async def test_a_part_that_dies_comes_back(site: Site) -> None:
    async with up(site) as running:
        await archive(site.nodes[0], "one", CONTENT)
        for name in ("pyvospace_ngas.cli.node", "postgres"):
            victim = part(site, name)
            os.kill(victim, signal.SIGKILL)
            await until(lambda pid=victim: not alive(pid))  # type: ignore[misc]
        for port in site.nodes:
            await until_true(lambda port=port: probes.node_is_online("localhost", port))  # type: ignore[misc]
        for name in ("pyvospace_ngas.cli.space", "pyvospace_ngas.cli.storage"):
            os.kill(part(site, name), signal.SIGKILL)
        await running.until_said("it starts again", times=4)

        async def serves() -> bool:
            code, _ = await probes.fetch(f"{site.vospace}/availability")
            health, _ = await probes.fetch(f"http://localhost:{site.storage}/health")
            return code == 200 and health == 200

        await until_true(serves)
        assert await retrieve(site.nodes[1], "one") == CONTENT
        assert await get(f"{site.vospace}/nodes", PASSWORD) == 200


async def test_after_a_kill_nothing_runs_on_and_nothing_is_lost(site: Site) -> None:
    async with up(site) as running:
        await archive(site.nodes[0], "one", CONTENT)
        parts = left_over(site.data)
        await running.end(signal.SIGKILL)
        await until(lambda: not any(alive(pid) for pid in parts))
    async with up(site) as running:
        assert await retrieve(site.nodes[1], "one") == CONTENT
        assert await get(f"{site.vospace}/nodes", PASSWORD) == 200


async def test_a_start_right_after_a_kill_waits_for_what_is_left(site: Site) -> None:
    async with up(site) as running:
        parts = left_over(site.data) - {running.process.pid}
        stopped = part(site, "pyvospace_ngas.cli.space")
        os.kill(stopped, signal.SIGSTOP)  # it cannot end by itself
        await running.end(signal.SIGKILL)
        with folder.hold(site.data, lambda _: None, remains_seconds=0.5):
            # The kernel drops a dying process's locks a moment before the process itself.
            await until(lambda: not any(alive(pid) for pid in parts))


async def test_a_second_ngas_up_on_the_same_folder_is_refused(site: Site) -> None:
    async with up(site) as running:
        done = await asyncio.to_thread(
            subprocess.run, command(site), capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        assert f"another ngas_up (process {running.process.pid}) uses the data" in done.stderr
        assert await get(f"{site.vospace}/availability") == 200


async def test_what_runs_already_is_used_as_it_is(site: Site, tmp_path: Path) -> None:
    other = Site(tmp_path, site.space, site.storage, site.database, site.nodes)
    async with up(site) as running:
        elsewhere = ["--data", str(tmp_path / "elsewhere")]
        done = await asyncio.create_subprocess_exec(
            *command(other), *elsewhere, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        assert done.stdout is not None
        said = ""
        while "Ctrl-C" not in said and (line := await done.stdout.readline()):
            said += line.decode()
        done.terminate()
        assert await done.wait() == 0
        await done.communicate()
        for name in ("PostgreSQL", "NGAS node", "space server", "storage server"):
            assert re.search(rf"the {name}.* runs already", said), said
        assert await get(f"{site.vospace}/availability") == 200
        assert running.process.returncode is None


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("space", r"\[Space\] port"),
        ("storage", r"\[Storage\] port"),
        ("database", r"\[Space\] dsn: port"),
        ("node", r"\[Storage\] ngas_servers: port"),
    ],
)
async def test_a_port_that_another_program_holds_is_named_and_nothing_starts(
    site: Site, name: str, key: str
) -> None:
    port = site.nodes[1] if name == "node" else getattr(site, name)

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example.org ESMTP\r\n")
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(hang_up, "127.0.0.1", port):
        said = await fails(site)
    assert re.search(rf"{key}.*{port}.* in use by another program", said), said
    assert not (site.data / "postgres").exists()
    assert not (site.data / "nodes").exists()


async def test_a_part_that_does_not_start_takes_the_others_with_it(site: Site) -> None:
    node = site.data / "nodes" / str(site.nodes[1])
    site.data.mkdir()
    (site.data / "version").write_text(f"{folder.VERSION}\n")
    node.mkdir(parents=True)
    (node / "ngas.xml").write_text("<NgamsCfg><Server/>")
    said = await fails(site)
    assert f"node {site.nodes[1]} ended with exit code" in said
    assert all(nobody_listens(port) for port in site.ports)


async def test_a_data_folder_of_another_version_is_refused(site: Site) -> None:
    site.data.mkdir()
    (site.data / "version").write_text("99\n")
    said = await fails(site)
    assert f"the data folder {site.data} has the layout of version 99" in said
    assert sorted(path.name for path in site.data.iterdir()) == ["version"]


async def test_a_folder_of_something_else_is_refused(site: Site) -> None:
    site.data.mkdir()
    (site.data / "thesis.tex").write_text("years of work")
    assert "is not empty and no data folder of ngas_up" in await fails(site)
    assert sorted(path.name for path in site.data.iterdir()) == ["thesis.tex"]


async def test_a_folder_that_cannot_be_made_is_named(site: Site) -> None:
    site.data.write_text("a file")
    assert f"cannot use the data folder {site.data}: File exists" in await fails(site)
    site.data.unlink()


async def test_bad_options_are_refused_before_anything_starts(site: Site, tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    for arguments, reason in (
        (["--admin-password-file", missing], "--admin-password-file .*missing cannot be read"),
        (["--admin", "../x"], "cannot be the name of a user"),
        (["--cfg", missing], "cannot read the configuration .*missing"),
    ):
        assert re.search(reason, await fails(site, *arguments))
    assert not site.data.exists()


async def test_a_staging_folder_that_cannot_be_is_named_and_nothing_starts(site: Site) -> None:
    (site.home / "staging").touch()
    said = await fails(site)
    assert f"staging_dir {site.home}/staging cannot be made (File exists); name another" in said
    assert not (site.data / "postgres").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
async def test_after_another_user_s_try_the_sample_starts_all_the_same(site: Site) -> None:
    """The sample stages below /tmp, which all users of a machine share."""
    (site.home / "staging").mkdir(mode=0o700)
    os.chown(site.home / "staging", 12_345, 12_345)

    async def without_a_length() -> AsyncIterator[bytes]:
        yield CONTENT

    async with up(site) as running, VOSpace(site.vospace, "admin", PASSWORD) as client:
        assert f"{site.home}/staging is another user's" in running.said
        await client.push("/staged", without_a_length())
        assert b"".join([piece async for piece in client.pull("/staged")]) == CONTENT
        assert stat.S_IMODE((site.data / "staging").stat().st_mode) == 0o700


async def test_two_parts_at_one_port_are_refused(site: Site) -> None:
    text = site.ini.read_text().replace(f"port = {site.storage}", f"port = {site.space}")
    site.ini.write_text(text)
    assert f"[Space] port and [Storage] port both name port {site.space}" in await fails(site)


async def test_a_database_elsewhere_that_does_not_answer_is_named(site: Site) -> None:
    text = site.ini.read_text().replace("@localhost:", "@database.invalid:")
    site.ini.write_text(text)
    said = await fails(site)
    assert f"nothing answers at database.invalid:{site.database}" in said
