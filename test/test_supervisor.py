"""Children that are kept running: small real programs that die, linger and write."""

import asyncio
import os
import select
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from waiting_support import alive, until

from pyvospace_ngas.cli.supervisor import Backoff, Part, PartFailed, Supervisor

AT_ONCE = Backoff(first=0.01, longest=0.05, healthy=60)

# Each start adds a line to a file, so that a test can wait for it.
STARTS = """
import os, signal, sys
with open(sys.argv[1], "a") as file:
    file.write(f"{os.getpid()}\\n")
"""
WAITS = f"{STARTS}signal.pause()\n"


def pids(file: Path) -> list[int]:
    return [int(line) for line in file.read_text().split()] if file.exists() else []


async def until_started(file: Path, times: int) -> list[int]:
    """Wait until the program that writes ``file`` was started so many times."""
    await until(lambda: len(pids(file)) >= times)
    return pids(file)


def program(
    code: str,
    file: Path,
    name: str = "part",
    ready: Callable[[], Awaitable[bool]] | None = None,
    patience: float = 20.0,
) -> Part:
    """Return a Python program as a part, which is ready once it has written ``file``."""

    async def written() -> bool:
        return file.exists()

    command = [sys.executable, "-c", code, str(file)]
    return Part(name, command, ready or written, stop=((signal.SIGTERM, patience),))


@asynccontextmanager
async def supervised(backoff: Backoff = AT_ONCE) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(backoff)
    try:
        yield supervisor
    finally:
        await supervisor.stop()


@pytest.mark.parametrize(
    ("pause", "lived", "following"),
    [(0, 0, 1), (1, 5, 2), (2, 5, 4), (16, 5, 30), (30, 59, 30), (30, 60, 1), (0, 100, 1)],
)
def test_pauses_double_until_a_part_was_well_for_a_minute(
    pause: float, lived: float, following: float
) -> None:
    assert Backoff().after(pause, lived) == following


async def test_a_part_is_started_and_stopped(tmp_path: Path) -> None:
    async with supervised() as supervisor:
        await supervisor.start(program(WAITS, tmp_path / "pids"))
        (pid,) = pids(tmp_path / "pids")
        assert alive(pid)
    assert not alive(pid)


async def test_a_part_that_is_killed_is_started_again_and_again(tmp_path: Path) -> None:
    async with supervised() as supervisor:
        await supervisor.start(program(WAITS, tmp_path / "pids"))
        for times in range(1, 5):
            found = await until_started(tmp_path / "pids", times)
            os.kill(found[-1], signal.SIGKILL)
        await until_started(tmp_path / "pids", 5)
    assert not any(alive(pid) for pid in pids(tmp_path / "pids"))


async def test_a_part_that_never_gets_ready_fails_with_its_last_words(tmp_path: Path) -> None:
    code = "import sys; print('first', flush=True); sys.exit('no room on the disk')"
    async with supervised() as supervisor:
        with pytest.raises(PartFailed, match="part ended with exit code 1: no room on the disk"):
            await supervisor.start(program(code, tmp_path / "never"))


async def test_a_part_that_takes_too_long_is_given_up_and_stopped(tmp_path: Path) -> None:
    async def never() -> bool:
        return False

    async with supervised() as supervisor:
        with pytest.raises(PartFailed, match="part was not ready after 0 seconds"):
            await supervisor.start(program(WAITS, tmp_path / "pids", ready=never), patience=0.2)
    assert not any(alive(pid) for pid in pids(tmp_path / "pids"))


async def test_parts_stop_in_reverse_order(tmp_path: Path) -> None:
    code = f"{STARTS}signal.sigwait([signal.SIGTERM])\nopen(sys.argv[1], 'a').write('0\\n')\n"
    blocked = f"import signal\nsignal.pthread_sigmask(0, [signal.SIGTERM])\n{code}"
    order = tmp_path / "order"
    say = f"\nimport sys\nopen({str(order)!r}, 'a').write(sys.argv[1][-1])"
    async with supervised() as supervisor:
        for name in "123":
            await supervisor.start(program(blocked + say, tmp_path / name, name))
    assert order.read_text() == "321"


async def test_a_part_that_ignores_the_signal_is_killed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{WAITS}"
    async with supervised() as supervisor:
        await supervisor.start(program(code, tmp_path / "pids", patience=0.1))
    assert not alive(pids(tmp_path / "pids")[0])
    assert "part does not stop and is killed" in capsys.readouterr().out


async def test_a_second_signal_ends_the_patience(tmp_path: Path) -> None:
    code = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{WAITS}"
    async with supervised() as supervisor:
        await supervisor.start(program(code, tmp_path / "pids", patience=1e6))
        supervisor.hurry.set()
    assert not alive(pids(tmp_path / "pids")[0])


async def test_each_line_is_shown_behind_the_part_s_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = (
        "import os; os.write(1, b'out\\n'); os.write(2, b'err \\xff\\n');"
        f"os.write(1, b'Q' * 100_000 + b'\\n'); os.write(1, b'no end')\n{STARTS}"
    )
    async with supervised(Backoff(first=1e6)) as supervisor:
        await supervisor.start(program(code, tmp_path / "pids"))
        shown: list[str] = []

        def died() -> bool:
            shown.append(capsys.readouterr().out)
            return "it starts again" in "".join(shown)

        await until(died)
    lines = "".join(shown).splitlines()
    assert lines[:2] == ["part       | out", "part       | err \ufffd"]
    assert sum(line.count("Q") for line in lines) == 100_000
    assert "part       | no end" in lines
    assert "ngas_up    | part ended with exit code 0; it starts again in 1000000 s" in lines


async def test_a_part_that_cannot_even_be_launched_is_tried_again(tmp_path: Path) -> None:
    there = tmp_path / "python"
    there.symlink_to(sys.executable)

    async def ready() -> bool:
        return bool(pids(tmp_path / "pids"))

    part = Part("part", [str(there), "-c", WAITS, str(tmp_path / "pids")], ready=ready)
    async with supervised() as supervisor:
        await supervisor.start(part)
        there.rename(tmp_path / "elsewhere")
        os.kill(pids(tmp_path / "pids")[0], signal.SIGKILL)
        await until(lambda: not alive(pids(tmp_path / "pids")[0]))
        (tmp_path / "elsewhere").rename(there)
        await until_started(tmp_path / "pids", 2)


PARENT = """
import asyncio, sys
from pathlib import Path
from pyvospace_ngas.cli.supervisor import Part, Supervisor

async def main():
    file = Path(sys.argv[1])
    async def ready():
        return file.exists()
    supervisor = Supervisor()
    await supervisor.start(Part("part", [sys.executable, "-c", sys.argv[2], str(file)], ready))
    print("started", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def test_no_part_outlives_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    file = tmp_path / "pids"
    command = [sys.executable, "-c", PARENT, str(file), WAITS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert "started" in parent.stdout.readline()
        part = os.pidfd_open(pids(file)[0])
        try:
            parent.kill()
            ended, _, _ = select.select([part], [], [], 30)
        finally:
            os.close(part)
    assert ended


async def test_watching_without_any_part_waits() -> None:
    supervisor = Supervisor()
    watching = asyncio.create_task(supervisor.watch())
    done, _ = await asyncio.wait({watching}, timeout=0.05)
    assert not done
    watching.cancel()
    await asyncio.wait({watching})
