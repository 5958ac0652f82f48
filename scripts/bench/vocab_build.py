"""How long `embsnap vocab build` takes beside DuckDB's bare group-by written to parquet, both under one memory limit.

    python scripts/bench/vocab_build.py                       # 100 million events of 5 million ids
    python scripts/bench/vocab_build.py 1e7 5e5 --rounds 3

Events are int64 ids, Zipf-distributed with exponent 1.1, each id at least once, in files of ten million. Both sides are
processes of their own, with two threads and a limit of 1 GB for the engine; new destinations, both ended by fsync, in
interleaved rounds after one that is not counted. embsnap sorts by count and id, numbers the rows, writes a fingerprint.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from measure import Run, interleave, machine, median, run_process, warm

EVENTS_PER_FILE = 10_000_000
GROUP_BY = """
import os, sys
import duckdb

events, out, memory, threads = sys.argv[1:]
with duckdb.connect(config={"memory_limit": memory, "threads": int(threads)}) as connection:
    query = f"SELECT user_id AS id, count(*) AS count FROM '{events}/*.parquet' GROUP BY id"
    connection.execute(f"COPY ({query}) TO '{out}' (FORMAT parquet)")
with open(out, "rb") as file:
    os.fsync(file.fileno())
"""


def make_events(directory: Path, num_events: int, num_ids: int) -> None:
    """Write the event logs."""
    rng = np.random.default_rng(0)
    weights = np.arange(1, num_ids + 1, dtype=np.float64) ** -1.1
    bounds = np.cumsum(weights / weights.sum())
    names = rng.permutation(np.unique(rng.integers(0, 2**62, int(num_ids * 1.01)))[:num_ids])
    once = rng.permutation(num_ids)
    starts = range(0, num_events, EVENTS_PER_FILE)
    for number, start in enumerate(starts):
        share = once[num_ids * number // len(starts) : num_ids * (number + 1) // len(starts)]
        num_drawn = min(EVENTS_PER_FILE, num_events - start) - len(share)
        drawn = np.minimum(np.searchsorted(bounds, rng.random(num_drawn)), num_ids - 1)
        table = pa.table({"user_id": names[rng.permutation(np.concatenate([share, drawn]))]})
        pq.write_table(table, directory / f"{number:03}.parquet", row_group_size=1 << 20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("events", nargs="?", type=float, default=1e8)
    parser.add_argument("ids", nargs="?", type=float, default=5e6)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory", default="1GB")
    parser.add_argument("--threads", default="2")
    parser.add_argument("--directory", help="where the data goes; by default a temporary directory")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.directory) as scratch:
        events, results = Path(scratch) / "events", Path(scratch) / "results"
        events.mkdir()
        results.mkdir()
        make_events(events, int(arguments.events), int(arguments.ids))
        warm(events)

        def by_embsnap(number: int) -> Run:
            options = ["--memory-budget", arguments.memory, "--threads", arguments.threads, "--quiet"]
            out = str(results / f"embsnap{number}.parquet")
            command = ["-m", "embsnap", "vocab", "build", str(events), "--id-column", "user_id", "--out", out]
            return run_process([sys.executable, *command, *options])

        def by_duckdb(number: int) -> Run:
            out = str(results / f"duckdb{number}.parquet")
            return run_process([sys.executable, "-c", GROUP_BY, str(events), out, arguments.memory, arguments.threads])

        runs = interleave({"embsnap": by_embsnap, "duckdb": by_duckdb}, arguments.rounds)
        ours = pq.read_metadata(results / "embsnap1.parquet").num_rows
        theirs = pq.read_metadata(results / "duckdb1.parquet").num_rows
        assert ours == theirs == int(arguments.ids), (ours, theirs)
    print(f"{int(arguments.events):,} events of {int(arguments.ids):,} ids, {arguments.memory}; {machine()}")
    for name, side in runs.items():
        print(f"{name:8} {median(side):7.2f} s  {max(run.peak_anon_mb for run in side):6.0f} MB")
    print(f"ratio    {median(runs['embsnap']) / median(runs['duckdb']):7.2f}")


if __name__ == "__main__":
    main()
