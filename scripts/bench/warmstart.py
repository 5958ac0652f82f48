"""Warm start from snapshot to snapshot, against `cp` of the same bytes and against the script a user would write.

    python scripts/bench/warmstart.py [--rows 8e6] [--dim 64] [--rounds 5] [--no-script] [--dir DIR]

One fp32 table; a fifth of its entities is exchanged and all rows are permuted. Every run writes to a new destination
and ends with its bytes on disk; the page cache is warm. Printed apart: the whole process, and the part from the
finished row map to the commit. Goals: that part at most 1.3 x `cp`, the process at most 1 s more, anonymous memory at
most 256 MB + 40 B per vocabulary row, the script at least 4 x slower.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
from measure import MB, Run, copy_durably, interleave, machine, median, run_process

from embsnap.formats.torchsnapshot.writer import ArrayToWrite, write_snapshot
from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.model.dtypes import DTYPES
from embsnap.model.vocabulary import IdType, Vocabulary
from embsnap.storage.uri import open_store

SCRIPT = Path(__file__).with_name("warmstart_script.py")


class RandomRows:
    """A table of random rows, made block by block."""

    dtype = np.dtype(np.float32)

    def __init__(self, num_rows: int, dim: int) -> None:
        self.num_rows, self.dim = num_rows, dim

    def read(self, start: int, end: int, out_ND: np.ndarray) -> None:
        """Random rows; those of a range are the same every time."""
        np.random.default_rng(start).standard_normal(out_ND.shape, np.float32, out_ND)


def prepare(root: Path, num_rows: int, dim: int) -> Path:
    """Snapshot, both vocabularies and the config. Returns the config."""
    rng = np.random.default_rng(0)
    universe = rng.permutation(np.unique(rng.integers(0, 2**62, num_rows + num_rows // 4)))
    old_ids, new_ids = universe[:num_rows], universe[num_rows // 5 : num_rows // 5 + num_rows]
    for name, ids in (("old", old_ids), ("new", rng.permutation(new_ids))):
        write_vocabulary(Vocabulary(name, IdType.INT64, ids, np.arange(num_rows)), str(root / f"{name}.parquet"))
    table = ArrayToWrite(
        "model/ebc.embedding_bags.user.weight", DTYPES["float32"], (num_rows, dim), RandomRows(num_rows, dim)
    )
    write_snapshot(open_store(str(root / "snapshot")), [table], plan_digest="0" * 64)
    config = root / "config.yaml"
    config.write_text(
        f"tables:\n- name: user\n  num_embeddings: {num_rows}\n  embedding_dim: {dim}\n  vocab: {root}/new.parquet\n"
        f"  pretrained: {{emb_name: user, embedding_snapshot_uri: {root}/snapshot, vocab: {root}/old.parquet}}\n"
    )
    return config


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=lambda text: int(float(text)), default=8_000_000)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-script", action="store_true", help="leave the user's script out")
    parser.add_argument("--dir", type=Path, help="where to work (on a disk like the one in question)")
    args = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="embsnap-bench-", dir=args.dir))
    try:
        _bench(root, args.rows, args.dim, args.rounds, with_script=not args.no_script)
    finally:
        shutil.rmtree(root)


def _bench(root: Path, num_rows: int, dim: int, rounds: int, *, with_script: bool) -> None:
    config = prepare(root, num_rows, dim)
    steps: list[float] = []

    def embsnap(number: int) -> Run:
        out = root / f"out{number}"
        command = [sys.executable, "-m", "embsnap", "warmstart", str(config), "--no-model", "--json", "--quiet"]
        run = run_process([*command, "--out", str(out)])
        report = json.loads(run.stdout)
        shutil.rmtree(out)
        if number:
            steps.append(report["seconds"] - report["planning_seconds"])
        return run

    def cp(number: int) -> Run:
        run = copy_durably(root / "snapshot", root / f"cp{number}")
        shutil.rmtree(root / f"cp{number}")
        return run

    def script(number: int) -> Run:
        run = run_process([sys.executable, str(SCRIPT), str(root), str(root / f"script{number}")])
        shutil.rmtree(root / f"script{number}")
        return run

    sides = {"cp": cp, "embsnap": embsnap} | ({"script": script} if with_script else {})
    runs = interleave(sides, rounds, warmed=root)
    base, step = median(runs["cp"]), statistics.median(steps)
    anon, allowed = max(run.peak_anon_mb for run in runs["embsnap"]), 256 + 40 * num_rows / MB
    print(f"warm start of {num_rows:,} x {dim} fp32 ({num_rows * dim * 4 / 1e9:.2f} GB), {rounds} rounds, {machine()}")
    print(f"cp + fsync                       {base:6.2f} s")
    print(f"embsnap, row map to commit       {step:6.2f} s   {step / base:.2f} x cp (goal <= 1.3)")
    whole = median(runs["embsnap"])
    print(f"embsnap, whole process           {whole:6.2f} s   1.3 x cp + {whole - 1.3 * base:.2f} s (goal <= + 1 s)")
    print(f"embsnap, peak anonymous memory   {anon:6.0f} MB  (goal <= {allowed:.0f} MB)")
    if with_script:
        slow = median(runs["script"])
        peak = max(run.peak_anon_mb for run in runs["script"])
        print(
            f"pandas + torch + torchsnapshot   {slow:6.2f} s   {slow / whole:.1f} x embsnap (goal >= 4), {peak:.0f} MB"
        )


if __name__ == "__main__":
    main()
