"""A data archiving plug-in: the file's id is the value of a keyword in its FITS header.

``<Stream MimeType="image/x-fits" PlugIn="pyvospace_ngas.archive.examples.fits_id"
PlugInPars="keyword=DP.ID">``; without parameters the keyword is ``ARCFILE``. Files that are no
FITS files or do not have the keyword are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pyvospace_ngas.archive.interfaces import Accepted, Incoming
from pyvospace_ngas.archive.plugins import pairs

CARD: Final = 80
BLOCK: Final = 36 * CARD
MOST_BLOCKS: Final = 1000  # of a header: more than any instrument writes
TEXT: Final = re.compile(r"'((?:[^']|'')*)'")
LONG_KEYWORD: Final = 8  # longer ones are written HIERARCH name = value


def fits_id(file: Incoming) -> Accepted:
    """Take the id from the header."""
    keyword = pairs(file.parameters).get("keyword", "ARCFILE").upper()
    for card in cards(file.path):
        if value := _value(card, keyword):
            return Accepted(file_id=value)
    raise ValueError(f"its FITS header has no {keyword}")


def cards(path: Path) -> Iterator[str]:
    """Yield the cards of the primary header; nothing behind it is read."""
    with path.open("rb") as stream:
        for number in range(MOST_BLOCKS):
            block = stream.read(BLOCK)
            if len(block) < BLOCK or (number == 0 and not block.startswith(b"SIMPLE  =")):
                raise ValueError("it is no FITS file")
            text = block.decode("ascii", "replace")
            for start in range(0, BLOCK, CARD):
                card = text[start : start + CARD]
                if card.rstrip() == "END":
                    return
                yield card
    raise ValueError("its FITS header does not end")


def _value(card: str, keyword: str) -> str:
    """Return the value of a card with the keyword, "" for any other."""
    name, equals, rest = card.partition("=")
    wanted = keyword.replace(".", " ")
    if len(wanted) > LONG_KEYWORD or " " in wanted:
        wanted = f"HIERARCH {wanted}"
    if not equals or name.strip() != wanted:
        return ""
    if text := TEXT.match(rest.lstrip()):
        return text[1].replace("''", "'").strip()
    return rest.partition("/")[0].strip()
