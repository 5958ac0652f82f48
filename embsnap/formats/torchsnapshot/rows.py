"""Rows of a stored array: by slice, by index, or as a stream of blocks.

Shape suffixes: V rows of the array, D its columns, N rows in hand, P pieces.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from operator import index
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.errors import ErrorKind, UsageError
from embsnap.formats.block_checks import BlockChecks
from embsnap.formats.dtypes import to_numpy
from embsnap.formats.torchsnapshot.bands import as_matrix, column_groups, placed
from embsnap.formats.torchsnapshot.in_place import RowsInPlace, rows_in_place
from embsnap.formats.torchsnapshot.mapped_bands import MappedBands
from embsnap.formats.torchsnapshot.scattered import copy_rows, fetch_rows
from embsnap.formats.torchsnapshot.sources import REQUESTS_IN_FLIGHT, PieceSource, SourceCache, num_calls
from embsnap.formats.torchsnapshot.staging import stage_rows
from embsnap.formats.torchsnapshot.sweeping import BLOCK_BYTES, Put, sweep_block
from embsnap.kernels.gather import split_by_band
from embsnap.kernels.threads import run
from embsnap.model.progress import SILENT, Progress
from embsnap.model.table import StoredArray
from embsnap.storage.base import Store

__all__ = ["ArrayReader"]

_DEFAULT_BLOCK_BYTES = 1 << 25


class ArrayReader:
    """A stored array as rows. Safe to use from several threads; nothing is read before the first row is asked for.

    Implements `embsnap.model.rows.RowSource`. An array of one dimension has one column, a scalar is one row.
    """

    def __init__(self, store: Store, array: StoredArray, checks: BlockChecks | None = None) -> None:
        """Read `array`, whose pieces lie in `store` and cover it exactly.

        Args:
            store: Of the snapshot.
            array: From `Snapshot.table` or `Snapshot.array`.
            checks: Of the snapshot's blocks; None to read without comparing.

        Raises:
            UsageError: It has more than two dimensions.
        """
        self.array = array
        self._num_rows, self._dim = as_matrix(array)
        self._dtype = to_numpy(array.dtype)
        cache = SourceCache(store, array.path, checks)
        self._sources = [PieceSource(cache, *placed(piece), piece, self._dtype) for piece in array.pieces]
        self._starts_P = np.array([source.row for source in self._sources], np.int64)
        self._ends_P = np.array([source.row + source.num_rows for source in self._sources], np.int64)
        self._groups = list(column_groups(self._sources, self._num_rows))
        self._mapped = [MappedBands(group) for group in self._groups]

    @property
    def num_rows(self) -> int:
        """V."""
        return self._num_rows

    @property
    def dim(self) -> int:
        """D."""
        return self._dim

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the elements."""
        return self._dtype

    @property
    def num_unchecked_rows(self) -> int:
        """Rows that were read, of which a byte was in no block that was compared with its checksum.

        Rows that are read in order count once. Those that `gather` copies out of mapped memory count as often as they
        are asked for, all of them until most of their object was needed.
        """
        for mapped in self._mapped:
            mapped.count()
        num_rows: Counter[int] = Counter()
        for source in self._sources:
            num_rows[source.column] += source.checks.num_unchecked_rows
        return max(num_rows.values(), default=0)

    @property
    def is_mapped(self) -> bool:
        """Whether rows are copied from memory that the storage maps; the first object is looked at.

        Raises:
            SnapshotError, StorageError: As for `read`.
        """
        return all(source.mapped() is not None for source in self._sources[:1])

    def read(self, start: int, end: int, out_ND: NDArray[Any], *, past_map: bool = False) -> None:
        """Fill `out_ND`, C-contiguous `[end - start, D]` of `dtype`, with the rows `[start, end)`.

        Rows of pieces that span all columns go from storage straight into `out_ND`. With `past_map` nothing is read
        through a map, so that the pages of what was read can leave memory.

        Raises:
            UsageError: The range is not within `[0, V)`, or `out_ND` has another shape, dtype or layout.
            SnapshotError: `missing-object` or `short-object`: an object is not what the manifest says.
            StorageError: The storage failed.
        """
        start, end = index(start), index(end)
        if not 0 <= start <= end <= self._num_rows:
            raise self._misuse("the rows", f"a range within [0, {self._num_rows})", f"[{start}, {end})")
        self._check_out(out_ND, end - start)
        if start == end:
            return
        reads: list[Callable[[], None]] = []
        for piece in np.flatnonzero((self._starts_P < end) & (self._ends_P > start)):
            source = self._sources[piece]
            first, last = max(start, source.row), min(end, source.row + source.num_rows)
            part_ND = out_ND[first - start : last - start]
            reads.append(partial(source.read, first - source.row, last - source.row, part_ND, past_map=past_map))
        run(reads, 1 if self.is_mapped else num_calls(len(reads), out_ND.nbytes))

    def in_place(self) -> RowsInPlace | None:
        """The rows where they lie mapped into memory, None where they cannot be used there; raises as `read` does."""
        return rows_in_place(self._sources, (self._num_rows, self._dim), self._dtype)

    def gather(self, rows_N: NDArray[np.int64], out_ND: NDArray[Any]) -> None:
        """Fill row i of `out_ND` with row `rows_N[i]`, in any order, with repeats.

        Rows of `out_ND` where `rows_N` is negative stay as they are. Rows that are mapped or staged are copied one by
        one; others are read by ranges that join neighbouring rows.

        Args:
            rows_N: `int64[N]`, below V.
            out_ND: C-contiguous `[N, D]` of `dtype`.

        Raises:
            UsageError: A row is beyond the array, or an argument has another shape, dtype or layout.
            SnapshotError: As for `read`.
            StorageError: The storage failed.
        """
        self._check_out(out_ND, len(rows_N))
        rows_N = np.ascontiguousarray(rows_N, np.int64)
        if len(rows_N) and int(rows_N.max()) >= self._num_rows:
            raise self._misuse("the rows", f"rows below {self._num_rows}", int(rows_N.max()))
        if self._dim == 0:
            return
        out_bytes = out_ND.view(np.uint8).reshape(len(rows_N), self._dim * self._dtype.itemsize)
        fetches: list[Callable[[], None]] = []
        for group, mapped in zip(self._groups, self._mapped, strict=True):
            offset = group.first_column * self._dtype.itemsize
            if mapped.gather(rows_N, out_bytes, offset):
                continue
            positions_M, local_rows_M, bounds = group.split(rows_N)
            for source, (begin, end) in zip(group.sources_B, pairwise(bounds.tolist()), strict=True):
                if source is None or begin == end:
                    continue
                left = copy_rows(source, local_rows_M[begin:end], positions_M[begin:end], out_bytes, offset)
                if len(left[0]):
                    fetches.append(partial(fetch_rows, source, *left, out_bytes, offset))
        run(fetches, REQUESTS_IN_FLIGHT)

    def stage(self, wanted: Sequence[NDArray[np.int64]] | None, *, progress: Progress = SILENT) -> None:
        """Prepare for `gather` to be asked for many rows, block by block, in another order than they are stored in.

        Does nothing where the storage maps. Else what is mostly needed is fetched, each byte once and in order, into
        a mapped temporary file, which is there until `unstage`.

        Args:
            wanted: Rows that will be asked for, in the order in which they will be, negative ones being none; None for
                all rows.
            progress: Is told of bytes.

        Raises:
            StorageError: `disk-full`: temporary files have no room. Or the storage failed.
            SnapshotError: As for `read`.
        """
        if self._dim and self._num_rows and not self.is_mapped:
            stage_rows(self._sources, self._num_rows, wanted, progress, f"fetching {self.array.path}")

    def unstage(self) -> None:
        """Let go of what `stage` fetched."""
        for source in self._sources:
            source.staged = None

    def sweep(self, row_V: NDArray[np.int64], put: Put, *, block_bytes: int = BLOCK_BYTES) -> None:
        """Hand out rows in the order in which they are stored, each needed byte read once, several blocks at a time.

        For destinations that can take rows in any order; nothing is staged.

        Args:
            row_V: Place i of the destination takes row `row_V[i]`; negative ones are left out.
            put: Called from several threads with `int64[M]` places, `[M, d]` of `dtype`, the rows for them, and the
                first of their d columns; a place's columns may come one shard after the other.
            block_bytes: How much of an object is read at a time.

        Raises:
            SnapshotError, StorageError: As for `read`.
        """
        if self._dim == 0 or self._num_rows == 0:
            return
        for group in self._groups:
            cut = group.cut(block_bytes)
            places_M, local_rows_M, bounds = split_by_band(row_V, cut.starts_B)
            blocks: list[Callable[[], None]] = []
            for source, first, (begin, end) in zip(
                cut.sources_B, cut.starts_B.tolist(), pairwise(bounds.tolist()), strict=True
            ):
                if source is not None and begin < end:
                    part = (local_rows_M[begin:end], places_M[begin:end])
                    blocks.append(partial(sweep_block, source, first - source.row, *part, self._dtype, put))
            run(blocks, REQUESTS_IN_FLIGHT)

    def blocks(self, budget_bytes: int = _DEFAULT_BLOCK_BYTES) -> Iterator[tuple[int, NDArray[Any]]]:
        """All rows in order, as `(start, rows_ND)`, with a new array for each block.

        Args:
            budget_bytes: What two blocks (the one in use and the one being read) may take together; a block has at
                least one row.
        """
        row_bytes = max(1, self._dim * self._dtype.itemsize)
        num_block_rows = max(1, budget_bytes // 2 // row_bytes)
        for start in range(0, self._num_rows, num_block_rows):
            end = min(start + num_block_rows, self._num_rows)
            rows_ND = np.empty((end - start, self._dim), self._dtype)
            self.read(start, end, rows_ND)
            yield start, rows_ND

    def _check_out(self, out_ND: NDArray[Any], num_rows: int) -> None:
        right = out_ND.shape == (num_rows, self._dim) and out_ND.dtype == self._dtype
        if not (right and out_ND.flags.c_contiguous and out_ND.flags.writeable):
            expected = f"a writable C-contiguous [{num_rows}, {self._dim}] of {self._dtype}"
            found = f"{list(out_ND.shape)} of {out_ND.dtype} with strides {out_ND.strides}"
            raise self._misuse("the destination", expected, found)

    def _misuse(self, what: str, expected: str, found: object) -> UsageError:
        problem = f"{what} for reading it cannot be right"
        return UsageError(ErrorKind.BAD_OPTION, problem, where=self.array.path, expected=expected, found=found)
