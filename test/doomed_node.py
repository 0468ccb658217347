"""``ngas_node`` that is killed before a change of its volumes: a life for each line of input.

``python doomed_node.py FOLDER ARGUMENT...``: each line is a number, and starts a node with those
arguments. While the file ``FOLDER/armed`` exists, what the node does to files below
``FOLDER/volumes`` is counted, and it dies by SIGKILL before it does that one. A child of a
process that has imported all there is starts much faster than a new one.
"""

import itertools
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from pyvospace_ngas.cli.node import main

CHANGES = frozenset({"open", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir"})


def live(doom: int, root: Path, arguments: Sequence[str]) -> int:
    """Run a node that dies before the change with the number ``doom``."""
    armed, volumes, numbers = root / "armed", str(root / "volumes"), itertools.count()

    def audit(event: str, details: tuple[object, ...]) -> None:
        if event not in CHANGES or not any(str(each).startswith(volumes) for each in details):
            return
        if armed.exists() and next(numbers) == doom:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(audit)
    return main(arguments)


def lives(root: Path, arguments: Sequence[str]) -> None:
    """Run one node after the other, and say of each that it has ended."""
    for line in sys.stdin:
        child = os.fork()
        if not child:
            os._exit(live(int(line), root, arguments))
        _, status = os.waitpid(child, 0)
        print("ended", os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    lives(Path(sys.argv[1]), sys.argv[2:])
