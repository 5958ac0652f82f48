"""Optimizer state: which arrays belong to which table, and what each holds for a row.

torchrec writes the state of a table's weight as `<app key>/state/<prefix><weight key>/<state key>`. The prefix is empty
or that of a combined optimizer (`fused_opt.`). The state key of a fused optimizer begins with the table's name
(`user.momentum1`), that of a dense one does not (`exp_avg`). Fused state is sharded like the table; dense state of a
sharded table is a plain tensor on each rank, without offsets: the states of that rank's shards of the weight, stacked
along rows in the order of its manifest; or one for all ranks, where their values are the same.

An optimizer of torch itself has `<app key>/state/<number>/<state key>`; which parameter that is says
`param_groups/<group>/param_names`, beside `params`, where the optimizer was built from `named_parameters()`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import count, takewhile
from math import prod
from typing import TypeAlias

from embsnap.errors import ErrorKind, SnapshotError
from embsnap.formats.torchsnapshot.arrays import assemble, assemble_entry, is_sharded, prove_cover
from embsnap.formats.torchsnapshot.listing import Listing
from embsnap.model.geometry import Box
from embsnap.model.manifest import ChunkedTensorEntry, DTensorEntry, PrimitiveEntry, ShardedTensorEntry, TensorEntry
from embsnap.model.paths import last_segment, unescape
from embsnap.model.table import Piece, StateLayout, StoredArray, TableState

__all__ = ["assemble_state", "column_cuts", "group_by_parameter", "is_numbered", "state_name"]

_SINGLE_VALUE_NAMES = frozenset({"iter", "step"})
"""States that count steps, whatever their shape."""
_SHARDED_FORMS = ("ShardedTensor", "DTensor")
_Plain: TypeAlias = TensorEntry | ChunkedTensorEntry


def state_name(logical: str, table: str) -> str:
    """`…/user.momentum1` of the table `user` → `momentum1`; `…/exp_avg` → `exp_avg`."""
    return last_segment(logical).removeprefix(f"{table}.")


def column_cuts(weight: StoredArray) -> tuple[int, ...]:
    """The columns at which the pieces of a table begin, ascending."""
    return tuple(sorted({piece.offsets[1] for piece in weight.pieces})) or (0,)


def assemble_state(listing: Listing, logical: str, table: str, weight: StoredArray) -> TableState:
    """One optimizer state of a table.

    Args:
        listing: Of the snapshot.
        logical: Path of the state.
        table: Name of the table.
        weight: The table's `[V, D]` array.

    Raises:
        SnapshotError: As for `assemble`; `bad-cover` too if a rank's local state does not fit its shards of the weight.
    """
    name = state_name(logical, table)
    locals_ = {} if name in _SINGLE_VALUE_NAMES else _local_entries(listing, logical, weight)
    array = _local_states_joined(listing, logical, weight, locals_) if locals_ else assemble(listing, logical)
    return TableState(name=name, array=array, layout=_layout(name, array.shape, weight))


def _layout(name: str, shape: tuple[int, ...], weight: StoredArray) -> StateLayout:
    num_rows, num_cuts = weight.shape[0], len(column_cuts(weight))
    if shape == () or name in _SINGLE_VALUE_NAMES:
        return StateLayout.SINGLE
    if shape == weight.shape:
        return StateLayout.ELEMENT_WISE
    if shape in ((num_rows,), (num_rows, 1)):
        return StateLayout.ROW_WISE
    if num_cuts > 1 and shape == (num_rows * num_cuts,):
        return StateLayout.ROW_WISE_PER_COLUMN_SHARD
    return StateLayout.SINGLE if shape == (1,) else StateLayout.OTHER


def _local_entries(listing: Listing, logical: str, weight: StoredArray) -> dict[int, _Plain]:
    """Plain tensors on each rank beside a weight that is spread over ranks, by rank; empty for any other state."""
    ranked = listing.by_path[logical]
    if weight.form not in _SHARDED_FORMS or any(is_sharded(entry) for entry in ranked.values()):
        return {}
    entries = {rank: entry for rank, entry in ranked.items() if isinstance(entry, TensorEntry | ChunkedTensorEntry)}
    odd = [entry for entry in entries.values() if entry.shape not in ((), (1,), weight.shape)]
    if any(not entry.replicated for entry in odd):
        return entries
    if not odd or _layout("", odd[0].shape, weight) is not StateLayout.OTHER:
        return {}
    parts = {rank: _parts_of(listing, weight, rank) for rank in range(listing.manifest.world_size)}
    holders = [rank for rank in parts if parts[rank]]
    return dict.fromkeys(holders, odd[0]) if all(_is_share(odd[0].shape, parts[rank]) for rank in holders) else {}


def _is_share(shape: tuple[int, ...], parts: list[Box]) -> bool:
    """Whether a state has this shape if it belongs to these shards alone."""
    num_rows, widths = sum(part.sizes[0] for part in parts), {part.sizes[1] for part in parts}
    return shape in ((num_rows,), (num_rows, 1), (num_rows, *widths))


def _local_states_joined(
    listing: Listing, logical: str, weight: StoredArray, entries: Mapping[int, _Plain]
) -> StoredArray:
    locals_: list[StoredArray] = []
    pieces: list[Piece] = []
    shapes: set[tuple[int, ...]] = set()
    for rank, entry in sorted(entries.items()):
        parts = _parts_of(listing, weight, rank)
        if not parts and 0 in entry.shape:
            continue  # a rank without a shard of the table may keep an empty state
        local = assemble_entry(logical, entry, rank)
        shapes.add(_whole_shape(local, parts, weight))
        pieces += [moved for piece in local.pieces for moved in _moved(piece, local, parts, weight)]
        locals_.append(local)
    if len(shapes) != 1 or len({local.dtype for local in locals_}) != 1:
        raise _misfit(logical, "one shape and dtype over all ranks", f"shapes {sorted(map(list, shapes))}")
    pieces.sort(key=lambda piece: piece.offsets)
    return prove_cover(replace(locals_[0], shape=shapes.pop(), pieces=tuple(pieces)), logical)


def _parts_of(listing: Listing, weight: StoredArray, rank: int) -> list[Box]:
    """A rank's shards of the weight in the order of its manifest, those that only divide rows put together again."""
    parts: list[Box] = []
    entry = listing.by_path[weight.path].get(rank)
    for shard in entry.shards if isinstance(entry, ShardedTensorEntry | DTensorEntry) else ():
        (row, column), (num_rows, num_columns) = shard.offsets, shard.sizes
        last = parts[-1] if parts else None
        if last is not None and (last.ends[0], last.offsets[1], last.sizes[1]) == (row, column, num_columns):
            parts[-1] = Box(last.offsets, (last.sizes[0] + num_rows, num_columns))
        else:
            parts.append(Box(shard.offsets, shard.sizes))
    return parts


