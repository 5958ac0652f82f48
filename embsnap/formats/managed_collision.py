"""Torchrec's managed collision (ZCH) buffers in a snapshot: the vocabulary that training kept by itself.

`MCHManagedCollisionModule` has, for a table of V rows, `_mch_sorted_raw_ids` int64[V], of which the largest int64 means
that the slot is empty; `_mch_remapped_ids_mapping` int64[V], the row of each slot; and by its eviction policy
`_mch_counts` and `_mch_last_access_iter`, int64[V]. An id that is in no slot gets the last row: of the table, or, in a
sharded module, of the shard that the id belongs to. `_output_segments_tensor` int64[1025] lists where shards begin and
end, and -1 after that. Ids are as the module's `input_hash_func` left them, if it has one.

Shape suffixes: V rows of the table, N entities.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.errors import ErrorKind, IncompatibleError, NotFoundError, SnapshotError
from embsnap.formats.torchsnapshot.arrays import is_sharded
from embsnap.formats.torchsnapshot.snapshot import Snapshot
from embsnap.model.manifest import TensorEntry
from embsnap.model.paths import last_segment
from embsnap.model.vocabulary import Declared, IdType, Vocabulary

__all__ = ["read_managed_collision"]

_IDS, _ROWS, _COUNTS, _LAST_SEEN = (
    "_mch_sorted_raw_ids",
    "_mch_remapped_ids_mapping",
    "_mch_counts",
    "_mch_last_access_iter",
)
_SEGMENTS = "_output_segments_tensor"
_HASHED = "_hash_zch_identities"
_EMPTY = np.iinfo(np.int64).max
_TABLE = re.compile(r"(?:^|\.)_managed_collision_modules\.([^./]+)$")


def read_managed_collision(snapshot: Snapshot, table: str | None = None) -> Vocabulary:
    """The entities that a managed collision module of a snapshot holds.

    Args:
        snapshot: Committed.
        table: Its name, or the path of its module; None for the only one there is.

    Returns:
        The entities, with counts and last seen (the number of an iteration) where the eviction policy keeps them. The
        rows for unknown ids are declared.

    Raises:
        NotFoundError: `no-such-table` or `ambiguous-table`.
        SnapshotError: `bad-entry`, `bad-cover`, …: a buffer cannot be read as it stands; `opaque-entry`: ranks keep
            buffers of their own, which are no shards of one table.
        IncompatibleError: `bad-vocabulary`: the buffers do not fit each other, or hold no entity.
        StorageError: The storage failed.
    """
    module, name = _find(snapshot, table)
    where = f"{snapshot.uri} {module}"
    _check_placement(snapshot, module)
    ids_V, rows_V = _read(snapshot, f"{module}.{_IDS}"), _read(snapshot, f"{module}.{_ROWS}")
    columns = {
        buffer: _read(snapshot, f"{module}.{buffer}")
        for buffer in (_COUNTS, _LAST_SEEN)
        if f"{module}.{buffer}" in snapshot.listing.by_path
    }
    for buffer, values_V in {_ROWS: rows_V, **columns}.items():
        if len(values_V) != len(ids_V):
            raise _bad(where, f"{buffer} and {_IDS} differ in length", len(ids_V), len(values_V))
    num_rows = len(ids_V)
    if not np.array_equal(np.sort(rows_V), np.arange(num_rows)):
        found = f"rows {rows_V.min()} to {rows_V.max()}, {len(np.unique(rows_V))} of them different"
        raise _bad(where, f"{_ROWS} does not name each row once", f"rows 0 to {num_rows - 1}", found)
    (held,) = np.nonzero(ids_V != _EMPTY)
    if not len(held):
        raise _bad(where, "the vocabulary is empty", "at least one entity", f"{num_rows} empty slots")
    ends = _shard_ends(snapshot, module, num_rows)
    return Vocabulary(
        f"{snapshot.uri}#{name}",
        IdType.INT64,
        ids_V[held],
        rows_V[held],
        columns[_COUNTS][held] if _COUNTS in columns else None,
        last_seen_N=columns[_LAST_SEEN][held] if _LAST_SEEN in columns else None,
        declared=_declared(ends, rows_V[held], num_rows),
    )


def _find(snapshot: Snapshot, table: str | None) -> tuple[str, str]:
    """The path of the module, and the name of its table."""
    modules = {
        path.removesuffix(f".{_IDS}"): _table_of(path.removesuffix(f".{_IDS}"))
        for path in snapshot.listing.by_path
        if path.endswith(f".{_IDS}")
    }
    found = [(path, name) for path, name in modules.items() if table in (None, name, path)]
    if len(found) == 1:
        return found[0]
    hashed = sum(path.endswith(f".{_HASHED}") for path in snapshot.listing.by_path)
    tables = ", ".join(f"{name} ({path})" for path, name in (found or modules.items()))
    raise NotFoundError(
        ErrorKind.AMBIGUOUS_TABLE if found else ErrorKind.NO_SUCH_TABLE,
        "has several managed collision modules" if found else "has no managed collision module of this table",
        where=snapshot.uri,
        expected=f"one with {_IDS}" if table is None else f"one of table {table}",
        found=tables or f"{hashed} that hash ({_HASHED}), which are not read" if hashed else tables or "none",
        hint="name it with --table" if found else "`embsnap inspect` lists what the snapshot holds",
    )


def _table_of(module: str) -> str:
    key = last_segment(module)
    match = _TABLE.search(key)
    return match[1] if match is not None else key.rpartition(".")[2]


def _check_placement(snapshot: Snapshot, module: str) -> None:
    """Refuse whole copies of several ranks: each may hold other ids."""
    ranked = snapshot.listing.by_path[f"{module}.{_IDS}"]
    copies = [rank for rank, entry in ranked.items() if not is_sharded(entry)]
    if len(copies) > 1 and not all(getattr(ranked[rank], "replicated", False) for rank in copies):
        raise SnapshotError(
            ErrorKind.OPAQUE_ENTRY,
            "several ranks keep buffers of their own, which need not hold the same ids",
            where=f"{snapshot.uri} {module}",
            expected="shards of one table, or one rank's buffers",
            found=f"ranks {', '.join(map(str, copies))}",
            hint="take the snapshot of the sharded model, or of one rank",
        )


def _read(snapshot: Snapshot, path: str) -> NDArray[np.int64]:
    array = snapshot.array(path)
    if array.dtype.name != "int64" or len(array.shape) != 1:
        raise _bad(
            f"{snapshot.uri} {path}", "is no such buffer", "int64 of one dimension", f"{array.dtype} {array.shape}"
        )
    values: NDArray[Any] = np.empty((array.shape[0], 1), np.int64)
    snapshot.reader(array).read(0, array.shape[0], values)
    return values[:, 0]


def _shard_ends(snapshot: Snapshot, module: str, num_rows: int) -> list[int]:
    """Where the shards of the module that was saved end; the end of the table if it was not sharded."""
    ranked: Mapping[int, Any] = snapshot.listing.by_path[f"{module}.{_IDS}"]
    segments = f"{module}.{_SEGMENTS}"
    if all(isinstance(entry, TensorEntry) for entry in ranked.values()) or segments not in snapshot.listing.by_path:
        return [num_rows]
    ends = _read(snapshot, segments)
    return sorted({int(end) for end in ends if 0 < end <= num_rows} | {num_rows})


def _declared(ends: list[int], rows_N: NDArray[np.int64], num_rows: int) -> Declared:
    """One row for unknown ids is the OOV row; several, of shards, are reserved."""
    last = [end - 1 for end in ends if end - 1 not in set(rows_N[rows_N == end - 1].tolist())]
    free = ((0, num_rows),)
    if len(ends) == 1 and last:
        return Declared(num_rows=num_rows, oov=(num_rows - 1, num_rows), free=free)
    return Declared(num_rows=num_rows, reserved=tuple((row, row + 1) for row in last), free=free)


def _bad(where: str, problem: str, expected: object, found: object) -> IncompatibleError:
    hint = "check that the snapshot is of a torchrec ManagedCollisionCollection, and whole"
    return IncompatibleError(ErrorKind.BAD_VOCABULARY, problem, where=where, expected=expected, found=found, hint=hint)
