"""What one rank writes: arrays in objects, and the manifest entries that name them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

import torch
from torch import Tensor

from embsnap.formats.sidecar import ObjectSums
from embsnap.formats.torchsnapshot.contents import ArrayToWrite, check_contents
from embsnap.formats.torchsnapshot.encoding import Primitive, primitive_entry
from embsnap.formats.torchsnapshot.layout import ObjectLayout, PlacedPiece, place
from embsnap.live.arrays import TensorRows
from embsnap.live.save_share import Shares
from embsnap.live.state_tree import PickleLeaf, ShardedLeaf, StateTree, TensorLeaf, ValueLeaf
from embsnap.model.dtypes import DTYPES, DType
from embsnap.model.manifest import (
    ChunkedTensorEntry,
    ContainerEntry,
    Entry,
    ObjectEntry,
    Shard,
    ShardedTensorEntry,
    TensorEntry,
)

__all__ = ["Contribution", "Portion", "RankManifest", "StateForm", "contribution"]

StateForm = Literal["tensor", "sharded"]
"""How sharded tensors that are no module's are written: as one tensor for all ranks, or as they are."""


@dataclass(frozen=True, slots=True, eq=False)
class Portion:
    """A rectangle of a leaf, or a pickle, with the bytes that this rank writes."""

    path: str
    offsets: tuple[int, ...]
    tensor: Tensor
    dtype: DType

    @property
    def array(self) -> ArrayToWrite:
        """Its bytes as rows: the first dimension against all others."""
        tensor = self.tensor
        flat = tensor.reshape(tensor.shape[0], prod(tensor.shape[1:])) if tensor.dim() else tensor.reshape(1, 1)
        return ArrayToWrite(self.path, self.dtype, tuple(flat.shape), TensorRows(flat))


@dataclass(frozen=True, slots=True)
class RankManifest:
    """What one rank tells the others in the end."""

    entries: Mapping[str, Entry]
    """Its own, by logical path."""
    containers: Mapping[str, ContainerEntry]
    pieces: Mapping[str, tuple[tuple[int, ...], str, tuple[Shard, ...]]]
    """Shape, dtype and this rank's rectangles of sharded tensors that become one tensor for all ranks."""
    shapes: Mapping[str, tuple[int, ...]]
    """Of sharded tensors."""
    sums: Mapping[str, ObjectSums]
    """Of the objects it wrote."""


@dataclass(frozen=True, slots=True, eq=False)
class Contribution:
    """What one rank is to write."""

    rank: int
    tree: StateTree
    shares: Shares
    form: StateForm
    portions: tuple[Portion, ...]
    layouts: tuple[ObjectLayout, ...]
    """Pieces name a portion by its index."""

    @property
    def num_bytes(self) -> int:
        """Of what it writes."""
        return sum(portion.tensor.numel() * portion.dtype.itemsize for portion in self.portions)

    def check(self) -> None:
        """Refuse what the format cannot hold (see `check_contents`)."""
        arrays = {portion.path: portion.array for portion in self.portions}
        values: dict[str, Primitive] = {path: b"" for path in self.tree.leaves if path not in arrays}
        values |= {path: leaf.value for path, leaf in self.tree.leaves.items() if isinstance(leaf, ValueLeaf)}
        if arrays or values:
            check_contents(list(arrays.values()), values)

    def manifest(self, locations: Sequence[str], sums: Mapping[str, ObjectSums]) -> RankManifest:
        """The entries of this rank, once its objects have locations."""
        shards: dict[str, list[Shard]] = {}
        for location, layout in zip(locations, self.layouts, strict=True):
            for piece in layout.pieces:
                portion = self.portions[piece.array]
                shards.setdefault(portion.path, []).append(_shard(portion, piece, location))
        entries: dict[str, Entry] = {}
        pieces, shapes = {}, {}
        for path, leaf in self.tree.leaves.items():
            found = tuple(sorted(shards.get(path, ()), key=lambda shard: shard.offsets))
            if isinstance(leaf, ShardedLeaf):
                shapes[path] = leaf.shape
                if self.form == "tensor" and path.partition("/")[0] not in self.tree.modules:
                    pieces[path] = (leaf.shape, leaf.dtype.torch_name, found)
                else:
                    entries[path] = ShardedTensorEntry(found)
            elif path not in self.shares.for_all or self.rank == 0:
                entries[path] = _entry(leaf, found, replicated=path in self.shares.for_all)
        return RankManifest(entries, self.tree.containers, pieces, shapes, sums)


