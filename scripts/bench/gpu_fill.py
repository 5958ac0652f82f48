"""Filling a table on a GPU, against what the link to it can carry; and pooled lookups, against FBGEMM alone.

    python scripts/bench/gpu_fill.py [--rows 16e6] [--dim 64] [--rounds 5] [--dir DIR]

The page cache is warm, each fill is a process of its own that builds the module, touches its memory and then times the
fill alone. The link's rate is that of copies from one pinned buffer, without reading anything. Goals: a fill at 70 % of
the link's rate or more; pooled lookups within 3 % of FBGEMM's SplitTableBatchedEmbeddingBags alone. Without a GPU it
says so and ends with 0.
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
from collections.abc import Callable
from pathlib import Path

from fill import build
from measure import MB, machine, warm

_SIDES = ("torch.load(mmap)", "torchsnapshot", "embsnap")
_BUFFER_BYTES = 256 << 20
_CALLS = 50
"""Of one measurement: what the processor does for a call goes on beside the GPU."""
_BAGS, _IDS_PER_BAG = 8192, 20


def filler(side: str, root: str, model) -> Callable[[], object]:
    """What fills the model, with everything imported."""
    import torch

    if side == "torch.load(mmap)":
        weight = model.ebc.embedding_bags["user"].weight

        def fill() -> None:
            (stored,) = torch.load(f"{root}/weight.pt", mmap=True).values()
            with torch.no_grad():
                weight.copy_(stored)

        return fill
    if side == "torchsnapshot":
        from torchsnapshot import Snapshot

        return lambda: Snapshot(f"{root}/snapshot").restore({"model": model})
    import embsnap

    restore = embsnap.restore  # imported before the clock runs, as torchsnapshot is
    options = embsnap.WarmstartOptions(threads=len(os.sched_getaffinity(0)))
    return lambda: restore(model, f"{root}/snapshot", options=options)


def child(side: str, root: str, num_rows: int, dim: int) -> None:
    """Fill once and print seconds and a checksum as JSON; or write what is filled from."""
    import torch

    if side == "take":
        from torchsnapshot import Snapshot

        model = build(num_rows, dim)
        Snapshot.take(f"{root}/snapshot", {"model": model})
        torch.save(model.state_dict(), f"{root}/weight.pt")
        return
    model = build(num_rows, dim).to("cuda")
    weight = model.ebc.embedding_bags["user"].weight
    fill = filler(side, root, model)
    warm(root)
    seconds = timed(fill)
    print(json.dumps({"seconds": seconds, "checksum": float(weight[:: max(1, num_rows // 1000)].double().sum())}))


def timed(step: Callable[[], object]) -> float:
    """Seconds until the GPU has done it too."""
    import torch

    torch.cuda.synchronize()
    started = time.perf_counter()
    step()
    torch.cuda.synchronize()
    return time.perf_counter() - started


def link_rate(rounds: int) -> float:
    """Bytes per second from pinned memory, at best."""
    import torch

    host = torch.empty(_BUFFER_BYTES, dtype=torch.uint8, pin_memory=True)
    device = torch.empty_like(host, device="cuda")
    return _BUFFER_BYTES / min(timed(lambda: device.copy_(host, non_blocking=True)) for _ in range(rounds + 5))


def pooled_lookups(num_rows: int, dim: int, rounds: int) -> dict[str, float]:
    """Median seconds of a forward pass: `LargeEmbeddings` sharded over one rank, and FBGEMM's kernel alone."""
    import torch
    import torch.distributed as dist
    from fbgemm_gpu.split_table_batched_embeddings_ops_common import EmbeddingLocation
    from fbgemm_gpu.split_table_batched_embeddings_ops_training import (
        ComputeDevice,
        SplitTableBatchedEmbeddingBagsCodegen,
    )
    from torchrec import KeyedJaggedTensor

    import embsnap

    torch.cuda.set_device(0)
    dist.init_process_group("cpu:gloo,cuda:nccl", store=dist.HashStore(), rank=0, world_size=1)
    table = {"name": "user", "num_embeddings": num_rows, "embedding_dim": dim}
    config = embsnap.LargeEmbeddingsConfig.model_validate({"tables": [table]})
    model = embsnap.shard_embeddings(embsnap.LargeEmbeddings(config, device="meta"), device="cuda:0")
    kernel = SplitTableBatchedEmbeddingBagsCodegen(
        [(num_rows, dim, EmbeddingLocation.DEVICE, ComputeDevice.CUDA)], device=torch.device("cuda:0")
    )
    ids = torch.randint(num_rows, (_BAGS * _IDS_PER_BAG,), device="cuda:0")
    lengths = torch.full((_BAGS,), _IDS_PER_BAG, device="cuda:0")
    offsets = torch.arange(0, len(ids) + 1, _IDS_PER_BAG, device="cuda:0")
    features = KeyedJaggedTensor(keys=["user"], values=ids, lengths=lengths)
    sides = {"LargeEmbeddings": lambda: model(features).values(), "FBGEMM alone": lambda: kernel(ids, offsets)}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    with torch.no_grad():
        for number in range(rounds + 1):
            for name, side in sides.items():
                took = timed(lambda side=side: [side() for _ in range(_CALLS)]) / _CALLS
                if number:
                    seconds[name].append(took)
    dist.destroy_process_group()
    return {name: statistics.median(took) for name, took in seconds.items()}


def main() -> None:
    """Run the benchmark and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=lambda text: int(float(text)), default=16_000_000)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dir", type=Path, help="where to work")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(*args.child, args.rows, args.dim)
        return
    import torch

    if not torch.cuda.is_available():
        print("there is no GPU that torch can use, so nothing was measured; `embsnap doctor` tells what torch sees")
        return
    root = Path(tempfile.mkdtemp(prefix="embsnap-bench-", dir=args.dir))
    try:
        _bench(root, args)
    finally:
        shutil.rmtree(root)


def _bench(root: Path, args: argparse.Namespace) -> None:
    import torch

    num_bytes = args.rows * args.dim * 4
    command = [sys.executable, __file__, "--rows", str(args.rows), "--dim", str(args.dim), "--child"]
    subprocess.run([*command, "take", str(root)], check=True)
    reports: dict[str, list[dict[str, float]]] = {side: [] for side in _SIDES}
    for _ in range(args.rounds + 1):  # the first round warms everything up
        for side in _SIDES:
            done = subprocess.run([*command, side, str(root)], check=True, stdout=subprocess.PIPE, text=True)
            reports[side].append(json.loads(done.stdout.splitlines()[-1]))
    if len({report["checksum"] for side in _SIDES for report in reports[side]}) != 1:
        raise SystemExit("the sides filled different rows")
    rate = link_rate(args.rounds)
    print(f"{args.rows:,} x {args.dim} fp32 ({num_bytes / MB:.0f} MB); {torch.cuda.get_device_name()}; {machine()}")
    print(f"{'pinned copies':18} {rate / 1e9:7.2f} GB/s")
    for side in _SIDES:
        seconds = statistics.median(report["seconds"] for report in reports[side][1:])
        share = num_bytes / seconds / rate
        print(f"{side:18} {num_bytes / seconds / 1e9:7.2f} GB/s  {seconds:7.3f} s  {share:6.1%} of the pinned rate")
    lookups = pooled_lookups(args.rows, args.dim, args.rounds)
    alone = lookups["FBGEMM alone"]
    for name, seconds in lookups.items():
        print(f"{name:18} {_BAGS * _IDS_PER_BAG / seconds / 1e6:7.1f} M ids/s  {seconds / alone:5.2f} x FBGEMM alone")


if __name__ == "__main__":
    main()
