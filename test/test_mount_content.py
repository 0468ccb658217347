"""The bytes of a file of a mount, from a server that is slow, or silent."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from pathlib import Path

import mount_support
import pytest
from rude_space import Rude, RudeSpace

from pyvospace_ngas.errors import ServiceUnavailable
from pyvospace_ngas.fuse.chunks import BLOCK, Content

DATA = random.Random(8).randbytes(5 * BLOCK + 5)
PATIENCE = 1.0


@pytest.fixture
def rude() -> RudeSpace:
    return RudeSpace(files={"/a": DATA})


@pytest.fixture
async def content(rude: RudeSpace, tmp_path: Path) -> AsyncIterator[Content]:
    async with mount_support.content(rude, "/a", tmp_path, PATIENCE) as found:
        yield found


def read(content: Content) -> bytes:
    """Read as a program does that reads in order."""
    data = bytearray(len(DATA))
    for start in range(0, len(data), BLOCK // 2):
        content.read(start, memoryview(data)[start : start + BLOCK // 2])
    return bytes(data)


async def test_a_slow_link_is_no_failure(rude: RudeSpace, content: Content) -> None:
    rude.bytes_next.extend([Rude.TRICKLE] * 20)
    begun = time.monotonic()
    assert await asyncio.to_thread(read, content) == DATA
    assert time.monotonic() - begun > 2 * PATIENCE


async def test_a_server_that_is_silent_is_not_waited_for_longer(
    rude: RudeSpace, content: Content
) -> None:
    rude.bytes_next.extend([Rude.HANG] * 20)
    begun = time.monotonic()
    with pytest.raises((ServiceUnavailable, TimeoutError)):
        await asyncio.to_thread(read, content)
    assert time.monotonic() - begun < 10 * PATIENCE
