"""The rotation that brings A's rows closest to B's.

Shape suffixes: D embedding_dim, N rows in hand.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.model.progress import Progress
from embsnap.ops.diff.paired_rows import PairedRows

__all__ = ["Rotation", "fit_rotation"]


class _Products:
    """Sums over one range of rows, in order: Aᵀ B, ‖A‖², ‖B‖² and ‖A − B‖²."""

    def __init__(self, dim: int) -> None:
        self.cross_DD = np.zeros((dim, dim))
        self.squares_3 = np.zeros(3)
        self.num_rows = 0

    def add(self, start: int, a_ND: NDArray[Any], b_ND: NDArray[Any], shared_N: NDArray[np.bool_]) -> None:
        a_ND, b_ND = a_ND[shared_N].astype(np.float64), b_ND[shared_N].astype(np.float64)
        finite_N = np.isfinite(a_ND).all(axis=1) & np.isfinite(b_ND).all(axis=1)
        if not finite_N.all():
            a_ND, b_ND = a_ND[finite_N], b_ND[finite_N]
        self.num_rows += len(a_ND)
        with np.errstate(over="ignore", invalid="ignore"):
            self.cross_DD += a_ND.T @ b_ND
            self.squares_3 += [np.vdot(rows_ND, rows_ND) for rows_ND in (a_ND, b_ND, a_ND - b_ND)]


class Rotation:
    """An orthogonal `[D, D]` matrix R for rows of A, and how well it fits."""

    def __init__(self, cross_DD: NDArray[np.float64], squares_3: NDArray[np.float64], num_rows: int) -> None:
        """Decompose Aᵀ B."""
        left_DD, singular_D, right_DD = np.linalg.svd(cross_DD)
        self.matrix_DD: NDArray[np.float64] = left_DD @ right_DD
        self.num_rows = num_rows
        self._gain, self._squares_3 = float(singular_D.sum()), squares_3

    @property
    def residual_before(self) -> float | None:
        """‖A − B‖ / ‖B‖; None where B is all zero."""
        _, of_b, of_step = self._squares_3
        return float(np.sqrt(of_step / of_b)) if of_b > 0 else None

    @property
    def residual(self) -> float | None:
        """‖A R − B‖ / ‖B‖, from ‖A R − B‖² = ‖A‖² + ‖B‖² − 2 Σσ."""
        of_a, of_b, _ = self._squares_3
        return float(np.sqrt(max(0.0, of_a + of_b - 2 * self._gain) / of_b)) if of_b > 0 else None

    def turn(self, a_ND: NDArray[Any]) -> NDArray[np.float64]:
        """A R."""
        turned_ND: NDArray[np.float64] = a_ND.astype(np.float64) @ self.matrix_DD
        return turned_ND


def fit_rotation(paired: PairedRows, *, threads: int, progress: Progress, task: str) -> Rotation | None:
    """Fit it to all shared rows that are finite on both sides; sums do not depend on the number of threads.

    Returns:
        None where float64 does not hold their squares.
    """
    parts: list[_Products] = []

    def new_visitor() -> Any:
        parts.append(_Products(paired.dim))
        return parts[-1].add

    paired.visit(new_visitor, threads=threads, progress=progress, task=task)
    total = _Products(paired.dim)
    for part in parts:
        total.cross_DD += part.cross_DD
        total.squares_3 += part.squares_3
        total.num_rows += part.num_rows
    if not np.isfinite(total.cross_DD).all() or not np.isfinite(total.squares_3).all():
        return None
    return Rotation(total.cross_DD, total.squares_3, total.num_rows)
