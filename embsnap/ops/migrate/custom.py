"""A step that a Python script brings along: a function of blocks of rows.

Shape suffixes: N rows in hand, D columns before, E after.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import CodeType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.errors import ErrorKind, IncompatibleError, UsageError
from embsnap.formats.dtypes import to_numpy
from embsnap.model.dtypes import DTYPES
from embsnap.ops.migrate.context import Context
from embsnap.ops.migrate.draft import Draft
from embsnap.ops.migrate.nodes import Transform, TransformedRows
from embsnap.ops.migrate.undo import Applied

__all__ = ["CustomStep", "apply_custom"]

RowFunction = Callable[[NDArray[np.int64], NDArray[Any]], NDArray[Any]]
"""From row numbers `int64[N]` and rows `[N, D]` to rows `[N, E]`; the result for a row depends on that row alone."""


@dataclass(frozen=True, slots=True)
class CustomStep:
    """A function on the rows of one table."""

    table: str
    function: RowFunction
    name: str
    """As plan and lineage name it."""
    dim: int | None
    """Columns of what it returns; None for as many as it is given."""
    dtype: str | None
    """Element type of what it returns, by its torch name without `torch.`; None for that of what it is given."""
    version: str
    """To be changed whenever the function comes to compute something else in a way that its code does not show."""

    def describe(self) -> dict[str, Any]:
        """As plain values; the function stands there by a digest of its code."""
        fields = {"table": self.table, "name": self.name, "code": _digest(self.function)}
        extras = {"dim": self.dim, "dtype": self.dtype, "version": self.version or None}
        return {**fields, **{key: value for key, value in extras.items() if value is not None}}


def apply_custom(step: CustomStep, draft: Draft, context: Context) -> Applied:
    """Every row through the function; optimizer state stays, unless it would no longer fit the width."""
    table = draft.table(step.table, context.where)
    dim = table.rows.dim if step.dim is None else step.dim
    if dim < 1:
        raise UsageError(
            ErrorKind.BAD_OPTION, "rows have at least one column", where=f"{context.where}, dim", found=dim
        )
    if step.dtype is not None and step.dtype not in DTYPES:
        raise UsageError(
            ErrorKind.BAD_OPTION,
            "there is no such element type",
            where=f"{context.where}, dtype",
            expected=f"one of {', '.join(DTYPES)}",
            found=step.dtype,
        )
    if dim != table.rows.dim and any(state.tail == (table.rows.dim,) for state in table.state):
        raise IncompatibleError(
            ErrorKind.SHAPE_MISMATCH,
            "its element-wise optimizer state would not fit the new width",
            where=f"{context.where}, table {table.name}",
            expected=table.rows.dim,
            found=dim,
            hint="drop the optimizer state in a step before it",
        )
    dtype = table.rows.dtype if step.dtype is None else to_numpy(DTYPES[step.dtype])
    rows = TransformedRows(table.rows, _Function(step.function, step.name, dim, dtype))
    return Applied(draft.replacing(table.with_rows(rows)), f"nothing says how to take {step.name} back")


@dataclass(slots=True)
class _Function(Transform):
    function: RowFunction
    name: str
    dim: int
    dtype: np.dtype[Any]

    def apply(self, rows_N: NDArray[np.int64], rows_ND: NDArray[Any], out_ND: NDArray[Any]) -> None:
        """Call it, and hold it to what it declared."""
        try:
            result = np.asarray(self.function(rows_N, rows_ND))
        except Exception as error:  # whatever a function of a script may raise
            problem = f"the function failed: {type(error).__name__}: {error}"
            raise UsageError(ErrorKind.BAD_CONFIG, problem, where=f"custom step {self.name}") from error
        if result.shape != out_ND.shape or result.dtype != self.dtype:
            raise IncompatibleError(
                ErrorKind.SHAPE_MISMATCH,
                "the function returned other rows than it declares",
                where=f"custom step {self.name}",
                expected=f"{list(out_ND.shape)} of {self.dtype}",
                found=f"{list(result.shape)} of {result.dtype}",
                hint="declare dim and dtype, and cast what it returns",
            )
        out_ND[...] = result


def _digest(function: RowFunction) -> str:
    """Of its code, the code of functions in it, its defaults, and plain values and arrays that it closes over."""
    digest = hashlib.sha256()
    code = getattr(function, "__code__", None)
    for part in _parts(code) if code is not None else [repr(type(function)).encode()]:
        digest.update(part)
    values = [*(getattr(function, "__defaults__", None) or ())]
    values += [part for pair in sorted((getattr(function, "__kwdefaults__", None) or {}).items()) for part in pair]
    values += [cell.cell_contents for cell in getattr(function, "__closure__", None) or ()]
    for value in values:
        if isinstance(value, np.ndarray | np.generic):
            digest.update(np.ascontiguousarray(value).tobytes())
        elif isinstance(value, int | float | str | bytes | bool | tuple | None):
            digest.update(repr(value).encode())
    return digest.hexdigest()[:16]


def _parts(code: CodeType) -> Iterator[bytes]:
    yield code.co_code
    yield repr(code.co_names).encode()
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _parts(constant)
        else:
            yield repr(constant).encode()
