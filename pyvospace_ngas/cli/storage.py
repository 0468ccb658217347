"""The command ``ngas_storage``: the bytes, over HTTP."""

import sys
from collections.abc import Sequence

from pyvospace_ngas.cli import serving
from pyvospace_ngas.storage.app import create_app


def main(argv: Sequence[str] | None = None) -> int:
    """Run the storage server until SIGTERM or SIGINT; return the exit code."""
    return serving.main(argv, "Storage", create_app, lambda settings: settings.storage.listen)


if __name__ == "__main__":
    sys.exit(main())
