"""`embsnap inspect` as a whole process, against torchsnapshot's `get_manifest` in a Python one-liner.

    python scripts/bench/inspection.py [--tables 200] [--ranks 8] [--rounds 5]

The snapshot has row-wise tables with row-wise optimizer state on every rank. Goal: 8 x faster.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
from measure import interleave, machine, median, run_process

from embsnap.testing.snapshots import SnapshotBuilder, row_shards

_GET_MANIFEST = "import sys, torchsnapshot; print(len(torchsnapshot.Snapshot(sys.argv[1]).get_manifest()))"


def build(root: Path, num_tables: int, num_ranks: int) -> Path:
    """A snapshot with that many small tables, each with one value of optimizer state per row."""
    builder = SnapshotBuilder(world_size=num_ranks)
    for number in range(num_tables):
        name, num_rows = f"table_{number:03}", 64 + number
        key = f"ebc.embedding_bags.{name}.weight"
        rows_ND = np.zeros((num_rows, 16), np.float32)
        builder.sharded(f"model/{key}", rows_ND, row_shards(rows_ND.shape, num_ranks))
        state = f"optimizer/state/fused_opt.{key}/{name}.momentum1"
        builder.sharded(state, rows_ND[:, 0], row_shards((num_rows,), num_ranks))
    builder.value("extra_state/step", 1)
    return builder.write(root)


def main() -> int:
    """Print the medians and their ratio; 1 if the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=200)
    parser.add_argument("--ranks", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--goal", type=float, default=8.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        root = build(Path(directory) / "snapshot", arguments.tables, arguments.ranks)
        size = (root / ".snapshot_metadata").stat().st_size
        print(f"{arguments.tables} tables on {arguments.ranks} ranks, {size / 1e6:.1f} MB of metadata")
        sides = {
            "embsnap": lambda _: run_process([sys.executable, "-m", "embsnap", "inspect", str(root)]),
            "torchsnapshot": lambda _: run_process([sys.executable, "-W", "ignore", "-c", _GET_MANIFEST, str(root)]),
        }
        runs = interleave(sides, arguments.rounds)
    print(machine())
    ours, theirs = median(runs["embsnap"]), median(runs["torchsnapshot"])
    print(f"embsnap inspect {ours:.3f} s, torchsnapshot get_manifest {theirs:.2f} s: {theirs / ours:.1f} x")
    return 0 if theirs / ours >= arguments.goal else 1


if __name__ == "__main__":
    sys.exit(main())
