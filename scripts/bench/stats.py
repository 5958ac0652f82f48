"""Statistics of a large table, against reading it, its bare Gram matrix, and a sampled mean of norms in torch.

    python scripts/bench/stats.py [--rows 8e6] [--dim 64] [--rounds 5] [--dir DIR]

Each measurement is a fresh process with a warm page cache, and the clock runs around the computing alone. Goals:
without spectrum and duplicates at least 25 % of the read rate; with both at most 2 x the float64 X'X over blocks; 3 x
faster than the-algorithm-ml's `log_ebc_norms` with its sample of 4 million rows; memory under 1 GB.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from measure import Run, interleave, machine, run_process

_PIECE = 8 << 20
_SIDES = ("read", "norms", "gram", "everything", "log_ebc_norms")


def write(root: Path, num_rows: int, dim: int) -> None:
    """One table of random rows as a snapshot, drawn block by block."""
    from embsnap.formats.torchsnapshot.writer import ArrayToWrite, write_snapshot
    from embsnap.model.dtypes import DTYPES
    from embsnap.storage.uri import open_store

    class Drawn:
        num_rows, dim, dtype = 0, 0, np.dtype(np.float32)

        def read(self, start: int, end: int, out_ND: np.ndarray) -> None:
            out_ND[...] = np.random.default_rng(start).standard_normal(out_ND.shape, np.float32)

    source = Drawn()
    source.num_rows, source.dim = num_rows, dim
    array = ArrayToWrite("model/ebc.embedding_bags.user.weight", DTYPES["float32"], (num_rows, dim), source)
    write_snapshot(open_store(str(root)), [array], plan_digest="0" * 64)


def read(snapshot: str) -> None:
    """`readinto` of every object in pieces of 8 MiB, one thread."""
    buffer = bytearray(_PIECE)
    for path in Path(snapshot).rglob("*"):
        if path.is_file():
            with path.open("rb", buffering=0) as file:
                while file.readinto(buffer):
                    pass


def gram(snapshot: str) -> None:
    """X'X in float64 over blocks, with as many threads as the statistics have, on the mapped file."""
    from embsnap.formats.torchsnapshot.snapshot import open_snapshot
    from embsnap.kernels.row_sums import block_rows
    from embsnap.kernels.threads import run, split

    opened = open_snapshot(snapshot)
    reader = opened.reader(opened.table("user").weight)
    step = block_rows(reader.dim)

    def part(start: int, end: int) -> np.ndarray:
        total, rows = np.zeros((reader.dim, reader.dim)), np.empty((step, reader.dim), np.float32)
        for first in range(start, end, step):
            last = min(first + step, end)
            reader.read(first, last, rows[: last - first])
            wide = rows[: last - first].astype(np.float64)
            total += wide.T @ wide
        return total

    threads = len(os.sched_getaffinity(0))
    run([lambda b=bounds: part(*b) for bounds in split(reader.num_rows, threads)], threads)


def stats(snapshot: str, *, everything: bool) -> None:
    """What `embsnap stats` does."""
    from embsnap.ops.stats.options import StatsOptions
    from embsnap.ops.stats.plan import plan_stats

    threads = len(os.sched_getaffinity(0))
    plan_stats(snapshot, StatsOptions(spectrum=everything, duplicates=everything, threads=threads)).compute()


def log_ebc_norms(snapshot: str) -> None:
    """The lines of the-algorithm-ml's function that compute, on a table that lies in memory already."""
    weight = log_ebc_norms.weight
    import torch

    sample_mask = torch.randperm(weight.shape[0])[: min(4_000_000, weight.shape[0])]
    weight[sample_mask].cpu().norm(dim=1).to(torch.float32).mean()


def child(side: str, snapshot: str, small: str) -> None:
    """Measure one side once, after a small run that compiles and loads all it uses."""
    if side == "log_ebc_norms":
        import torch

        from embsnap.testing.tables import read_array

        log_ebc_norms.weight = torch.from_numpy(read_array(snapshot, "user"))
    work = {
        "read": read,
        "gram": gram,
        "norms": lambda uri: stats(uri, everything=False),
        "everything": lambda uri: stats(uri, everything=True),
        "log_ebc_norms": log_ebc_norms,
    }[side]
    if side != "log_ebc_norms":
        work(small)
    started = time.perf_counter()
    work(snapshot)
    print(json.dumps(time.perf_counter() - started))


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=lambda text: int(float(text)), default=8_000_000)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dir", type=Path, help="where to work")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(*args.child)
        return
    root = Path(tempfile.mkdtemp(prefix="embsnap-bench-", dir=args.dir))
    try:
        _bench(root, args.rows, args.dim, args.rounds)
    finally:
        shutil.rmtree(root)


def _bench(root: Path, num_rows: int, dim: int, rounds: int) -> None:
    write(root / "snapshot", num_rows, dim)
    write(root / "small", 10_000, dim)
    seconds: dict[str, list[float]] = {side: [] for side in _SIDES}

    def measured(side: str):
        def one(number: int) -> Run:
            run = run_process([sys.executable, __file__, "--child", side, str(root / "snapshot"), str(root / "small")])
            if number:
                seconds[side].append(json.loads(run.stdout.splitlines()[-1]))
            return run

        return one

    runs = interleave({side: measured(side) for side in _SIDES}, rounds, warmed=root)
    step = {side: statistics.median(seconds[side]) for side in _SIDES}
    num_bytes = num_rows * dim * 4
    memory = max(run.peak_anon_mb for side in ("norms", "everything") for run in runs[side])
    print(f"statistics of {num_rows:,} x {dim} fp32 ({num_bytes / 1e9:.2f} GB), {rounds} rounds, {machine()}")
    print(f"read, one thread            {step['read']:7.3f} s  {num_bytes / step['read'] / 1e9:5.1f} GB/s")
    share = step["read"] / step["norms"]
    print(f"without spectrum, duplicates{step['norms']:7.3f} s  {share:5.0%} of the read rate (goal >= 25 %)")
    print(f"bare float64 X'X            {step['gram']:7.3f} s")
    print(
        f"everything                  {step['everything']:7.3f} s  {step['everything'] / step['gram']:5.2f} x bare X'X"
        " (goal <= 2)"
    )
    print(
        f"log_ebc_norms, sampled      {step['log_ebc_norms']:7.3f} s  {step['log_ebc_norms'] / step['norms']:5.1f} x"
        " the statistics without both (goal >= 3)"
    )
    print(f"peak anonymous memory       {memory:7.0f} MB (goal < 1000 MB)")


if __name__ == "__main__":
    main()
