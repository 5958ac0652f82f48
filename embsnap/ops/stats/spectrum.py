"""What the sums of a table's rows say of its directions: spectrum, ranks, isotropy.

Shape suffixes: D embedding_dim.
"""

from __future__ import annotations

from math import log, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.kernels.row_sums import RowSums
from embsnap.model.table_stats import Spectrum

__all__ = ["effective_rank", "iso_score", "mean_cosine", "spectrum"]


def spectrum(sums: RowSums) -> Spectrum | None:
    """Singular values and what follows from them; None without a finite row, or if products left float64's range.

    The singular values are roots of eigenvalues of the D × D Gram matrix, so those below about 1e-8 of the first are
    lost in rounding; what cannot be told from zero is zero.
    """
    if not sums.num_rows or not sums.gram_DD.size:
        return None
    gram_DD = sums.gram_DD + sums.num_rows * np.multiply.outer(sums.mean_D, sums.mean_D)
    if not np.isfinite(gram_DD).all():
        return None
    squares_D = _eigenvalues(gram_DD, sums.num_rows)
    centred_D = _eigenvalues(sums.gram_DD, sums.num_rows - 1)
    if squares_D[0] > 0 and centred_D[0] <= squares_D[0] * len(squares_D) * np.finfo(np.float64).eps ** 2:
        centred_D = np.zeros_like(centred_D)
    values_D = np.sqrt(squares_D)
    first = values_D[0]
    return Spectrum(
        singular_values=tuple(values_D.tolist()),
        effective_rank=effective_rank(values_D),
        stable_rank=float((values_D / first) @ (values_D / first)) if first else None,
        information_abundance=float((values_D / first).sum()) if first else None,
        centred_effective_rank=effective_rank(np.sqrt(centred_D)),
        iso_score=iso_score(centred_D),
    )


def _eigenvalues(gram_DD: NDArray[np.float64], max_rank: int) -> NDArray[np.float64]:
    """Descending; zero from `max_rank` on, and where rounding is all there is."""
    values_D: NDArray[Any] = np.linalg.eigvalsh(gram_DD)[::-1].copy()
    floor = values_D[0] * len(values_D) * np.finfo(np.float64).eps
    values_D[values_D <= max(floor, 0.0)] = 0.0
    values_D[max(max_rank, 0) :] = 0.0
    return values_D


def effective_rank(values_D: NDArray[np.float64]) -> float | None:
    """exp(-Σ p log p) with p = σ / Σσ; None if all are zero.

    Source: Roy, Vetterli, "The effective rank" (2007); RankMe, Garrido et al., arXiv 2210.02885, which adds 1e-7 to p.
    """
    total = float(values_D.sum())
    if total == 0.0:
        return None
    shares = [share for share in (values_D / total).tolist() if share > 0.0]
    return float(np.exp(-sum(share * log(share) for share in shares)))


def iso_score(variances_D: NDArray[np.float64]) -> float | None:
    """How evenly the variance lies over the principal directions: 1 evenly, 0 on one; None if there is none, or D = 1.

    Source: Rudman et al., "IsoScore: measuring the uniformity of embedding space utilization" (Findings of ACL 2022).
    """
    dim, length = len(variances_D), float(np.linalg.norm(variances_D))
    if dim < 2 or length == 0.0:
        return None
    normalised_D = variances_D * (sqrt(dim) / length)
    defect = float(np.linalg.norm(normalised_D - 1.0)) / sqrt(2 * (dim - sqrt(dim)))
    used = (dim - defect**2 * (dim - sqrt(dim))) ** 2 / dim**2
    return min(1.0, max(0.0, (dim * used - 1) / (dim - 1)))


def mean_cosine(sums: RowSums) -> float | None:
    """(‖Σ x̂‖² - n) / (n (n - 1)) over the n rows with a direction; None with fewer than two.

    Source: Ethayarajh, "How contextual are contextualized word representations?" (2019), over all pairs.
    """
    num = sums.num_units
    return float((sums.unit_D @ sums.unit_D - num) / (num * (num - 1.0))) if num > 1 else None