def _whole_shape(local: StoredArray, parts: list[Box], weight: StoredArray) -> tuple[int, ...]:
    """The shape of the whole state, of which a rank holds `local`: its parts stacked along rows."""
    num_rows, widths = sum(part.sizes[0] for part in parts), {part.sizes[1] for part in parts}
    total_rows, total_columns = weight.shape
    if len(widths) == 1 and local.shape == (num_rows, *widths):
        return weight.shape
    if widths == {total_columns} and local.shape in ((num_rows,), (num_rows, 1)):
        return (total_rows, *local.shape[1:])
    if all(part.sizes[0] == total_rows for part in parts) and local.shape == (num_rows,):
        return (total_rows * len(column_cuts(weight)),)
    raise _misfit(local.path, f"the {num_rows} rows of its rank's {len(parts)} shards", list(local.shape))


def _moved(piece: Piece, local: StoredArray, parts: list[Box], weight: StoredArray) -> Iterator[Piece]:
    """A piece of a local state, cut where its rank's parts end and moved to where they lie."""
    row_bytes = prod(local.shape[1:]) * local.dtype.itemsize
    first, last = piece.offsets[0], piece.offsets[0] + piece.sizes[0]
    stacked = 0
    for part in parts:
        begin, end = max(first, stacked), min(last, stacked + part.sizes[0])
        if begin < end:
            start = piece.start + (begin - first) * row_bytes
            whole = piece.end is None and (begin, end) == (first, last)
            offsets = _offsets(begin - stacked, part, local, weight)
            stop = None if whole else start + (end - begin) * row_bytes
            yield replace(piece, offsets=offsets, sizes=(end - begin, *piece.sizes[1:]), start=start, end=stop)
        stacked += part.sizes[0]


