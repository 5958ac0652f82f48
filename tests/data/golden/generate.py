"""Makes the snapshots beside this file: small ones, by each torchsnapshot that pip can install.

    python tests/data/golden/generate.py

Run by a Python that has torch and torchrec. Each producer is installed, without dependencies, into a directory of its
own and put in front of the import path. `<producer>/<case>` holds the snapshot and the truth; see write_snapshots.py.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
SCRIPT = HERE.parents[1] / "distributed" / "write_snapshots.py"

PRODUCERS = {
    "torchsnapshot-0.0.3": ("torchsnapshot==0.0.3", [(2, ["every_rank"])]),
    "torchsnapshot-nightly-2022.10.10": ("torchsnapshot-nightly==2022.10.10", [(2, ["every_rank", "half"])]),
    "torchsnapshot-0.1.0": ("torchsnapshot==0.1.0", [(2, ["rowwise_adagrad", "dense_kernel", "half", "chunked"])]),
    "torchsnapshot-nightly-2024.7.26": (
        "torchsnapshot-nightly==2024.7.26",
        [(2, ["rowwise_adagrad"]), (4, ["dtensors"])],
    ),
}
"""Directory → what pip installs, and the cases that a number of ranks writes. 0.0.3 needs a shard on every rank."""


def install(requirement: str, target: Path) -> None:
    """Put one producer's package into `target`."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target), requirement]
    subprocess.run(pip, check=True)


def write(out: Path, packages: Path, num_ranks: int, cases: list[str]) -> None:
    """Have `num_ranks` ranks write the cases with the producer in `packages`."""
    launch = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone"]
    command = [*launch, "--nproc-per-node", str(num_ranks), str(SCRIPT), str(out), *cases]
    subprocess.run(command, env={**os.environ, "PYTHONPATH": str(packages), "OMP_NUM_THREADS": "1"}, check=True)


def main() -> None:
    """Replace every producer's directory."""
    for name, (requirement, runs) in PRODUCERS.items():
        shutil.rmtree(HERE / name, ignore_errors=True)
        with tempfile.TemporaryDirectory() as packages:
            install(requirement, Path(packages))
            for num_ranks, cases in runs:
                write(HERE / name, Path(packages), num_ranks, cases)


if __name__ == "__main__":
    main()
