"""A mount of names that are known beforehand: how fast the rest of a listing can be at all.

``python test/bench/floor.py VERSION DIRECTORIES NAMES MOUNTPOINT``, until it is unmounted.
"""

import stat
import sys
from collections.abc import Sequence
from typing import Final

from pyvospace_ngas.fuse import binding

_ALL: Final = {
    "st_nlink": 1, "st_size": 0, "st_blocks": 0, "st_blksize": 4096, "st_uid": 0, "st_gid": 0,
    "st_atime": 0, "st_mtime": 0, "st_ctime": 0,
}  # fmt: skip
_FILE: Final = {**_ALL, "st_mode": stat.S_IFREG | 0o644}
_DIRECTORY: Final = {**_ALL, "st_mode": stat.S_IFDIR | 0o755}
_OPTIONS: Final[dict[str, str | bool]] = {"attr_timeout": "0.4", "entry_timeout": "0.4"}


class Constants:
    """Directories of one level, each with as many files."""

    use_ns = True

    def __init__(self, directories: int, names: int) -> None:
        around = [(".", _DIRECTORY), ("..", _DIRECTORY)]
        top = [(f"d{number}", _DIRECTORY) for number in range(directories)]
        below = [(f"f{number}", _FILE) for number in range(names)]
        self._listings = ([*around, *top], [*around, *below])

    def __call__(self, name: str, *args: object) -> object:
        return getattr(self, name)(*args)

    def getattr(self, path: str, _info: object = None) -> dict[str, int]:
        return _FILE if "/f" in path else _DIRECTORY

    def opendir(self, path: str) -> int:
        return int(path != "/")

    def listed(self, number: int) -> Sequence[tuple[str, dict[str, int]]]:
        return self._listings[number]

    def readdir(self, _path: str, _number: int) -> None:
        """Be there: the binding asks `listed`."""

    def getxattr(self, _path: str, _name: str, _position: int = 0) -> bytes:
        """Be there: the binding answers by itself."""
        return b""


def main(version: int, directories: int, names: int, mountpoint: str) -> None:
    binding.run(Constants(directories, names), mountpoint, _OPTIONS, binding.Kernel(version))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
