"""Run by torchrun: writes snapshots of sharded models with the torchsnapshot at hand, and the truth beside them.

    torchrun --nproc-per-node 2 write_snapshots.py OUT CASE...

Each case is a directory `OUT/<case>` with the snapshot and `truth.<rank>.npz`: every local shard as torch holds it,
under `<logical path>|<offsets>`; 16-bit floats are stored as their bits. Case names are those of `CASES`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torchsnapshot
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
from torchrec import EmbeddingBagCollection, EmbeddingBagConfig, KeyedJaggedTensor
from torchrec.distributed import DistributedModelParallel
from torchrec.distributed.embeddingbag import EmbeddingBagCollectionSharder
from torchrec.distributed.sharding_plan import (
    column_wise,
    construct_module_sharding_plan,
    data_parallel,
    row_wise,
    table_wise,
)
from torchrec.distributed.types import ShardedTensor, ShardingEnv, ShardingPlan
from torchrec.modules.embedding_configs import DataType
from torchrec.optim.apply_optimizer_in_backward import apply_optimizer_in_backward
from torchrec.optim.keyed import CombinedOptimizer, KeyedOptimizerWrapper
from torchrec.optim.rowwise_adagrad import RowWiseAdagrad
from torchsnapshot import StateDict

FLOATS = {"t_bf16": DataType.BF16, "t_fp16": DataType.FP16}
ROWS = {"t_rw": 10, "t_tw": 6, "t_cw": 4, "t_dp": 3, "t_bf16": 7, "t_fp16": 9, "t_one": 1}
DIM = 8


def plan_for(ebc: EmbeddingBagCollection, world_size: int, **kernel: str) -> ShardingPlan:
    """One table of each sharding; the fp16 one is row-wise too."""
    last = world_size - 1
    columns = [rank % world_size for rank in range(2)]
    sharding = {
        "t_rw": row_wise(**kernel),
        "t_tw": table_wise(rank=last, **kernel),
        "t_cw": column_wise(ranks=columns, **kernel),
        "t_dp": data_parallel(),
        "t_bf16": table_wise(rank=0, **kernel),
        "t_fp16": row_wise(**kernel),
        "t_one": table_wise(rank=0, **kernel),
    }
    used = {table.name: sharding[table.name] for table in ebc.embedding_bag_configs()}
    module_plan = construct_module_sharding_plan(
        ebc, used, world_size=world_size, local_size=world_size, device_type="cpu"
    )
    return ShardingPlan(plan={"ebc": module_plan})


class Model(nn.Module):
    """An EmbeddingBagCollection and a dense layer."""

    def __init__(self, names: list[str]) -> None:
        super().__init__()
        tables = [
            EmbeddingBagConfig(
                name=name,
                num_embeddings=ROWS[name],
                embedding_dim=DIM,
                feature_names=[f"f_{name}"],
                data_type=FLOATS.get(name, DataType.FP32),
            )
            for name in names
        ]
        self.ebc = EmbeddingBagCollection(tables=tables, device=torch.device("meta"))
        self.dense = nn.Linear(DIM * len(names), 2)

    def forward(self, features: KeyedJaggedTensor) -> torch.Tensor:
        return self.dense(self.ebc(features).values().float())


def sharded_model(names: list[str], optimizer: type | None, **kernel: str) -> DistributedModelParallel:
    """The model on this rank, its tables' optimizer fused into the backward pass if one is given."""
    torch.manual_seed(7)
    model = Model(names)
    if optimizer is not None:
        apply_optimizer_in_backward(optimizer, model.ebc.parameters(), {"lr": 0.1})
    world_size = dist.get_world_size()
    return DistributedModelParallel(
        model,
        env=ShardingEnv.from_process_group(dist.group.WORLD),
        device=torch.device("cpu"),
        plan=plan_for(model.ebc, world_size, **kernel),
        sharders=[EmbeddingBagCollectionSharder()],
    )


def train(model: nn.Module, names: list[str], *optimizers: torch.optim.Optimizer) -> None:
    """A few steps with another batch on each rank, so that every optimizer state is filled."""
    generator = torch.Generator().manual_seed(100 + dist.get_rank())
    for _ in range(2):
        lengths = torch.full((len(names) * 4,), 3, dtype=torch.int64)
        ids = [torch.randint(0, ROWS[name], (12,), generator=generator) for name in names]
        keys = [f"f_{name}" for name in names]
        features = KeyedJaggedTensor(keys=keys, values=torch.cat(ids), lengths=lengths)
        loss = model(features).square().mean()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()


def fused(optimizer: type, names: list[str], *, trained: bool = True) -> dict[str, object]:
    """App state as training jobs write it: fused table optimizers, a dense Adagrad beside them."""
    model = sharded_model(names, optimizer)
    dense = KeyedOptimizerWrapper(
        {name: p for name, p in model.named_parameters() if name.startswith("dense")},
        lambda params: torch.optim.Adagrad(params, lr=0.1),
    )
    if trained:
        train(model, names, dense)
    both = CombinedOptimizer([("fused_opt", model.fused_optimizer), ("dense_opt", dense)])
    return {"model": model, "optimizer": both, "extra_state": StateDict(step=5, walltime=2.5)}


def dense_kernel(names: list[str]) -> dict[str, object]:
    """App state with dense tables, whose Adam state is a plain tensor on each rank."""
    model = sharded_model(names, None, compute_kernel="dense")
    adam = KeyedOptimizerWrapper(dict(model.named_parameters()), lambda params: torch.optim.Adam(params, lr=0.1))
    train(model, names, adam)
    return {"model": model, "optimizer": adam}


