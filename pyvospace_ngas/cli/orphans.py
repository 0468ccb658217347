"""No child outlives the process that started it, not even when that one is killed with -9.

The child runs this file first, which asks the kernel for a signal at its parent's death and then
becomes the program. Doing so between fork and exec instead is unsafe in a program with threads.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from typing import Final

PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
CANNOT_RUN: Final = 127  # as a shell says it


def guarded(
    words: Sequence[str], number: signal.Signals, user: tuple[int, int] | None = None
) -> list[str]:
    """Return a command line that runs ``words`` and gets the signal ``number`` when we die.

    ``user`` is the uid and gid to run as; only root may name them. The kernel's promise holds for
    the thread that starts the child: let it be the main one.
    """
    who = "" if user is None else f"{user[0]}:{user[1]}"
    return [sys.executable, "-IS", __file__, str(int(number)), str(os.getpid()), who, *words]


def _become(number: int, parent: int, who: str, words: Sequence[str]) -> None:
    if who:
        uid, gid = map(int, who.split(":"))
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    # After the change of user, which makes the kernel forget it.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)
    if os.getppid() != parent:  # it died before the call
        sys.exit(1)
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # Python's own doing; not for the program
        signal.signal(ignored, signal.SIG_DFL)
    try:
        os.execvp(words[0], list(words))  # noqa: S606 - our own command line
    except OSError as error:
        print(f"cannot run {words[0]}: {error.strerror}", file=sys.stderr)
        sys.exit(CANNOT_RUN)


if __name__ == "__main__":
    _become(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:])
