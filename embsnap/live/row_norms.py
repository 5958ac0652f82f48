"""Norms of live rows, block by block on their device, as figures that add up.

Shape suffixes: N rows in hand, D embedding_dim.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from embsnap.live.parts import LocalPart

__all__ = ["NEAR_ZERO", "Figures", "figures_of", "norms_by_rank", "summed_norms"]

NEAR_ZERO = 1e-4
"""A row of at most this norm is near zero."""
_BLOCK_BYTES = 32 << 20
_SUMMED_ROWS = 1 << 20
"""Rows whose squared norms are added up over ranks at a time."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Of some rows."""

    num_rows: int = 0
    num_finite: int = 0
    norm_sum: float = 0.0
    square_sum: float = 0.0
    """Of the norms' squares."""
    min_norm: float = math.inf
    max_norm: float = -math.inf
    num_dead: int = 0
    num_near_zero: int = 0

    def __add__(self, other: Figures) -> Figures:
        return Figures(
            self.num_rows + other.num_rows,
            self.num_finite + other.num_finite,
            self.norm_sum + other.norm_sum,
            self.square_sum + other.square_sum,
            min(self.min_norm, other.min_norm),
            max(self.max_norm, other.max_norm),
            self.num_dead + other.num_dead,
            self.num_near_zero + other.num_near_zero,
        )

    def named(self) -> dict[str, float]:
        """By the names under which they are logged; without finite rows there are no norms."""
        counts = {
            "num_dead": float(self.num_dead),
            "num_near_zero": float(self.num_near_zero),
            "num_non_finite": float(self.num_rows - self.num_finite),
        }
        if not self.num_finite:
            return counts
        mean = self.norm_sum / self.num_finite
        variance = max(0.0, self.square_sum / self.num_finite - mean * mean)
        norms = {"mean_norm": mean, "std_norm": math.sqrt(variance)}
        return norms | {"min_norm": self.min_norm, "max_norm": self.max_norm} | counts


def figures_of(tensors: Sequence[Tensor]) -> Figures:
    """Of the rows of `[N, D]` tensors, on any device."""
    total = Figures()
    for tensor in tensors:
        step = max(1, _BLOCK_BYTES // max(1, 8 * tensor.shape[1]))
        for start in range(0, len(tensor), step):
            total += _figures(torch.linalg.vector_norm(tensor[start : start + step], dim=1, dtype=torch.float64))
    return total


def summed_norms(parts: Sequence[LocalPart], num_rows: int, add_up: Callable[[Tensor], Tensor]) -> Figures:
    """Of the rows of a table that is cut by columns.

    Args:
        parts: What this rank counts of it.
        num_rows: Of the table.
        add_up: Takes a CPU tensor of squared norms, float64, and returns its sum over all ranks.
    """
    total = Figures()
    for start in range(0, num_rows, _SUMMED_ROWS):
        end = min(start + _SUMMED_ROWS, num_rows)
        squares_N = torch.zeros(end - start, dtype=torch.float64)
        for part in parts:
            first, last = max(start, part.offsets[0]), min(end, part.offsets[0] + len(part.tensor))
            if first < last:
                rows_ND = part.tensor[first - part.offsets[0] : last - part.offsets[0]]
                squares_N[first - start : last - start] += _squares(rows_ND).cpu()
        total += _figures(add_up(squares_N).sqrt())
    return total


def norms_by_rank(key: str, figures: Sequence[Figures]) -> dict[str, float]:
    """Mean norm of what each rank holds of a table's rows, for ranks that hold some."""
    return {
        f"{key}-norm-{rank}": found.norm_sum / found.num_finite
        for rank, found in enumerate(figures)
        if found.num_finite
    }


def _squares(rows_ND: Tensor) -> Tensor:
    step = max(1, _BLOCK_BYTES // max(1, 8 * rows_ND.shape[1]))
    blocks = [
        torch.linalg.vector_norm(rows_ND[start : start + step], dim=1, dtype=torch.float64).square()
        for start in range(0, len(rows_ND), step)
    ]
    return torch.cat(blocks)


def _figures(norms_N: Tensor) -> Figures:
    finite_N = norms_N[torch.isfinite(norms_N)]
    if not len(finite_N):
        return Figures(num_rows=len(norms_N))
    sums = [finite_N.sum(), finite_N.square().sum(), finite_N.min(), finite_N.max(), (finite_N == 0).sum()]
    found = torch.stack([value.double() for value in (*sums, (finite_N <= NEAR_ZERO).sum())]).tolist()
    norm_sum, square_sum, smallest, largest, num_dead, num_near_zero = found
    counts = (int(num_dead), int(num_near_zero))
    return Figures(len(norms_N), len(finite_N), norm_sum, square_sum, smallest, largest, *counts)
