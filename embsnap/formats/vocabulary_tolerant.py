"""The sound records of a vocabulary that cannot be read as it stands, and what is wrong with the others.

Slower than `read_vocabulary`, which refuses such a vocabulary: this is for telling all that is wrong with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from embsnap.errors import IncompatibleError
from embsnap.formats.parquet import ParquetObject, bytes_of, integers_of
from embsnap.formats.vocabulary_columns import Layout, VocabularyColumns, agree_on_layout
from embsnap.formats.vocabulary_files import find_parquet
from embsnap.formats.vocabulary_metadata import read_declared
from embsnap.formats.vocabulary_reading import safe_batch_rows
from embsnap.kernels.threads import run
from embsnap.model.findings import Finding, Severity
from embsnap.model.vocabulary import BytesIds, Ids, IdType, Vocabulary

__all__ = ["read_sound_records"]

_BATCH_ROWS = 1 << 16
_ID_TYPES = {IdType.INT64: pa.int64(), IdType.UINT64: pa.uint64()}
_REMEDY = "drop those entities, or mend whatever wrote the vocabulary"


def read_sound_records(
    uri: str,
    *,
    columns: VocabularyColumns | None = None,
    options: Mapping[str, str] | None = None,
    threads: int = 1,
) -> tuple[list[Vocabulary], tuple[Finding, ...]]:
    """Read all records whose id and row can be: one vocabulary, without counts, for each type of ids.

    Returns:
        The vocabularies, and an error for each file that is of another type, or has not the columns, and for each kind
        of record that cannot be.

    Raises:
        NotFoundError: No parquet file is there.
        SnapshotError: `bad-parquet`: a file is damaged.
        StorageError: The storage failed.
    """
    found = find_parquet(uri, options)
    files = run([partial(ParquetObject, found.store, location) for location in found.locations], threads)
    declared, notes = read_declared(uri, [file.pairs for file in files])
    findings, readings = [*found.findings, *notes], dict[IdType, _Reading]()
    first: tuple[ParquetObject, Layout] | None = None
    for file in files:
        try:
            layout = agree_on_layout([file], columns or VocabularyColumns(), None)
            first = first or (file, layout)
            if layout.id_type is not first[1].id_type:
                findings.append(_other_type(file, layout, *first))
            readings.setdefault(layout.id_type, _Reading()).read(file, layout)
        except IncompatibleError as error:
            findings.append(_of_error(error))
    for reading in readings.values():
        findings += reading.findings()
    vocabularies = [reading.vocabulary(uri, id_type) for id_type, reading in readings.items()]
    return [replace(vocabulary, declared=declared) for vocabulary in vocabularies], tuple(findings)


class _Reading:
    """What was read of the files with ids of one type."""

    def __init__(self) -> None:
        self._ids: list[Any] = []
        self._rows: list[Any] = []
        self._problems: Counter[tuple[str, str]] = Counter()

    def read(self, file: ParquetObject, layout: Layout) -> None:
        """Take the sound records of a file, and count the others."""
        is_bytes = layout.id_type in (IdType.STRING, IdType.BINARY)
        names = (layout.id, layout.row) if layout.count is None else (layout.id, layout.row, layout.count)
        for group in range(len(file.row_groups)):
            batch_rows = safe_batch_rows(file, group, layout.id) if is_bytes else _BATCH_ROWS
            for ids, rows, *counts in file.batches(group, names, batch_rows):
                ids = _as_type(ids, _ID_TYPES.get(layout.id_type, pa.large_binary()))
                sound = pc.and_(ids.is_valid(), self._checked(rows, layout.row, file.uri))
                self._note(file.uri, f"nulls in column {layout.id!r}", ids.null_count)
                for array in counts:
                    self._checked(array, layout.count or "", file.uri)
                self._ids.append(ids.filter(sound))
                self._rows.append(_as_type(rows, pa.int64()).filter(sound))

    def findings(self) -> list[Finding]:
        """An error for each problem of each file."""
        return [
            Finding(Severity.ERROR, "bad-vocabulary", place, f"{problem}: {count:,}", _REMEDY, count)
            for (place, problem), count in self._problems.items()
        ]

    def vocabulary(self, uri: str, id_type: IdType) -> Vocabulary:
        """The sound records."""
        rows = [integers_of(array).astype(np.int64) for array in self._rows]
        return Vocabulary(uri, id_type, _ids(self._ids, id_type), np.concatenate([np.empty(0, np.int64), *rows]))

    def _checked(self, array: Any, name: str, place: str) -> Any:
        """Which values are there and not negative; the others are counted."""
        self._note(place, f"nulls in column {name!r}", array.null_count)
        possible = pc.greater_equal(_as_type(array, pa.int64()), 0).fill_null(True)
        self._note(place, f"values in column {name!r} below 0 or beyond int64", len(array) - possible.true_count)
        return pc.and_(array.is_valid(), possible)

    def _note(self, place: str, problem: str, count: int) -> None:
        if count:
            self._problems[place, problem] += count


def _ids(arrays: Sequence[Any], id_type: IdType) -> Ids:
    if id_type is IdType.INT64:
        return np.concatenate([np.empty(0, np.int64), *(integers_of(array) for array in arrays)])
    if id_type is IdType.UINT64:
        return np.concatenate([np.empty(0, np.uint64), *(integers_of(array) for array in arrays)])
    offsets, data = bytes_of(pa.concat_arrays([pa.array([], pa.large_binary()), *arrays]))
    return BytesIds(offsets.astype(np.int64), data)


def _as_type(array: Any, arrow_type: Any) -> Any:
    plain = array.dictionary_decode() if isinstance(array, pa.DictionaryArray) else array
    return plain if plain.type == arrow_type else plain.cast(arrow_type, safe=False)


def _other_type(file: ParquetObject, layout: Layout, first: ParquetObject, first_layout: Layout) -> Finding:
    message = f"holds {layout.id_type} ids, while {first.uri} holds {first_layout.id_type} ids"
    remedy = "write all ids of a vocabulary in one type"
    return Finding(Severity.ERROR, "id-type-mismatch", file.uri, message, remedy)


def _of_error(error: IncompatibleError) -> Finding:
    found = "" if error.found is None else f" (found {error.found})"
    return Finding(Severity.ERROR, error.kind.value, error.where or "", f"{error.problem}{found}", error.hint or "")
