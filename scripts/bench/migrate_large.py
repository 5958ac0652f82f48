"""A table four times as large as the memory it may be migrated in, against `cp` of (read + written) / 2 bytes.

    python scripts/bench/migrate_large.py [--limit-mb 512] [--dim 256] [--rounds 3] [--dir DIR]
        [--cgroup DIR | --rlimit]

One fp32 table is moved to a random permutation of its vocabulary. Where a memory cgroup can be made, of version 1 or 2,
each process runs in one of its own, which bounds its page cache too. Elsewhere, and with `--rlimit`, RLIMIT_DATA bounds
what it allocates, and the pages of all files that it has open, the source and temporary ones, are dropped as often as
1.5 GB/s fill the limit, so that about as much stays in the page cache as would in a group. `cp` is treated in the same
way. Goal: at most 3 x `cp`, and memory within the budget, a quarter of the limit, and what is said of it below.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from measure import MB, Run, interleave, machine, median
from warmstart import RandomRows

from embsnap.formats.torchsnapshot.writer import ArrayToWrite, write_snapshot
from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.model.dtypes import DTYPES
from embsnap.model.vocabulary import IdType, Vocabulary
from embsnap.storage.uri import open_store

_PROGRAM_MB = 256
"""The interpreter and the libraries."""
_FILL_BYTES_PER_S = 1.5e9
_LIMIT_FILES = ("memory.max", "memory.limit_in_bytes")
"""Of version 2 and 1."""
_ROW_BYTES = 40
"""For ids and row maps, of each row of either vocabulary."""


def prepare(root: Path, num_rows: int, dim: int) -> Path:
    """Snapshot, both vocabularies, the plan, and a file for `cp`. Returns the plan."""
    rng = np.random.default_rng(0)
    ids = rng.permutation(num_rows)
    for name, order in (("old", ids), ("new", rng.permutation(ids))):
        write_vocabulary(Vocabulary(name, IdType.INT64, order, np.arange(num_rows)), str(root / f"{name}.parquet"))
    rows = RandomRows(num_rows, dim)
    table = ArrayToWrite("model/ebc.embedding_bags.user.weight", DTYPES["float32"], (num_rows, dim), rows)
    write_snapshot(open_store(str(root / "snapshot")), [table], plan_digest="0" * 64)
    (root / "half").mkdir()
    with (root / "half" / "file").open("wb") as file:
        for start in range(0, num_rows * dim * 4, 8 << 20):
            file.write(rng.bytes(min(8 << 20, num_rows * dim * 4 - start)))
    (root / "tmp").mkdir()
    plan = root / "plan.yaml"
    plan.write_text(
        f"steps:\n- vocab: {{table: user, vocab: {root}/old.parquet}}\n"
        f"- revocab: {{table: user, vocab: {root}/new.parquet}}\n"
    )
    return plan


def find_controller() -> Path | None:
    """A directory in which groups with a bound on their memory can be made; None where there is none."""
    for parent in (Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")):
        with contextlib.suppress(OSError):
            if (parent / "cgroup.subtree_control").exists():
                (parent / "cgroup.subtree_control").write_text("+memory")
            with bounded(1 << 30, parent):
                return parent
    return None


@contextlib.contextmanager
def bounded(limit_bytes: int, cgroup: Path | None) -> Iterator[Callable[[], None]]:
    """What a new process has to call to be bounded."""
    if cgroup is None:
        yield lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, limit_bytes))
        return
    group = cgroup / f"embsnap-bench-{os.getpid()}"
    group.mkdir()
    try:
        names = [name for name in _LIMIT_FILES if (group / name).exists()]
        if not names:
            raise FileNotFoundError(f"{cgroup} is no memory controller")
        (group / names[0]).write_text(str(limit_bytes))
        yield partial(_join, group)
    finally:
        _remove(group)


def _remove(group: Path) -> None:
    """A group is busy for a moment after its last process has ended."""
    for _ in range(100):
        try:
            group.rmdir()
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            time.sleep(0.05)
        else:
            return
    group.rmdir()


def _join(group: Path) -> None:
    (group / "cgroup.procs").write_text(str(os.getpid()))


def run_bounded(argv: Sequence[str], limit_bytes: int, cgroup: Path | None, root: Path) -> Run:
    """Run a process in bounded memory, beginning with nothing in the page cache.

    Raises:
        RuntimeError: It failed.
    """
    for path in root.rglob("*"):
        if path.is_file():
            _drop(str(path))
    with bounded(limit_bytes, cgroup) as bound:
        began = time.perf_counter()
        process = subprocess.Popen(
            argv,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": str(root / "tmp"), "ARROW_DEFAULT_MEMORY_POOL": "system"},
            preexec_fn=bound,
        )
        peaks = [0]
        watcher = threading.Thread(
            target=_watch, args=(process, peaks, None if cgroup else limit_bytes / _FILL_BYTES_PER_S)
        )
        watcher.start()
        stdout, stderr = process.communicate()
        seconds = time.perf_counter() - began
        watcher.join()
    if process.returncode:
        raise RuntimeError(f"{' '.join(argv)} exited {process.returncode}\n{stderr}")
    return Run(seconds, peaks[0] * 1024 / MB, stdout)


def _watch(process: subprocess.Popen[str], peaks: list[int], drop_every_s: float | None) -> None:
    """Note the largest anonymous memory, and drop the pages of files."""
    dropped = time.monotonic()
    while process.poll() is None:
        with contextlib.suppress(OSError):
            status = Path(f"/proc/{process.pid}/status").read_text()
            anonymous = next((line.split()[1] for line in status.splitlines() if line.startswith("RssAnon")), "0")
            peaks[0] = max(peaks[0], int(anonymous))
        if drop_every_s is not None and time.monotonic() - dropped > drop_every_s:
            for path in _open_files(process.pid):
                _drop(path)
            dropped = time.monotonic()
        time.sleep(0.01)


def _open_files(pid: int) -> Iterator[str]:
    """All that a process has open or mapped, deleted files among them."""
    with contextlib.suppress(OSError):
        yield from (entry.path for entry in os.scandir(f"/proc/{pid}/fd"))
        yield from {os.readlink(entry.path) for entry in os.scandir(f"/proc/{pid}/map_files")}


def _drop(path: str) -> None:
    with contextlib.suppress(OSError):
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(fd)


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--limit-mb", type=int, default=512)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dir", type=Path, help="where to work (on a disk like the one in question)")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--cgroup", type=Path, help="directory of a memory controller to make groups in (default: found)")
    how.add_argument("--rlimit", action="store_true", help="bound memory without a group")
    args = parser.parse_args()
    cgroup = None if args.rlimit else args.cgroup or find_controller()
    root = Path(tempfile.mkdtemp(prefix="embsnap-bench-", dir=args.dir))
    try:
        _bench(root, args.limit_mb << 20, args.dim, args.rounds, cgroup)
    finally:
        shutil.rmtree(root)


def _bench(root: Path, limit_bytes: int, dim: int, rounds: int, cgroup: Path | None) -> None:
    num_rows = 4 * limit_bytes // (4 * dim)
    plan, budget = prepare(root, num_rows, dim), limit_bytes // 4
    os.sync()

    def embsnap(number: int) -> Run:
        command = [sys.executable, "-m", "embsnap", "migrate", str(plan), str(root / "snapshot"), "--json", "--quiet"]
        options = ["--memory-budget", str(budget), "--out", str(root / f"out{number}")]
        run = run_bounded([*command, *options], limit_bytes, cgroup, root)
        shutil.rmtree(root / f"out{number}")
        report = json.loads(run.stdout)
        return Run(report["seconds"] - report["planning_seconds"], run.peak_anon_mb, "")

    def cp(number: int) -> Run:
        target = root / f"cp{number}"
        run = run_bounded(
            ["sh", "-c", f"cp '{root}/half/file' '{target}' && sync '{target}'"], limit_bytes, cgroup, root
        )
        target.unlink()
        return run

    runs = interleave({"cp": cp, "embsnap": embsnap}, rounds)
    base, step = median(runs["cp"]), median(runs["embsnap"])
    anon = max(run.peak_anon_mb for run in runs["embsnap"])
    allowed = _PROGRAM_MB + (_ROW_BYTES * 2 * num_rows + budget) / MB
    how = f"memory cgroup below {cgroup}" if cgroup else "RLIMIT_DATA, page cache dropped"
    print(f"permuted table of {num_rows:,} x {dim} ({num_rows * dim * 4 / 1e9:.2f} GB), {machine()}")
    print(f"memory limit {limit_bytes / MB:.0f} MB by {how}; budget {budget / MB:.0f} MB")
    print(f"cp + fsync of (read + written) / 2  {base:6.2f} s")
    print(f"embsnap, plan to commit             {step:6.2f} s   {step / base:.2f} x cp (goal <= 3)")
    print(f"embsnap, peak anonymous memory      {anon:6.0f} MB  (goal <= {allowed:.0f} MB)")


if __name__ == "__main__":
    main()
