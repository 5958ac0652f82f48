"""Row maps as parquet: columns `new_row` and `old_row`, and `id` and `weight` if there are any.

    new_row  old_row  id
          0        4  7730944518
          1     null  1185260094

Whatever wrote them: integers of any type, records in any order, one file or many; an old row that is null or -1, or a
new row without a record, stands for a new row that takes none.

Shape suffixes: N records, V rows of the new table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.formats.parquet import ParquetObject, integers_of
from embsnap.formats.remap_findings import findings_of
from embsnap.formats.remap_metadata import METADATA_KEY, encode_origin, read_origin
from embsnap.formats.vocabulary_files import FoundFiles, find_parquet
from embsnap.formats.vocabulary_writer import write_columns
from embsnap.kernels.scatter import Scattering
from embsnap.kernels.threads import run
from embsnap.model.progress import SILENT, Progress
from embsnap.model.remap import NOT_LISTED, Remap, RemapOrigin
from embsnap.model.vocabulary import NEVER_SEEN, Ids, IdType

__all__ = ["read_remap", "write_remap"]

_BATCH_ROWS = 1 << 16
_BEYOND = np.iinfo(np.int64).max
_ARROW_IDS = {IdType.INT64: pa.int64(), IdType.UINT64: pa.uint64(), IdType.STRING: pa.string()}


@dataclass(frozen=True, slots=True)
class _Columns:
    """Names, the same in all files."""

    new: str
    old: str
    id: str | None
    weight: str | None


def read_remap(
    uri: str,
    *,
    num_new_rows: int,
    num_old_rows: int,
    options: Mapping[str, str] | None = None,
    threads: int = 1,
    progress: Progress = SILENT,
) -> Remap:
    """Read a row map, and check every record of it. It takes 8 bytes for each row of the new table.

    Args:
        uri: A parquet file, a directory of them, or a glob.
        num_new_rows: V of the new table.
        num_old_rows: Rows of the old table.
        options: Of the store.
        threads: How many files are opened at a time.
        progress: Is told the records done.

    Returns:
        The row map. What is wrong with it stands in its findings, all of it; of several records for one new row the
        first stands.

    Raises:
        IncompatibleError: `bad-row-map`: columns are missing, of another type than integers, or hold nulls; or several
            old rows are to be merged.
        NotFoundError: `no-such-object`: no parquet file is there.
        SnapshotError: `bad-parquet`: a file is damaged.
        StorageError: The storage failed.
    """
    found = _find(uri, options)
    files = run([partial(ParquetObject, found.store, location) for location in found.locations], threads)
    columns = _agree(files)
    rows = Scattering(num_new_rows, num_old_rows, NOT_LISTED)
    task = f"read row map {uri}"
    progress.start(task, sum(file.num_rows for file in files), "records")
    try:
        for file in files:
            for group in range(len(file.row_groups)):
                for done in _land(file, group, columns, rows):
                    progress.advance(task, done)
    finally:
        progress.finish(task)
    if rows.num_repeated and columns.weight is not None:
        raise _merge(uri, rows)
    origin, notes = read_origin(uri, [file.pairs for file in files])
    findings = (*found.findings, *notes, *findings_of(uri, rows, num_new_rows, num_old_rows, origin))
    return Remap(uri, rows.row_V, columns.id, columns.new, origin, findings)


def write_remap(
    uri: str,
    new_rows_N: NDArray[np.int64],
    old_rows_N: NDArray[np.int64],
    *,
    origin: RemapOrigin,
    ids: Ids | None = None,
    id_type: IdType = IdType.INT64,
    options: Mapping[str, str] | None = None,
) -> str:
    """Write a row map.

    Args:
        uri: A file that ends in `.parquet` or `.pq`; otherwise an empty directory, which gets one file.
        new_rows_N: Ascending.
        old_rows_N: Old row of each, or -1, which is written as null.
        origin: What it was made from.
        ids: Entity of each.
        id_type: Type of these.
        options: Of the store.

    Returns:
        The URI of the file. It is visible only once it is whole.

    Raises:
        RefusedError: `destination-taken`.
        StorageError: The disk is full, or the storage failed.
    """
    old = np.where(old_rows_N < 0, NEVER_SEEN, old_rows_N)
    columns: dict[str, tuple[Any, Ids]] = {"new_row": (pa.int64(), new_rows_N), "old_row": (pa.int64(), old)}
    if ids is not None:
        columns["id"] = (_ARROW_IDS.get(id_type, pa.binary()), ids)
    return write_columns(columns, uri, metadata={METADATA_KEY: encode_origin(origin)}, options=options)


def _find(uri: str, options: Mapping[str, str] | None) -> FoundFiles:
    return find_parquet(uri, options, problem="there is no row map")


def _agree(files: Sequence[ParquetObject]) -> _Columns:
    """The columns' names by those of the first file, all of them proven to be integers in each file."""
    first = files[0]
    names = {name.lower(): name for name in first.names}
    missing = [name for name in ("new_row", "old_row") if name not in names]
    if missing:
        raise _bad(first.uri, f"has no column {' and no column '.join(missing)}", "new_row and old_row", first.names)
    columns = _Columns(names["new_row"], names["old_row"], names.get("id"), names.get("weight"))
    for file in files:
        for name in (columns.new, columns.old, columns.weight):
            if name is None:
                continue
            if file.names.count(name) != 1:
                raise _bad(file.uri, f"has not one column {name}", "the columns of every other file", file.names)
            if name != columns.weight and not pa.types.is_integer(file.type_of(name)):
                hint = "cast it to a nullable integer: rows with nulls often become floats on the way"
                raise _bad(file.uri, f"column {name} holds no integers", "integers", file.type_of(name), hint)
    return columns


