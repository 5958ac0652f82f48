"""Who writes what: of the same bytes on several ranks, one copy.

A leaf that is the same on every rank stands in the snapshot once, for a job of any size: torchsnapshot finds no copy of
its own for a rank that was not there when it was saved. So does one that may differ until every rank takes it from
rank 0, before its next use. A rectangle of a sharded tensor that several ranks hold is written by the lowest of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.live.arrays import as_array
from embsnap.live.state_tree import Leaf, PickleLeaf, ShardedLeaf, StateTree, TensorLeaf

__all__ = ["Boxes", "Description", "Shares", "describe", "share"]

_BLOCK_ELEMENTS = 1 << 20


@dataclass(frozen=True, slots=True)
class Boxes:
    """A rank's rectangles of a sharded tensor."""

    shape: tuple[int, ...]
    dtype: str
    offsets: tuple[tuple[int, ...], ...]
    sizes: tuple[tuple[int, ...], ...]


Description: TypeAlias = Boxes | str | None
"""Of a leaf: its rectangles, a digest of what is whole, or None where each rank's copy is its own."""


@dataclass(frozen=True, slots=True)
class Shares:
    """What one rank makes of its leaves."""

    for_all: frozenset[str]
    """Paths of leaves that are the same on all ranks, which rank 0 writes."""
    elsewhere: frozenset[tuple[str, tuple[int, ...]]]
    """Path and offsets of rectangles that a lower rank writes."""


def describe(tree: StateTree, *, alone: bool) -> dict[str, Description]:
    """What the other ranks need to know of this rank's leaves.

    Args:
        tree: Its state.
        alone: There are no other ranks, so that nothing needs to be compared.
    """
    sharded = [path for path, leaf in tree.leaves.items() if isinstance(leaf, ShardedLeaf)]
    keys = tuple(path.partition("/")[2] for path in sharded if path.partition("/")[0] in tree.modules)
    described: dict[str, Description] = {}
    for path, leaf in tree.leaves.items():
        if isinstance(leaf, ShardedLeaf):
            offsets = tuple(part.offsets for part in leaf.parts)
            described[path] = Boxes(leaf.shape, leaf.dtype.name, offsets, _sizes(leaf))
        elif alone or path in tree.broadcast:
            described[path] = ""
        else:
            described[path] = None if _is_of_shard(path, leaf, keys) else _digest(leaf)
    return described


def share(descriptions: Sequence[Mapping[str, Description]], rank: int) -> Shares:
    """Compare what all ranks hold; every rank comes to the same answer.

    Args:
        descriptions: By rank.
        rank: The one that asks.

    Raises:
        IncompatibleError: Ranks disagree about a sharded tensor's shape or dtype.
    """
    own = descriptions[rank]
    for_all = frozenset(
        path
        for path, described in own.items()
        if isinstance(described, str) and all(other.get(path) == described for other in descriptions)
    )
    elsewhere: set[tuple[str, tuple[int, ...]]] = set()
    for path, boxes in own.items():
        if isinstance(boxes, Boxes):
            reference = next(found for other in descriptions if isinstance(found := other.get(path), Boxes))
            _check_same(path, boxes, reference, rank)
            lower = [found for other in descriptions[:rank] if isinstance(found := other.get(path), Boxes)]
            taken = {box for found in lower for box in zip(found.offsets, found.sizes, strict=True)}
            elsewhere.update(
                (path, at) for at, size in zip(boxes.offsets, boxes.sizes, strict=True) if (at, size) in taken
            )
    return Shares(for_all, frozenset(elsewhere))


def _check_same(path: str, boxes: Boxes, reference: Boxes, rank: int) -> None:
    if (boxes.shape, boxes.dtype) != (reference.shape, reference.dtype):
        differs = boxes.shape != reference.shape
        raise IncompatibleError(
            ErrorKind.SHAPE_MISMATCH if differs else ErrorKind.DTYPE_MISMATCH,
            "the ranks hold parts of different tensors",
            where=path,
            expected=f"{list(reference.shape)} of {reference.dtype}",
            found=f"{list(boxes.shape)} of {boxes.dtype} on rank {rank}",
        )


def _pairs(boxes: Boxes) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    return zip(boxes.offsets, boxes.sizes, strict=True)


def _sizes(leaf: ShardedLeaf) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(part.tensor.shape) for part in leaf.parts)


def _is_of_shard(path: str, leaf: Leaf, sharded_keys: tuple[str, ...]) -> bool:
    """Whether a tensor is optimizer state of this rank's part of a table, without saying so (dense kernels)."""
    segments = path.split("/")[1:-1]
    endings = tuple(f".{segment}" for segment in segments)  # of an optimizer of a part of the model
    is_of_one = any(s.endswith(sharded_keys) for s in segments) or any(key.endswith(endings) for key in sharded_keys)
    return isinstance(leaf, TensorLeaf) and leaf.tensor.dim() > 0 and is_of_one


def _digest(leaf: Leaf) -> str:
    digest = hashlib.sha256()
    if isinstance(leaf, TensorLeaf):
        digest.update(f"{leaf.dtype} {tuple(leaf.tensor.shape)}".encode())
        flat = leaf.tensor.reshape(-1)
        for start in range(0, len(flat), _BLOCK_ELEMENTS):
            digest.update(as_array(flat[start : start + _BLOCK_ELEMENTS].cpu().contiguous()).data.cast("B"))
    elif isinstance(leaf, PickleLeaf):
        digest.update(leaf.type.encode() + leaf.data)
    else:
        digest.update(repr(leaf).encode())
    return digest.hexdigest()
