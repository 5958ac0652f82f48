"""The step that changes how wide rows are.

Shape suffixes: D columns before, E columns after.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from embsnap.config.embedding import EmbeddingBagConfig
from embsnap.config.migration_steps import DimMethod, DimStep
from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.kernels.reduce import BLOCK_ROWS, Moments, RowMoments
from embsnap.model.table import StateLayout
from embsnap.ops.migrate.context import Context
from embsnap.ops.migrate.draft import Draft, StateDraft, TableDraft
from embsnap.ops.migrate.drawn import DrawnRows, RowKeys
from embsnap.ops.migrate.moving import check_floating
from embsnap.ops.migrate.nodes import RowNode, Transform, TransformedRows, ZeroRows
from embsnap.ops.migrate.transforms import Columns, Project
from embsnap.ops.migrate.undo import Applied, Undo
from embsnap.ops.warmstart.initial_rows import resolve_initializer

__all__ = ["apply_dim"]


def apply_dim(step: DimStep, draft: Draft, context: Context) -> Applied:
    """Cut, pad or project the rows. Element-wise state is cut or padded with zeros; under a projection it is zero."""
    table = draft.table(step.table, context.where)
    check_floating(table, context)
    before = table.rows.dim
    _check_width(step, before, context)
    transform, figures = _transform(step, table, context)
    rows = TransformedRows(table.rows, transform)
    state = [_state(table, found, step, context) for found in table.state]
    changed = replace(table.with_rows(rows, state), figures={**table.figures, **figures})
    undo: Undo = f"the values of {table.name} before the {step.by.value} are not kept"
    if step.by is DimMethod.PAD:
        undo = [{"dim": {"table": table.name, "to": before, "by": "truncate"}}]
    return Applied(draft.replacing(changed), undo)


def _check_width(step: DimStep, before: int, context: Context) -> None:
    wrong = step.to <= before if step.by is DimMethod.PAD else step.to >= before
    if step.by is not DimMethod.MATRIX and wrong:
        raise IncompatibleError(
            ErrorKind.SHAPE_MISMATCH,
            f"by: {step.by.value} goes the other way",
            where=f"{context.where}, table {step.table}",
            expected=f"{'more' if step.by is DimMethod.PAD else 'fewer'} than {before} columns",
            found=step.to,
        )


def _transform(step: DimStep, table: TableDraft, context: Context) -> tuple[Transform, dict[str, float]]:
    rows = table.rows
    match step.by:
        case DimMethod.TRUNCATE:
            return Columns(step.to, rows.dtype), {}
        case DimMethod.PAD:
            return Columns(step.to, rows.dtype, _added(step, table, context)), {}
        case DimMethod.MATRIX:
            assert step.matrix is not None
            matrix_DE = context.matrix(step.matrix)
            if matrix_DE.shape != (rows.dim, step.to):
                raise IncompatibleError(
                    ErrorKind.SHAPE_MISMATCH,
                    "the matrix does not fit",
                    where=f"{context.where}, {step.matrix}",
                    expected=[rows.dim, step.to],
                    found=list(matrix_DE.shape),
                )
            return Project(table.name, matrix_DE, None, rows.dtype), {}
    if not rows.num_rows:
        raise IncompatibleError(
            ErrorKind.SHAPE_MISMATCH,
            "a table without rows has no principal components",
            where=f"{context.where}, table {step.table}",
            expected="at least one row",
            hint="set by: truncate",
        )
    moments = _moments(rows, context)
    matrix_DE, explained = _principal(moments.covariance_DD, step.to)
    return Project(table.name, matrix_DE, moments.mean_D if step.center else None, rows.dtype), {
        "explained_variance": explained
    }


def _added(step: DimStep, table: TableDraft, context: Context) -> RowNode | None:
    if step.initializer is None:
        return None
    width, num_rows = step.to - table.rows.dim, table.rows.num_rows
    config = EmbeddingBagConfig(
        name="table", num_embeddings=max(1, num_rows), embedding_dim=width, initializer=step.initializer
    )
    initial = resolve_initializer(config.model_copy(update={"name": f"{table.name} columns"}), None)
    vocabulary = context.entities_of(table) if table.entities is not None else None
    return DrawnRows(initial, RowKeys.of(vocabulary, threads=context.threads), num_rows, width, table.rows.dtype)


def _moments(rows: RowNode, context: Context) -> Moments:
    moments = RowMoments(rows.num_rows, rows.dim, covariance=True)
    for block in range(moments.num_blocks):
        start, end = block * BLOCK_ROWS, min(rows.num_rows, (block + 1) * BLOCK_ROWS)
        rows_ND = np.empty((end - start, rows.dim), rows.dtype)
        rows.read(start, end, rows_ND)
        moments.add(block, rows_ND)
    context.num_planning_bytes += rows.num_rows * rows.row_bytes
    return moments.result()


def _principal(covariance_DD: NDArray[np.float64], dim: int) -> tuple[NDArray[np.float64], float]:
    """The eigenvectors of the largest eigenvalues, largest first, and their share of the trace.

    An eigenvector's sign is free: here its component of largest magnitude is positive.
    """
    values_D, vectors_DD = np.linalg.eigh(covariance_DD)
    vectors_DE = vectors_DD[:, ::-1][:, :dim]
    peaks = np.abs(vectors_DE).argmax(axis=0)
    vectors_DE = vectors_DE * np.where(vectors_DE[peaks, np.arange(dim)] < 0, -1.0, 1.0)
    total = float(np.clip(values_D, 0, None).sum())
    return np.ascontiguousarray(vectors_DE), float(values_D[::-1][:dim].sum()) / total if total else 1.0


def _state(table: TableDraft, state: StateDraft, step: DimStep, context: Context) -> StateDraft:
    if state.layout is StateLayout.OTHER:
        raise IncompatibleError(
            ErrorKind.SHAPE_MISMATCH,
            "an optimizer state cannot follow the columns",
            where=f"{context.where}, {state.path}",
            expected="one value per row, or per element",
            found=list(state.tail),
            hint="put a step before it: optimizer_state with form: drop",
        )
    if state.layout is not StateLayout.ELEMENT_WISE:
        return state
    if step.by in (DimMethod.TRUNCATE, DimMethod.PAD):
        rows: RowNode = TransformedRows(state.rows, Columns(step.to, state.rows.dtype))
    else:
        rows = ZeroRows(table.rows.num_rows, step.to, state.rows.dtype)
    return replace(state, rows=rows, tail=(step.to,))
