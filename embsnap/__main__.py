"""`python -m embsnap` and `torchrun -m embsnap`."""

from __future__ import annotations

import sys

from embsnap.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
