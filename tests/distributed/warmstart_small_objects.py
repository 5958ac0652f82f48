"""Run by torchrun: `embsnap` with objects of a few rows, so that every rank has some to write.

torchrun --nproc-per-node 2 warmstart_small_objects.py warmstart CONFIG --out OUT
"""

from __future__ import annotations

import sys

from embsnap.cli.main import main
from embsnap.formats.torchsnapshot import layout

layout.PIECE_BYTES = layout.OBJECT_BYTES = 1 << 14
sys.exit(main())
