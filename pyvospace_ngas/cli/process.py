"""What a command that stays makes of its process."""

import gc
import resource
from contextlib import suppress
from typing import Final

_YOUNG: Final = 20_000  # objects, a few MiB, before Python looks for garbage among them
_FILES: Final = 65_536  # that may be open: five for each download, and a shell allows 1024


def spare_what_stays() -> None:
    """Keep Python from looking for garbage in what was made at start, and from looking often.

    That was 5 % of a small request, and 10 % of a listing in a mount.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, 20, 100)


def allow_many_files() -> None:
    """Have as many files and connections open as there is use for, and the system lets us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):  # then it is as it was
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
