"""``ngas_vo``: folders kept the same, runs that are stopped, terminals, and what goes wrong."""

import asyncio
import os
import pty
import re
import shutil
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import stack
from aiohttp import web
from ports import free_port
from test_vo_files import BIG, contents, plant
from vo_support import COMMAND, Person, person
from waiting_support import until, until_true

from pyvospace_ngas import errors
from pyvospace_ngas.cli.vo import completion, main
from pyvospace_ngas.cli.vo.progress import Progress, human
from pyvospace_ngas.cli.vo.sentences import LATER, sentence
from pyvospace_ngas.client.connection import Connection
from pyvospace_ngas.client.partial import part_of


@pytest.fixture
async def url(dsn: str, tmp_path: Path) -> AsyncIterator[str]:
    await stack.add_user(dsn, "alice")
    async with stack.whole_stack(dsn, tmp_path / "stack", nodes=1) as running:
        yield running.url


@pytest.fixture
def alice(url: str, tmp_path: Path) -> Person:
    return person(tmp_path / "alice", url, "alice")


async def test_a_folder_is_kept_the_same_in_the_space(alice: Person) -> None:
    here = alice.home / "t"
    plant(here)
    dry = await alice.did("sync", "--dry-run", "--json", "t", "vos:new/t")
    assert {record["action"] for record in dry.records} == {"put"}
    assert (await alice.did("ls")).lines == []
    await alice.did("sync", "t", "vos:new/t")
    (here / "f1").unlink()
    shutil.rmtree(here / "sub" / "deep")
    (here / "f2").write_bytes(b"y" * 2000)  # as long as before
    changed = await alice.did("sync", "t", "vos:new/t", "--json")
    acted = sorted((record["action"], record["path"][-2:]) for record in changed.records)
    assert [each for each in acted if each[0] != "same"] == [("put", "f2")]
    unasked = await alice.run("sync", "--delete", "t", "vos:new/t")
    assert (unasked.code, "--yes" in unasked.err) == (2, True)
    told = await alice.did("sync", "--delete", "--dry-run", "t", "vos:new/t")
    assert "delete  /home/alice/new/t/sub/deep" in told.lines
    await alice.did("sync", "--delete", "--yes", "t", "vos:new/t")
    await alice.did("get", "-r", "new/t", "back")
    assert contents(alice.home / "back") == contents(here)


async def test_a_folder_is_kept_the_same_here(alice: Person) -> None:
    here = alice.home / "t"
    files = plant(here)
    await alice.did("put", "-rq", "t", "t")
    (here / "extra").write_bytes(b"x")
    (here / "more" / "below").mkdir(parents=True)
    (here / "f0").write_bytes(b"changed")
    told = await alice.did("sync", "--delete", "--dry-run", "vos:t", "t")
    deleted = [line.split()[1] for line in told.lines if line.startswith("delete ")]
    assert deleted == ["t/extra", "t/more"]
    await alice.did("sync", "--delete", "--yes", "vos:/home/alice/t", "t")
    assert contents(here) == files
    assert not (here / "more").exists()
    assert (await alice.run("sync", "t", "u")).code == 2


async def test_one_listing_answers_for_all_files_of_a_folder(
    alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = alice.home / "t"
    plant(here, 40)
    (here / "sub" / "deep" / "f0-").write_bytes(b"x")
    await alice.did("put", "-rq", "t", ".")
    await alice.did("put", "-q", "-", "t/f0-", stdin=b"there only")
    (here / "f17").write_bytes(b"y" * 2000)
    (here / "f3.5").write_bytes(b"here only")
    asked: list[str] = []
    ask = Connection.ask

    def noted(self: Connection, method: str, *more: Any, **named: Any) -> Any:
        asked.append(method)
        return ask(self, method, *more, **named)

    monkeypatch.setattr(Connection, "ask", noted)
    again = await alice.did("put", "-r", "--json", "t", ".")
    actions = {record["path"]: record["action"] for record in again.records}
    assert len(actions) == 44
    changed = {path for path, action in actions.items() if action != "same"}
    assert changed == {"/home/alice/t/f17", "/home/alice/t/f3.5"}
    assert len(asked) < 30


async def test_nothing_is_deleted_after_a_failure(alice: Person) -> None:
    here = alice.home / "t"
    plant(here)
    await alice.did("sync", "-q", "t", "vos:t")
    (here / "f0").unlink()
    (here / "broken").symlink_to("nowhere")
    (here / os.fsdecode(b"\xff")).write_bytes(b"no name in UTF-8")
    ran = await alice.run("sync", "--delete", "--yes", "t", "vos:t")
    assert ran.code == 1
    assert "not deleted" in ran.err
    assert "f0" in (await alice.did("ls", "t")).lines


async def test_ctrl_c_leaves_nothing_half_done(alice: Person, url: str) -> None:
    process = await alice.start("put", "-", "half", stdin=True)
    assert process.stdin is not None
    process.stdin.write(BIG)
    await process.stdin.drain()
    process.send_signal(signal.SIGINT)
    process.stdin.close()
    _, err = await process.communicate()
    assert process.returncode == 130
    assert b"Traceback" not in err
    assert b"stopped" in err

    async def gone() -> bool:  # the server may have to notice first that nobody sends any more
        return (await alice.did("ls")).lines == []

    await until_true(gone)


async def test_a_get_that_is_stopped_goes_on(alice: Person, url: str) -> None:
    (alice.home / "big").write_bytes(BIG * 40)
    await alice.did("put", "-q", "big")
    process = await alice.start("get", "big", "back")
    part = part_of(alice.home / "back")
    await until(lambda: part.exists() and part.stat().st_size > 0)
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    assert process.returncode == 130
    assert b"Traceback" not in err
    assert not (alice.home / "back").exists()
    assert part.stat().st_size > 0
    await alice.did("get", "big", "back")
    assert (alice.home / "back").read_bytes() == BIG * 40
    assert not part.exists()


async def test_a_terminal_sees_a_bar_and_a_pipe_plain_lines(alice: Person) -> None:
    (alice.home / "big").write_bytes(BIG)
    master, slave = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *COMMAND, "put", "big", stderr=slave, env=alice.environment(), cwd=alice.home,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, _ = await process.communicate()
    os.close(slave)
    seen = b""
    try:
        while data := os.read(master, 65536):
            seen += data
    except OSError:  # the terminal's end
        pass
    os.close(master)
    assert (process.returncode, out) == (0, b"")
    assert b"1/1 files" in seen
    assert re.search(rb"100% \[#+\]", seen)
    assert b"1 sent; 2.86 MiB" in seen


def test_the_bar_says_how_far_it_is() -> None:
    progress = Progress(True, files=1, bytes=512 << 10, all_files=4, all_bytes=1 << 20, began=0.0)
    assert progress.text(100, 1.0) == "1/4+ files  512 KiB  512 KiB/s"
    progress.found = True
    line = progress.text(100, 1.0)
    assert line.startswith(" 50% [####")
    assert line.endswith("1/4 files  512 KiB of 1 MiB  512 KiB/s  0:01 left")
    assert len(line) < 100
    assert [human(n) for n in (0, 999, 1000, 5 << 30)] == ["0 B", "999 B", "0.977 KiB", "5 GiB"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (errors.NodeNotFound("vos://x~y/a%20b"), "/a b does not exist"),
        (errors.NodeNotFound("the node was deleted"), "the node was deleted"),
        (
            errors.NodeBusy("/a"),
            "/a is being written by somebody else; try again later",
        ),
        (errors.NodeBusy("f has no bytes yet"), "f has no bytes yet; try again later"),
        (errors.ServiceUnavailable("/a b"), f"/a b; {LATER}"),
    ],
)
def test_a_refusal_is_one_sentence(error: errors.VOSpaceError, said: str) -> None:
    assert sentence(error) == said


