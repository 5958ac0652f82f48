"""Tables for serving: frozen as they are, or quantised, in the kernels that FBGEMM has for inference.

Shape suffixes: B bags, D embedding_dim, N rows in hand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from enum import StrEnum

import torch
from torch import Tensor, nn
from torchrec.distributed.embeddingbag import ShardedEmbeddingBagCollection
from torchrec.modules.embedding_configs import DataType
from torchrec.modules.embedding_modules import EmbeddingBagCollection
from torchrec.quant.embedding_modules import EmbeddingBagCollection as QuantizedCollection
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor, KeyedTensor

from embsnap.errors import ErrorKind, IncompatibleError, UsageError
from embsnap.live.arguments import check_argument
from embsnap.live.half_filled import check_filled
from embsnap.live.modules import LargeEmbeddings
from embsnap.live.parts import is_sharded

__all__ = ["Precision", "ServingEmbeddings", "for_inference"]


class Precision(StrEnum):
    """What the rows of a served table are."""

    FROZEN = "frozen"
    """As they were trained."""
    FP16 = "fp16"
    """Rounded to 16 bits."""
    INT8 = "int8"
    """Each row as D bytes with a scale and a bias of its own, both fp16."""


_DATA_TYPES = {Precision.FP16: DataType.FP16, Precision.INT8: DataType.INT8}
_BLOCK_ELEMENTS = 1 << 22
"""Quantised at a time: their float32 copy and what is compared take some tens of MiB."""
_HEAD_BYTES = 4
"""Of an int8 row: its scale and its bias."""


class ServingEmbeddings(nn.Module):
    """Pooled lookups without gradients: KeyedJaggedTensor in, KeyedTensor out, as `LargeEmbeddings` gives it.

    `torch.fx` and torchrec's `symbolic_trace` can trace it.

    Attributes:
        ebc: torchrec's EmbeddingBagCollection, plain or quantised.
        surgery_cut_point: The identity on the pooled lookup, by the name that the trained module has one under.
        precision: What the rows are.
    """

    def __init__(
        self, ebc: EmbeddingBagCollection | QuantizedCollection, dims: Mapping[str, int], precision: Precision
    ) -> None:
        """For `for_inference`; `dims` are those of the trained module, by table in its order."""
        super().__init__()
        self.ebc = ebc
        self.surgery_cut_point = nn.Identity()
        self.precision = precision
        self._dims = dict(dims)
        # torchrec groups quantised tables by their pooling; said here, so that `torch.fx` traces no comparison
        self._is_regrouped = list(ebc.embedding_bags) != list(dims)
        self.eval().requires_grad_(False)

    def forward(self, sparse_features: KeyedJaggedTensor) -> KeyedTensor:
        """Look up and pool the bags of each table's feature.

        Returns:
            Pooled values float32 `[B, sum of D]`, keyed by table in the order of the trained module.
        """
        pooled = self.ebc(sparse_features)
        if self._is_regrouped:
            values = pooled.to_dict()
            ordered_BD = torch.cat([values[name] for name in self._dims], dim=1)
            pooled = KeyedTensor(list(self._dims), list(self._dims.values()), ordered_BD)
        return self.surgery_cut_point(pooled)


def for_inference(model: LargeEmbeddings, precision: Precision = Precision.FROZEN) -> ServingEmbeddings:
    """A module that serves the tables of `model`, on the same device; `model` itself stays as it is.

    Frozen tables share their memory with those of `model`, and show what it learns later. Quantised ones are new: 2·D
    bytes for each row with fp16, D + 4 with int8, rows padded as the device's kernels want them; some tens of MiB are
    quantised at a time. An int8 row holds `round((x - bias) / scale)` with `bias = min(x)` and
    `scale = (max(x) - min(x)) / 255`, so that no element is off by more than half its row's scale, beside the
    rounding of scale and bias to fp16; FBGEMM's `FloatOrHalfToFusedNBitRowwiseQuantizedSBHalf` makes it.

    Args:
        model: Filled and not sharded.
        precision: Of the rows.

    Raises:
        RefusedError: `half-filled`: a fill of the model failed.
        UsageError: `bad-option`: there is no such precision; `model` is sharded, is no LargeEmbeddings, or lies on the
            meta device.
        IncompatibleError: `shape-mismatch`: int8 rows of an odd embedding_dim, which FBGEMM has not; `cast-overflow`: a
            finite value is too large for fp16, or int8 cannot hold a row: it is not finite, or its scale or bias is
            too large for fp16.
    """
    check_argument(
        precision in list(Precision), "precision", precision, expected=", ".join(Precision), hint='"fp16", for one'
    )
    precision = Precision(precision)
    _check_model(model)
    check_filled(model)
    dims = {config.name: config.embedding_dim for config in model.ebc.embedding_bag_configs()}
    ebc = _frozen(model.ebc) if precision is Precision.FROZEN else _quantized(model.ebc, precision)
    return ServingEmbeddings(ebc, dims, precision)


def _check_model(model: nn.Module) -> None:
    """Refuse what has no tables of its own, in memory."""
    found = type(model).__name__
    check_argument(isinstance(model, nn.Module), "model", model, expected="a LargeEmbeddings", hint="fill it first")
    if any(isinstance(module, ShardedEmbeddingBagCollection) for module in model.modules()) or any(
        is_sharded(parameter) for parameter in model.parameters()
    ):
        raise UsageError(
            ErrorKind.BAD_OPTION,
            "is sharded, so that no rank has whole tables to serve",
            where="model",
            expected="a LargeEmbeddings that is not sharded",
            found=found,
            hint="embsnap.save(model, URI), and embsnap.restore that into a LargeEmbeddings of a single process",
        )
    if not isinstance(model, LargeEmbeddings):
        inside = [path for path, module in model.named_modules() if isinstance(module, LargeEmbeddings)]
        raise UsageError(
            ErrorKind.BAD_OPTION,
            "is no LargeEmbeddings, whose tables alone can be served",
            where="model",
            expected="a LargeEmbeddings",
            found=f"{found}, with a LargeEmbeddings at {', '.join(inside)}" if inside else found,
            hint=f'for_inference(model.get_submodule("{inside[0]}"))' if inside else "build and fill a LargeEmbeddings",
        )
    for name, weight in _weights(model.ebc):
        if weight.is_meta:
            raise UsageError(
                ErrorKind.BAD_OPTION,
                "has no rows on the meta device",
                where=f"table {name}",
                expected="a filled model",
                found="a meta tensor",
                hint="build the model on a device, and fill it with embsnap.warm_start or embsnap.restore",
            )


def _weights(ebc: EmbeddingBagCollection) -> Iterator[tuple[str, Tensor]]:
    for config in ebc.embedding_bag_configs():
        yield config.name, ebc.embedding_bags[config.name].weight.detach()


def _frozen(ebc: EmbeddingBagCollection) -> EmbeddingBagCollection:
    """Another collection around the same memory."""
    served = EmbeddingBagCollection(
        tables=list(ebc.embedding_bag_configs()), is_weighted=ebc.is_weighted(), device=torch.device("meta")
    )
    for name, weight in _weights(ebc):
        served.embedding_bags[name].weight = nn.Parameter(weight, requires_grad=False)
        served._device = weight.device
    return served


def _quantized(ebc: EmbeddingBagCollection, precision: Precision) -> QuantizedCollection:
    """FBGEMM's collection, filled block by block."""
    weights = dict(_weights(ebc))
    configs = ebc.embedding_bag_configs()
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
    served = QuantizedCollection(
        tables=[replace(config, data_type=_DATA_TYPES[precision]) for config in configs],
        is_weighted=ebc.is_weighted(),
        device=weights[configs[0].name].device,
    )
    put = _put_fp16 if precision is Precision.FP16 else _put_int8
    for name, weight in weights.items():
        packed = served.embedding_bags[name].weight
        num_rows = max(1, _BLOCK_ELEMENTS // weight.shape[1])
        for start in range(0, len(weight), num_rows):
            put(name, start, weight[start : start + num_rows], packed[start : start + num_rows])
    return served


def _put_fp16(table: str, start: int, rows_ND: Tensor, packed: Tensor) -> None:
    halves_ND = rows_ND.half()
    packed[:, : 2 * halves_ND.shape[1]] = halves_ND.view(torch.uint8)
    lost_ND = halves_ND.isinf()
    if lost_ND.any() and (lost_ND := lost_ND & rows_ND.isfinite()).any():
        row, column = lost_ND.nonzero()[0].tolist()
        raise _overflow(
            f"table {table}, row {start + row}, column {column}",
            "a finite value does not fit fp16",
            expected=f"values within ±{torch.finfo(torch.half).max:.6g}",
            found=rows_ND[row, column].item(),
            hint="serve it frozen",
        )


def _put_int8(table: str, start: int, rows_ND: Tensor, packed: Tensor) -> None:
    floats_ND = rows_ND.float().contiguous()
    quantized = torch.ops.fbgemm.FloatOrHalfToFusedNBitRowwiseQuantizedSBHalf(floats_ND, 8)
    heads_N2 = quantized[:, -_HEAD_BYTES:].contiguous().view(torch.half)
    packed[:, :_HEAD_BYTES] = quantized[:, -_HEAD_BYTES:]
    packed[:, _HEAD_BYTES : quantized.shape[1]] = quantized[:, :-_HEAD_BYTES]
    lows_N, highs_N = floats_ND.aminmax(dim=1)
    lost_N = ~(heads_N2.isfinite().all(dim=1) & lows_N.isfinite() & highs_N.isfinite())
    if lost_N.any():
        row = int(lost_N.nonzero()[0])
        low, high = lows_N[row].item(), highs_N[row].item()
        largest = torch.finfo(torch.half).max
        raise _overflow(
            f"table {table}, row {start + row}",
            "int8 with a scale and a bias of fp16 cannot hold this row",
            expected=f"finite values, the least within ±{largest:.6g}, {255 * largest:.6g} apart at most",
            found=low if abs(low) > largest else high,
            hint="serve it frozen, or as fp16 where it fits",
        )


def _overflow(where: str, problem: str, *, expected: str, found: float, hint: str) -> IncompatibleError:
    return IncompatibleError(
        ErrorKind.CAST_OVERFLOW, problem, where=where, expected=expected, found=f"{found:.6g}", hint=hint
    )