def _offsets(row: int, part: Box, local: StoredArray, weight: StoredArray) -> tuple[int, ...]:
    """Where a row of a part's local state lies in the whole state."""
    if local.shape[1:] == part.sizes[1:]:
        return part.offsets[0] + row, part.offsets[1]
    if part.sizes[1] == weight.shape[1]:
        return (part.offsets[0] + row, 0)[: len(local.shape)]
    return (column_cuts(weight).index(part.offsets[1]) * weight.shape[0] + row,)


def _misfit(logical: str, expected: str, found: object) -> SnapshotError:
    return SnapshotError(
        ErrorKind.BAD_COVER,
        "local optimizer state does not fit the shards of its table",
        where=logical,
        expected=expected,
        found=found,
        hint="leave the optimizer state out, or take the snapshot with a fused optimizer",
    )


def group_by_parameter(listing: Listing, paths: Iterable[str]) -> Mapping[str, list[str]]:
    """Logical paths by the parameter whose state they may be: the key of the container right above, unescaped.

    Optimizers of torch itself number parameters. One built from `named_parameters()` keeps their names beside: a number
    that is one parameter's on every rank stands for its name, any other for itself.
    """
    grouped: dict[str, list[str]] = {}
    names: dict[str, Mapping[str, str]] = {}
    for path in paths:
        above, _, key = path.rpartition("/")[0].rpartition("/")
        if above:
            parameter = unescape(key)
            if key.isdecimal() and is_numbered(path):
                optimizer = above.rpartition("/")[0]
                if optimizer not in names:
                    names[optimizer] = _names_of_numbers(listing, optimizer)
                parameter = names[optimizer].get(parameter, parameter)
            grouped.setdefault(parameter, []).append(path)
    return grouped


def is_numbered(logical: str) -> bool:
    """Whether it is a state of an optimizer of torch itself: `optimizer/state/0/exp_avg`."""
    *above, number, _ = logical.split("/")
    return len(above) > 1 and above[-1] == "state" and number.isdecimal()


def _names_of_numbers(listing: Listing, optimizer: str) -> dict[str, str]:
    found: dict[str, set[str]] = {}
    for group in _children(listing, f"{optimizer}/param_groups"):
        for number_at, name_at in zip(
            _children(listing, f"{group}/params"), _children(listing, f"{group}/param_names"), strict=False
        ):
            numbers, names = listing.by_path[number_at], listing.by_path[name_at]
            for rank in {*numbers, *names}:
                number, name = (ranked.get(rank, ranked[min(ranked)]) for ranked in (numbers, names))
                if isinstance(number, PrimitiveEntry) and isinstance(name, PrimitiveEntry):
                    found.setdefault(number.serialized_value, set()).add(name.serialized_value)
    return {number: names.pop() for number, names in found.items() if len(names) == 1}


def _children(listing: Listing, path: str) -> Iterator[str]:
    """Those of a list, in order."""
    return takewhile(listing.by_path.__contains__, (f"{path}/{index}" for index in count()))
