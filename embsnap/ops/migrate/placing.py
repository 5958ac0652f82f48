"""Steps that change how tables are written, not what is in them: shard and optimizer_state."""

from __future__ import annotations

from dataclasses import replace

from embsnap.config.migration_steps import OptimizerStateStep, Placing, ShardStep, StateForm
from embsnap.errors import ErrorKind, IncompatibleError, UsageError
from embsnap.ops.migrate.context import Context
from embsnap.ops.migrate.draft import Draft, Placement, TableDraft
from embsnap.ops.migrate.undo import Applied, Undo

__all__ = ["apply_optimizer_state", "apply_shard"]


def apply_shard(step: ShardStep, draft: Draft, context: Context) -> Applied:
    """Another number of ranks, another place for tables."""
    world_size = step.world_size or draft.world_size
    if step.rank is not None and step.rank >= world_size:
        problem = "there is no such rank"
        raise UsageError(
            ErrorKind.BAD_OPTION,
            problem,
            where=f"{context.where}, rank",
            expected=f"below {world_size}",
            found=step.rank,
        )
    for name in step.tables or ():
        draft.table(name, context.where)
    before = draft.world_size
    for name, table in draft.tables.items():
        is_meant = step.tables is None or name in step.tables
        if is_meant or world_size != before:
            kind = step.placing if is_meant else Placing.KEEP
            placement = _placement(kind, table.placement, world_size, before, step.rank, table.rows.dim)
            draft = draft.replacing(replace(table, placement=placement, is_changed=True))
    draft = replace(draft, world_size=world_size)
    undo: Undo = [{"shard": {"world_size": before}}]
    if step.placing is not Placing.KEEP or world_size < before:
        undo = "which rank held what is not kept"
    return Applied(draft, undo)


def _placement(kind: Placing, old: Placement, world_size: int, before: int, rank: int | None, dim: int) -> Placement:
    every = tuple(range(world_size))
    match kind:
        case Placing.ROW_WISE:
            return Placement(kind, every)
        case Placing.COLUMN_WISE:
            return Placement(kind, every[: max(1, dim)])
        case Placing.TABLE_WISE:
            return Placement(kind, (rank or 0,))
    if old.kind is Placing.ROW_WISE and len(old.ranks) == before:
        return Placement(old.kind, every)
    return Placement(old.kind, tuple(rank % world_size for rank in old.ranks))


def apply_optimizer_state(step: OptimizerStateStep, draft: Draft, context: Context) -> Applied:
    """Written as plain tensors, as sharded ones, or not at all."""
    names = tuple(draft.tables) if step.tables is None else step.tables
    lost: list[str] = []
    for name in names:
        table = draft.table(name, context.where)
        if step.form is StateForm.DROP:
            lost += [name] if table.state else []
            changed: TableDraft = replace(table, state=(), is_changed=table.is_changed or bool(table.state))
        else:
            changed = replace(table, state_form=step.form, is_changed=table.is_changed or bool(table.state))
        draft = draft.replacing(changed)
    if step.tables is not None and step.form is StateForm.DROP and not lost:
        raise IncompatibleError(
            ErrorKind.NOT_REPRESENTABLE,
            "there is no optimizer state to drop",
            where=context.where,
            expected="tables with optimizer state",
            found=", ".join(names),
        )
    undo: Undo = f"the optimizer state of {', '.join(lost)} is left behind" if lost else []
    return Applied(draft, undo)
