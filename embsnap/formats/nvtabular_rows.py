"""Which rows NVTabular's categories have, by the pandas index of the unique file and by the meta file.

Shape suffixes: N entities.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.formats.nvtabular_files import CategoryFiles
from embsnap.formats.parquet import ParquetObject, integers_of
from embsnap.model.vocabulary import Declared

__all__ = ["KINDS", "NULL_OFFSET", "OOV_OFFSET", "CategoryRows", "rows_of"]

NULL_OFFSET, OOV_OFFSET = 1, 2
KINDS = ("pad", "null", "oov", "unique")
_BATCH_ROWS = 1 << 16


@dataclass(frozen=True, slots=True, eq=False)
class CategoryRows:
    """Rows of a column's categories."""

    rows_N: NDArray[np.int64]
    """Of each record of the unique file, a leading null among them."""
    declared: Declared
    leading_null: bool
    """Whether the first record is the null of an old file, which is no entity."""


@dataclass(frozen=True, slots=True)
class _Meta:
    offsets: tuple[int, ...]
    numbers: tuple[int, ...]
    observed: tuple[int | None, ...] | None


def rows_of(files: CategoryFiles, unique: Sequence[ParquetObject], *, leading_null: bool) -> CategoryRows:
    """The rows of all records of the unique files.

    Args:
        files: Where they are, and the meta file.
        unique: The unique files, opened.
        leading_null: Whether the first record's id is null.

    Raises:
        IncompatibleError: `bad-vocabulary`: neither says which rows they are, or both do and differ.
    """
    where, num_records = unique[0].uri, sum(file.num_rows for file in unique)
    index_N = _index(unique)
    meta = None if files.meta is None else _meta(ParquetObject(files.store, files.meta))
    if meta is None:
        return _without_meta(where, index_N, num_records, leading_null)
    first = meta.offsets[3]
    rows_N = np.arange(first, first + num_records)
    if meta.numbers[3] != num_records:
        raise _bad(where, "holds another number of categories than its meta file says", meta.numbers[3], num_records)
    if index_N is not None and not np.array_equal(np.sort(index_N), rows_N):
        found = f"rows {index_N.min()} to {index_N.max()}"
        raise _bad(
            where, "its index is not what its meta file says", f"rows {first} to {first + num_records - 1}", found
        )
    options = {} if meta.observed is None else {"num_observed": list(meta.observed)}
    declared = Declared(
        num_rows=first + num_records,
        reserved=((0, OOV_OFFSET),),
        oov=(OOV_OFFSET, first),
        provenance={"options": options} if options else {},
    )
    return CategoryRows(rows_N if index_N is None else index_N, declared, leading_null=False)


def _without_meta(where: str, index_N: NDArray[np.int64] | None, num_records: int, leading_null: bool) -> CategoryRows:
    if leading_null and (index_N is None or np.array_equal(index_N, np.arange(num_records))):
        declared = Declared(num_rows=num_records, oov=(0, 1))
        return CategoryRows(np.arange(num_records), declared, leading_null=True)
    first = None if index_N is None else int(index_N.min())
    if index_N is None or first is None or first <= OOV_OFFSET or leading_null:
        found = "no index" if index_N is None else f"an index from {first}"
        expected = f"a meta file, an index from {OOV_OFFSET + 1} or more, or a null in front"
        raise _bad(where, "does not tell which rows its categories have", expected, found)
    declared = Declared(num_rows=int(index_N.max()) + 1, reserved=((0, OOV_OFFSET),), oov=(OOV_OFFSET, first))
    return CategoryRows(index_N, declared, leading_null=False)


def _index(unique: Sequence[ParquetObject]) -> NDArray[np.int64] | None:
    """The pandas index of all files; None where they keep none."""
    found = [_index_of(file) for file in unique]
    kept = [index_N for index_N in found if index_N is not None]
    if not kept:
        return None
    if len(kept) != len(found):
        raise _bad(unique[0].uri, "keeps an index in some of its parts only", "one in each, or none", len(kept))
    return np.concatenate(kept)


def _index_of(file: ParquetObject) -> NDArray[np.int64] | None:
    try:
        (described,) = json.loads(file.pairs[b"pandas"])["index_columns"]
    except (KeyError, ValueError, TypeError, RecursionError):
        return None
    if isinstance(described, str):
        return _integers(file, described)
    try:
        index_N = np.arange(*(int(described[bound]) for bound in ("start", "stop", "step")))
    except (KeyError, ValueError, TypeError, ZeroDivisionError, MemoryError):
        return None
    if len(index_N) != file.num_rows:
        raise _bad(file.uri, "its pandas index is of another length", file.num_rows, len(index_N))
    return index_N


def _meta(file: ParquetObject) -> _Meta:
    """What the meta file says, its kinds in their usual order."""
    missing = [name for name in ("kind", "offset", "num_indices") if name not in file.names]
    if missing:
        raise _bad(
            file.uri, "is no meta file of categories", "columns kind, offset, num_indices", ", ".join(file.names)
        )
    groups = range(len(file.row_groups))
    kinds = [kind for g in groups for (array,) in file.batches(g, ("kind",), 8) for kind in array.to_pylist()]
    offsets, numbers = (_integers(file, name).tolist() for name in ("offset", "num_indices"))
    if tuple(kinds) != KINDS or offsets != [0, NULL_OFFSET, OOV_OFFSET, OOV_OFFSET + numbers[2]]:
        found = ", ".join(f"{kind} at {offset}" for kind, offset in zip(kinds, offsets, strict=True))
        expected = "pad at 0, null at 1, oov at 2 and unique after the oov rows"
        raise _bad(file.uri, "lays out its rows in another way than is known", expected, found)
    observed = None
    if "num_observed" in file.names:
        observed = tuple(v for g in groups for (a,) in file.batches(g, ("num_observed",), 8) for v in a.to_pylist())
        observed = tuple(None if value is None else int(value) for value in observed)
    return _Meta(tuple(offsets), tuple(numbers), observed)


def _integers(file: ParquetObject, name: str) -> NDArray[np.int64]:
    if name not in file.names or not pa.types.is_integer(file.type_of(name)):
        raise _bad(file.uri, f"has no column {name!r} of integers", "one", ", ".join(file.names))
    pieces = [np.empty(0, np.int64)]
    for group in range(len(file.row_groups)):
        for (array,) in file.batches(group, (name,), _BATCH_ROWS):
            if array.null_count:
                raise _bad(file.uri, f"column {name!r} holds nulls", "none", array.null_count)
            pieces.append(integers_of(array).astype(np.int64))
    return np.concatenate(pieces)


def _bad(where: str, problem: str, expected: object, found: object) -> IncompatibleError:
    hint = "fit the workflow again, and convert the files that it writes"
    return IncompatibleError(ErrorKind.BAD_VOCABULARY, problem, where=where, expected=expected, found=found, hint=hint)
