"""Tables for serving: frozen as they are, or quantised, in the kernels that FBGEMM has for inference.

Shape suffixes: B bags, D embedding_dim.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import torch
from torch import nn
from torch.ao.quantization import PlaceholderObserver, QConfig
from torchrec.quant.embedding_modules import EmbeddingBagCollection as QuantizedCollection
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor, KeyedTensor

from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.live.modules import LargeEmbeddings

__all__ = ["Precision", "ServingEmbeddings", "for_inference"]


class Precision(StrEnum):
    """What the rows of a served table are."""

    FROZEN = "frozen"
    """As they were trained."""
    FP16 = "fp16"
    """Rounded to 16 bits."""
    INT8 = "int8"
    """Each row as D bytes with a scale and a bias of its own, both fp16."""


_WEIGHTS = {Precision.FP16: torch.half, Precision.INT8: torch.qint8}


class ServingEmbeddings(nn.Module):
    """Pooled lookups without gradients: KeyedJaggedTensor in, KeyedTensor out, as `LargeEmbeddings` gives it.

    Attributes:
        ebc: torchrec's EmbeddingBagCollection, the trained one or the quantised one.
        surgery_cut_point: The identity on the pooled lookup, by the name that the trained module has it under.
        precision: What the rows are.
    """

    def __init__(self, ebc: nn.Module, cut_point: nn.Module, names: tuple[str, ...], precision: Precision) -> None:
        """For `for_inference`."""
        super().__init__()
        self.ebc = ebc
        self.surgery_cut_point = cut_point
        self.precision = precision
        self._names = names
        self.eval().requires_grad_(False)

    def forward(self, sparse_features: KeyedJaggedTensor) -> KeyedTensor:
        """Look up and pool the bags of each table's feature.

        Returns:
            Pooled values float32 `[B, sum of D]`, keyed by table in the order of the trained module.
        """
        pooled = self.ebc(sparse_features)
        if tuple(pooled.keys()) != self._names:  # torchrec groups tables by their pooling and dtype
            values = pooled.to_dict()
            pooled = KeyedTensor.from_tensor_list(list(self._names), [values[name] for name in self._names])
        return self.surgery_cut_point(pooled)


def for_inference(model: LargeEmbeddings, precision: Precision = Precision.FROZEN) -> ServingEmbeddings:
    """A module that serves the tables of `model`, on the same device.

    Frozen tables are shared with `model`. Quantised ones are new: 2·D bytes for each row with fp16, D + 4 with int8,
    rows padded as the device's kernels want them. An int8 row holds `round((x - bias) / scale)` with `bias = min(x)`
    and `scale = (max(x) - min(x)) / 255`, so that no element is off by more than half its row's scale, beside the
    rounding of scale and bias to fp16; FBGEMM's `FloatOrHalfToFusedNBitRowwiseQuantizedSBHalf` makes it.

    Args:
        model: Filled and not sharded.
        precision: Of the rows.

    Raises:
        IncompatibleError: `shape-mismatch`: int8 rows of an odd embedding_dim, which FBGEMM has not.
    """
    configs = model.ebc.embedding_bag_configs()
    names = tuple(config.name for config in configs)
    if precision is Precision.FROZEN:
        return ServingEmbeddings(model.ebc, model.surgery_cut_point, names, precision)
    for config in configs:
        if precision is Precision.INT8 and config.embedding_dim % 2:
            raise IncompatibleError(
                ErrorKind.SHAPE_MISMATCH,
                "FBGEMM packs no int8 rows of an odd length",
                where=f"table {config.name}",
                expected="an even embedding_dim",
                found=config.embedding_dim,
                hint="serve it as fp16",
            )
    quantized = QuantizedCollection.from_float(_with_qconfig(model.ebc, precision))
    return ServingEmbeddings(quantized, model.surgery_cut_point, names, precision)


def _with_qconfig(ebc: nn.Module, precision: Precision) -> Any:
    """The same module and the same tables, said to be quantised; `ebc` itself stays as it is."""
    view: Any = ebc.__class__.__new__(ebc.__class__)
    view.__dict__ = dict(ebc.__dict__)
    view.qconfig = QConfig(
        activation=PlaceholderObserver.with_args(dtype=torch.float32),
        weight=PlaceholderObserver.with_args(dtype=_WEIGHTS[precision]),
    )
    return view
