"""Filling what a rank holds of a table, or of its optimizer state, from a row source, in place.

Shape suffixes: N rows in hand, M of them from one stored block, D columns of the source, d those of a part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from embsnap.formats.torchsnapshot.sweeping import Put
from embsnap.kernels.threads import run
from embsnap.live.arrays import as_array, is_in_memory, put_into, torch_dtype_of
from embsnap.live.device_copies import DeviceCopies
from embsnap.model.progress import Progress
from embsnap.model.rows import RowSource

__all__ = ["Band", "RowsPart", "bands", "fill_band", "putting_into"]

_BLOCKS_IN_FLIGHT = 2
"""To a device, beside those that are being read."""


@dataclass(frozen=True, slots=True, eq=False)
class RowsPart:
    """A rectangle of a `[V, D]` array in live memory."""

    row: int
    column: int
    tensor: Tensor
    """`[N, d]`."""

    @property
    def columns(self) -> range:
        """Of the whole array."""
        return range(self.column, self.column + self.tensor.shape[1])


@dataclass(frozen=True, slots=True, eq=False)
class Band:
    """The parts that take the same rows, so that these are read once."""

    start: int
    end: int
    parts: tuple[RowsPart, ...]

    @property
    def num_bytes(self) -> int:
        """Of the parts."""
        return sum(part.tensor.numel() * part.tensor.element_size() for part in self.parts)

    def spans(self, dim: int) -> bool:
        """Whether one part takes all `dim` columns."""
        return len(self.parts) == 1 and len(self.parts[0].columns) == dim


def bands(parts: Iterable[RowsPart]) -> tuple[Band, ...]:
    """Parts by the rows that they take; those without an element are left out."""
    by_rows: dict[tuple[int, int], list[RowsPart]] = {}
    for part in parts:
        if part.tensor.numel():
            by_rows.setdefault((part.row, part.row + part.tensor.shape[0]), []).append(part)
    return tuple(Band(*rows, tuple(found)) for rows, found in sorted(by_rows.items()))


def fill_band(
    band: Band,
    source: RowSource,
    *,
    threads: int,
    block_bytes: int,
    task: str,
    progress: Progress,
    before_cast: RowSource | None = None,
) -> None:
    """Read the band's rows, block by block, and put their columns into its parts.

    One part in the memory of the CPU that takes all columns is read into directly; all else passes through host
    buffers, `threads + 2` of `block_bytes`, from which blocks are copied while the next ones are read.

    Args:
        band: Within the source.
        source: The rows, of the parts' dtype.
        threads: How many blocks are read at once.
        block_bytes: Size of a block.
        task: Name for `progress`, which was told of its start.
        progress: Is told of bytes.
        before_cast: The same rows in another dtype, for a device to cast; what does not fit is for `source` to say.

    Raises:
        IncompatibleError: `cast-overflow`.
    """
    rows = source if before_cast is None else before_cast
    row_bytes = max(1, source.dim * max(source.dtype.itemsize, rows.dtype.itemsize))
    step = max(1, block_bytes // row_bytes)
    blocks = [(start, min(start + step, band.end)) for start in range(band.start, band.end, step)]
    tensor = band.parts[0].tensor
    view = as_array(tensor) if band.spans(source.dim) and is_in_memory(tensor) else None
    with _copies(tensor, min(threads, len(blocks)), step * row_bytes) if view is None else nullcontext() as copies:

        def fill(start: int, end: int) -> None:
            if view is not None:
                source.read(start, end, view[start - band.start : end - band.start])
            elif copies is not None:
                _fill_through_host(copies, band, rows, start, end)
            progress.advance(task, (end - start) * (band.num_bytes // (band.end - band.start)))

        run([partial(fill, *block) for block in blocks], threads)
        if copies is not None and copies.overflowed():
            for start, end in blocks:
                source.read(start, end, np.empty((end - start, source.dim), source.dtype))


def _copies(tensor: Tensor, threads: int, buffer_bytes: int) -> DeviceCopies:
    return DeviceCopies(tensor.device, num_buffers=threads + _BLOCKS_IN_FLIGHT, buffer_bytes=buffer_bytes)


def _fill_through_host(copies: DeviceCopies, band: Band, source: RowSource, start: int, end: int) -> None:
    with copies.block(end - start, source.dim, torch_dtype_of(source.dtype)) as block_ND:
        source.read(start, end, as_array(block_ND))
        rows = slice(start - band.start, end - band.start)
        copies.put(block_ND, [(part.tensor.detach()[rows], part.columns) for part in band.parts])


@contextmanager
def putting_into(band: Band, *, threads: int, block_bytes: int, task: str, progress: Progress) -> Iterator[Put]:
    """What puts rows, or some columns of them, into their places of the parts, from any thread.

    At the end of the block all of them are there.
    """
    with ExitStack() as stack:
        puts: list[tuple[range, Put]] = []
        for part in band.parts:
            tensor = part.tensor.detach()
            if is_in_memory(tensor):
                puts.append((part.columns, put_into(tensor)))
            else:
                row_bytes = tensor.shape[1] * tensor.element_size()
                copies = stack.enter_context(_copies(tensor, threads, max(block_bytes, row_bytes)))
                puts.append((part.columns, partial(copies.scatter, tensor)))
        yield partial(_put, puts, partial(progress.advance, task))


def _put(
    puts: Sequence[tuple[range, Put]],
    tell: Callable[[int], None],
    places_M: NDArray[np.int64],
    rows_Md: NDArray[Any],
    first_column: int,
) -> None:
    end_column = first_column + rows_Md.shape[1]
    for columns, put in puts:
        first, end = max(first_column, columns.start), min(end_column, columns.stop)
        if first < end:
            some_Md = np.ascontiguousarray(rows_Md[:, first - first_column : end - first_column])
            put(places_M, some_Md, first - columns.start)
            tell(some_Md.nbytes)
