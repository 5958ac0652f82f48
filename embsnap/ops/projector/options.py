"""What a projection is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from embsnap.formats.vocabulary_columns import VocabularyColumns

__all__ = ["PointFormat", "ProjectorOptions", "SampleOrder"]


class PointFormat(StrEnum):
    """How points are written."""

    TSV = "tsv"
    """As text."""
    BYTES = "bytes"
    """As float32: a third of the size."""


class SampleOrder(StrEnum):
    """Which entities are chosen."""

    COUNT = "count"
    """Those with the largest counts; by chance where the vocabulary has none."""
    RANDOM = "random"
    """By chance, the same ones every time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectorOptions:
    """Which points, and how they are written."""

    tables: Sequence[str] = ()
    """All tables, if empty."""
    vocab: Mapping[str, str] = field(default_factory=dict)
    """URI of a vocabulary by table. Of other tables the one that the sidecar records."""
    ids: Sequence[str] = ()
    """Entities to choose, as people write them; only with one table. Otherwise `num_sampled` are chosen."""
    num_sampled: int = 10_000
    """Points of each table."""
    order: SampleOrder = SampleOrder.COUNT
    form: PointFormat = PointFormat.TSV
    columns: VocabularyColumns = field(default_factory=VocabularyColumns)
    threads: int = 1
    storage_options: Mapping[str, str] = field(default_factory=dict)
