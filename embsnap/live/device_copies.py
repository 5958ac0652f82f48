"""Blocks of rows on their way from storage to a device: read into host buffers, copied while the next ones are read.

On a GPU the buffers are pinned, copies run on a stream of their own, and columns are cut and rows scattered there. The
same code serves tensors in the host's memory that cannot be read into directly.

Shape suffixes: V rows of a table, N rows in hand, D columns of the source, d those of a part.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from embsnap.live.arrays import as_array

__all__ = ["DeviceCopies"]


class DeviceCopies:
    """A ring of host buffers in front of one device; it may be used from several threads.

    A context manager: at the end of its block everything has arrived.
    """

    def __init__(self, device: torch.device, *, num_buffers: int, buffer_bytes: int) -> None:
        """Take the buffers.

        Args:
            device: Where blocks go to.
            num_buffers: One for each thread that reads, and some for the blocks that are being copied meanwhile.
            buffer_bytes: Of each; the largest block.
        """
        self._device, self._buffer_bytes = device, buffer_bytes
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._overflows: list[Tensor] = []
        self._free: SimpleQueue[tuple[Tensor, torch.cuda.Event | None]] = SimpleQueue()
        for _ in range(num_buffers):
            buffer = torch.empty(buffer_bytes, dtype=torch.uint8, pin_memory=self._stream is not None)
            self._free.put((buffer, None))

    def __enter__(self) -> Self:
        if self._stream is not None:
            self._stream.wait_stream(torch.cuda.current_stream(self._device))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream is not None:
            self._stream.synchronize()

    @contextmanager
    def block(self, num_rows: int, dim: int, dtype: torch.dtype) -> Iterator[Tensor]:
        """A block `[N, D]` on the host, to fill and then to hand to `put`.

        It waits for a buffer whose last copy has ended.
        """
        buffer, copied = self._free.get()
        try:
            if copied is not None:
                copied.synchronize()
            yield buffer[: num_rows * dim * dtype.itemsize].view(dtype).view(num_rows, dim)
        finally:
            # A blocking event is waited for without using the processor.
            event = None if self._stream is None else self._stream.record_event(torch.cuda.Event(blocking=True))
            self._free.put((buffer, event))

    def put(self, block_ND: Tensor, targets: Sequence[tuple[Tensor, range]]) -> None:
        """Begin to copy columns of a block into tensors of the device, and to cast them to their dtype there.

        Args:
            block_ND: From `block`.
            targets: Each `[N, d]`, with the columns of the block that it takes.
        """
        with self._on_stream():
            is_cast = targets[0][0].dtype != block_ND.dtype
            if is_cast or len(targets) > 1 or len(targets[0][1]) < block_ND.shape[1]:
                block_ND = block_ND.to(self._device, non_blocking=True)
            for target_Nd, columns in targets:
                some_Nd = block_ND[:, columns.start : columns.stop]
                target_Nd.copy_(some_Nd, non_blocking=True)
                if is_cast:
                    self._overflows.append((target_Nd.isinf() & some_Nd.isfinite()).any())

    def overflowed(self) -> bool:
        """Whether a value was finite before its cast and is not now; of what was handed to `put` so far."""
        with self._on_stream():
            return bool(self._overflows) and bool(torch.stack(self._overflows).any())

    def scatter(self, table_VD: Tensor, places_N: NDArray[np.int64], rows_Nd: NDArray[Any], column: int) -> None:
        """Begin to put rows into their places of a tensor of the device, into the columns from `column` on."""
        table_Vd = table_VD[:, column : column + rows_Nd.shape[1]]
        step = max(1, self._buffer_bytes // max(1, rows_Nd.shape[1] * rows_Nd.itemsize))
        for start in range(0, len(rows_Nd), step):
            some_Nd = rows_Nd[start : start + step]
            with self.block(len(some_Nd), some_Nd.shape[1], table_VD.dtype) as block_Nd:
                as_array(block_Nd)[...] = some_Nd
                self._scatter(table_Vd, places_N[start : start + step], block_Nd)

    def _scatter(self, table_Vd: Tensor, places_N: NDArray[np.int64], block_Nd: Tensor) -> None:
        with self._on_stream():
            index_N = torch.from_numpy(places_N)
            if self._stream is not None:  # a copy of pageable memory would wait for all copies before it
                index_N = index_N.pin_memory().to(self._device, non_blocking=True)
            table_Vd.index_copy_(0, index_N, block_Nd.to(self._device, non_blocking=True))

    @contextmanager
    def _on_stream(self) -> Iterator[None]:
        """The device first: a thread that came from GPU 0 would begin to use that when it goes back to its stream."""
        if self._stream is None:
            yield
            return
        with torch.cuda.device(self._device), torch.cuda.stream(self._stream):
            yield
