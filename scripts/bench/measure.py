"""What every benchmark needs: a process with its peak memory, interleaved rounds, medians and ratios."""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

__all__ = ["Run", "cached_environ", "copy_durably", "interleave", "machine", "median", "run_process", "warm"]

MB = 1_000_000


@dataclass(frozen=True)
class Run:
    """One process."""

    seconds: float
    peak_anon_mb: float
    """Largest anonymous memory (heap and private copies; no page cache), sampled every 5 ms."""
    stdout: str


def cached_environ() -> dict[str, str]:
    """As here, but modules are compiled once and not in every process: what pip installs is compiled as well."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def run_process(argv: Sequence[str]) -> Run:
    """Run a process to its end.

    Raises:
        RuntimeError: It failed; its stderr is in the message.
    """
    started = time.perf_counter()
    with TemporaryFile("w+") as out, TemporaryFile("w+") as err:  # a pipe holds 64 KiB, and nobody reads it meanwhile
        process = subprocess.Popen(argv, stdout=out, stderr=err, env=cached_environ())
        peak = 0
        while process.poll() is None:
            peak = max(peak, _anonymous_kb(process.pid))
            time.sleep(0.005)
        seconds = time.perf_counter() - started
        out.seek(0)
        err.seek(0)
        stdout, stderr = out.read(), err.read()
    if process.returncode:
        raise RuntimeError(f"{' '.join(argv)} exited {process.returncode}\n{stderr}")
    return Run(seconds, peak * 1024 / MB, stdout)


def _anonymous_kb(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon")), 0)


def copy_durably(source: Path, destination: Path) -> Run:
    """`cp` a directory and fsync each file, as one process."""
    script = (
        "import os, subprocess, sys\n"
        "subprocess.run(['cp', '-r', '--reflink=never', sys.argv[1], sys.argv[2]], check=True)\n"
        "for root, _, names in os.walk(sys.argv[2]):\n"
        "    for name in names:\n"
        "        fd = os.open(os.path.join(root, name), os.O_RDONLY)\n"
        "        os.fsync(fd)\n"
        "        os.close(fd)\n"
    )
    return run_process([sys.executable, "-S", "-E", "-c", script, str(source), str(destination)])


def warm(directory: Path) -> None:
    """Read every file once, so that the page cache holds it."""
    for path in directory.rglob("*"):
        if path.is_file():
            with path.open("rb", buffering=0) as file:
                while file.read(8 << 20):
                    pass


def interleave(
    sides: Mapping[str, Callable[[int], Run]], rounds: int, *, warmed: Path | None = None
) -> dict[str, list[Run]]:
    """Run every side once to warm it up, then `rounds` times in turn; a side is given the number of the round.

    The order is shuffled in every round, so that no side always finds memory and caches as one other side leaves them.
    Before each run the files of `warmed` are read: a virtual machine may take pages away while other sides run.
    """
    runs: dict[str, list[Run]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, side in random.Random(number).sample(list(sides.items()), len(sides)):
            os.sync()
            if warmed is not None:
                warm(warmed)
            run = side(number)
            print(f"  round {number} {name}: {run.seconds:.2f} s, {run.peak_anon_mb:.0f} MB", file=sys.stderr)
            if number:
                runs[name].append(run)
    return runs


def median(runs: Sequence[Run]) -> float:
    """Median of the seconds."""
    return statistics.median(run.seconds for run in runs)


def machine() -> str:
    """One line about where this ran."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "an unknown CPU")
    return f"{len(os.sched_getaffinity(0))} cores of {name}, Python {sys.version.split()[0]}"
