"""The part of a tensor that this rank holds: plain, ShardedTensor or DTensor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset
from torchrec.distributed.types import ShardedTensor

__all__ = ["LocalPart", "dtype_of", "is_sharded", "local_parts", "shape_of"]


@dataclass(frozen=True, slots=True, eq=False)
class LocalPart:
    """A rectangle of a tensor, with its elements."""

    offsets: tuple[int, ...]
    tensor: Tensor
    """Of the rectangle's shape; the live memory."""


def is_sharded(value: object) -> bool:
    """Whether each rank holds but a part of it."""
    return isinstance(value, ShardedTensor | DTensor)


def dtype_of(value: Tensor | ShardedTensor) -> torch.dtype:
    """Of its elements. Sharded tensors are asked for their metadata: all else of theirs warns that it is deprecated."""
    dtype: torch.dtype = value.metadata().tensor_properties.dtype if isinstance(value, ShardedTensor) else value.dtype
    return dtype


def shape_of(value: Tensor | ShardedTensor) -> tuple[int, ...]:
    """Of the whole tensor."""
    return tuple(value.metadata().size if isinstance(value, ShardedTensor) else value.shape)


def local_parts(value: Tensor | ShardedTensor) -> tuple[LocalPart, ...]:
    """What this rank holds of a tensor, in the order in which it holds it; several ranks may hold the same."""
    if isinstance(value, ShardedTensor):
        return tuple(
            LocalPart(tuple(shard.metadata.shard_offsets), shard.tensor.detach()) for shard in value.local_shards()
        )
    if not isinstance(value, DTensor):
        return (LocalPart((0,) * value.dim(), value.detach()),)
    with torch.no_grad():
        local: Any = value.to_local()
    if hasattr(local, "local_shards"):  # torchrec's LocalShardsWrapper
        offsets, shards = local.local_offsets(), local.local_shards()
        # without a shard it has the offsets of an empty one
        return tuple(LocalPart(tuple(at), shard.detach()) for at, shard in zip(offsets, shards, strict=False))
    if value.device_mesh.get_coordinate() is None:
        return ()
    _, at = compute_local_shape_and_global_offset(value.shape, value.device_mesh, value.placements)
    return (LocalPart(tuple(at), local.detach()),)