def _land(file: ParquetObject, group: int, columns: _Columns, rows: Scattering) -> Any:
    names = [name for name in (columns.new, columns.old, columns.weight) if name is not None]
    for new, old, *weights in file.batches(group, names, _BATCH_ROWS):
        if new.null_count:
            raise _bad(file.uri, f"column {columns.new} holds nulls", "a new row in every record", new.null_count)
        for weight in weights:
            _check_weights(file, weight)
        rows.put(_rows_of(new), _rows_of(old))
        yield len(new)


def _rows_of(array: Any) -> NDArray[np.int64]:
    """As int64; -1 for nulls, and the largest number for what is beyond int64."""
    values = integers_of(array)
    if values.dtype == np.uint64:
        values = np.minimum(values, _BEYOND)
    rows_N = values.astype(np.int64)
    if array.null_count:
        nulls = array.is_null()
        bits = np.unpackbits(np.frombuffer(nulls.buffers()[1], np.uint8), bitorder="little")
        rows_N[bits[nulls.offset : nulls.offset + len(nulls)].view(np.bool_)] = -1
    return rows_N


def _check_weights(file: ParquetObject, array: Any) -> None:
    """A weight scales one of several old rows that are merged; alone it can only be 1."""
    other = [value for value in array.unique().to_pylist() if value not in (None, 1)]
    if other:
        raise _bad(
            file.uri,
            "weighs old rows, and merging several of them into one is not supported",
            "one old row for each new row, with weight 1 or none",
            ", ".join(map(str, other[:5])),
            "leave one old row for each new row, the one of the largest weight",
        )


def _merge(uri: str, rows: Scattering) -> IncompatibleError:
    return _bad(
        uri,
        "names several old rows for one new row, and merging them is not supported",
        "one record for each new row",
        f"{rows.num_repeated:,} more, such as for new rows {', '.join(map(str, rows.repeated_examples))}",
        "leave one old row for each new row, the one of the largest weight",
    )


def _bad(uri: str, problem: str, expected: str, found: object, hint: str | None = None) -> IncompatibleError:
    shown = ", ".join(found) if isinstance(found, tuple) else found
    return IncompatibleError(ErrorKind.BAD_ROW_MAP, problem, where=uri, expected=expected, found=shown, hint=hint)
