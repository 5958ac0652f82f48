"""Finding a few entities in a vocabulary's files, without reading row groups that their statistics rule out.

Of the row groups that remain the searched column is read first, and the others only where something is found.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from embsnap.formats.parquet import ParquetObject
from embsnap.formats.vocabulary_columns import Layout, VocabularyColumns, agree_on_layout
from embsnap.formats.vocabulary_files import find_parquet
from embsnap.formats.vocabulary_reading import safe_batch_rows
from embsnap.kernels.threads import run
from embsnap.model.vocabulary import IdType

__all__ = ["Match", "SearchedVocabulary", "open_vocabulary"]

_BATCH_ROWS = 1 << 16
_ARROW_IDS = {IdType.INT64: pa.int64(), IdType.UINT64: pa.uint64()}


@dataclass(frozen=True, slots=True)
class Match:
    """One record that was looked for."""

    wanted: int
    """Index of the value that it has."""
    id: int | bytes
    """Strings as UTF-8."""
    row: int
    count: int | None


@dataclass(frozen=True, slots=True)
class SearchedVocabulary:
    """The files of a vocabulary, by their footers."""

    files: tuple[ParquetObject, ...]
    layout: Layout

    @property
    def row_groups(self) -> list[tuple[ParquetObject, int]]:
        """All of them, in order."""
        return [(file, group) for file in self.files for group in range(len(file.row_groups))]

    def with_ids(self, ids: Sequence[int] | Sequence[bytes], threads: int) -> tuple[list[Match], set[tuple[str, int]]]:
        """The records with any of these ids, all different, and the row groups that were read, by file and number."""
        return self._search(self.layout.id, self._id_type, ids, threads)

    def with_rows(self, rows: Sequence[int], threads: int) -> tuple[list[Match], set[tuple[str, int]]]:
        """The records with any of these rows, all different, and the row groups that were read."""
        return self._search(self.layout.row, pa.int64(), rows, threads)

    @property
    def _id_type(self) -> Any:
        return _ARROW_IDS.get(self.layout.id_type, pa.large_binary())

    def _search(
        self, column: str, arrow_type: Any, values: Sequence[Any], threads: int
    ) -> tuple[list[Match], set[tuple[str, int]]]:
        ordered, wanted = sorted(values), pa.array(values, arrow_type)
        groups = [(file, group) for file, group in self.row_groups if _may_hold(file, group, column, ordered)]
        found = run([partial(self._in_group, *group, column, wanted) for group in groups], threads)
        return [match for part in found for match in part], {(file.uri, group) for file, group in groups}

    def _in_group(self, file: ParquetObject, group: int, column: str, wanted: Any) -> list[Match]:
        places, start = dict[int, int](), 0
        for (array,) in file.batches(group, (column,), self._batch_rows(file, group, column)):
            at = pc.index_in(_as_type(array, wanted.type), wanted, skip_nulls=True)
            hits = pc.indices_nonzero(at.is_valid()).to_pylist()
            places.update((start + hit, at[hit].as_py()) for hit in hits)
            start += len(array)
        return self._records(file, group, places) if places else []

    def _records(self, file: ParquetObject, group: int, places: Mapping[int, int]) -> list[Match]:
        """The records at some places of a row group; `places` says which wanted value each has."""
        layout, start, matches = self.layout, 0, []
        names = (layout.id, layout.row) if layout.count is None else (layout.id, layout.row, layout.count)
        ordered = sorted(places)
        for id_array, row_array, *counts in file.batches(group, names, self._batch_rows(file, group, layout.id)):
            here = ordered[bisect_left(ordered, start) : bisect_left(ordered, start + len(id_array))]
            ids = _as_type(id_array, self._id_type)
            for place in here:
                at = place - start
                values = (array[at].as_py() for array in (ids, row_array, *counts))
                entity_id, row, *count = values
                if entity_id is not None and row is not None:
                    matches.append(Match(places[place], entity_id, row, count[0] if count else None))
            start += len(id_array)
        return matches

    def _batch_rows(self, file: ParquetObject, group: int, column: str) -> int:
        is_bytes = column == self.layout.id and self.layout.id_type in (IdType.STRING, IdType.BINARY)
        return safe_batch_rows(file, group, column) if is_bytes else _BATCH_ROWS


def open_vocabulary(
    uri: str,
    *,
    columns: VocabularyColumns | None = None,
    options: Mapping[str, str] | None = None,
    threads: int = 1,
) -> SearchedVocabulary:
    """Read the footers of a vocabulary's files.

    Raises:
        IncompatibleError: `bad-vocabulary`, `id-type-mismatch`: the columns are not those of a vocabulary.
        NotFoundError: No parquet file is there.
        SnapshotError: `bad-parquet`: a file is damaged.
        StorageError: The storage failed.
    """
    found = find_parquet(uri, options)
    files = run([partial(ParquetObject, found.store, location) for location in found.locations], threads)
    return SearchedVocabulary(tuple(files), agree_on_layout(files, columns or VocabularyColumns(), None))


def _may_hold(file: ParquetObject, group: int, column: str, ordered: Sequence[Any]) -> bool:
    """Whether a row group may hold any of some ascending values."""
    if not ordered or not file.row_groups[group]:
        return False
    chunk = file.chunk(group, column)
    if chunk is None or chunk.bounds is None:
        return True
    low, high = chunk.bounds
    return bisect_left(ordered, low) < bisect_right(ordered, high)


def _as_type(array: Any, arrow_type: Any) -> Any:
    plain = array.dictionary_decode() if isinstance(array, pa.DictionaryArray) else array
    return plain if plain.type == arrow_type else plain.cast(arrow_type, safe=False)