def contribution(rank: int, tree: StateTree, shares: Shares, form: StateForm) -> Contribution:
    """Lay out what a rank writes: tensors together in objects, each pickle in one of its own."""
    portions = tuple(_portions(rank, tree, shares))
    is_pickle = [isinstance(tree.leaves[portion.path], PickleLeaf) for portion in portions]
    tensors = sorted(
        (index for index in range(len(portions)) if not is_pickle[index]),
        key=lambda index: -portions[index].tensor.numel() * portions[index].dtype.itemsize,
    )
    layouts = []
    for layout in place([portions[index].array.rows for index in tensors]) if tensors else ():
        pieces = (
            PlacedPiece(tensors[piece.array], piece.start_row, piece.end_row, piece.start, piece.end)
            for piece in layout.pieces
        )
        layouts.append(ObjectLayout(tuple(pieces)))
    for index, portion in enumerate(portions):
        if is_pickle[index]:
            num_bytes = len(portion.tensor)
            layouts.append(ObjectLayout((PlacedPiece(index, 0, num_bytes, 0, num_bytes),)))
    return Contribution(rank, tree, shares, form, portions, tuple(layouts))


def _portions(rank: int, tree: StateTree, shares: Shares) -> Iterator[Portion]:
    for path, leaf in tree.leaves.items():
        if isinstance(leaf, ShardedLeaf):
            for part in leaf.parts:
                has_bytes = part.tensor.numel() > 0 or 0 in leaf.shape
                if has_bytes and (path, part.offsets) not in shares.elsewhere:
                    yield Portion(path, part.offsets, part.tensor, leaf.dtype)
        elif path in shares.for_all and rank != 0:
            continue
        elif isinstance(leaf, TensorLeaf) and leaf.tensor.numel():
            yield Portion(path, (0,) * leaf.tensor.dim(), leaf.tensor, leaf.dtype)
        elif isinstance(leaf, PickleLeaf):
            data = torch.frombuffer(bytearray(leaf.data), dtype=torch.uint8)
            yield Portion(path, (0,), data, DTYPES["uint8"])


def _shard(portion: Portion, piece: PlacedPiece, location: str) -> Shard:
    """The rows of a piece as the rectangle that they are."""
    shape = tuple(portion.tensor.shape)
    sizes = (piece.end_row - piece.start_row, *shape[1:]) if shape else ()
    offsets = (portion.offsets[0] + piece.start_row, *portion.offsets[1:]) if shape else ()
    byte_range = (piece.start, piece.end)
    tensor = TensorEntry(location, "buffer_protocol", portion.dtype.torch_name, sizes, False, byte_range)
    return Shard(offsets, sizes, tensor)


def _entry(leaf: TensorLeaf | ValueLeaf | PickleLeaf, shards: tuple[Shard, ...], *, replicated: bool) -> Entry:
    match leaf:
        case ValueLeaf():
            return primitive_entry(leaf.value, replicated=replicated)
        case PickleLeaf(shape=None):
            return ObjectEntry(shards[0].tensor.location, "torch_save", leaf.type, replicated)
        case PickleLeaf():
            shape = leaf.shape or ()
            return TensorEntry(shards[0].tensor.location, "torch_save", leaf.type, shape, replicated, None)
    tensor, shape = shards[0].tensor if len(shards) == 1 else None, tuple(leaf.tensor.shape)
    if tensor is None:  # of several pieces, or without bytes, which torchsnapshot reads as no chunks only
        return ChunkedTensorEntry(leaf.dtype.torch_name, shape, shards, replicated)
    return TensorEntry(tensor.location, tensor.serializer, tensor.dtype, shape, replicated, tensor.byte_range)
