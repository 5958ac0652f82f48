"""What `stats` reports. Definitions and sources are in `docs/statistics.md`.

All statistics are of finite rows; rows with a NaN or an infinity are counted and left out. Norms are Euclidean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from embsnap.model.findings import Finding
from embsnap.model.table import Sharding

__all__ = [
    "PERCENTILES",
    "DecileStats",
    "Duplicates",
    "Interval",
    "NormHistogram",
    "NormStats",
    "Popularity",
    "RankNorm",
    "RowStats",
    "ShardNorm",
    "SkippedTable",
    "SnapshotStats",
    "Spectrum",
    "TableStats",
]

PERCENTILES = (0, 1, 5, 25, 50, 75, 95, 99, 100)
"""Of norms, in percent of the finite rows; linear between two rows, as `numpy.percentile`."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95 % confidence interval of a statistic that was computed from a sample."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class NormHistogram:
    """How many rows have which norm; rows of norm 0 are in no bin.

    An octave `[2^e, 2^(e+1))` is cut into `bins_per_octave` equal bins, a power of two, the more the narrower the
    norms lie together. So the bins of a finer histogram nest in those of a coarser one, and two can be overlaid.
    """

    bins_per_octave: int
    edges: tuple[float, ...]
    """One more than counts, ascending: bin b is `[edges[b], edges[b + 1])`. Empty if no row has a norm above 0."""
    counts: tuple[int, ...]
    """From the first to the last bin that is not empty."""


@dataclass(frozen=True, slots=True)
class NormStats:
    """Norms of the finite rows, of which there is at least one."""

    mean: float
    std: float
    """Over the number of rows, not one less."""
    percentiles: Mapping[str, float]
    """`p0`, `p1`, … `p100`, one for each of `PERCENTILES`."""
    histogram: NormHistogram


@dataclass(frozen=True, slots=True)
class Spectrum:
    """Singular values of the matrix X of finite rows, not centred, and what follows from them."""

    singular_values: tuple[float, ...]
    """Descending, `embedding_dim` of them. Those below about 1e-8 of the first are rounding."""
    effective_rank: float | None
    """RankMe; None, as the others, where every row is zero."""
    stable_rank: float | None
    information_abundance: float | None
    centred_effective_rank: float | None
    """The same after the mean row is taken from each; None where all rows are equal."""
    iso_score: float | None
    """Of the covariance, in [0, 1]; None where all rows are equal, or embedding_dim is 1."""


@dataclass(frozen=True, slots=True)
class RowStats:
    """Statistics of a set of rows: a table's, or one decile's."""

    num_rows: int
    num_non_finite: int
    """Rows with a NaN or an infinity."""
    num_dead: int
    """Rows of norm 0."""
    num_near_zero: int
    """Rows of norm at most `near_zero`, dead ones included."""
    num_exploded: int
    """Finite rows of norm above the table's `exploded_norm`."""
    num_never_updated: int | None
    """Rows whose optimizer state is all zero; None where there is no state that tells."""
    norms: NormStats | None
    """None without a finite row."""
    mean_cosine: float | None
    """Average cosine of two different rows that are neither dead nor non-finite; None with fewer than two."""
    dim_means: tuple[float, ...]
    """Mean of each dimension; NaN without a finite row."""
    dim_stds: tuple[float, ...]
    """Standard deviation of each dimension, over the number of rows."""
    spectrum: Spectrum | None
    """None where it was not asked for, or without a finite row."""


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Rows that are equal byte for byte."""

    num_distinct: int
    """Different rows."""
    num_duplicates: int
    """Rows - different rows."""
    largest_group: int
    """Rows that are equal to the most frequent one."""


@dataclass(frozen=True, slots=True)
class ShardNorm:
    """One piece of a table with bytes of its own."""

    rank: int
    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    location: str
    mean_norm: float | None
    """Of its finite rows, each cut to the piece's columns; None without one."""


@dataclass(frozen=True, slots=True)
class RankNorm:
    """What one rank holds of a table."""

    name: str
    """`<state key>-norm-<rank>`, as the-algorithm-ml logs it."""
    rank: int
    num_rows: int
    """Of its pieces."""
    num_bytes: int
    mean_norm: float | None
    """Of the finite rows of its pieces, each cut to its piece's columns."""


@dataclass(frozen=True, slots=True)
class DecileStats:
    """A tenth of a vocabulary's entities, by the counts that it records."""

    number: int
    """1 has the largest counts."""
    num_entities: int
    max_count: int
    min_count: int
    rows: RowStats


@dataclass(frozen=True, slots=True)
class Popularity:
    """A table's rows by how often their entities were seen."""

    vocabulary: str
    """URI."""
    num_entities: int
    num_unoccupied: int
    """Rows without an entity."""
    norm_correlation: float | None
    """Spearman's, of norm and count over entities with a finite row; None where either is the same for all."""
    deciles: tuple[DecileStats, ...]
    """The most frequent first."""


@dataclass(frozen=True, slots=True)
class TableStats:
    """Statistics of one table."""

    name: str
    """Or the path of its weight, where the snapshot has several tables of one name."""
    key: str
    """State key of its weight: `ebc.embedding_bags.user.weight`."""
    path: str
    """Logical path of its weight."""
    num_embeddings: int
    embedding_dim: int
    dtype: str
    num_bytes: int
    """Of the weight."""
    sharding: Sharding
    sample_rows: int | None
    """Rows that were looked at, of a random sample; None for all rows."""
    rows: RowStats
    exploded_norm: float | None
    """Norm above which a row counts as exploded; None where all rows are dead or non-finite."""
    never_updated_by: str | None
    """The optimizer state that tells never-updated rows; None where there is none."""
    duplicates: Duplicates | None
    """None where they were not asked for, or of a sample."""
    shards: tuple[ShardNorm, ...]
    """None of a sample."""
    ranks: tuple[RankNorm, ...]
    popularity: Popularity | None
    """None without a vocabulary that has counts."""
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    """By the name of the statistic (`norm.mean`); of a sample."""


@dataclass(frozen=True, slots=True)
class SkippedTable:
    """A table without statistics."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class SnapshotStats:
    """Statistics of a snapshot's tables."""

    schema: ClassVar[str] = "embsnap.stats"
    schema_version: ClassVar[int] = 1

    uri: str
    metadata_sha256: str
    step: int | None
    """As the snapshot records it, or the last part of its URI."""
    walltime: float | None
    """As the snapshot records it; seconds."""
    near_zero: float
    """Norm up to which a row counts as near zero."""
    exploded_factor: float
    """A row is exploded if its norm is above this many times the 99th percentile of the rows that are not dead."""
    tables: tuple[TableStats, ...]
    skipped: tuple[SkippedTable, ...]
    num_bytes_read: int
    seconds: float
    written: tuple[str, ...]
    """Where the statistics were put."""
    findings: tuple[Finding, ...]
    num_unchecked_rows: int | None = None
    """Rows read without any checksum being compared, once for each time they were read."""
