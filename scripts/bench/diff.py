"""Diff of two snapshots under a permuted vocabulary, against the time of reading both once.

    python scripts/bench/diff.py [--rows 8e6] [--dim 64] [--rounds 5] [--neighbors 0] [--procrustes] [--dir DIR]

One fp32 table on each side; a hundredth of the entities is exchanged and all rows are permuted. The vocabularies are
loaded before the clock starts; joining them, reading both tables and all figures count. "Reading both once" is one
thread's readinto in pieces of 8 MB, with a warm page cache, in the same round. Goals: at most 4 x that, and
anonymous memory below 1 GB.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from measure import MB, Run, interleave, machine, median, run_process

from embsnap.formats.torchsnapshot.snapshot import open_snapshot
from embsnap.formats.torchsnapshot.writer import ArrayToWrite, write_snapshot
from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.model.dtypes import DTYPES
from embsnap.model.progress import SILENT
from embsnap.model.vocabulary import IdType, Vocabulary
from embsnap.ops.diff.gates import Conditions
from embsnap.ops.diff.options import DiffOptions
from embsnap.ops.diff.sides import read_sides
from embsnap.ops.diff.tables import diff_tables
from embsnap.storage.uri import open_store

PIECE_BYTES = 8_000_000


class RandomRows:
    """A table of random rows, made block by block; row `order[i]` of an imagined table stands in row i."""

    dtype = np.dtype(np.float32)

    def __init__(self, order: np.ndarray, dim: int, noise: float) -> None:
        self.num_rows, self.dim, self._order, self._noise = len(order), dim, order, noise

    def read(self, start: int, end: int, out_ND: np.ndarray) -> None:
        """The same for the same entity, but for the noise."""
        phases = self._order[start:end, None] * np.float32(0.7548777) + np.arange(self.dim, dtype=np.float32)
        np.sin(phases, out=out_ND)
        out_ND += self._noise * np.random.default_rng(start).standard_normal(out_ND.shape, np.float32)


def prepare(root: Path, num_rows: int, dim: int) -> None:
    """Both snapshots and both vocabularies."""
    rng = np.random.default_rng(0)
    ids = rng.permutation(np.unique(rng.integers(0, 2**62, num_rows + num_rows // 50)))
    exchanged = num_rows // 100
    orders = {"a": np.arange(num_rows), "b": rng.permutation(np.arange(exchanged, num_rows + exchanged))}
    for name, order in orders.items():
        vocabulary = Vocabulary(name, IdType.INT64, ids[order], np.arange(num_rows))
        write_vocabulary(vocabulary, str(root / f"{name}.parquet"))
        rows = RandomRows(order, dim, 0.0 if name == "a" else 0.1)
        table = ArrayToWrite("model/ebc.embedding_bags.user.weight", DTYPES["float32"], (num_rows, dim), rows)
        write_snapshot(open_store(str(root / name)), [table], plan_digest="0" * 64)


def compare(root: Path, neighbors: int, procrustes: bool) -> None:
    """Load the vocabularies, then time the diff: what the measured process does."""
    options = DiffOptions(
        vocab_a={"user": str(root / "a.parquet")},
        vocab_b={"user": str(root / "b.parquet")},
        neighbors=neighbors,
        procrustes=procrustes,
        threads=len(os.sched_getaffinity(0)),
    )
    snapshots = (open_snapshot(str(root / "a")), open_snapshot(str(root / "b")))
    sides = read_sides(snapshots, ("user", "user"), options, SILENT)
    started = time.perf_counter()
    diff_tables(*sides, options, Conditions(options), SILENT)
    print(time.perf_counter() - started)


def read_once(root: Path) -> None:
    """One thread reads every object of both snapshots."""
    buffer = bytearray(PIECE_BYTES)
    paths = [path for name in ("a", "b") for path in (root / name).rglob("*") if path.is_file()]
    started = time.perf_counter()
    for path in paths:
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
    print(time.perf_counter() - started)


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=lambda text: int(float(text)), default=8_000_000)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--neighbors", type=int, default=0)
    parser.add_argument("--procrustes", action="store_true")
    parser.add_argument("--dir", type=Path, help="where to work")
    parser.add_argument("--step", choices=["compare", "read"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.step == "compare":
        compare(args.dir, args.neighbors, args.procrustes)
    elif args.step == "read":
        read_once(args.dir)
    else:
        root = Path(tempfile.mkdtemp(prefix="embsnap-bench-", dir=args.dir))
        try:
            _bench(root, args)
        finally:
            shutil.rmtree(root)


def _bench(root: Path, args: argparse.Namespace) -> None:
    prepare(root, args.rows, args.dim)
    steps: dict[str, list[float]] = {"read": [], "compare": []}
    more = [f"--neighbors={args.neighbors}", *(["--procrustes"] if args.procrustes else [])]

    def side(step: str) -> Run:
        return run_process([sys.executable, __file__, f"--step={step}", f"--dir={root}", *more])

    def timed(step: str, number: int) -> Run:
        run = side(step)
        if number:
            steps[step].append(float(run.stdout))
        return run

    runs = interleave({step: lambda number, step=step: timed(step, number) for step in steps}, args.rounds, warmed=root)
    read, step = (statistics.median(steps[name]) for name in ("read", "compare"))
    peak = max(run.peak_anon_mb for run in runs["compare"])
    size = 2 * args.rows * args.dim * 4
    print(
        f"diff of two {args.rows:,} x {args.dim} fp32 tables ({size / 1e9:.2f} GB), {args.rounds} rounds, {machine()}"
    )
    print(f"reading both once                {read:6.2f} s   {size / read / MB / 1000:.1f} GB/s")
    print(f"diff, from loaded vocabularies   {step:6.2f} s   {step / read:.2f} x reading (goal <= 4)")
    print(f"whole process                    {median(runs['compare']):6.2f} s")
    print(f"peak anonymous memory            {peak:6.0f} MB  (goal < 1000)")


if __name__ == "__main__":
    main()
