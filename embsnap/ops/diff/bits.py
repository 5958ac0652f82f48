"""Bits compared: of tables and their optimizer state row by row, of other entries as they stand.

Shape suffixes: V rows of B's table, N rows in hand, B bytes of a row.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.formats.torchsnapshot.arrays import is_array
from embsnap.formats.torchsnapshot.rows import ArrayReader
from embsnap.formats.torchsnapshot.snapshot import Snapshot
from embsnap.kernels.row_bytes import differing_rows
from embsnap.kernels.threads import run, split
from embsnap.model.manifest import Entry, ObjectEntry
from embsnap.model.progress import Progress
from embsnap.model.snapshot_diff import ArrayBits, Change
from embsnap.model.table import StateLayout, StoredArray
from embsnap.ops.diff.matching import MatchedRows
from embsnap.ops.diff.sides import Side
from embsnap.ops.diff.structure import other_entries
from embsnap.ops.memory import MAX_BLOCK_BYTES
from embsnap.storage.base import RangeRead

__all__ = ["compare_bits", "other_bits"]

_CHUNK_BYTES = 8 << 20
_BY_ROWS = (StateLayout.ELEMENT_WISE, StateLayout.ROW_WISE, StateLayout.ROW_WISE_PER_COLUMN_SHARD)


@dataclass(frozen=True, slots=True, eq=False)
class _Pairing:
    """Rows of two arrays of one kind."""

    reader_a: ArrayReader
    reader_b: ArrayReader
    matched: MatchedRows | None
    """None where each row is its own counterpart, whatever the tables' rows are."""
    runs: tuple[tuple[int, int], ...] = field(default=((0, 0),))
    """First rows in A and in B of each run of the table's rows."""

    @property
    def num_rows(self) -> int:
        """Rows of one run in B."""
        return self.reader_b.num_rows if self.matched is None else self.matched.num_rows

    @contextmanager
    def staged(self, progress: Progress) -> Iterator[None]:
        """For the time of a `with` block, rows of storage that cannot be mapped lie in temporary files."""
        try:
            self.reader_a.stage(None, progress=progress)
            self.reader_b.stage(None, progress=progress)
            yield
        finally:
            self.reader_a.unstage()
            self.reader_b.unstage()

    def differing(self, first_a: int, first_b: int, start: int, end: int) -> tuple[int, list[int]]:
        """How many of a run's rows `[start, end)` were compared, and which of them differ."""
        rows_b_N = np.arange(start, end)
        if self.matched is not None:
            rows_a_N = self.matched.rows_a(start, end)
            rows_b_N, rows_a_N = rows_b_N[rows_a_N >= 0], rows_a_N[rows_a_N >= 0]
        else:
            rows_a_N = rows_b_N
        a_NB, b_NB = _bytes_of(self.reader_a, rows_a_N + first_a), _bytes_of(self.reader_b, rows_b_N + first_b)
        return len(rows_b_N), rows_b_N[differing_rows(a_NB, b_NB)].tolist()


def compare_bits(
    a: Side, b: Side, matched: MatchedRows, *, num_shown: int, threads: int, progress: Progress
) -> tuple[ArrayBits, ...]:
    """The weight, and every optimizer state that both sides have in one form.

    Raises:
        SnapshotError, StorageError: As reading them.
    """
    found = []
    for what, pairing in _pairings(a, b, matched):
        with pairing.staged(progress):
            found.append(_compared(what, pairing, matched, num_shown, threads))
    return tuple(found)


def _pairings(a: Side, b: Side, matched: MatchedRows) -> Iterator[tuple[str, _Pairing]]:
    readers = partial(_readers, a.snapshot, b.snapshot)
    if _alike(a.table.weight, b.table.weight):
        yield "weight", _Pairing(*readers(a.table.weight, b.table.weight), matched)
    states_b = {state.name: state for state in b.table.state}
    for state_a in a.table.state:
        state_b = states_b.get(state_a.name)
        if state_b is None or state_a.layout is not state_b.layout:
            continue
        arrays = (state_a.array, state_b.array)
        if state_a.layout in _BY_ROWS and _alike(*arrays):
            num_runs = arrays[0].shape[0] // max(1, a.table.num_embeddings)
            same_runs = num_runs == arrays[1].shape[0] // max(1, b.table.num_embeddings)
            runs = [(run * a.table.num_embeddings, run * b.table.num_embeddings) for run in range(num_runs)]
            if same_runs:
                yield state_a.name, _Pairing(*readers(*arrays), matched, tuple(runs))
        elif state_a.layout not in _BY_ROWS and arrays[0].shape == arrays[1].shape and _alike(*arrays):
            yield state_a.name, _Pairing(*readers(*map(_as_rows, arrays)), None)


