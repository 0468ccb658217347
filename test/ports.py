"""Ports for the servers of the tests: below those that the kernel gives to outgoing connections.

A port of the kernel's choice may be taken by any connection before its server listens.
"""

import os
import random
import socket
from typing import Final

LOW: Final = 12_000
HIGH: Final = 32_000
_WORKERS: Final = 16  # test processes side by side, each with ports of its own
_given: set[int] = set()


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on, and that was not given before."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _WORKERS
    while True:
        port = random.randrange(LOW, HIGH) // _WORKERS * _WORKERS + worker
        if port not in _given and _is_free(port):
            _given.add(port)
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
