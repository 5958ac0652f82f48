"""Steps that change values and keep every row in its place: cast, normalize, custom functions."""

from __future__ import annotations

from dataclasses import replace

from embsnap.config.migration_steps import CastStep, CastType, NormalizeStep
from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.formats.dtypes import to_numpy
from embsnap.model.dtypes import DTYPES
from embsnap.ops.migrate.context import Context
from embsnap.ops.migrate.draft import Draft, TableDraft
from embsnap.ops.migrate.moving import check_floating
from embsnap.ops.migrate.nodes import TransformedRows
from embsnap.ops.migrate.transforms import Cast, CastErrors, Dequantize, Limit, Quantize, quantized_dim
from embsnap.ops.migrate.undo import Applied, Undo

__all__ = ["apply_cast", "apply_normalize"]

_TYPES = {"fp64": "float64", "fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
_NAMES = {name: kind for kind, name in _TYPES.items()}
_EXACT = {("fp16", "fp32"), ("bf16", "fp32"), ("fp16", "fp64"), ("bf16", "fp64"), ("fp32", "fp64")}


def apply_cast(step: CastStep, draft: Draft, context: Context) -> Applied:
    """Another element type. Fused 8-bit rows are cast back by casting them to a floating-point type."""
    undo: Undo = []
    for name in step.tables:
        table = draft.table(name, context.where)
        before = _NAMES.get(table.dtype.name, "int8")
        draft = draft.replacing(_cast(step, table, context))
        if before == step.to.value:
            continue
        if (before, step.to.value) in _EXACT and isinstance(undo, list):
            undo = [{"cast": {"tables": [name], "to": before}}, *undo]
        else:
            undo = f"what {before} could say of {name} and {step.to.value} cannot is not kept"
    return Applied(draft, undo)


def _cast(step: CastStep, table: TableDraft, context: Context) -> TableDraft:
    rows, errors = table.rows, CastErrors()
    max_error = context.max_error if step.max_error is None else step.max_error
    if table.dtype.name == "uint8":
        if step.to is CastType.INT8:
            return table
        if rows.dim <= quantized_dim(0):
            raise _not_quantized(table, context)
        rows = TransformedRows(rows, Dequantize(rows.dim - quantized_dim(0)))
        table = table.with_rows(rows)
    check_floating(table, context)
    if step.to is CastType.INT8:
        dtype = to_numpy(DTYPES["uint8"])
        dim = quantized_dim(rows.dim)
        cast = TransformedRows(rows, Quantize(table.name, dim, dtype, max_error, step.saturate, errors))
        return replace(table.with_rows(cast), casts=(*table.casts, (step.to.value, errors)))
    dtype = to_numpy(DTYPES[_TYPES[step.to.value]])
    if dtype == rows.dtype:
        return table
    cast = TransformedRows(rows, Cast(table.name, rows.dim, dtype, max_error, step.saturate, errors))
    return replace(table.with_rows(cast), casts=(*table.casts, (step.to.value, errors)))


def _not_quantized(table: TableDraft, context: Context) -> IncompatibleError:
    return IncompatibleError(
        ErrorKind.DTYPE_MISMATCH,
        "its rows are no fused 8-bit rows",
        where=f"{context.where}, table {table.name}",
        expected="at least one value, then scale and bias in 8 bytes",
        found=f"{table.rows.dim} bytes",
    )


def apply_normalize(step: NormalizeStep, draft: Draft, context: Context) -> Applied:
    """Norms scaled, values clipped; optimizer state stays as it is."""
    for name in step.tables:
        table = draft.table(name, context.where)
        check_floating(table, context)
        rows = table.rows
        limit = Limit(table.name, rows.dim, rows.dtype, step.norm, step.max_norm, step.low, step.high)
        draft = draft.replacing(table.with_rows(TransformedRows(rows, limit)))
    return Applied(draft, "the values before are not kept")