async def test_a_wrong_address_and_a_server_that_is_away_are_told(alice: Person, url: str) -> None:
    root = await alice.run("--url", url.removesuffix("/vospace") + "/nothing", "ls")
    assert (root.code, "is no VOSpace" in root.err) == (2, True)
    away = await alice.run("--url", f"http://127.0.0.1:{free_port()}/vospace", "ls")
    assert (away.code, "try again later" in away.err) == (7, True)
    assert (await alice.run("--url", "ftp://x", "ls")).code == 2
    for ran in (root, away):
        assert len(ran.err.splitlines()) == 1


async def test_a_server_that_goes_away_is_not_asked_for_every_file(tmp_path: Path) -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        if request.path == "/vospace/nodes" or request.method == "PUT":
            path = request.path.removeprefix("/vospace/nodes")
            return web.Response(text=stack.node(path), status=201)
        status = 404 if request.path.endswith("/capabilities") else 503
        return web.Response(text="ServiceUnavailable the archive is on fire\n", status=status)

    app, port = web.Application(), free_port()
    app.router.add_route("*", "/{path:.*}", answer)
    someone = person(tmp_path / "someone", f"http://127.0.0.1:{port}/vospace")
    (someone.home / "t").mkdir()
    for number in range(60):
        (someone.home / "t" / str(number)).write_bytes(b"x")
    async with stack.serving(app, port):
        ran = await someone.run("put", "-r", "t", "/t/u")
    assert ran.code == 7
    assert "on fire; try again later" in ran.err
    assert len([path for path in asked if "synctrans" in path]) < 60


async def test_a_shell_completes_commands_options_and_paths(alice: Person) -> None:
    await alice.did("mkdir", "-p", "some folder", "other")
    await alice.did("put", "-q", "-", "some file", stdin=b"")
    home = "/home/alice/"
    found = await alice.did("-q", "__complete", home + "so")
    assert found.lines == [home + "some file", home + "some folder/"]
    assert (await alice.did("__complete", "o")).lines == ["other/"]
    assert (await alice.did("__complete", "vos:o")).lines == ["vos:other/"]
    gone = replace(alice, env={"NGAS_VO_URL": "http://127.0.0.1:9/vospace"})
    assert (await gone.did("__complete", "o")).lines == []
    script = completion.script(main.parser(), "bash")
    assert await _completed(alice, script, "ngas_vo", "mk") == ["mkdir"]
    assert await _completed(alice, script, "ngas_vo", "token", "re") == ["revoke"]
    assert "--recursive" in await _completed(alice, script, "ngas_vo", "ls", "--re")
    assert await _completed(alice, script, "ngas_vo", "ls", "oth") == ["other/"]
    assert (await alice.did("completion", "zsh")).out.startswith("autoload")


async def _completed(alice: Person, script: str, *words: str) -> list[str]:
    """Return what bash offers for the last of ``words``."""
    bin_ = alice.home / "bin"
    bin_.mkdir(exist_ok=True)
    command = bin_ / "ngas_vo"
    command.write_text(f'#!/bin/sh\nexec {" ".join(COMMAND)} "$@"\n')
    command.chmod(0o755)
    line = " ".join(words)
    asked = (
        f"{script}\nCOMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; COMP_LINE='{line}';"
        f" COMP_POINT={len(line)}; _ngas_vo; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    )
    env = alice.environment()
    process = await asyncio.create_subprocess_exec(
        "bash", "--norc", "-c", asked, stdout=asyncio.subprocess.PIPE,
        env={**env, "PATH": f"{bin_}:{env['PATH']}"},
    )  # fmt: skip
    out, _ = await process.communicate()
    return out.decode().split("\n")[:-1]
