"""The command ``ngas_space``: the tree, over HTTP."""

import sys
from collections.abc import Sequence

from pyvospace_ngas.cli import serving
from pyvospace_ngas.space.app import create_app


def main(argv: Sequence[str] | None = None) -> int:
    """Run the space server until SIGTERM or SIGINT; return the exit code."""
    return serving.main(argv, "Space", create_app, lambda settings: settings.space.listen)


if __name__ == "__main__":
    sys.exit(main())
