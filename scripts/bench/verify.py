"""`verify` of a large table, every level with values and checksums, against one thread's reading of its file.

    python scripts/bench/verify.py [--mb 2000] [--rounds 5] [--dir DIR]

Each measurement is a fresh process with a warm page cache, and the clock runs around the step alone, after a small run
that loads all it uses. Goal: at least 80 % of the read rate, which is that of `readinto` in pieces of 8 MB.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from measure import Run, interleave, machine, run_process
from object_store import DIM, RandomRows
from stats import read

from embsnap.formats.torchsnapshot.writer import ArrayToWrite, write_snapshot
from embsnap.model.dtypes import DTYPES
from embsnap.storage.uri import open_store

_GOAL = 0.80
_SIDES = ("read", "verify", "verify, one thread")


def write(root: Path, num_mb: int) -> None:
    """A table of random rows with its sidecar."""
    num_rows = num_mb * 1_000_000 // (4 * DIM)
    path, rows = "model/ebc.embedding_bags.user.weight", RandomRows(num_rows, DIM)
    array = ArrayToWrite(path, DTYPES["float32"], (num_rows, DIM), rows)
    write_snapshot(open_store(str(root)), [array], plan_digest="0" * 64)


def check(snapshot: str, threads: int) -> None:
    """All levels; the values and the sums of every byte."""
    from embsnap.model.verification import Level, Outcome
    from embsnap.ops.verify.verify import VerifyOptions, verify

    found = verify(snapshot, VerifyOptions(threads=threads))
    passed = {report.level for report in found.levels if report.outcome is Outcome.PASSED}
    if not found.ok or not {Level.CHECKSUMS, Level.VALUES} <= passed:
        raise SystemExit(f"not verified: {found}")


def child(side: str, snapshot: str, small: str) -> None:
    """Measure one side once."""
    work = read if side == "read" else lambda uri: check(uri, 1 if "one" in side else 2)
    work(small)
    started, cpu_started = time.perf_counter(), time.process_time()
    work(snapshot)
    print(json.dumps({"seconds": time.perf_counter() - started, "cpu_s": time.process_time() - cpu_started}))


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mb", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dir", type=Path, help="where to work")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(*args.child)
        return
    with TemporaryDirectory(prefix="embsnap-bench-", dir=args.dir) as root:
        _bench(Path(root), args.mb, args.rounds)


def _bench(root: Path, num_mb: int, rounds: int) -> None:
    snapshot, small = root / "snapshot", root / "small"
    write(snapshot, num_mb)
    write(small, 1)
    reports: dict[str, list[dict[str, float]]] = {side: [] for side in _SIDES}

    def measured(side: str):
        def one(number: int) -> Run:
            run = run_process([sys.executable, __file__, "--child", side, str(snapshot), str(small)])
            if number:
                reports[side].append(json.loads(run.stdout))
            return run

        return one

    interleave({side: measured(side) for side in _SIDES}, rounds, warmed=root)
    print(f"verify of {num_mb} MB, checksums and values of all of it, {rounds} rounds, {machine()}")
    rates = {}
    for side in _SIDES:
        seconds = statistics.median(report["seconds"] for report in reports[side])
        cpu_s = statistics.median(report["cpu_s"] for report in reports[side])
        rates[side] = num_mb / 1000 / seconds
        print(f"{side:<18} {seconds:6.3f} s  {rates[side]:5.2f} GB/s  {cpu_s:6.3f} s of processor time")
    print(f"of the read rate   {rates['verify'] / rates['read']:6.0%} (goal >= {_GOAL:.0%})")


if __name__ == "__main__":
    main()