def _compared(what: str, pairing: _Pairing, matched: MatchedRows, num_shown: int, threads: int) -> ArrayBits:
    row_bytes = max(1, pairing.reader_b.dim * pairing.reader_b.dtype.itemsize)
    block_rows = max(1, MAX_BLOCK_BYTES // row_bytes)
    blocks = [(start, min(start + block_rows, pairing.num_rows)) for start in range(0, pairing.num_rows, block_rows)]
    num_rows, differing = 0, list[int]()
    num_differing = 0

    def compare(firsts: tuple[int, int], begin: int, end: int) -> tuple[int, int, list[int]]:
        found = [pairing.differing(*firsts, *block) for block in blocks[begin:end]]
        rows = [row for _, differs in found for row in differs[:num_shown]]
        return sum(num for num, _ in found), sum(len(differs) for _, differs in found), rows[:num_shown]

    tasks = [partial(compare, firsts, *bounds) for firsts in pairing.runs for bounds in split(len(blocks), threads * 4)]
    for num, num_differs, rows in run(tasks, threads):
        num_rows, num_differing = num_rows + num, num_differing + num_differs
        differing += rows
    shown = list(dict.fromkeys(differing))[:num_shown]
    names = matched.names(shown) if pairing.matched is not None else tuple(f"row {row}" for row in shown)
    return ArrayBits(what, num_rows, num_differing, names)


def other_bits(a: Snapshot, b: Snapshot) -> tuple[Change, ...]:
    """Arrays and opaque objects outside of tables whose shapes, dtypes or bits differ.

    Raises:
        SnapshotError, StorageError: As reading them.
    """
    entries_a, entries_b = other_entries(a), other_entries(b)
    return tuple(
        change
        for path, entry in entries_a.items()
        if path in entries_b
        for change in _other_changes(a, b, path, entry, entries_b[path])
    )


def _other_changes(a: Snapshot, b: Snapshot, path: str, entry_a: Entry, entry_b: Entry) -> Iterator[Change]:
    if is_array(entry_a) and is_array(entry_b):
        array_a, array_b = a.array(path), b.array(path)
        described_a, described_b = (f"{array.dtype} {list(array.shape)}" for array in (array_a, array_b))
        if described_a != described_b:
            yield Change(path, "array", described_a, described_b)
            return
        pairing = _Pairing(*_readers(a, b, _as_rows(array_a), _as_rows(array_b)), None)
        num_rows, differs = pairing.differing(0, 0, 0, pairing.num_rows)
        if differs:
            yield Change(path, "bits", "", f"{len(differs)} of {num_rows} rows differ")
    elif isinstance(entry_a, ObjectEntry) and isinstance(entry_b, ObjectEntry):
        bytes_a, bytes_b = _size(a, entry_a), _size(b, entry_b)
        if bytes_a != bytes_b:
            yield Change(path, "bytes", str(bytes_a), str(bytes_b))
        elif bytes_a is not None and not _same_object(a, b, entry_a.location, entry_b.location, bytes_a):
            yield Change(path, "bits", "", "other bytes")


def _size(snapshot: Snapshot, entry: ObjectEntry) -> int | None:
    info = snapshot.store.stat(entry.location)
    return None if info is None else info.size


def _same_object(a: Snapshot, b: Snapshot, location_a: str, location_b: str, num_bytes: int) -> bool:
    for start in range(0, num_bytes, _CHUNK_BYTES):
        sides = []
        for snapshot, location in ((a, location_a), (b, location_b)):
            buffer = bytearray(min(_CHUNK_BYTES, num_bytes - start))
            snapshot.store.read_ranges(location, [RangeRead(start, memoryview(buffer))])
            sides.append(buffer)
        if sides[0] != sides[1]:
            return False
    return True


def _readers(a: Snapshot, b: Snapshot, array_a: StoredArray, array_b: StoredArray) -> tuple[ArrayReader, ArrayReader]:
    return a.reader(array_a), b.reader(array_b)


def _alike(a: StoredArray, b: StoredArray) -> bool:
    """Whether one row of each has as many bytes of one dtype."""
    return a.dtype == b.dtype and prod(a.shape[1:]) == prod(b.shape[1:])


def _as_rows(array: StoredArray) -> StoredArray:
    """An array of more than two dimensions as a matrix, where its pieces are cut along the first one only."""
    if len(array.shape) <= 2:
        return array
    pieces = tuple(
        replace(piece, offsets=(piece.offsets[0], 0), sizes=(piece.sizes[0], prod(piece.sizes[1:])))
        for piece in array.pieces
    )
    return replace(array, shape=(array.shape[0], prod(array.shape[1:])), pieces=pieces)


def _bytes_of(reader: ArrayReader, rows_N: NDArray[np.int64]) -> NDArray[np.uint8]:
    rows_ND: NDArray[Any] = np.empty((len(rows_N), reader.dim), reader.dtype)
    reader.gather(rows_N, rows_ND)
    return rows_ND.view(np.uint8).reshape(len(rows_N), reader.dim * reader.dtype.itemsize)
