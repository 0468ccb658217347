"""The files of docker/, without Docker: their SQL runs against a server of the tests' own."""

import json
import re
import subprocess
from pathlib import Path

import asyncpg
import postgres_support
import pytest

from pyvospace_ngas import config
from pyvospace_ngas.cli import binaries, postgres
from pyvospace_ngas.db.migrate import migrate

TOP = Path(__file__).parent.parent
COMPOSE = (TOP / "docker" / "docker-compose.yml").read_text(encoding="utf-8")
INIT = (TOP / "docker" / "init.sql").read_text(encoding="utf-8")
SAMPLE = config.load(TOP / "test_vo_ngas.ini").space.dsn


def statements() -> list[str]:
    """Return the statements of init.sql one by one, as psql sends them."""
    code = re.sub(r"--.*", "", INIT)
    return [statement.strip() for statement in code.split(";") if statement.strip()]


def health_check(port: str) -> int:
    """Run the compose file's own check against a server at ``port``."""
    found = re.search(r"test: (\[.*\])", COMPOSE)
    assert found is not None
    kind, program, *arguments, url = json.loads(found[1])
    assert kind == "CMD"
    folder = binaries.wheel_folder()
    command = str(folder / program) if folder is not None else program
    return subprocess.run(
        [command, *arguments, url.replace("127.0.0.1/", f"127.0.0.1:{port}/")], check=False
    ).returncode


async def test_the_first_set_up_makes_what_the_sample_s_dsn_names() -> None:
    wanted = postgres.parse_dsn(SAMPLE)
    with postgres_support.server() as superuser:
        await postgres_support.administer(superuser, *statements())
        port = superuser.rpartition(":")[2].partition("/")[0]
        dsn = SAMPLE.replace(f":{wanted.port}/", f":{port}/")
        await migrate(dsn)
        db = await asyncpg.connect(dsn)
        try:
            assert (
                await db.fetchval("SELECT datcollate FROM pg_database WHERE datname='vospace'")
                == "C"
            )
            assert not await db.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = user")
        finally:
            await db.close()
        assert health_check(port) == 0
        with pytest.raises(asyncpg.InvalidPasswordError):  # the set-up's password is gone
            await asyncpg.connect(superuser)


def test_the_compose_file_opens_the_sample_s_port_on_this_machine_only() -> None:
    wanted = postgres.parse_dsn(SAMPLE)
    published = re.findall(r'- "([\d.:]+):5432"', COMPOSE)
    assert published == [f"127.0.0.1:{wanted.port}"]


def test_the_compose_file_runs_our_sql_and_checks_with_the_sample_s_log_in() -> None:
    wanted = postgres.parse_dsn(SAMPLE)
    assert "./init.sql:/docker-entrypoint-initdb.d/init.sql:ro" in COMPOSE
    assert f"{wanted.role}:{wanted.password}@127.0.0.1/{wanted.database}" in COMPOSE
    assert f"image: postgres:{binaries.MAJOR}\n" in COMPOSE
