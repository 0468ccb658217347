"""The headers of a FITS file, found without reading the data between them."""

import math
import re
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

from pyvospace_ngas.errors import InvalidData

BLOCK: Final = 2880
CARD: Final = 80
READ: Final = 5 * BLOCK  # at once: most headers are shorter
MOST_UNITS: Final = 1000  # headers in a file
LONGEST: Final = 8 * 2**20  # bytes of all headers
_VALUE: Final = re.compile(rb"([A-Z0-9_-]{1,8}) *= *([+-]?\d{1,18}|[TF])\b")

Fetch = Callable[[int, int], Awaitable[bytes]]


async def headers(fetch: Fetch, length: int) -> str:
    """Return the cards of all headers as lines, an empty line between two headers.

    ``fetch`` gives the bytes [start, end) of the file, which has ``length``. Raises `InvalidData`
    for what is no FITS file; what breaks off or follows the last unit that is whole is left out.
    """
    units: list[str] = []
    at = budget = 0
    while at < length and len(units) < MOST_UNITS:
        header = await _header(fetch, at, length, LONGEST - budget)
        if header is None:
            break
        units.append("".join(f"{_line(card)}\n" for card in _cards(header)))
        budget += len(header)
        at += len(header) + _padded(_data_size(header))
    if not units:
        raise InvalidData("this is no FITS file")
    return "\n".join(units)


async def _header(fetch: Fetch, at: int, length: int, most: int) -> bytes | None:
    """Return the whole header at ``at`` with its padding, ``None`` if there is none."""
    read = b""
    while at + len(read) + BLOCK <= length:
        start = at + len(read)
        end = min(start + READ, length - (length - start) % BLOCK)
        more = await fetch(start, end)
        if not read and not more.startswith((b"SIMPLE  =", b"XTENSION=")):
            return None
        read += more
        found = _end(read, len(read) - len(more))
        if found is not None:
            return read[:found]
        if len(read) > most:
            raise InvalidData("the headers of the file are longer than any should be")
    return None


def _end(read: bytes, known: int) -> int | None:
    """Return where the header ends whose END card is in ``read``, not before ``known``."""
    for start in range(known, len(read), CARD):
        if read[start : start + CARD].rstrip() == b"END":
            return _padded(start + CARD)
    return None


def _cards(header: bytes) -> Iterator[bytes]:
    for start in range(0, len(header), CARD):
        card = header[start : start + CARD]
        yield card
        if card.rstrip() == b"END":
            return


def _data_size(header: bytes) -> int:
    """Return the bytes of data behind a header (FITS 4.0, section 4.4.1)."""
    known: dict[bytes, bytes] = {}
    for card in _cards(header):
        if match := _VALUE.match(card):
            known.setdefault(match[1], match[2])
    axes = _number(known, b"NAXIS", 0)
    if not 0 <= axes <= 999:
        raise InvalidData("the FITS file has an impossible number of axes")
    sizes = [_number(known, b"NAXIS%d" % axis, 0) for axis in range(1, axes + 1)]
    if known.get(b"GROUPS") == b"T" and sizes and sizes[0] == 0:
        sizes = sizes[1:]
    if not axes:
        return 0
    values = _number(known, b"PCOUNT", 0) + math.prod(sizes)
    size = abs(_number(known, b"BITPIX", 8)) // 8 * _number(known, b"GCOUNT", 1) * values
    if size < 0:
        raise InvalidData("the FITS file says that some of its data are negative in size")
    return size


def _number(known: dict[bytes, bytes], key: bytes, default: int) -> int:
    value = known.get(key)
    return default if value is None or not value[-1:].isdigit() else int(value)


def _padded(size: int) -> int:
    return size + -size % BLOCK


def _line(card: bytes) -> str:
    text = card.decode("ascii", "replace").rstrip()
    return "".join(character if character.isprintable() else "?" for character in text)
