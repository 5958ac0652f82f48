"""Options and results of the demo. Free of numpy and torch, so that the command line can show them at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from embsnap.errors import ErrorKind, UsageError

__all__ = ["COMPARED_STEPS", "DemoDayOne", "DemoDayTwo", "DemoOptions", "DemoTable", "PooledCheck", "TableNorm"]


COMPARED_STEPS = 50
"""How many first steps of day two count."""


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What the demo makes.

    Raises:
        UsageError: `bad-option`: a size is too small for the others.
    """

    num_users: int = 20_000
    """Active on each day."""
    num_posts: int = 12_000
    """Alive on each day."""
    num_events: int = 400_000
    """Per day; at least `COMPARED_STEPS` batches."""
    num_topics: int = 32
    """At most as many as posts."""
    churn: float = 0.2
    """Part of the entities that vanish after day one; as many appear on day two."""
    embedding_dim: int = 32
    batch_size: int = 1_024
    epochs: int = 2
    """Passes over day one."""
    seed: int = 7
    """Of the graph and of the first rows."""

    def __post_init__(self) -> None:
        least_events = COMPARED_STEPS * self.batch_size
        _at_least("users", self.num_users, 1)
        _at_least("posts", self.num_posts, self.num_topics)
        _at_least("events", self.num_events, least_events)


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise UsageError(
            ErrorKind.BAD_OPTION,
            "are too few for the demo",
            where=name,
            expected=f"{least:,} or more",
            found=f"{value:,}",
        )


@dataclass(frozen=True, slots=True)
class DemoTable:
    """One table's vocabulary from day to day."""

    name: str
    num_day_one: int
    """Entities of day one."""
    num_day_two: int
    num_carried: int
    """Entities of both."""
    num_embeddings: int
    """Rows of day two's table: a row for unknown ids, the entities, and some to spare."""


@dataclass(frozen=True, slots=True)
class DemoDayOne:
    """What was made before the warm start."""

    schema: ClassVar[str] = "embsnap.demo.day-one"
    schema_version: ClassVar[int] = 1

    directory: str
    tables: tuple[DemoTable, ...]
    num_events: int
    """Per day."""
    num_steps: int
    first_loss: float
    last_loss: float
    """Mean over the last 50 steps."""
    snapshot: str
    """Written by torchsnapshot."""
    config: str
    """Day two's configuration, for `embsnap warmstart`."""
    warm: str
    """Where the warm start should go for day two to find it."""
    seconds: float


@dataclass(frozen=True, slots=True)
class PooledCheck:
    """One pooled lookup after the warm start, held against the rows that day one trained."""

    table: str
    entities: tuple[int, ...]
    """The bag, as entity ids."""
    old_rows: tuple[int, ...]
    """Their rows on day one."""
    new_rows: tuple[int, ...]
    """Their rows on day two."""
    pooled: tuple[float, ...]
    """What day two's EmbeddingBagCollection returns."""
    expected: tuple[float, ...]
    """The sum of day one's rows."""


@dataclass(frozen=True, slots=True)
class TableNorm:
    """Mean Euclidean norm of a table's rows before the first step of day two."""

    table: str
    warm: float
    cold: float


@dataclass(frozen=True, slots=True)
class DemoDayTwo:
    """The first steps of day two, from a warm and from a cold start, on the same batches."""

    schema: ClassVar[str] = "embsnap.demo.day-two"
    schema_version: ClassVar[int] = 1

    warm_losses: tuple[float, ...]
    """At each step."""
    cold_losses: tuple[float, ...]
    compared_steps: int
    """How many first steps the means are over."""
    mean_warm: float
    mean_cold: float
    advantage: float
    """1 - mean_warm / mean_cold."""
    required: float
    """The least advantage that passes."""
    passed: bool
    optimizer_state: bool
    """Whether optimizer state came with the rows."""
    pooled: PooledCheck
    mean_norms: tuple[TableNorm, ...]
    """Of `tables_to_log`."""
    seconds: float
