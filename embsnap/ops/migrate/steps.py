"""The steps of a migration, one after the other, on a draft."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeAlias

from embsnap.config import migration_steps as kinds
from embsnap.config.migration import Step, StepConfig
from embsnap.errors import ErrorKind, UsageError
from embsnap.ops.migrate.context import Context
from embsnap.ops.migrate.custom import CustomStep, apply_custom
from embsnap.ops.migrate.draft import Draft, no_table
from embsnap.ops.migrate.merging import apply_merge
from embsnap.ops.migrate.naming import apply_copy, apply_drop, apply_keep, apply_rename, apply_vocab
from embsnap.ops.migrate.placing import apply_optimizer_state, apply_shard
from embsnap.ops.migrate.repairing import apply_repair
from embsnap.ops.migrate.resizing import apply_prune, apply_resize
from embsnap.ops.migrate.revocab import apply_revocab
from embsnap.ops.migrate.splitting import apply_split
from embsnap.ops.migrate.undo import Applied, Undo
from embsnap.ops.migrate.valuing import apply_cast, apply_normalize
from embsnap.ops.migrate.widths import apply_dim

__all__ = ["AnyStep", "apply_steps", "describe", "only_tables"]

AnyStep: TypeAlias = StepConfig | CustomStep
"""A step as a plan holds it."""

_APPLIERS: Mapping[type[Any], Callable[[Any, Draft, Context], Applied]] = {
    kinds.RenameStep: apply_rename,
    kinds.DropStep: apply_drop,
    kinds.KeepStep: apply_keep,
    kinds.CopyStep: apply_copy,
    kinds.VocabStep: apply_vocab,
    kinds.RevocabStep: apply_revocab,
    kinds.ResizeStep: apply_resize,
    kinds.DimStep: apply_dim,
    kinds.CastStep: apply_cast,
    kinds.MergeStep: apply_merge,
    kinds.SplitStep: apply_split,
    kinds.PruneStep: apply_prune,
    kinds.RepairStep: apply_repair,
    kinds.NormalizeStep: apply_normalize,
    kinds.ShardStep: apply_shard,
    kinds.OptimizerStateStep: apply_optimizer_state,
    CustomStep: apply_custom,
}


def apply_steps(steps: Sequence[AnyStep], draft: Draft, context: Context) -> tuple[Draft, list[Undo]]:
    """The draft after all steps, and for each step what would take it back. No row is written.

    Raises:
        UsageError, NotFoundError, IncompatibleError: A step does not fit what the steps before it left.
    """
    undos = []
    for number, found in enumerate(steps, 1):
        step: Step | CustomStep = found if isinstance(found, CustomStep) else found.step
        context.where = f"step {number} ({_kind(found)})"
        applied = _APPLIERS[type(step)](step, draft, context)
        draft = applied.draft
        undos.append(applied.undo)
    context.where = ""
    return draft, undos


def describe(step: AnyStep) -> Mapping[str, Any]:
    """A step as plain values, without what is at its default."""
    if isinstance(step, CustomStep):
        return {"custom": step.describe()}
    found: dict[str, Any] = step.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return found


def _kind(step: AnyStep) -> str:
    return next(iter(describe(step)))


def only_tables(steps: Sequence[AnyStep], names: Collection[str], draft: Draft) -> list[AnyStep]:
    """The steps that are about some tables of the snapshot, restricted to them; all others are left as they are.

    Raises:
        NotFoundError: `no-such-table`: a name is no table of the snapshot.
        UsageError: A step would take together what is asked for and what is not.
    """
    for name in names:
        if name not in draft.tables:
            raise no_table(name, draft.tables, f"--table {name}")
    known = set(names)  # under whatever name, so far
    chosen: list[AnyStep] = []
    for number, found in enumerate(steps, 1):
        restricted = _restricted(found, known, f"step {number} ({_kind(found)})")
        if restricted is not None:
            chosen.append(restricted)
            known = _followed(restricted, known)
    if not chosen:
        raise UsageError(
            ErrorKind.NOTHING_TO_DO, f"no step is about {', '.join(names)}", hint="leave --table out for all tables"
        )
    return chosen


def _restricted(found: AnyStep, names: set[str], where: str) -> AnyStep | None:
    step: Any = found if isinstance(found, CustomStep) else found.step
    if isinstance(step, kinds.MergeStep):
        inside = [name for name in step.tables if name in names]
        if inside and len(inside) < len(step.tables):
            problem = f"merges {', '.join(inside)} with tables that are not asked for"
            raise UsageError(
                ErrorKind.BAD_OPTION, problem, where=where, expected=f"--table for {', '.join(step.tables)}"
            )
        return found if inside else None
    if isinstance(step, kinds.KeepStep):
        return None
    table = getattr(step, "table", None)
    if table is not None:
        return found if table in names else None
    tables = getattr(step, "tables", None)
    assert not isinstance(found, CustomStep)
    if isinstance(tables, dict):
        kept = {old: new for old, new in tables.items() if old in names}
        return _with(found, step.model_copy(update={"tables": kept, "prefix": {}})) if kept else None
    inside = [name for name in (names if tables is None else tables) if name in names]
    if isinstance(step, kinds.ShardStep) and step.world_size is not None:
        problem = "changes the world size, which is that of all tables"
        raise UsageError(ErrorKind.BAD_OPTION, problem, where=where, hint="leave --table out")
    return _with(found, step.model_copy(update={"tables": tuple(sorted(inside))})) if inside else None


def _with(found: StepConfig, step: Any) -> StepConfig:
    return found.model_copy(update={found.chosen("step")[0]: step})


def _followed(found: AnyStep, known: set[str]) -> set[str]:
    """The names that what is asked for has after a step."""
    step: Any = found if isinstance(found, CustomStep) else found.step
    match step:
        case kinds.RenameStep():
            return {step.tables.get(name, name) for name in known}
        case kinds.DropStep():
            return known - set(step.tables)
        case kinds.CopyStep():
            return known | {step.to}
        case kinds.MergeStep():
            return (known - set(step.tables)) | {step.into}
        case kinds.SplitStep():
            rest = set() if isinstance(step.rest, kinds.RestRule) else {step.rest}
            return (known - {step.table}) | set(step.parts) | rest
    return known
