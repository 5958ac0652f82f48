"""How fast the rows of a new table find their old rows by entity id, beside the libraries one would use instead.

    python scripts/bench/id_join.py                 # 10 and 30 million ids on each side
    python scripts/bench/id_join.py 1e6 --rounds 3
    python scripts/bench/id_join.py 1e7 --strings   # ids of 8 to 19 characters

Each contender gets the id and row columns of both sides as Arrow arrays in memory and returns the int64 row map in the
order of the new rows (-1 for a new entity), having made sure that neither side holds an id twice. 20 % of the entities
are exchanged, and ids and rows are shuffled. Strings are `large_string`; pandas gets them as arrays of Python strings,
made before the clock starts. All run in one process, in interleaved rounds, after one round that is not counted, and
every result is compared with the first. Peak memory is the growth of a fresh process that does it once.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

THREADS = int(os.environ.setdefault("POLARS_MAX_THREADS", str(len(os.sched_getaffinity(0)))))  # read on import

import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.compute as pc  # noqa: E402

from embsnap.kernels.join import join  # noqa: E402
from embsnap.ops.id_batches import ids_of  # noqa: E402

NAMES = ("id", "row")
PACKAGES = ("embsnap", "polars", "duckdb", "pandas", "pyarrow")


@dataclass(frozen=True)
class Vocabularies:
    """Two sides of N entities each: ids and rows as Arrow columns."""

    old: pa.Table
    new: pa.Table

    @classmethod
    def exchanging_a_fifth(cls, size: int, strings: bool) -> Vocabularies:
        """Random 63-bit ids, or the decimal digits of random numbers; the new side has 80 % of the old side's."""
        rng = np.random.default_rng(0)
        drawn = np.exp(rng.uniform(np.log(1e7), np.log(4e18), int(size * 1.3))) if strings else None
        universe = np.unique(rng.integers(0, 2**62, int(size * 1.3)) if drawn is None else drawn.astype(np.int64))
        rng.shuffle(universe)
        sides = (universe[:size], rng.permutation(universe[size // 5 :][:size]))
        arrays = [pa.array(ids).cast(pa.large_string()) if strings else pa.array(ids) for ids in sides]
        return cls(*(pa.table({"id": ids, "row": rng.permutation(len(ids))}) for ids in arrays))

    def columns(self) -> Iterator[Any]:
        """Old ids, old rows, new ids, new rows, as embsnap takes them, without a copy."""
        for side in (self.old, self.new):
            for name in NAMES:
                yield ids_of(side[name])[1]

    @cached_property
    def arrays(self) -> list[np.ndarray]:
        """The same as numpy arrays, strings as Python objects."""
        return [side[name].chunk(0).to_numpy(zero_copy_only=False) for side in (self.old, self.new) for name in NAMES]


def _scatter(size: int, new_rows: np.ndarray, old_rows: np.ndarray) -> np.ndarray:
    """The row map from (new row, old row) of the entities on both sides."""
    row_map = np.full(size, -1, np.int64)
    row_map[new_rows] = old_rows
    return row_map


def by_embsnap(sides: Vocabularies) -> np.ndarray:
    """`embsnap.kernels.join`, which also returns the new entities' rows and keys."""
    joined = join(*sides.columns(), sides.new.num_rows, threads=THREADS)
    assert not joined.old_duplicates.count
    assert not joined.new_duplicates.count
    return joined.row_V


def by_polars(sides: Vocabularies) -> np.ndarray:
    """Inner join on the streaming engine, the faster one here; distinct ids counted on both sides."""
    import polars as pl

    old, new = pl.from_arrow(sides.old), pl.from_arrow(sides.new)
    assert old["id"].n_unique() == len(old)
    assert new["id"].n_unique() == len(new)
    both = new.lazy().join(old.lazy(), on="id", how="inner", suffix="_old").collect(engine="streaming")
    return _scatter(len(new), both["row"].to_numpy(), both["row_old"].to_numpy())


def by_duckdb(sides: Vocabularies) -> np.ndarray:
    """Inner join in SQL; distinct ids counted on both sides."""
    import duckdb

    with duckdb.connect(config={"threads": THREADS}) as connection:
        connection.register("old", sides.old)
        connection.register("new", sides.new)
        for side in ("old", "new"):
            total, distinct = connection.execute(f"SELECT count(*), count(DISTINCT id) FROM {side}").fetchone()
            assert total == distinct
        query = "SELECT new.row AS new_row, old.row AS old_row FROM new JOIN old ON new.id = old.id"
        both = connection.execute(query).fetchnumpy()
    return _scatter(sides.new.num_rows, both["new_row"], both["old_row"])


def by_pandas(sides: Vocabularies) -> np.ndarray:
    """`Index.get_indexer`, with `is_unique` of both sides."""
    import pandas as pd

    old_ids, old_rows, new_ids, new_rows = sides.arrays
    index = pd.Index(old_ids)
    assert index.is_unique
    assert pd.Index(new_ids).is_unique
    found = index.get_indexer(new_ids)
    return _scatter(len(new_ids), new_rows, np.where(found >= 0, old_rows[found], -1))


def by_pyarrow(sides: Vocabularies) -> np.ndarray:
    """`Table.join`; distinct ids counted on both sides."""
    pa.set_cpu_count(THREADS)
    for side in (sides.old, sides.new):
        assert pc.count_distinct(side["id"]).as_py() == side.num_rows
    both = sides.new.join(sides.old, "id", join_type="inner", right_suffix="_old")
    return _scatter(sides.new.num_rows, both["row"].to_numpy(), both["row_old"].to_numpy())


CONTENDERS: dict[str, Callable[[Vocabularies], np.ndarray]] = {
    name: globals()[f"by_{name}"] for name in PACKAGES if importlib.util.find_spec(name)
}


def time_all(sides: Vocabularies, rounds: int) -> dict[str, float]:
    """Median seconds of each contender."""
    assert len(sides.arrays) == 4  # made before the clock starts
    seconds: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    expected = None
    for number in range(rounds + 1):
        for name, contender in CONTENDERS.items():
            gc.collect()
            start = time.perf_counter()
            row_map = contender(sides)
            elapsed = time.perf_counter() - start
            if number:
                seconds[name].append(elapsed)
            else:
                expected = row_map if expected is None else expected
                assert (row_map == expected).all(), f"{name} has another row map"
            del row_map
    return {name: statistics.median(measured) for name, measured in seconds.items()}


def peak_bytes(name: str, size: int, strings: bool) -> int:
    """Growth of the resident memory of a fresh process, whose result stays alive."""
    command = [sys.executable, __file__, str(size), "--peak-of", name, *(["--strings"] if strings else [])]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def print_own_peak(name: str, size: int, strings: bool) -> None:
    """Run one contender once, after a small warm-up, and print how far the resident memory rose."""
    CONTENDERS[name](Vocabularies.exchanging_a_fifth(1000, strings))
    sides = Vocabularies.exchanging_a_fifth(size, strings)
    assert len(sides.arrays) == 4
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark begins anew
    before = _status_kb("VmRSS")
    row_map = CONTENDERS[name](sides)
    print((_status_kb("VmHWM") - before) * 1024)
    del row_map


def _status_kb(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def report(size: int, rounds: int, strings: bool) -> None:
    """Measure at one size and print a table."""
    seconds = time_all(Vocabularies.exchanging_a_fifth(size, strings), rounds)
    print(f"\n{size:,} {'strings' if strings else 'ids'} on each side, {THREADS} threads, median of {rounds} rounds")
    print(f"{'':10}{'seconds':>9}{'M ids/s':>9}{'times embsnap':>15}{'peak MB':>9}{'B per id':>10}")
    for name, median in seconds.items():
        peak, ratio = peak_bytes(name, size, strings), median / seconds["embsnap"]
        rates = f"{median:9.3f}{size / median / 1e6:9.1f}{ratio:15.2f}"
        print(f"{name:10}{rates}{peak / 1e6:9.0f}{peak / (2 * size):10.1f}")
    rivals = [median for name, median in seconds.items() if name != "embsnap"]
    print(f"embsnap is {min(rivals) / seconds['embsnap']:.2f} times as fast as the fastest of the others")


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", nargs="*", type=lambda text: int(float(text)), default=[10_000_000, 30_000_000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--strings", action="store_true", help="ids are strings of 8 to 19 characters")
    parser.add_argument("--peak-of", choices=PACKAGES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak_of:
        print_own_peak(arguments.peak_of, arguments.sizes[0], arguments.strings)
        return
    missing = [name for name in PACKAGES if name not in CONTENDERS]
    if missing:
        print(f"not installed: {', '.join(missing)}", file=sys.stderr)
    for size in arguments.sizes:
        report(size, arguments.rounds, arguments.strings)


if __name__ == "__main__":
    main()
