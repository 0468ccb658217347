"""vosfs 0.12, the file system for fsspec, unmodified: over TLS with a token."""

import asyncio
import os
from itertools import count
from typing import Final

import pytest
import pytest_asyncio

from test_clients.conftest import HERE, Secure
from test_clients.environments import SUITE, VOSFS, environment

NUMBERS: Final = count(1)
PROGRAMS: Final = HERE / "programs"
SECONDS: Final = 570
LONG: Final = pytest.mark.timeout(SECONDS + 30)  # what may take that long is allowed to


async def run(secure: Secure, *words: str, **variables: str) -> str:
    """Run a program that trusts the servers' certificates; return what it says."""
    process = await asyncio.create_subprocess_exec(
        *words,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(secure.authority.parent),
            "SSL_CERT_FILE": str(secure.authority),
            **variables,
        },
        cwd=secure.authority.parent,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(SECONDS):
        said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    return said.decode()


@pytest_asyncio.fixture(loop_scope="module")
async def home(secure: Secure) -> str:
    """The path of a container of the test's own."""
    path = f"/home/alice/t{next(NUMBERS)}"
    assert (await secure.alice.make(path)).status == 201
    return path


async def test_the_file_system_does_what_one_does(secure: Secure, home: str) -> None:
    python = str(environment("vosfs", *VOSFS) / "python")
    said = await run(
        secure, python, str(PROGRAMS / "basics.py"), secure.alice.base, secure.token, home
    )
    assert said == "good\n"


# Both ways of opening and piping, and one of each kind of copy; the rest takes minutes.
SOME: Final = "TestOpen or TestPipe or file_to_existing_directory"


@pytest.mark.parametrize(
    "which", [SOME, pytest.param(f"not ({SOME})", marks=[pytest.mark.scale, LONG], id="others")]
)
async def test_fsspecs_own_tests_pass(secure: Secure, home: str, which: str) -> None:
    python = str(environment("vosfs", *VOSFS) / "python")
    said = await run(
        secure,
        *(
            python,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "--noconftest",
            "-c",
            os.devnull,
        ),
        *("--rootdir", str(PROGRAMS), str(PROGRAMS / "suite.py"), "-k", which),
        ENDPOINT=secure.alice.base,
        TOKEN=secure.token,
        FOLDER=home,
    )
    assert " passed" in said
    assert "failed" not in said


@pytest.mark.scale
@LONG
async def test_tables_images_and_arrays_are_read_and_written(secure: Secure, home: str) -> None:
    python = str(environment("science", *VOSFS, *SUITE) / "python")
    said = await run(
        secure, python, str(PROGRAMS / "science.py"), secure.alice.base, secure.token, home
    )
    assert said.endswith("good\n")
