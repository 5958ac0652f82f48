"""The tasks that read a vocabulary's columns, and the arrays they fill.

Each task decodes one column of one row group, in batches that stay in the cache, into its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.formats.parquet import ParquetObject, integers_of, times_of, values_of
from embsnap.formats.vocabulary_arrays import BytesArray, IdArray, IntegerArray, MemoryLimit, id_array
from embsnap.formats.vocabulary_columns import Layout
from embsnap.formats.vocabulary_defects import Defects
from embsnap.formats.vocabulary_metadata import read_declared
from embsnap.model.findings import Finding
from embsnap.model.vocabulary import NEVER_SEEN, Vocabulary

__all__ = ["RowGroup", "VocabularyReading", "groups_of_part", "safe_batch_rows"]

_BATCH_ROWS = 1 << 16
_BATCH_BYTES = 1 << 26
"""Most that one batch of ids may decode to, by the longest id in its dictionary."""
_MAX_ID_BYTES = 1 << 16
"""An entity id longer than this is taken for a mistake, or for an attack."""


@dataclass(frozen=True, slots=True)
class RowGroup:
    """One row group and where it lands."""

    file_number: int
    number: int
    start: int
    """Of its first row in what is read."""
    start_in_file: int
    num_rows: int


class VocabularyReading:
    """The arrays of one vocabulary while they are filled."""

    def __init__(
        self,
        files: Sequence[ParquetObject],
        layout: Layout,
        limit: MemoryLimit,
        advance: Callable[[int], None],
        groups: Sequence[RowGroup],
    ) -> None:
        """Make room for the rows of some `groups` of `files`; `advance` is told the rows done."""
        self._files, self._layout, self._advance, self._groups = files, layout, advance, groups
        num_rows = sum(group.num_rows for group in groups)
        self.defects = Defects()
        self._rows = IntegerArray(num_rows, np.int64, limit)
        self._counts = None if layout.count is None else IntegerArray(num_rows, np.int64, limit)
        self._seen = None if layout.last_seen is None else IntegerArray(num_rows, np.int64, limit)
        self._ids = id_array(layout.id_type, num_rows, limit)
        self._donors = None if layout.donor is None else id_array(layout.id_type, num_rows, limit)

    def tasks(self) -> list[Callable[[], None]]:
        """One per row group and column. Ids come first: they take longest."""
        groups, layout = self._groups, self._layout
        tasks: list[Callable[[], None]] = [partial(self._land_ids, group, self._ids, (layout.id,)) for group in groups]
        if self._donors is not None and layout.donor is not None:
            tasks += [partial(self._land_ids, group, self._donors, (layout.donor, layout.id)) for group in groups]
        tasks += [partial(self._land_numbers, group, self._rows, layout.row, self._advance) for group in groups]
        if self._counts is not None and layout.count is not None:
            tasks += [partial(self._land_numbers, group, self._counts, layout.count, _ignore) for group in groups]
        if self._seen is not None and layout.last_seen is not None:
            tasks += [partial(self._land_times, group, self._seen, layout.last_seen) for group in groups]
        return tasks

    def vocabulary(self, uri: str, findings: tuple[Finding, ...]) -> Vocabulary:
        """What was read."""
        declared, notes = read_declared(uri, [file.pairs for file in self._files])
        counts = None if self._counts is None else self._counts.values_N
        donors = None if self._donors is None else self._donors.ids()
        seen = None if self._seen is None else self._seen.values_N
        return Vocabulary(
            uri,
            self._layout.id_type,
            self._ids.ids(),
            self._rows.values_N,
            counts,
            donors,
            (*findings, *notes),
            last_seen_N=seen,
            last_seen_type=self._layout.last_seen_type,
            declared=declared,
        )

    def _land_numbers(self, group: RowGroup, into: IntegerArray, name: str, advance: Callable[[int], None]) -> None:
        done = 0
        for (array,) in self._files[group.file_number].batches(group.number, (name,), _BATCH_ROWS):
            landed = into.land(group.start + done, array)
            if array.null_count:
                self._note_nulls(group, done, name, array)
            elif landed.min(initial=0) < 0:
                problem = f"values in column {name!r} below 0 or beyond int64"
                self._note_numbers(problem, group, done, array, landed < 0)
            done += len(array)
            advance(len(array))

    def _land_times(self, group: RowGroup, into: IntegerArray, name: str) -> None:
        file, done = self._files[group.file_number], 0
        is_unsigned = pa.types.is_uint64(values_of(file.type_of(name)))
        for (array,) in file.batches(group.number, (name,), _BATCH_ROWS):
            landed = into.land(group.start + done, times_of(array))
            if is_unsigned and landed.min(initial=0) < 0:
                is_wrong = (landed < 0) & integers_of(array.is_valid().cast(pa.uint8())).astype(bool)
                self._note_numbers(f"values in column {name!r} beyond int64", group, done, array, is_wrong)
            if array.null_count:
                landed[integers_of(array.is_null().cast(pa.uint8())).astype(bool)] = NEVER_SEEN
            done += len(array)

    def _land_ids(self, group: RowGroup, into: IdArray, names: tuple[str, ...]) -> None:
        """Land the first of the columns `names` that is not null."""
        file, done = self._files[group.file_number], 0
        batch_rows = _BATCH_ROWS
        if isinstance(into, BytesArray):
            batch_rows = min(safe_batch_rows(file, group.number, name) for name in names)
        for array, *others in file.batches(group.number, names, batch_rows):
            for other in others:
                array = _plain(array).fill_null(_plain(other)) if array.null_count else array
            if array.null_count:
                self._note_nulls(group, done, names[-1], array)
            if isinstance(into, IntegerArray):
                into.land(group.start + done, array)
            elif (longest := into.land(group.start + done, array)) > _MAX_ID_BYTES:
                raise _long_id(file, names[0], longest)
            done += len(array)

    def _note_numbers(self, problem: str, group: RowGroup, done: int, array: Any, is_wrong: NDArray[np.bool_]) -> None:
        wrong = np.flatnonzero(is_wrong)
        examples = integers_of(array)[wrong[:5]].tolist()
        self.defects.add(problem, group.file_number, group.start_in_file + done, wrong.tolist(), examples)

    def _note_nulls(self, group: RowGroup, done: int, name: str, array: Any) -> None:
        nulls = [index for index, is_null in enumerate(array.is_null().to_pylist()) if is_null]
        problem = f"nulls in column {name!r}"
        self.defects.add(problem, group.file_number, group.start_in_file + done, nulls, ["null"] * len(nulls))


def _groups(files: Sequence[ParquetObject]) -> Iterator[RowGroup]:
    start = 0
    for file_number, file in enumerate(files):
        start_in_file = 0
        for number, num_rows in enumerate(file.row_groups):
            yield RowGroup(file_number, number, start, start_in_file, num_rows)
            start, start_in_file = start + num_rows, start_in_file + num_rows


def groups_of_part(files: Sequence[ParquetObject], part: int, num_parts: int) -> list[RowGroup]:
    """The row groups whose middle lies in the part, placed one after the other."""
    doubled = 2 * max(1, sum(file.num_rows for file in files))
    middles = ((group, 2 * group.start + group.num_rows) for group in _groups(files))
    chosen = [group for group, middle in middles if min(num_parts - 1, middle * num_parts // doubled) == part]
    first = chosen[0].start if chosen else 0
    return [replace(group, start=group.start - first) for group in chosen]


def safe_batch_rows(file: ParquetObject, row_group: int, name: str) -> int:
    """How many rows of a string column may be decoded at a time, whatever its dictionary holds.

    Raises:
        IncompatibleError: `bad-vocabulary`: a value in its dictionary is too long for an id.
    """
    longest = file.longest_in_dictionary(row_group, name)
    if longest is not None and longest > _MAX_ID_BYTES:
        raise _long_id(file, name, longest)
    return min(_BATCH_ROWS, _BATCH_BYTES // max(1, _MAX_ID_BYTES if longest is None else longest))


def _long_id(file: ParquetObject, name: str, longest: int) -> IncompatibleError:
    return IncompatibleError(
        ErrorKind.BAD_VOCABULARY,
        f"column {name!r} does not look like entity ids",
        where=file.uri,
        expected=f"ids of at most {_MAX_ID_BYTES} bytes",
        found=f"one of {longest} bytes",
        hint="name the column of ids with vocab_columns: {id: …}",
    )


def _plain(array: Any) -> Any:
    return array.dictionary_decode() if isinstance(array, pa.DictionaryArray) else array


def _ignore(rows: int) -> None:
    """Count the rows of one column only."""
