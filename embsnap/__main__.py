"""`embsnap`, `python -m embsnap` and `torchrun -m embsnap`: one command is the whole life of the process."""

from __future__ import annotations

import atexit
import os
import sys

from embsnap.cli.main import main

__all__ = ["run"]


def run() -> int:
    """Run one command; the process ends without taking the interpreter apart.

    Whatever is registered to happen at the exit happens, and output is flushed. Then the kernel takes back everything
    at once; letting go of it object by object takes up to half a second.
    """
    codes: list[int] = []

    def end() -> None:
        if codes:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(codes[0])

    atexit.register(end)  # before all others, so that it is called after them
    codes.append(main())
    return codes[0]


if __name__ == "__main__":
    sys.exit(run())
