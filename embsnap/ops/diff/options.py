"""What a comparison of two snapshots is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from embsnap.formats.vocabulary_columns import VocabularyColumns

__all__ = ["DEFAULT_THRESHOLDS", "DiffOptions", "MoverOrder"]

DEFAULT_THRESHOLDS = ("cosine<0.9", "relative_l2>0.5")


class MoverOrder(StrEnum):
    """What makes an entity one of those that went furthest."""

    DISTANCE = "distance"
    """The largest ‖b − a‖."""
    RELATIVE_L2 = "relative-l2"
    """The largest ‖b − a‖ / ‖a‖."""
    COSINE = "cosine"
    """The least cosine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffOptions:
    """What to compare, and how."""

    tables: Sequence[str] = ()
    """Tables to compare: `user`, or `user=member` where it has another name in B. All, if empty."""
    vocab_a: Mapping[str, str] = field(default_factory=dict)
    """URI of a vocabulary by A's table name. Of other tables the one that the sidecar records."""
    vocab_b: Mapping[str, str] = field(default_factory=dict)
    """The same by B's table names."""
    columns: VocabularyColumns = field(default_factory=VocabularyColumns)
    """Of all vocabularies."""
    by_position: bool = False
    """Match rows by their index, whatever vocabularies there are."""
    bit_exact: bool = False
    """Compare the bits of weights, optimizer state and all other entries too."""
    procrustes: bool = False
    """Measure the drift also after the best rotation."""
    neighbors: int = 10
    """How many neighbours of each sampled entity are compared; 0 leaves them out."""
    num_sampled: int = 128
    """Entities whose neighbours are looked for. The same entities are drawn every time."""
    thresholds: Sequence[str] = DEFAULT_THRESHOLDS
    """Such as `cosine<0.9`; how many rows lie beyond each is counted."""
    fail_if: Sequence[str] = ()
    """Conditions such as `cosine.p5<0.8`."""
    num_shown: int = 10
    """Entities in each list."""
    order: MoverOrder = MoverOrder.DISTANCE
    threads: int = 1
    check: bool = True
    """Whether blocks that are read whole are compared with the sidecar's checksums."""
    storage_options: Mapping[str, str] = field(default_factory=dict)
