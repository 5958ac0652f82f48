"""What of one piece was read, and which of it in blocks whose sums were compared.

Bytes that are read in order are handed to the block checks as they come by. Rows that are picked out of mapped memory
are not; once half of a piece's rows were picked, its blocks are summed alongside, each once, and all of them by the
time three quarters were picked. Fewer rows stay unchecked: summing whole blocks for them would cost more than they do.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

from embsnap.formats.block_checks import BlockChecks
from embsnap.model.table import Piece

__all__ = ["PieceChecks"]

_BLOCK_BYTES = 4 << 20
"""Summed at a time: the block of a sidecar that embsnap writes."""


class PieceChecks:
    """The checks of one piece. Safe between threads."""

    def __init__(self, checks: BlockChecks | None, piece: Piece, num_rows: int, row_bytes: int) -> None:
        """Follow the reading of a piece with `num_rows` rows of `row_bytes`; without `checks` only to count."""
        self._checks, self._piece = checks, piece
        self._num_rows, self._row_bytes = num_rows, row_bytes
        self._lock = threading.Lock()
        self._spans: dict[int, int] = {}
        """Bytes that came by, by their end: the first."""
        self._num_picked = 0
        self._num_summed = 0

    @property
    def has_sums(self) -> bool:
        """Whether blocks of the piece are compared."""
        return self._checks is not None and self._checks.knows(self._piece.location)

    def passed(self, start: int, data: memoryview) -> None:
        """The bytes of the object from `start` on came by.

        Raises:
            SnapshotError: `checksum-mismatch`.
        """
        self.note(start, data)
        self.raise_failed(start, start + len(data))

    def note(self, start: int, data: memoryview) -> None:
        """As `passed`, for those who look for blocks that have `failed` themselves."""
        with self._lock:
            first, end = self._spans.pop(start, start), start + len(data)
            self._spans[end] = min(first, self._spans.get(end, first))
        if self._checks is not None:
            self._checks.note(self._piece.location, start, data)

    def failed(self, start: int, end: int) -> list[tuple[int, int]]:
        """Blocks with some of these bytes that were not what was written, and did not come by again as they should."""
        return [] if self._checks is None else self._checks.failed(self._piece.location, start, end)

    def raise_failed(self, start: int, end: int) -> None:
        """Raise what is to be said of a block that has `failed`.

        Raises:
            SnapshotError: `checksum-mismatch`.
        """
        if self._checks is not None:
            self._checks.raise_failed(self._piece.location, start, end)

    def picked(self, num_rows: int, mapped: memoryview) -> None:
        """So many rows were picked out of the object, which is mapped.

        Raises:
            SnapshotError: `checksum-mismatch`.
        """
        with self._lock:
            self._num_picked += num_rows
            if self._checks is None or not self.has_sums:
                return
            share = 4 * self._num_picked / self._num_rows - 2
            first, last = self._num_summed, min(self._num_blocks, max(0, int(share * self._num_blocks)))
            self._num_summed = max(first, last)
        for block in range(first, last):
            start = self._first_byte + block * _BLOCK_BYTES
            self._checks.passed(self._piece.location, start, mapped[start : start + _BLOCK_BYTES])

    def count(self, num_rows: int) -> None:
        """As `picked`, of rows that no block is to be summed for."""
        with self._lock:
            self._num_picked += num_rows

    @property
    def num_unchecked_rows(self) -> int:
        """Rows that were read, of which a byte was in no block that was compared."""
        with self._lock:
            spans, num_picked = sorted((start, end) for end, start in self._spans.items()), self._num_picked
        if num_picked and self._unchecked(self._piece.start, self._end):
            return min(self._num_rows, num_picked + self._num_touched(spans))
        return self._num_touched(spans)

    @property
    def _end(self) -> int:
        return self._piece.start + self._num_rows * self._row_bytes

    @property
    def _first_byte(self) -> int:
        """Of the first block with bytes of the piece."""
        return self._piece.start // _BLOCK_BYTES * _BLOCK_BYTES

    @property
    def _num_blocks(self) -> int:
        return -(-(self._end - self._first_byte) // _BLOCK_BYTES)

    def _unchecked(self, start: int, end: int) -> list[tuple[int, int]]:
        if self._checks is None:
            return [(start, end)]
        return list(self._checks.unchecked(self._piece.location, start, end))

    def _num_touched(self, spans: list[tuple[int, int]]) -> int:
        """Rows with a byte in an unchecked part of the spans, which are ascending by their start."""
        count, reached = 0, 0
        for start, end in self._unchecked_rows(spans):
            count += max(0, end - max(start, reached))
            reached = max(reached, end)
        return count

    def _unchecked_rows(self, spans: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
        for span in spans:
            for start, end in self._unchecked(*span):
                yield (start - self._piece.start) // self._row_bytes, -(-(end - self._piece.start) // self._row_bytes)
