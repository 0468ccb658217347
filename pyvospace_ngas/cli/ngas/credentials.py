"""Who one is at a node: from a file that nobody else can read, or from the environment."""

import base64
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pyvospace_ngas.cli.ngas.sentences import Usage

OTHERS: Final = 0o077  # the bits of a mode that let anybody else in


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user of a node's Authorization."""

    user: str
    password: str = field(repr=False)

    @property
    def header(self) -> str:
        """What goes into ``Authorization``."""
        pair = f"{self.user}:{self.password}".encode()
        return "Basic " + base64.b64encode(pair).decode("ascii")


def find(file: Path | None) -> Credentials | None:
    """Return the credentials that are given, None where there are none."""
    if file is not None:
        return _from_file(file)
    user, password = os.environ.get("NGAS_USER"), os.environ.get("NGAS_PASSWORD")
    if user is None and password is None:
        return None
    if not user or password is None:
        raise Usage("NGAS_USER and NGAS_PASSWORD go together: one of them is missing")
    return Credentials(user, password)


def _from_file(path: Path) -> Credentials:
    if path.stat().st_mode & OTHERS:
        raise Usage(f"{path} can be read by others: run `chmod 600 {path}`")
    text = path.read_bytes().decode("utf-8", "replace")
    user, colon, password = text.strip("\r\n").partition(":")
    if not user or not colon or "\n" in text.strip():
        raise Usage(f"{path} holds no credentials: it is one line, USER:PASSWORD")
    return Credentials(user, password)
