"""How many ids a second a vocabulary's index turns into rows, mapped from its file and warm.

    python scripts/bench/vocab_index.py                 # 10 million int64 ids, batches of 65,536, random hits
    python scripts/bench/vocab_index.py 1e6 --strings --misses 0.1

Each of several threads looks up its own batches, as the workers of a data loader do; the file is mapped, and every
batch has been looked up and checked once before the clock starts. pandas' `Index.get_indexer` does the same on one
thread (it holds the GIL). Medians of the rounds.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from measure import machine

from embsnap.model.vocabulary import Vocabulary
from embsnap.ops.id_batches import ids_of
from embsnap.ops.vocab_index import VocabIndex


def batches_of(ids: np.ndarray, num_ids: int, batch: int, misses: float) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Random batches and the rows they should give: -1 for ids that are in no vocabulary."""
    rng = np.random.default_rng(1)
    rows = [rng.integers(0, len(ids), batch) for _ in range(max(1, num_ids // batch))]
    asked = [ids[chosen] for chosen in rows]
    for chosen, values in zip(rows, asked, strict=True):
        unknown = rng.random(batch) < misses
        values[unknown] = -1 - values[unknown]
        chosen[unknown] = -1
    return asked, rows


def rate(look_up: Callable[[Any], np.ndarray], asked: list[Any], threads: int, rounds: int) -> float:
    """Median of the batches' ids a second."""

    def work(mine: list[Any]) -> None:
        for ids in mine:
            look_up(ids)

    total = sum(len(ids) for ids in asked)
    seconds = []
    for _ in range(rounds):
        workers = [threading.Thread(target=work, args=(asked[number::threads],)) for number in range(threads)]
        start = time.perf_counter()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        seconds.append(time.perf_counter() - start)
    return total / statistics.median(seconds)


def measure(size: int, arguments: argparse.Namespace) -> None:
    """Measure at one size and print a table."""
    rng = np.random.default_rng(0)
    numbers = np.unique(rng.integers(0, 2**62, int(size * 1.01) + 1))
    rng.shuffle(numbers)
    numbers = numbers[:size]
    ids = pa.array(numbers).cast(pa.large_string()) if arguments.strings else numbers
    id_type, batch = ids_of(ids)
    started = time.perf_counter()
    index = VocabIndex.build(Vocabulary("ids", id_type, batch, np.arange(len(batch))), threads=arguments.threads)
    built = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
        index = index.save(str(Path(directory) / "index"))
        saved = time.perf_counter()
        asked, rows = batches_of(numbers, arguments.lookups, arguments.batch, arguments.misses)
        given = [pa.array(one).cast(pa.large_string()) if arguments.strings else one for one in asked]
        for one, expected in zip(given, rows, strict=True):
            assert (index.lookup(one, "skip") == expected).all()
        file_bytes = (Path(directory) / "index").stat().st_size
        print(f"\n{size:,} {id_type} ids: built in {built - started:.2f} s, saved in {saved - built:.2f} s,", end=" ")
        print(f"{file_bytes / 1e6:.0f} MB ({file_bytes / size:.1f} B per id)")
        for threads in sorted({1, arguments.threads}):
            found = rate(lambda one: index.lookup(one, "skip"), given, threads, arguments.rounds)
            print(f"  embsnap, {threads} threads: {found / 1e6:8.1f} M ids/s")
    if importlib.util.find_spec("pandas") and not arguments.strings:
        import pandas as pd

        frame = pd.Index(numbers)
        assert (frame.get_indexer(asked[0]) == rows[0]).all()
        found = rate(frame.get_indexer, asked[: len(asked) // 10 + 1], 1, arguments.rounds)
        print(f"  pandas, 1 thread:   {found / 1e6:8.1f} M ids/s")


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", nargs="*", type=lambda text: int(float(text)), default=[10_000_000])
    parser.add_argument("--lookups", type=lambda text: int(float(text)), default=20_000_000, help="ids in all batches")
    parser.add_argument("--batch", type=int, default=65_536)
    parser.add_argument("--misses", type=float, default=0.0, help="share of the ids that are unknown")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--strings", action="store_true")
    parser.add_argument("--directory", help="where the index's file is to lie")
    arguments = parser.parse_args()
    print(f"{machine()}, batches of {arguments.batch:,}, {arguments.misses:.0%} unknown, median of {arguments.rounds}")
    for size in arguments.sizes:
        measure(size, arguments)


if __name__ == "__main__":
    main()
