"""A chain of migration steps, against `cp` of a file of (read + written) / 2 bytes.

    python scripts/bench/migrate.py [--rows 8e6] [--dim 64] [--rounds 5] [--dir DIR]

One fp32 table is renamed, moved to a permuted vocabulary of the same entities, and cast to fp16: one pass. Every run
writes to a new destination and ends with its bytes on disk; the page cache is warm. Printed apart: the whole process,
and the part from the finished plan to the commit. Goal: that part at most 1.3 x `cp`.
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
from warmstart import RandomRows

from embsnap.formats.torchsnapshot.writer import ArrayToWrite, write_snapshot
from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.model.dtypes import DTYPES
from embsnap.model.vocabulary import IdType, Vocabulary
from embsnap.storage.uri import open_store


def prepare(root: Path, num_rows: int, dim: int) -> Path:
    """Snapshot, both vocabularies, the plan, and a file for `cp`. Returns the plan."""
    rng = np.random.default_rng(0)
    ids = rng.permutation(np.unique(rng.integers(0, 2**62, num_rows + num_rows // 8)))[:num_rows]
    for name, order in (("old", ids), ("new", rng.permutation(ids))):
        write_vocabulary(Vocabulary(name, IdType.INT64, order, np.arange(num_rows)), str(root / f"{name}.parquet"))
    rows = RandomRows(num_rows, dim)
    table = ArrayToWrite("model/ebc.embedding_bags.user.weight", DTYPES["float32"], (num_rows, dim), rows)
    write_snapshot(open_store(str(root / "snapshot")), [table], plan_digest="0" * 64)
    (root / "half").mkdir()
    with (root / "half" / "file").open("wb") as file:
        for start in range(0, num_rows * dim * 3, 8 << 20):
            file.write(rng.bytes(min(8 << 20, num_rows * dim * 3 - start)))
    plan = root / "plan.yaml"
    plan.write_text(
        f"steps:\n- rename: {{tables: {{user: member}}}}\n- vocab: {{table: member, vocab: {root}/old.parquet}}\n"
        f"- revocab: {{table: member, vocab: {root}/new.parquet}}\n- cast: {{tables: member, to: fp16}}\n"
    )
    return plan


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=lambda text: int(float(text)), default=8_000_000)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dir", type=Path, help="where to work (on a disk like the one in question)")
    args = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="embsnap-bench-", dir=args.dir))
    try:
        _bench(root, args.rows, args.dim, args.rounds)
    finally:
        shutil.rmtree(root)


def _bench(root: Path, num_rows: int, dim: int, rounds: int) -> None:
    plan = prepare(root, num_rows, dim)
    steps: list[float] = []

    def embsnap(number: int) -> Run:
        out = root / f"out{number}"
        command = [sys.executable, "-m", "embsnap", "migrate", str(plan), str(root / "snapshot"), "--json", "--quiet"]
        run = run_process([*command, "--out", str(out)])
        report = json.loads(run.stdout)
        shutil.rmtree(out)
        if number:
            steps.append(report["seconds"] - report["planning_seconds"])
        return run

    def cp(number: int) -> Run:
        run = copy_durably(root / "half", root / f"cp{number}")
        shutil.rmtree(root / f"cp{number}")
        return run

    runs = interleave({"cp": cp, "embsnap": embsnap}, rounds, warmed=root)
    base, step, whole = median(runs["cp"]), statistics.median(steps), median(runs["embsnap"])
    anon, allowed = max(run.peak_anon_mb for run in runs["embsnap"]), 256 + 40 * 2 * num_rows / MB
    print(f"rename + revocab + fp16 of {num_rows:,} x {dim} ({num_rows * dim * 4 / 1e9:.2f} GB), {machine()}")
    print(f"cp + fsync of (read + written) / 2  {base:6.2f} s")
    print(f"embsnap, plan to commit             {step:6.2f} s   {step / base:.2f} x cp (goal <= 1.3)")
    print(f"embsnap, whole process              {whole:6.2f} s   {whole / base:.2f} x cp")
    print(f"embsnap, peak anonymous memory      {anon:6.0f} MB  (goal <= {allowed:.0f} MB)")


if __name__ == "__main__":
    main()
