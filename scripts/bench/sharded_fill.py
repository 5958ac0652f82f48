"""Filling a row-wise sharded model over several ranks, against `torchsnapshot.Snapshot.restore`.

    python scripts/bench/sharded_fill.py [--rows 4e6] [--dim 64] [--ranks 2] [--rounds 5] [--dir DIR]

The snapshot is torchsnapshot's own, taken at the same world size. Each measurement is a fresh job that imports what it
fills with, builds and shards the model, touches its memory, reads all files once to have them in the page cache, and
times the fill between two barriers. `same vocabulary` follows one in which every entity keeps its row; `a tenth new`
joins two files that differ in a tenth of the entities; `by position` reads none. Goals: 4 x faster than torchsnapshot,
which can only carry by position; beyond the shard at most 256 MB and 40 B x vocabulary rows / ranks of memory on each
rank.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from fill import PeakAnonymous
from measure import MB, cached_environ, machine, warm

_SIDES = ("torchsnapshot", "by position", "same vocabulary", "a tenth new")


def build(num_rows: int, dim: int):
    """One row-wise table on the ranks of this job, its memory touched."""
    import torch
    import torch.distributed as dist
    from torchrec import EmbeddingBagCollection, EmbeddingBagConfig
    from torchrec.distributed import DistributedModelParallel
    from torchrec.distributed.embeddingbag import EmbeddingBagCollectionSharder
    from torchrec.distributed.sharding_plan import construct_module_sharding_plan, row_wise
    from torchrec.distributed.types import ShardingPlan

    size = dist.get_world_size()
    model = torch.nn.Module()
    table = EmbeddingBagConfig(name="user", num_embeddings=num_rows, embedding_dim=dim, feature_names=["user"])
    model.ebc = EmbeddingBagCollection(tables=[table], device=torch.device("meta"))
    plan = construct_module_sharding_plan(
        model.ebc, {"user": row_wise()}, world_size=size, local_size=size, device_type="cpu"
    )
    return DistributedModelParallel(
        model,
        device=torch.device("cpu"),
        plan=ShardingPlan({"ebc": plan}),
        sharders=[EmbeddingBagCollectionSharder()],
    )


def filler(side: str, root: Path, num_rows: int, dim: int):
    """What fills a model, imported."""
    if side in ("torchsnapshot", "take"):
        from torchsnapshot import Snapshot

        return lambda model: Snapshot(f"{root}/snapshot").restore({"model": model})
    from embsnap import warm_start
    from embsnap.config.embedding import LargeEmbeddingsConfig

    pretrained = {"emb_name": "user", "embedding_snapshot_uri": f"{root}/snapshot"}
    table = {"name": "user", "num_embeddings": num_rows, "embedding_dim": dim}
    if side == "by position":
        pretrained["by_position"] = True
    else:
        table["vocab"] = f"{root}/user.parquet"
        pretrained["vocab"] = f"{root}/{'user' if side == 'same vocabulary' else 'before'}.parquet"
    config = LargeEmbeddingsConfig.model_validate({"tables": [table | {"pretrained": pretrained}]})
    return lambda model: warm_start(model, config)


def child(side: str, root: Path, num_rows: int, dim: int) -> None:
    """Fill once; rank 0 prints the slowest rank's seconds and the largest memory as JSON."""
    import torch.distributed as dist

    fill = filler(side, root, num_rows, dim)
    dist.init_process_group("gloo")
    model = build(num_rows, dim)
    (weight,) = model.state_dict().values()
    shard = weight.local_shards()[0].tensor
    if side == "take":
        from torchsnapshot import Snapshot

        shard.uniform_(-1, 1)
        Snapshot.take(f"{root}/snapshot", {"model": model})
        dist.destroy_process_group()
        return
    shard.fill_(0)
    if dist.get_rank() == 0:
        warm(root)
    dist.barrier()
    with PeakAnonymous() as memory:
        started = time.perf_counter()
        fill(model)
        dist.barrier()
        seconds = time.perf_counter() - started
    checksum = float(shard[:: max(1, len(shard) // 1000)].double().sum())
    reports: list[dict[str, float] | None] = [None] * dist.get_world_size()
    dist.all_gather_object(reports, {"seconds": seconds, "extra_mb": memory.extra_mb, "checksum": checksum})
    if dist.get_rank() == 0:
        worst = {name: max(report[name] for report in reports) for name in ("seconds", "extra_mb")}
        print(json.dumps(worst | {"checksum": sum(report["checksum"] for report in reports)}))
    dist.destroy_process_group()


def write_vocabulary(root: Path, num_rows: int) -> None:
    """Random entity ids, in the order of their rows, and the day before, when each tenth entity was another."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    ids = np.random.default_rng(0).permutation(num_rows).astype(np.int64) * 2_654_435_761
    pq.write_table(pa.table({"id": ids, "row": np.arange(num_rows)}), root / "user.parquet")
    ids[::10] += 1
    pq.write_table(pa.table({"id": ids, "row": np.arange(num_rows)}), root / "before.parquet")


def main() -> None:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=lambda text: int(float(text)), default=4_000_000)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dir", type=Path, help="where to work")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.child[0], Path(args.child[1]), args.rows, args.dim)
        sys.stdout.flush()
        os._exit(0)  # gloo's threads may let go of tensors while the interpreter ends, and abort it
    root = Path(tempfile.mkdtemp(prefix="embsnap-bench-", dir=args.dir))
    try:
        _bench(root, args)
    finally:
        shutil.rmtree(root)


def _bench(root: Path, args: argparse.Namespace) -> None:
    write_vocabulary(root, args.rows)
    _job("take", root, args)
    reports: dict[str, list[dict[str, float]]] = {side: [] for side in _SIDES}
    for _ in range(args.rounds + 1):  # the first round warms everything up
        for side in _SIDES:
            reports[side].append(_job(side, root, args))
    assert len({round(report["checksum"], 3) for side in _SIDES[:3] for report in reports[side]}) == 1
    _print(reports, args)


def _job(side: str, root: Path, args: argparse.Namespace) -> dict[str, float]:
    launch = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone"]
    sizes = ["--rows", str(args.rows), "--dim", str(args.dim)]
    done = subprocess.run(
        [*launch, "--nproc-per-node", str(args.ranks), __file__, *sizes, "--child", side, str(root)],
        env={**cached_environ(), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(f"{side}: {done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1]) if side != "take" else {}


def _print(reports: dict[str, list[dict[str, float]]], args: argparse.Namespace) -> None:
    medians = {side: statistics.median(one["seconds"] for one in found[1:]) for side, found in reports.items()}
    shard_mb = args.rows * args.dim * 4 / args.ranks / MB
    limit_mb = 256 + 40 * args.rows / args.ranks / MB
    print(f"{args.rows:,} x {args.dim} fp32, row-wise over {args.ranks} ranks ({shard_mb:.0f} MB each); {machine()}")
    for side, found in reports.items():
        times = [one["seconds"] for one in found[1:]]
        extra_mb = max(one["extra_mb"] for one in found)
        ratio = medians["torchsnapshot"] / medians[side]
        print(
            f"{side:15} {medians[side]:7.3f} s ({min(times):.3f}..{max(times):.3f})  {ratio:5.1f} x  "
            f"{extra_mb:7.0f} MB beyond the shard (limit {limit_mb:.0f})"
        )


if __name__ == "__main__":
    main()
