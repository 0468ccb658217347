"""What a mount is told: where, as whom, and how patient and how large it may be."""

from dataclasses import dataclass
from pathlib import Path

from pyvospace_ngas.model.uri import ROOT, NodePath


@dataclass(frozen=True, slots=True)
class Settings:
    """One mount. Times are seconds, sizes bytes."""

    url: str
    mountpoint: str  # absolute
    state: Path  # a folder of this mount's own: staged bytes, and those that could not be sent
    root: NodePath = ROOT
    user: str | None = None
    password: str | None = None
    patience: float = 30.0  # for which an operation waits for a server that is away
    drain: float = 30.0  # for what is pending when the mount ends
    fresh: float = 0.5  # for which what the server said is believed
    kernel: float = 0.4  # and the kernel believes it
    cache: int = 256 << 20  # of bytes that were read
    readahead: int = 1 << 20  # by the kernel, where we may tell it
    read_only: bool = False
    writeback: bool = False  # close() is done when the bytes are safe here, not at the server
