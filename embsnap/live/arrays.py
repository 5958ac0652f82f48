"""Rows of live tensors: numpy views of CPU tensors, and putting rows into them.

Shape suffixes: V rows of a table, D embedding_dim, N rows in hand, M of them from one stored block, d their columns.
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
from embsnap.formats.torchsnapshot.sweeping import Put
from embsnap.kernels.gather import gather_rows
from embsnap.model.dtypes import DTYPES

__all__ = ["TensorRows", "as_array", "is_in_memory", "numpy_dtype_of", "put_into", "torch_dtype_of"]


def numpy_dtype_of(tensor: torch.Tensor) -> np.dtype[Any]:
    """The numpy dtype of the same bytes; bfloat16 is `ml_dtypes.bfloat16`."""
    return to_numpy(DTYPES[str(tensor.dtype).removeprefix("torch.")])


def torch_dtype_of(dtype: np.dtype[Any]) -> torch.dtype:
    """The torch dtype of the same bytes."""
    found: torch.dtype = getattr(torch, dtype.name)
    return found


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


def is_in_memory(tensor: torch.Tensor) -> bool:
    """Whether rows can be put straight where they belong: in the host's memory, one behind the other."""
    return tensor.device.type == "cpu" and tensor.is_contiguous()


def put_into(tensor: torch.Tensor) -> Put:
    """What puts rows into their places of a `[V, D]` tensor that is in memory, from any thread."""
    table_VD = as_array(tensor)
    return partial(_put_in_memory, table_VD.view(np.uint8).reshape(len(table_VD), -1))


def _put_in_memory(
    table: NDArray[np.uint8], places_M: NDArray[np.int64], rows_Md: NDArray[Any], first_column: int
) -> None:
    rows = rows_Md.view(np.uint8).reshape(len(rows_Md), -1)
    gather_rows(rows, np.arange(len(rows)), places_M, table, first_column * rows_Md.dtype.itemsize)
