"""What comparing blocks with their checksums costs a sequential read of a whole table: cold, remote, warm.

    python scripts/bench/checked_read.py [--mb 1000] [--rounds 5] [--dir DIR]

Each measurement is a fresh process that reads the rows in order into one buffer of 32 MiB; the clock runs around the
reading alone. Cold means that the page cache was filled anew and then told to drop the files; remote is
fake-gcs-server behind nginx, which lets 64 MB/s through each of eight connections, and loopback is the same server
at the speed of memory, on the cores of the reader. Goal: at most 10 % cold or remote. Wall time says little where
others are at work, so processor time stands beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from measure import Run, interleave, machine, run_process, warm
from object_store import DIM, RandomRows, throttling

from embsnap.formats.torchsnapshot.writer import ArrayToWrite, write_snapshot
from embsnap.model.dtypes import DTYPES
from embsnap.storage.uri import open_store

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.servers.gcs import gcs_server, temporary_bucket

_BLOCK_BYTES = 32 << 20
_GOAL = 1.10
_PLACES = ("cold", "remote", "loopback", "warm")
_WITH_GOAL = ("cold", "remote")


def read(uri: str, *, check: bool) -> dict[str, float]:
    """Read the table once, from the first row to the last."""
    from embsnap.formats.torchsnapshot.snapshot import open_snapshot

    snapshot = open_snapshot(uri, check=check)
    reader = snapshot.reader(snapshot.table("user").weight)
    step = _BLOCK_BYTES // (4 * reader.dim)
    rows_ND = np.zeros((step, reader.dim), np.float32)
    started, cpu_started = time.perf_counter(), time.process_time()
    for first in range(0, reader.num_rows, step):
        last = min(first + step, reader.num_rows)
        reader.read(first, last, rows_ND[: last - first])
    seconds, cpu_s = time.perf_counter() - started, time.process_time() - cpu_started
    if snapshot.num_unchecked_rows != (0 if check else reader.num_rows):
        raise SystemExit(f"{snapshot.num_unchecked_rows} rows were not checked")
    return {"seconds": seconds, "cpu_s": cpu_s}


def drop(directory: Path) -> None:
    """Have the kernel forget the files."""
    os.sync()
    for path in directory.rglob("*"):
        if path.is_file():
            fd = os.open(path, os.O_RDONLY)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(fd)


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mb", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dir", type=Path, help="where to work; a disk, not memory")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(read(args.child[0], check=args.child[1] == "checked")))
        return
    with TemporaryDirectory(prefix="embsnap-bench-", dir=args.dir) as root:
        _bench(Path(root), args.mb, args.rounds)


def _bench(root: Path, num_mb: int, rounds: int) -> None:
    local, num_rows = root / "snapshot", num_mb * 1_000_000 // (4 * DIM)
    path, rows = "model/ebc.embedding_bags.user.weight", RandomRows(num_rows, DIM)
    array = ArrayToWrite(path, DTYPES["float32"], (num_rows, DIM), rows)
    write_snapshot(open_store(str(local)), [array], plan_digest="0" * 64)
    reports: dict[str, list[dict[str, float]]] = {}
    with (
        gcs_server(root / "server.log") as server,
        temporary_bucket(server) as bucket,
        throttling(server, root) as slow,
    ):
        uri = bucket.upload(local, "snapshot")
        uris = {place: uri if place in ("remote", "loopback") else str(local) for place in _PLACES}

        def measured(place: str, how: str):
            def one(number: int) -> Run:
                drop(local)
                warm(local)
                if place == "cold":
                    drop(local)
                os.environ["STORAGE_EMULATOR_HOST"] = slow if place == "remote" else bucket.server
                run = run_process([sys.executable, __file__, "--child", uris[place], how])
                if number:
                    reports.setdefault(f"{place} {how}", []).append(json.loads(run.stdout))
                return run

            return one

        names = [(place, how) for place in _PLACES for how in ("unchecked", "checked")]
        interleave({f"{place} {how}": measured(place, how) for place, how in names}, rounds)
    print(f"sequential read of {num_rows:,} x {DIM} fp32 ({num_mb} MB), {rounds} rounds, {machine()}")
    for place in _PLACES:
        _show(place, reports)


def _show(place: str, reports: Mapping[str, list[dict[str, float]]]) -> None:
    def median(how: str, what: str) -> float:
        return statistics.median(report[what] for report in reports[f"{place} {how}"])

    seconds, cpu_s = ([median(how, what) for how in ("unchecked", "checked")] for what in ("seconds", "cpu_s"))
    goal = f" (goal <= {_GOAL:.2f})" if place in _WITH_GOAL else ""
    print(
        f"{place:<8} unchecked {seconds[0]:6.3f} s, checked {seconds[1]:6.3f} s: {seconds[1] / seconds[0]:5.2f} x{goal}"
    )
    print(f"         processor {cpu_s[0]:6.3f} s         {cpu_s[1]:6.3f} s: {cpu_s[1] / cpu_s[0]:5.2f} x")


if __name__ == "__main__":
    main()
