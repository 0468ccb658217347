"""The README's tour, as a reader does it: its very lines, in a shell, with curl."""

import asyncio
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import stack
from aiohttp import ClientSession
from ports import free_port
from stack import Caller

README: Final = Path(__file__).resolve().parent.parent / "README.md"
BEGINS, ENDS = "**By hand, with curl**", "**Look after users**"
ADDRESS: Final = "http://localhost:8082"
# Any refusal ends the tour, and so does a line that fails. A stream without an end is left.
SETTING_OUT: Final = """
set -eo pipefail
curl() {
    case " $* " in
        *" -N "*) command curl --fail --silent --max-time 2 "$@" || [ $? = 28 ];;
        *) command curl --fail --silent --show-error "$@";;
    esac
}
entry() { curl -n "$SPACE/trash" | grep -o '"id": [0-9]*' | head -n 1 | tr -dc 0-9; }
"""

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


def code(text: str) -> Iterator[str]:
    """Give the lines of code of a part of the README, in fences or indented."""
    fenced = False
    for line in text.splitlines():
        if line.startswith("```"):
            fenced = not fenced
        elif fenced:
            yield line
        elif line.startswith("    "):
            yield line[4:]


def tour(url: str) -> str:
    """Return the tour as a script for the space server at ``url``."""
    text = README.read_text(encoding="utf-8")
    lines = "\n".join(code(text[text.index(BEGINS) : text.index(ENDS)]))
    assert lines.count("curl") > 12
    return SETTING_OUT + lines.replace(ADDRESS, url).replace("/trash/ID", "/trash/$(entry)")


async def shell(script: str, home: Path) -> str:
    """Run a script as a user whose ``.netrc`` knows the password; return what it said."""
    netrc = home / ".netrc"
    netrc.write_text(f'machine localhost login alice password "{stack.PASSWORD}"\n')
    netrc.chmod(0o600)
    process = await asyncio.create_subprocess_exec(
        "bash",
        *("-c", script),
        cwd=home,
        env={"PATH": os.environ["PATH"], "HOME": str(home)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    return said.decode()


async def test_the_tour_leads_where_the_readme_says(dsn: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(README, home)
    await stack.add_user(dsn, "alice", "stars")
    port = free_port()
    # By the name that the tour uses; what is deleted is kept, as by default.
    space = {"port": str(port), "public_url": f"http://localhost:{port}", "trash_delay": "604800"}
    async with (
        stack.whole_stack(dsn, tmp_path, nodes=1, space=space) as running,
        ClientSession() as http,
    ):
        said = await shell(tour(f"http://localhost:{port}"), home)
        alice = Caller(http, running.url, "alice")
        moved = await alice.pull("/home/alice/survey/first.txt")
        survey = await alice.get("/nodes/home/alice/survey")
        jar = (home / "jar").read_text(encoding="utf-8").split()
        after = await Caller(http, running.url).get(
            "/nodes/home/alice", Cookie=f"{jar[-2]}={jar[-1]}"
        )

    assert (home / "notes.txt").read_bytes() == README.read_bytes()
    assert moved.body == README.read_bytes()  # and came back out of the trash
    assert re.search(r"core#title[^>]*>First survey<", survey.text)
    assert re.search(r"core#groupread[^>]*>stars<", survey.text)
    assert (after.status, after.fault) == (403, "PermissionDenied")  # logged out
    assert "logged in as alice" in said
    assert said.count('"scope": "read"') == 2  # made, and listed
