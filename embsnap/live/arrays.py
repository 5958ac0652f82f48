"""Rows of live tensors: numpy views of CPU tensors, and filling them from a row source, in place.

Shape suffixes: V rows of a table, D embedding_dim, N rows in hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import ml_dtypes
import numpy as np
import torch
from numpy.typing import NDArray

from embsnap.formats.dtypes import to_numpy
from embsnap.kernels.threads import run
from embsnap.model.dtypes import DTYPES
from embsnap.model.progress import Progress
from embsnap.model.rows import RowSource

__all__ = ["TensorRows", "as_array", "fill_tensor", "numpy_dtype_of"]


def numpy_dtype_of(tensor: torch.Tensor) -> np.dtype[Any]:
    """The numpy dtype of the same bytes; bfloat16 is `ml_dtypes.bfloat16`."""
    return to_numpy(DTYPES[str(tensor.dtype).removeprefix("torch.")])


def as_array(tensor: torch.Tensor) -> NDArray[Any]:
    """A numpy view of a CPU tensor's memory."""
    tensor = tensor.detach()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.uint16).numpy().view(ml_dtypes.bfloat16)
    return tensor.numpy()


@dataclass(frozen=True, slots=True, eq=False)
class TensorRows:
    """The rows of a live `[V, D]` tensor, on any device, as a row source."""

    tensor: torch.Tensor

    @property
    def num_rows(self) -> int:
        """V."""
        return int(self.tensor.shape[0])

    @property
    def dim(self) -> int:
        """D."""
        return int(self.tensor.shape[1])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the elements."""
        return numpy_dtype_of(self.tensor)

    def read(self, start: int, end: int, out_ND: NDArray[Any]) -> None:
        """Copy the rows `[start, end)`."""
        out_ND[...] = as_array(self.tensor[start:end].cpu())


def fill_tensor(
    tensor: torch.Tensor, source: RowSource, *, threads: int, block_bytes: int, task: str, progress: Progress
) -> None:
    """Fill a contiguous `[V, D]` tensor from `source`, one block per thread in memory at a time.

    A CPU tensor's memory is written to directly; rows for another device pass through a block on the host.

    Args:
        tensor: Of the source's shape and dtype.
        source: The rows.
        threads: How many blocks are filled at once.
        block_bytes: Size of a block.
        task: Name for `progress`.
        progress: Is told of bytes.
    """
    row_bytes = max(1, source.dim * source.dtype.itemsize)
    step = max(1, block_bytes // row_bytes)
    view = as_array(tensor) if tensor.device.type == "cpu" else None

    def fill(start: int) -> None:
        end = min(start + step, source.num_rows)
        if view is not None:
            source.read(start, end, view[start:end])
        else:
            staged_ND = torch.empty((end - start, source.dim), dtype=tensor.dtype)
            source.read(start, end, as_array(staged_ND))
            tensor.detach()[start:end].copy_(staged_ND)
        progress.advance(task, (end - start) * row_bytes)

    progress.start(task, source.num_rows * row_bytes)
    run([partial(fill, start) for start in range(0, source.num_rows, step)], threads)
    progress.finish(task)