def plain(names: list[str]) -> dict[str, object]:
    """An EmbeddingBagCollection that is not sharded."""
    torch.manual_seed(7)
    model = Model(names).to_empty(device="cpu")
    for number, parameter in enumerate(model.parameters()):
        nn.init.normal_(parameter, mean=number)
    return {"model": model}


def dtensors() -> dict[str, object]:
    """Tables as DTensors, for producers that write those: by rows, by columns, by rows and replicated, replicated."""
    world_size = dist.get_world_size()
    line = init_device_mesh("cpu", (world_size,))
    square = init_device_mesh("cpu", (2, world_size // 2))
    whole = torch.arange(10 * DIM, dtype=torch.float32).reshape(10, DIM)
    placed = {
        "rows": (line, [Shard(0)]),
        "columns": (line, [Shard(1)]),
        "rows_twice": (square, [Replicate(), Shard(0)]),
        "copies": (line, [Replicate()]),
    }
    tables = {
        f"ebc.embedding_bags.{name}.weight": distribute_tensor(whole + number, mesh, placements)
        for number, (name, (mesh, placements)) in enumerate(placed.items())
    }
    return {"model": StateDict(**tables)}


SHARDED = ["t_rw", "t_tw", "t_cw", "t_dp"]
FLOAT32 = ["t_rw", "t_tw", "t_cw"]
CASES: dict[str, tuple[Callable[[], dict[str, object]], dict[str, str]]] = {
    "rowwise_adagrad": (lambda: fused(RowWiseAdagrad, SHARDED), {}),
    "adagrad": (lambda: fused(torch.optim.Adagrad, SHARDED), {}),
    # fbgemm trains no bfloat16 on CPUs.
    "half": (lambda: fused(RowWiseAdagrad, ["t_bf16", "t_fp16", "t_one"], trained=False), {}),
    "unbatched": (lambda: fused(RowWiseAdagrad, SHARDED), {"TORCHSNAPSHOT_DISABLE_BATCHING": "1"}),
    "chunked": (
        lambda: fused(torch.optim.Adagrad, SHARDED),
        {
            "TORCHSNAPSHOT_MAX_CHUNK_SIZE_BYTES_OVERRIDE": "40",
            "TORCHSNAPSHOT_MAX_SHARD_SIZE_BYTES_OVERRIDE": "70",
            "TORCHSNAPSHOT_SLAB_SIZE_THRESHOLD_BYTES_OVERRIDE": "100",
        },
    ),
    "every_rank": (lambda: fused(RowWiseAdagrad, ["t_rw", "t_cw", "t_dp"]), {}),
    "dense_kernel": (lambda: dense_kernel(FLOAT32), {}),
    "dtensors": (dtensors, {}),
    "plain": (lambda: plain(["t_rw", "t_bf16", "t_fp16"]), {}),
}


def flattened(prefix: str, value: object) -> Iterator[tuple[str, torch.Tensor | ShardedTensor]]:
    """Logical path and value of every tensor in nested dicts."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from flattened(f"{prefix}/{str(key).replace('%', '%25').replace('/', '%2F')}", item)
    elif isinstance(value, torch.Tensor | ShardedTensor):
        yield prefix, value


def local_shards(value: torch.Tensor | ShardedTensor) -> Iterator[tuple[tuple[int, ...], torch.Tensor]]:
    if isinstance(value, ShardedTensor):
        for shard in value.local_shards():
            yield tuple(shard.metadata.shard_offsets), shard.tensor
    elif isinstance(value, DTensor):
        yield (0,) * value.dim(), value.full_tensor()
    else:
        yield (0,) * value.dim(), value


def placed_shards(path: str, value: torch.Tensor | ShardedTensor, model: nn.Module) -> Iterator[tuple]:
    """The local shards, and the dense optimizer state of sharded tables where the rank's shards of the table lie."""
    weight = model.state_dict().get(path.split("/")[-2]) if path.startswith("optimizer/") else None
    if not isinstance(weight, ShardedTensor) or isinstance(value, ShardedTensor) or value.dim() == 0:
        yield from local_shards(value)
        return
    shards = weight.local_shards()
    for shard, part in zip(shards, value.split([len(shard.tensor) for shard in shards]), strict=True):
        yield tuple(shard.metadata.shard_offsets), part


def truth(app_state: dict[str, object]) -> dict[str, np.ndarray]:
    """Every local shard of the app state on this rank."""
    arrays = {}
    for key, stateful in app_state.items():
        state = stateful if isinstance(stateful, StateDict) else stateful.state_dict()
        for path, value in flattened(key, dict(state)):
            for offsets, tensor in placed_shards(path, value, app_state["model"]):
                tensor = tensor.detach()
                bits = tensor.view(torch.uint16) if tensor.dtype in (torch.bfloat16, torch.float16) else tensor
                arrays[f"{path}|{','.join(map(str, offsets))}"] = bits.numpy().copy()
    return arrays


def main(out: Path, names: list[str]) -> None:
    dist.init_process_group("gloo")
    for name in names:
        build, environ = CASES[name]
        app_state = build()
        os.environ.update(environ)
        torchsnapshot.Snapshot.take(str(out / name), app_state)
        for variable in environ:
            del os.environ[variable]
        np.savez(out / name / f"truth.{dist.get_rank()}.npz", **truth(app_state))
        dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
