"""A person with a home folder and the commands of vos, configured as its manual says."""

import asyncio
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from stack import PASSWORD

SECONDS: Final = 120
FRESH: Final = 4_070_908_800  # 2099: what is newer than ten minutes is not asked for again


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who types commands; ``options`` are added to each."""

    home: Path
    programs: Path
    options: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)

    async def run(self, command: str, *words: str) -> Ran:
        """Run one command in the home folder."""
        process = await asyncio.create_subprocess_exec(
            str(self.programs / command),
            *self.options,
            *words,
            cwd=self.home,
            env={
                "HOME": str(self.home),
                "PATH": f"{self.programs}:{os.environ['PATH']}",
                "TZ": "UTC",
                "LC_ALL": "C.UTF-8",
                **self.environment,
            },
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(SECONDS):
            out, err = await process.communicate()
        return Ran(process.returncode or 0, out.decode(), err.decode())

    async def __call__(self, command: str, *words: str) -> str:
        """Run a command that succeeds; return what it says."""
        ran = await self.run(command, *words)
        assert ran.code == 0, (command, words, ran)
        return ran.out

    async def fails(self, command: str, *words: str) -> str:
        """Run a command that fails; return all that it says."""
        ran = await self.run(command, *words)
        assert ran.code != 0, (command, words, ran)
        return ran.out + ran.err


def make_home(home: Path, vospace: str, user: str | None) -> None:
    """Put into ``home`` what points vos at a service without TLS, and a password."""
    registry = home / ".config" / "cadc-registry" / "resource-caps"
    registry.parent.mkdir(parents=True)
    registry.write_text(
        f"ivo://icrar.org/ngas = {vospace}/capabilities\n"
        f"ivo://cadc.nrc.ca/ngas = {vospace}/capabilities\n",
        encoding="utf-8",
    )
    versions = home / ".config" / "vos" / "caches" / ".pypi_versions.json"
    versions.parent.mkdir(parents=True)
    versions.write_text('{"releases": {}}', encoding="utf-8")  # or it looks for a newer one
    for file in (registry, versions):
        os.utime(file, (FRESH, FRESH))
    if user is not None:
        netrc = home / ".netrc"
        host = urlsplit(vospace).hostname
        netrc.write_text(f'machine {host} login {user} password "{PASSWORD}"\n', encoding="utf-8")
        netrc.chmod(0o600)
