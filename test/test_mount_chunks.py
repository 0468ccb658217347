"""The memory of a mount: by version, within its limit, and never with two users at once."""

from pyvospace_ngas.fuse.chunks import BLOCK, Chunks, Key


def key(number: int, md5: str = "a") -> Key:
    return md5, number * BLOCK, BLOCK


def test_memory_is_used_again_only_after_its_last_user() -> None:
    chunks = Chunks(BLOCK)
    read = chunks.new(BLOCK)
    memory = read.data
    chunks.put(key(0), read)
    chunks.put(key(1), chunks.new(BLOCK))
    assert chunks.get(key(0)) is None
    assert chunks.new(BLOCK).data is not memory  # who reads has it still
    del read
    assert chunks.new(BLOCK).data is memory


def test_of_what_was_read_in_order_little_stays_and_of_the_rest_what_fits() -> None:
    chunks = Chunks(64 * BLOCK)
    for number in range(64):
        chunks.put(key(number), chunks.new(BLOCK))
    assert chunks.size == 64 * BLOCK
    for number in range(32):
        chunks.passed(key(number))
        chunks.passed(key(number))
    left = [number for number in range(64) if chunks.get(key(number)) is not None]
    assert left == [*range(24, 64)]
    assert chunks.size == 40 * BLOCK
    assert chunks.get(key(40, "b")) is None


def test_a_block_gives_as_much_as_there_is() -> None:
    block = Chunks(0).new(5)
    block.data[:] = b"01234"
    into = memoryview(bytearray(8))
    assert block.copy(2, into) == 3
    assert bytes(into[:3]) == b"234"
