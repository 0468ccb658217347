"""A node's memory does not grow with the files that pass."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession
from archive_support import NodeProcess, archive, prepare
from crc32c import crc32c

MIB = 1024 * 1024
PIECE = bytes(range(256)) * 4096


def peak(pid: int) -> int:
    """Return the most memory a process ever had, in bytes."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


async def pieces(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield PIECE


@pytest.mark.parametrize(
    ("mebibytes", "at_once"),
    [(192, 1), (48, 4), pytest.param(4096, 1, marks=pytest.mark.scale)],
)
async def test_large_files_pass_flat_in_memory(
    tmp_path: Path, mebibytes: int, at_once: int
) -> None:
    prepare(tmp_path)
    node = NodeProcess(tmp_path)
    await node.start("-v", "0")
    try:
        async with ClientSession() as session:
            await archive(session, node.url, "first.bin", b"x")
            before = peak(node.pid)

            async def there_and_back(name: str) -> None:
                status, answer = await archive(session, node.url, name, pieces(mebibytes))
                assert status == 200
                crc = 0
                async with session.get(f"{node.url}/RETRIEVE?file_id={name}") as response:
                    async for chunk in response.content.iter_any():
                        crc = crc32c(chunk, crc)
                assert str(crc) == answer.disks[0].files[0].checksum

            await asyncio.gather(*(there_and_back(f"{n}.bin") for n in range(at_once)))
        assert peak(node.pid) - before < 24 * MIB + at_once * 12 * MIB
        assert await node.stop() == 0
    finally:
        await node.kill()
