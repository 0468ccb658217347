"""``ngas_vo`` as people run it: in a process of its own, or in a thread beside the servers."""

import asyncio
import contextlib
import io
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from unittest import mock

from stack import PASSWORD

from pyvospace_ngas.cli.vo import main

COMMAND: Final = (sys.executable, "-m", "pyvospace_ngas.cli.vo.main")


@dataclass(frozen=True, slots=True)
class Ran:
    """How a run ended."""

    code: int
    out: str
    err: str
    raw: bytes

    @property
    def lines(self) -> list[str]:
        """Return what was printed, line by line."""
        return self.out.splitlines()

    @property
    def records(self) -> list[dict[str, Any]]:
        """Return the JSON that was printed."""
        return [json.loads(line) for line in self.lines]


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody at a shell: a home of their own, and what is in their environment."""

    home: Path
    env: Mapping[str, str]

    def environment(self) -> dict[str, str]:
        """Return the environment of what this person starts."""
        known = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("NGAS_VO", "XDG_", "NETRC"))
        }
        return {**known, "HOME": str(self.home), "TERM": "xterm", **self.env}

    async def start(self, *words: object, stdin: bool = False) -> asyncio.subprocess.Process:
        """Start the command."""
        return await asyncio.create_subprocess_exec(
            *COMMAND,
            *map(str, words),
            stdin=asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self.environment(),
            cwd=self.home,
        )

    async def run(self, *words: object, stdin: bytes | None = None) -> Ran:
        """Run the command to its end: in a thread, as a process takes a second to begin."""
        return await asyncio.to_thread(self._run, [*map(str, words)], stdin or b"")

    def _run(self, words: list[str], stdin: bytes) -> Ran:
        with tempfile.TemporaryFile() as given, contextlib.chdir(self.home):
            given.write(stdin)
            given.seek(0)
            raw = io.BytesIO()
            out = io.TextIOWrapper(raw, "utf-8", write_through=True)
            read = io.TextIOWrapper(given, "utf-8")
            err = io.StringIO()
            with (
                mock.patch.dict(os.environ, self.environment(), clear=True),
                mock.patch("sys.stdin", read),
                contextlib.redirect_stdout(out),
                contextlib.redirect_stderr(err),
            ):
                try:
                    code = main.main(words)
                except SystemExit as stop:  # argparse
                    code = int(stop.code or 0)
            read.detach()
            out.detach()
            data = raw.getvalue()
        assert "Traceback" not in err.getvalue(), err.getvalue()
        return Ran(code, data.decode("utf-8", "replace"), err.getvalue(), data)

    async def did(self, *words: object, stdin: bytes | None = None) -> Ran:
        """Run the command, which must do all that it is told."""
        ran = await self.run(*words, stdin=stdin)
        assert ran.code == 0, ran
        return ran


def person(home: Path, url: str, user: str | None = None) -> Person:
    """Return somebody who knows the address, and whom ``.netrc`` knows."""
    home.mkdir(exist_ok=True)
    if user is not None:
        netrc = home / ".netrc"
        netrc.write_text(f'machine 127.0.0.1 login {user} password "{PASSWORD}"\n')
        netrc.chmod(0o600)
    return Person(home, {"NGAS_VO_URL": url})
