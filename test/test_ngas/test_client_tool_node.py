"""``ngas_client`` at a node that is no fake. Leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import random
import uuid
from pathlib import Path

import pytest

from pyvospace_ngas.cli.ngas.main import main
from pyvospace_ngas.cli.ngas.sentences import Exit
from pyvospace_ngas.ngas.placement import Entry

DATA = random.Random(6).randbytes(3_000_001)


async def test_a_file_is_archived_found_retrieved_and_discarded(
    ngas_node: Entry, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    async def tool(*words: object) -> bytes:
        arguments = ["--url", f"http://{ngas_node.address}", *map(str, words)]
        assert await asyncio.to_thread(main, arguments) == Exit.DONE, capsysbinary.readouterr()
        return capsysbinary.readouterr().out

    name = f"vospacetest-{uuid.uuid4()}.bin"
    path = tmp_path / name
    path.write_bytes(DATA)
    await tool("archive", "--mime-type", "application/octet-stream", path)
    found = json.loads(await tool("status", "--file-id", name, "--json"))
    (disk,) = found["disks"]
    try:
        await tool("retrieve", name, "-o", tmp_path / "back")
        assert (tmp_path / "back").read_bytes() == DATA
        assert await tool("retrieve", name, "-o", "-") == DATA
        assert name in str(json.loads(await tool("query", "files_list", "--format", "json")))
        assert b"4056" in await tool("command", "CHECKFILE", f"file_id={name}")
    finally:
        copy = (f"disk_id={disk['disk_id']}", f"file_id={name}", "file_version=1", "execute=1")
        await tool("command", "DISCARD", *copy)
    arguments = ["--url", f"http://{ngas_node.address}", "status", "--file-id", name]
    assert await asyncio.to_thread(main, arguments) == Exit.NOT_FOUND
