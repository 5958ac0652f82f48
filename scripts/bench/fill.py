"""Filling a live EmbeddingBagCollection from a snapshot, against `torchsnapshot.Snapshot.restore`.

    python scripts/bench/fill.py [--rows 4e6] [--dim 64] [--rounds 5] [--dir DIR]

The snapshot is torchsnapshot's own; each measurement is a fresh process that builds the module, touches its memory,
reads the snapshot once to have it in the page cache, and then times the fill alone. embsnap fills it as it is, and once
more with the sidecar that `embsnap verify --write-checksums` adds, so that every block is compared. Goals of the first:
4 x faster, under 256 MB of memory beyond the module's.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from measure import MB, Run, interleave, machine, run_process, warm

_SIDES = ("torchsnapshot", "embsnap", "embsnap, checked")


def build(num_rows: int, dim: int):
    """One table in an EmbeddingBagCollection, its memory touched."""
    import torch
    from torchrec import EmbeddingBagCollection, EmbeddingBagConfig

    table = EmbeddingBagConfig(name="user", num_embeddings=num_rows, embedding_dim=dim, feature_names=["user"])
    model = torch.nn.Module()
    model.ebc = EmbeddingBagCollection(tables=[table], device=torch.device("cpu"))
    return model


class PeakAnonymous:
    """Largest anonymous memory of this process while a `with` block runs, beyond what it began with."""

    def __enter__(self) -> PeakAnonymous:
        self._base = self._peak = _anonymous_kb()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._stop.wait(0.002):
            self._peak = max(self._peak, _anonymous_kb())

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()
        self._peak = max(self._peak, _anonymous_kb())

    @property
    def extra_mb(self) -> float:
        """In MB."""
        return (self._peak - self._base) * 1024 / MB


def _anonymous_kb() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def child(side: str, snapshot: str, num_rows: int, dim: int) -> None:
    """Fill once and print seconds and memory as JSON."""
    model = build(num_rows, dim)
    if side == "torchsnapshot":
        from torchsnapshot import Snapshot

        def fill() -> None:
            Snapshot(snapshot).restore({"model": model})
    elif side.startswith("embsnap"):
        import embsnap
        from embsnap.config.embedding import LargeEmbeddingsConfig

        config = LargeEmbeddingsConfig.model_validate(
            {
                "tables": [
                    {
                        "name": "user",
                        "num_embeddings": num_rows,
                        "embedding_dim": dim,
                        "pretrained": {
                            "emb_name": "user",
                            "embedding_snapshot_uri": snapshot,
                            "by_position": True,
                        },
                    }
                ]
            }
        )
        warm_start = embsnap.warm_start  # imported before the clock runs, as torchsnapshot is

        def fill() -> None:
            warm_start(model, config)
    else:
        from torchsnapshot import Snapshot

        from embsnap.ops.verify.verify import VerifyOptions, verify

        Snapshot.take(snapshot, {"model": model})
        shutil.copytree(snapshot, f"{snapshot}, checked")
        verify(f"{snapshot}, checked", VerifyOptions(write_checksums=True))
        return
    warm(Path(snapshot))
    with PeakAnonymous() as memory:
        started = time.perf_counter()
        fill()
        seconds = time.perf_counter() - started
    checksum = float(model.ebc.embedding_bags["user"].weight[:: max(1, num_rows // 1000)].double().sum())
    print(json.dumps({"seconds": seconds, "extra_mb": memory.extra_mb, "checksum": checksum}))


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=lambda text: int(float(text)), default=4_000_000)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dir", type=Path, help="where to work")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(*args.child, args.rows, args.dim)
        return
    root = Path(tempfile.mkdtemp(prefix="embsnap-bench-", dir=args.dir))
    try:
        _bench(root, args.rows, args.dim, args.rounds)
    finally:
        shutil.rmtree(root)


def _bench(root: Path, num_rows: int, dim: int, rounds: int) -> None:
    snapshot = root / "snapshot"
    command = [sys.executable, __file__, "--rows", str(num_rows), "--dim", str(dim), "--child"]
    subprocess.run([*command, "take", str(snapshot)], check=True)
    reports: dict[str, list[dict[str, float]]] = {side: [] for side in _SIDES}

    def measured(side: str):
        def one(number: int) -> Run:
            run = run_process([*command, side, f"{snapshot}, checked" if side == "embsnap, checked" else str(snapshot)])
            if number:
                reports[side].append(json.loads(run.stdout.splitlines()[-1]))
            return run

        return one

    interleave({side: measured(side) for side in _SIDES}, rounds)
    checksums = {report["checksum"] for side in _SIDES for report in reports[side]}
    if len(checksums) != 1:
        raise SystemExit(f"they filled different rows: {checksums}")
    seconds = {side: statistics.median(report["seconds"] for report in reports[side]) for side in _SIDES}
    extra = {side: max(report["extra_mb"] for report in reports[side]) for side in _SIDES}
    print(f"fill of {num_rows:,} x {dim} fp32 ({num_rows * dim * 4 / 1e9:.2f} GB), {rounds} rounds, {machine()}")
    for side in _SIDES:
        ratio = seconds["torchsnapshot"] / seconds[side]
        print(f"{side:<16} {seconds[side]:6.3f} s {ratio:6.1f} x  {extra[side]:6.0f} MB beyond the module")
    print("goals: 4 x, under 256 MB")


if __name__ == "__main__":
    main()
