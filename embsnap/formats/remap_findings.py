"""What is wrong with a row map, in words: how many times, and which rows for example."""

from __future__ import annotations

import numpy as np

from embsnap.errors import ErrorKind
from embsnap.kernels.rows import check_rows
from embsnap.kernels.scatter import Scattering
from embsnap.model.findings import Finding, Severity
from embsnap.model.remap import RemapOrigin

__all__ = ["SHARED_OLD_ROWS", "findings_of"]

SHARED_OLD_ROWS = "shared-old-rows"
"""Kind of the finding that several new rows take one old row."""


def findings_of(
    uri: str, rows: Scattering, num_new_rows: int, num_old_rows: int, origin: RemapOrigin | None
) -> list[Finding]:
    """All that is wrong with a row map, once all of its records have been put in place.

    Args:
        uri: The row map's.
        rows: With every record.
        num_new_rows: V of the new table.
        num_old_rows: Rows of the old table.
        origin: What the row map's metadata says.
    """
    found = list(_sizes(uri, num_new_rows, num_old_rows, origin))
    if rows.num_out_of_range:
        message = f"{_records(rows.num_out_of_range)} a new row that a table of {num_new_rows} rows does not have"
        remedy = "raise num_embeddings, or make the row map for the table as it is"
        examples = _named("new_row", rows.out_of_range_examples)
        found.append(_error(uri, ErrorKind.ROW_OUT_OF_RANGE, message, remedy, rows.num_out_of_range, examples))
    if rows.num_old_out_of_range:
        message = f"{_records(rows.num_old_out_of_range)} an old row that a table of {num_old_rows} rows does not have"
        remedy = "make the row map from the vocabulary that the snapshot was trained with"
        examples = _named("old_row", rows.old_out_of_range_examples)
        found.append(_error(uri, ErrorKind.ROW_OUT_OF_RANGE, message, remedy, rows.num_old_out_of_range, examples))
    if rows.num_repeated:
        message = f"{_records(rows.num_repeated)} a new row that an earlier record names already"
        remedy, examples = "write one record for each new row", _named("new_row", rows.repeated_examples)
        found.append(_error(uri, ErrorKind.DUPLICATE_ROWS, message, remedy, rows.num_repeated, examples))
    return found + _shared(uri, rows, num_old_rows)


def _sizes(uri: str, num_new_rows: int, num_old_rows: int, origin: RemapOrigin | None) -> list[Finding]:
    if origin is None:
        return []
    sides = (("new", origin.num_new_rows, num_new_rows), ("old", origin.num_old_rows, num_old_rows))
    return [
        _error(
            uri,
            ErrorKind.SHAPE_MISMATCH,
            f"it was made for {made:,} {side} rows, and the {side} table has {has:,}",
            "make the row map for the tables as they are: embsnap vocab align --num-embeddings … --num-old-rows …",
            1,
            (),
        )
        for side, made, has in sides
        if made is not None and made != has
    ]


def _shared(uri: str, rows: Scattering, num_old_rows: int) -> list[Finding]:
    carried_N = rows.row_V[rows.row_V >= 0]
    check = check_rows(carried_N, num_old_rows)
    if not check.num_duplicates:
        return []
    examples = _named("old_row", list(dict.fromkeys(carried_N[list(check.duplicate_examples)].tolist())))
    count = check.num_duplicates
    message = f"{count:,} new {'row takes' if count == 1 else 'rows take'} an old row that an earlier one takes too"
    return [Finding(Severity.NOTE, SHARED_OLD_ROWS, uri, message, "", count, examples)]


def _records(count: int) -> str:
    return "1 record names" if count == 1 else f"{count:,} records name"


def _named(column: str, rows: list[int]) -> tuple[str, ...]:
    beyond = np.iinfo(np.int64).max
    return tuple(f"{column} {'beyond int64' if row == beyond else row}" for row in rows)


def _error(uri: str, kind: ErrorKind, message: str, remedy: str, count: int, examples: tuple[str, ...]) -> Finding:
    return Finding(Severity.ERROR, kind.value, uri, message, remedy, count, examples)
