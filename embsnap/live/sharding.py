"""LargeEmbeddings over the ranks of a job, by a plan that needs no planner."""

from __future__ import annotations

import os

import torch
import torch.distributed as dist
from torchrec.distributed import sharding_plan
from torchrec.distributed.embedding_types import EmbeddingComputeKernel
from torchrec.distributed.embeddingbag import EmbeddingBagCollectionSharder
from torchrec.distributed.model_parallel import DistributedModelParallel
from torchrec.distributed.types import ShardingEnv, ShardingPlan

from embsnap.config.embedding import EmbeddingBagConfig
from embsnap.config.policies import Mode, Placement, Pooling
from embsnap.errors import ErrorKind, UsageError
from embsnap.live.modules import LargeEmbeddings
from embsnap.live.optimizers import has_fused_kernel

__all__ = ["divide_over_ranks", "shard_embeddings"]

_DIM_MULTIPLE = 4
"""FBGEMM's kernels have rows of whole multiples of it."""


def shard_embeddings(
    embeddings: LargeEmbeddings, *, device: torch.device | str, placement: Placement = Placement.DEVICE
) -> DistributedModelParallel:
    """Divide tables over the ranks of the job, by rows; one of too few rows goes to one rank as a whole.

    Every rank calls this, with torch.distributed initialised; a job may be of one rank. Rows are uninitialised memory,
    for `warm_start` or `restore` to fill. Optimizers that the tables have become part of FBGEMM's kernels. Adam on a
    CPU and SGD with momentum have no such kernel: their tables get an ordinary gradient, as those without an optimizer
    do, for an optimizer of the job's own. So do tables of fewer rows than ranks beside one that is pooled by its mean.
    Tables that were built for `evaluate` or `inference` get none, and no optimizer.

    Args:
        embeddings: Built with `device="meta"`.
        device: Of this rank: `cpu`, or the GPU with the rank's number on its host, where torchrec places it: `cuda:1`.
        placement: `uvm_caching` keeps rows in the host's memory and caches those in use on the GPU.

    Returns:
        The module, wrapped.

    Raises:
        UsageError: `bad-option`: another GPU than the rank's; `uvm_caching` without a GPU, or to train a table whose
            optimizer has no fused kernel or that has none; what FBGEMM has no kernel for: an `embedding_dim` that is
            no multiple of 4, or bf16 on a GPU.
    """
    with_gradients = embeddings.mode is Mode.TRAIN
    return divide_over_ranks(embeddings, torch.device(device), placement, with_gradients=with_gradients)


def divide_over_ranks(
    embeddings: LargeEmbeddings, device: torch.device, placement: Placement, *, with_gradients: bool
) -> DistributedModelParallel:
    """What `shard_embeddings` does; without gradients where nothing is trained, so that no table needs to have one."""
    world_size = dist.get_world_size()
    local_size = int(os.environ.get("LOCAL_WORLD_SIZE", str(world_size)))
    _check_device(device, dist.get_rank() % local_size)
    is_trained = embeddings.mode is Mode.TRAIN
    sharder = EmbeddingBagCollectionSharder({} if is_trained else {"learning_rate": 0.0})
    tables = embeddings.config.tables
    with_mean = any(table.pooling is Pooling.MEAN for table in tables)
    generators = {
        table.name: _sharding(
            table, index, _kernel(embeddings, table, device, placement, with_gradients), with_mean=with_mean
        )
        for index, table in enumerate(tables)
    }
    _check_tables(embeddings, device)
    plan = sharding_plan.construct_module_sharding_plan(
        embeddings.ebc, generators, sharder, local_size, world_size, device.type
    )
    model = DistributedModelParallel(
        embeddings,
        env=ShardingEnv.from_process_group(dist.group.WORLD),
        device=device,
        plan=ShardingPlan(plan={"ebc": plan}),
        sharders=[sharder],
        init_data_parallel=False,
        init_parameters=False,
    )
    if not is_trained:
        model.eval()  # gradients are kept away by its forward: torchrec's parameters cannot say that they take none
    return model


def _check_device(device: torch.device, local_rank: int) -> None:
    if device.type != "cuda":
        return
    index = torch.cuda.current_device() if device.index is None else device.index
    if index != local_rank:
        raise UsageError(
            ErrorKind.BAD_OPTION,
            "torchrec places this rank's tables on another GPU",
            where="device",
            expected=f"cuda:{local_rank}",
            found=f"cuda:{index}",
            hint="CUDA_VISIBLE_DEVICES says which GPUs a job has",
        )


def _check_tables(embeddings: LargeEmbeddings, device: torch.device) -> None:
    for table in embeddings.config.tables:
        if device.type == "cuda" and embeddings.weight(table.name).dtype == torch.bfloat16:
            raise UsageError(
                ErrorKind.BAD_OPTION,
                "FBGEMM has no kernels for this dtype on a GPU",
                where=f"table {table.name}",
                expected="fp32 or fp16",
                found="bf16",
                hint="use --no-model or --device cpu, or set data_type: fp16",
            )
        if table.embedding_dim % _DIM_MULTIPLE:
            raise UsageError(
                ErrorKind.BAD_OPTION,
                "FBGEMM cannot hold shards of this width",
                where=f"table {table.name}",
                expected=f"an embedding_dim that is a multiple of {_DIM_MULTIPLE}",
                found=table.embedding_dim,
                hint="use --no-model, which needs no kernel, or migrate the table to another dim",
            )


def _sharding(
    table: EmbeddingBagConfig, index: int, kernel: EmbeddingComputeKernel, *, with_mean: bool
) -> sharding_plan.ParameterShardingGenerator:
    """By rows. Where a rank would get none, which FBGEMM's fused kernels fail on, the whole table on one rank.

    torchrec divides the sums of such a table by the lengths of its bags too if another one is pooled by its mean.
    """
    world_size = dist.get_world_size()
    rows_per_rank = -(-table.num_embeddings // world_size)
    if table.num_embeddings > rows_per_rank * (world_size - 1):
        return sharding_plan.row_wise(compute_kernel=kernel.value)
    if with_mean:
        return sharding_plan.row_wise(compute_kernel=EmbeddingComputeKernel.DENSE.value)
    return sharding_plan.table_wise(rank=index % world_size, compute_kernel=kernel.value)


def _kernel(
    embeddings: LargeEmbeddings,
    table: EmbeddingBagConfig,
    device: torch.device,
    placement: Placement,
    with_gradients: bool,
) -> EmbeddingComputeKernel:
    """A fused kernel, but for a table whose gradient something else is to have.

    FBGEMM's fused kernels without an optimizer are plain SGD: of a table without one that is trained, and of no other,
    they would change the rows.
    """
    optimizer = embeddings.config.optimizer_of(table.name) if embeddings.mode is Mode.TRAIN else None
    is_fused = not with_gradients if optimizer is None else has_fused_kernel(optimizer, device)
    if placement is Placement.DEVICE:
        return EmbeddingComputeKernel.FUSED if is_fused else EmbeddingComputeKernel.DENSE
    if device.type != "cuda" or not is_fused:
        kept = "a table without an optimizer" if optimizer is None else "SGD with momentum"
        raise UsageError(
            ErrorKind.BAD_OPTION,
            "rows can be cached on a GPU only, and by a fused kernel only",
            where=f"table {table.name}, placement {placement}",
            expected="a CUDA device, and for training an optimizer that is no SGD with momentum",
            found=device if device.type != "cuda" else kept,
            hint="use the placement device, or give the table such an optimizer",
        )
    return EmbeddingComputeKernel.FUSED_UVM_CACHING
