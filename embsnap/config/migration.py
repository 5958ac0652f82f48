"""A migration as people write it: a list of steps, each a mapping of one kind to its parameters.

steps:
- rename: {tables: {user: member}}
- revocab: {table: member, vocab: day2/member}
- cast: {tables: member, to: fp16, max_error: 1e-3}
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field

from embsnap.config import migration_steps as steps
from embsnap.config.base import BaseConfig, OneOf

__all__ = ["MigrationConfig", "Step", "StepConfig"]

Step = (
    steps.RenameStep
    | steps.DropStep
    | steps.KeepStep
    | steps.CopyStep
    | steps.VocabStep
    | steps.RevocabStep
    | steps.ResizeStep
    | steps.DimStep
    | steps.CastStep
    | steps.MergeStep
    | steps.SplitStep
    | steps.PruneStep
    | steps.RepairStep
    | steps.NormalizeStep
    | steps.ShardStep
    | steps.OptimizerStateStep
)
"""What a `StepConfig` holds one of."""


class StepConfig(BaseConfig):
    """One step: exactly one kind."""

    model_config = ConfigDict(populate_by_name=True)

    rename: Annotated[steps.RenameStep | None, OneOf("step")] = None
    drop: Annotated[steps.DropStep | None, OneOf("step")] = None
    keep: Annotated[steps.KeepStep | None, OneOf("step")] = None
    copy_table: Annotated[steps.CopyStep | None, OneOf("step")] = Field(None, alias="copy")
    vocab: Annotated[steps.VocabStep | None, OneOf("step")] = None
    revocab: Annotated[steps.RevocabStep | None, OneOf("step")] = None
    resize: Annotated[steps.ResizeStep | None, OneOf("step")] = None
    dim: Annotated[steps.DimStep | None, OneOf("step")] = None
    cast: Annotated[steps.CastStep | None, OneOf("step")] = None
    merge: Annotated[steps.MergeStep | None, OneOf("step")] = None
    split: Annotated[steps.SplitStep | None, OneOf("step")] = None
    prune: Annotated[steps.PruneStep | None, OneOf("step")] = None
    repair: Annotated[steps.RepairStep | None, OneOf("step")] = None
    normalize: Annotated[steps.NormalizeStep | None, OneOf("step")] = None
    shard: Annotated[steps.ShardStep | None, OneOf("step")] = None
    optimizer_state: Annotated[steps.OptimizerStateStep | None, OneOf("step")] = None

    @property
    def step(self) -> Step:
        """The step, with its parameters."""
        step: Step = self.chosen("step")[1]
        return step


class MigrationConfig(BaseConfig):
    """A migration of one snapshot into another."""

    steps: Annotated[tuple[StepConfig, ...], Field(min_length=1)]
    """Applied in this order; each sees the tables as the steps before it left them."""

    def document(self) -> dict[str, Any]:
        """The same as plain values, without what is at its default: what was written, or could have been."""
        found: dict[str, Any] = self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        return found
