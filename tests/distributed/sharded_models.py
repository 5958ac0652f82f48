"""Models of which each table is sharded in its own way, by plans that are written out by hand.

Kinds: `rw`, `cw`, `tw`, `dp` on any number of ranks; `twrw` and `grid` on four ranks that count as two hosts of two.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.tensor import DTensor
from torchrec import EmbeddingBagCollection, EmbeddingBagConfig
from torchrec.distributed import DistributedModelParallel
from torchrec.distributed.embeddingbag import EmbeddingBagCollectionSharder
from torchrec.distributed.types import (
    EmbeddingModuleShardingPlan,
    EnumerableShardingSpec,
    ParameterSharding,
    ShardedTensor,
    ShardingEnv,
    ShardingPlan,
    ShardMetadata,
)
from torchrec.optim.apply_optimizer_in_backward import apply_optimizer_in_backward
from torchrec.optim.keyed import KeyedOptimizerWrapper
from torchrec.optim.rowwise_adagrad import RowWiseAdagrad

DIM = 8
FUSED = {"rowwise": RowWiseAdagrad, "adagrad": torch.optim.Adagrad}
"""`adam` is a dense optimizer: fused ones of it refuse CPUs."""
_NAMES = {"rw": "row_wise", "cw": "column_wise", "tw": "table_wise", "dp": "data_parallel"}
_NAMES |= {"twrw": "table_row_wise", "grid": "grid_shard"}
Box = tuple[int, int, int, int, int]
"""First row, first column, rows, columns, rank."""


def start() -> None:
    """Join the job; four ranks are two hosts."""
    if os.environ["WORLD_SIZE"] == "4":
        os.environ |= {"LOCAL_WORLD_SIZE": "2", "LOCAL_RANK": str(int(os.environ["RANK"]) % 2)}
    dist.init_process_group("gloo")


def boxes(kind: str, rows: int, world_size: int) -> list[Box]:
    """Where the shards of a table lie."""
    half = DIM // 2
    match kind:
        case "rw":
            return list(_by_rows(rows, range(world_size), 0, DIM))
        case "cw":
            return [(0, 0, rows, half, 0), (0, half, rows, half, 1 % world_size)]
        case "tw":
            return [(0, 0, rows, DIM, world_size - 1)]
        case "twrw":
            return list(_by_rows(rows, range(2, 4), 0, DIM))
        case "grid":
            return [*_by_rows(rows, range(2), 0, half), *_by_rows(rows, range(2, 4), half, half)]
    return []


def _by_rows(rows: int, ranks: range, column: int, columns: int) -> Iterator[Box]:
    step = -(-rows // len(ranks))
    for number, rank in enumerate(ranks):
        first = min(number * step, rows)
        yield first, column, min(first + step, rows) - first, columns, rank


def build(tables: Mapping[str, tuple[str, int]], optimizer: str, *, dtensors: bool = False) -> DistributedModelParallel:
    """Tables by name, each of a kind and so many rows; fused optimizers are attached."""
    torch.manual_seed(7)
    model = nn.Module()
    configs = [
        EmbeddingBagConfig(name=name, num_embeddings=rows, embedding_dim=DIM, feature_names=[f"f_{name}"])
        for name, (_, rows) in tables.items()
    ]
    model.ebc = EmbeddingBagCollection(tables=configs, device=torch.device("meta"))
    if optimizer in FUSED:
        sharded = [model.ebc.embedding_bags[name].weight for name, (kind, _) in tables.items() if kind != "dp"]
        apply_optimizer_in_backward(FUSED[optimizer], sharded, {"lr": 0.1})
    kernel = "fused" if optimizer in FUSED else "dense"
    plan = {name: _sharding(kind, rows, kernel) for name, (kind, rows) in tables.items()}
    env = ShardingEnv.from_process_group(dist.group.WORLD)
    env.output_dtensor = dtensors
    return DistributedModelParallel(
        model,
        env=env,
        device=torch.device("cpu"),
        plan=ShardingPlan(plan={"ebc": EmbeddingModuleShardingPlan(plan)}),
        sharders=[EmbeddingBagCollectionSharder()],
    )


def _sharding(kind: str, rows: int, kernel: str) -> ParameterSharding:
    world_size = dist.get_world_size()
    if kind == "dp":
        return ParameterSharding("data_parallel", "dense", list(range(world_size)))
    placed = boxes(kind, rows, world_size)
    shards = [
        ShardMetadata([row, column], [num_rows, num_columns], f"rank:{rank}/cpu")
        for row, column, num_rows, num_columns, rank in placed
    ]
    return ParameterSharding(_NAMES[kind], kernel, [box[-1] for box in placed], EnumerableShardingSpec(shards))


def optimizer_of(model: DistributedModelParallel, optimizer: str) -> torch.optim.Optimizer:
    """What trains the model's tables."""
    if optimizer in FUSED:
        return model.fused_optimizer
    if optimizer == "numbered":
        return torch.optim.Adam(model.named_parameters(), lr=0.1)
    return KeyedOptimizerWrapper(dict(model.named_parameters()), lambda params: torch.optim.Adam(params, lr=0.1))


def local_shards(value: torch.Tensor | ShardedTensor) -> list[tuple[tuple[int, ...], torch.Tensor]]:
    """Offsets and memory of what this rank holds."""
    if isinstance(value, ShardedTensor):
        return [(tuple(shard.metadata.shard_offsets), shard.tensor.detach()) for shard in value.local_shards()]
    if isinstance(value, DTensor):
        local = value._local_tensor
        pairs = zip(local.local_offsets(), local.local_shards(), strict=False)
        return [(tuple(offsets), shard.detach()) for offsets, shard in pairs]
    return [((0,) * value.dim(), value.detach())]


def held(model: DistributedModelParallel, optimizer: torch.optim.Optimizer) -> dict[str, np.ndarray]:
    """What this rank holds: `<table>/<weight or state>|<offsets>` → elements, as views of the live memory."""
    arrays: dict[str, np.ndarray] = {}
    weights = {key.split(".")[-2]: value for key, value in model.state_dict().items()}
    for table, value in weights.items():
        arrays |= _named(f"{table}/weight", local_shards(value))
    names = [name for group in optimizer.param_groups for name in group.get("param_names", ())]
    for key, states in optimizer.state_dict()["state"].items():
        table = (names[key] if isinstance(key, int) else key).split(".")[-2]
        places = [offsets for offsets, _ in local_shards(weights[table])]
        for name, value in states.items():
            if isinstance(value, ShardedTensor | DTensor):
                arrays |= _named(f"{table}/{name.removeprefix(f'{table}.')}", local_shards(value))
            elif value.dim() == 0:
                arrays |= _named(f"{table}/{name}", [((), value)])
            elif places:  # dense state: that of the rank's shards, one below the other
                arrays |= _named(f"{table}/{name}", list(zip(places, value.chunk(len(places)), strict=True)))
    return arrays


def _named(name: str, shards: list[tuple[tuple[int, ...], torch.Tensor]]) -> dict[str, np.ndarray]:
    return {f"{name}|{','.join(map(str, offsets))}": tensor.detach().numpy() for offsets, tensor in shards}
