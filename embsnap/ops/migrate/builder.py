"""Migrations in Python: steps strung together, planned when somebody asks, one pass over the data for all of them.

embsnap.migration("runs/day1/7").rename({"user": "member"}).cast("member", "fp16").write("runs/migrated")
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from embsnap.config.migration import MigrationConfig
from embsnap.config.step import parse_step
from embsnap.model.migration import MigrationResult
from embsnap.model.progress import SILENT, Progress
from embsnap.ops.migrate.custom import CustomStep, RowFunction
from embsnap.ops.migrate.plan import DEFAULT_OPTIONS, MigrationOptions, MigrationPlan, plan_migration
from embsnap.ops.migrate.steps import AnyStep
from embsnap.storage.uri import Uri

__all__ = ["Migration", "migration"]


def migration(source: Uri, *, options: MigrationOptions = DEFAULT_OPTIONS) -> Migration:
    """Begin a migration of the snapshot at `source`. Nothing is read before `plan` or `write`."""
    return Migration(os.fspath(source), (), options)


@dataclass(frozen=True, slots=True)
class Migration:
    """Steps to be applied to a snapshot, in order. Each method returns a new migration with one step more.

    Parameters are those of the steps in a plan's YAML (`embsnap.config.migration_steps`); a wrong one raises
    `UsageError` at once. `initializer` takes what the YAML takes: `"zeros"`, `{"normal": {"std": 0.01}}`.
    """

    source: str
    steps: tuple[AnyStep, ...]
    options: MigrationOptions

    def rename(self, tables: Mapping[str, str] | None = None, *, prefix: Mapping[str, str] | None = None) -> Migration:
        """Other names: old → new for tables, `APP_KEY/MODULE_PATH` → another one for prefixes."""
        return self._with("rename", tables=dict(tables or {}), prefix=dict(prefix or {}))

    def drop(self, *tables: str) -> Migration:
        """Without these tables."""
        return self._with("drop", tables=tables)

    def keep(self, *tables: str) -> Migration:
        """Without all other tables."""
        return self._with("keep", tables=tables)

    def copy(self, table: str, to: str, *, source: str | None = None) -> Migration:
        """A table once more under another name, or a table of another snapshot."""
        return self._with("copy", table=table, to=to, source=source)

    def vocab(self, table: str, vocab: str, *, columns: Mapping[str, str] | None = None) -> Migration:
        """Say which vocabulary a table's rows belong to."""
        return self._with("vocab", table=table, vocab=vocab, columns=columns)

    def revocab(self, table: str, vocab: str | None = None, **parameters: Any) -> Migration:
        """Move every row to where its entity is in another vocabulary: `remap`, `rows`, `initializer`, `reserved`, …"""
        return self._with("revocab", table=table, vocab=vocab, **parameters)

    def resize(self, table: str, rows: int, *, initializer: Any = None, shrink: str | None = None) -> Migration:
        """More rows, or fewer, at the end."""
        return self._with("resize", table=table, rows=rows, initializer=initializer, shrink=shrink)

    def dim(self, table: str, to: int, *, by: str, **parameters: Any) -> Migration:
        """Another width, by `truncate`, `pad`, `pca` or `matrix`."""
        return self._with("dim", table=table, to=to, by=by, **parameters)

    def cast(
        self, tables: str | Sequence[str], to: str, *, max_error: float | None = None, saturate: bool = False
    ) -> Migration:
        """Another element type: `fp64`, `fp32`, `fp16`, `bf16` or `int8`."""
        return self._with("cast", tables=tables, to=to, max_error=max_error, saturate=saturate)

    def merge(self, tables: Sequence[str], into: str, *, conflict: str = "refuse", **parameters: Any) -> Migration:
        """One table of several; what several have by `mean`, `count`, `newest` or `priority`."""
        return self._with("merge", tables=tables, into=into, conflict=conflict, **parameters)

    def split(self, table: str, parts: Mapping[str, Mapping[str, Any]], *, rest: str = "refuse") -> Migration:
        """Several tables of one, by a column of its vocabulary or by ids."""
        return self._with("split", table=table, parts={name: dict(part) for name, part in parts.items()}, rest=rest)

    def prune(self, table: str, **rules: Any) -> Migration:
        """Fewer entities: `min_count`, `top`, `seen_since`, `min_norm`."""
        return self._with("prune", table=table, **rules)

    def repair(self, tables: str | Sequence[str], **parameters: Any) -> Migration:
        """Replace broken rows: `max_norm`, `donor`, `donor_vocab`, `initializer`."""
        return self._with("repair", tables=tables, **parameters)

    def normalize(self, tables: str | Sequence[str], **rules: Any) -> Migration:
        """Scale or clip: `norm`, `max_norm`, `low`, `high`."""
        return self._with("normalize", tables=tables, **rules)

    def shard(self, *, world_size: int | None = None, **parameters: Any) -> Migration:
        """Another number of ranks, another `placing` of `tables`."""
        return self._with("shard", world_size=world_size, **parameters)

    def optimizer_state(self, form: str, *, tables: str | Sequence[str] | None = None) -> Migration:
        """Optimizer state as `tensor`, `sharded`, or `drop`."""
        return self._with("optimizer_state", form=form, tables=tables)

    def map_rows(
        self,
        table: str,
        function: RowFunction,
        *,
        name: str | None = None,
        dim: int | None = None,
        dtype: str | None = None,
        version: str = "",
    ) -> Migration:
        """Every row through a function of yours.

        Args:
            table: Whose rows.
            function: Takes row numbers `int64[N]` and rows `[N, D]`, returns `[N, dim]` of `dtype`. It is called from
                several threads, with blocks of any size, in any order: what it returns for a row must depend on that
                row alone.
            name: As plan and lineage name it; the function's own by default.
            dim: Columns of what it returns, if other than before.
            dtype: Element type of what it returns (`float32`), if other than before.
            version: To be changed when it comes to compute something else in a way that its code does not show.
        """
        known = name or str(getattr(function, "__name__", "function"))
        return replace(self, steps=(*self.steps, CustomStep(table, function, known, dim, dtype, version)))

    def extend(self, config: MigrationConfig) -> Migration:
        """With all steps of a plan that was read from YAML."""
        return replace(self, steps=(*self.steps, *config.steps))

    def plan(self, *, progress: Progress = SILENT) -> MigrationPlan:
        """Check everything, write nothing; errors as those of `plan_migration`."""
        return plan_migration(self.source, self.steps, self.options, progress=progress)

    def write(self, to: Uri, *, resume: bool = False, progress: Progress = SILENT) -> MigrationResult:
        """Plan and apply; errors as those of `plan_migration` and `MigrationPlan.apply`."""
        return self.plan(progress=progress).apply(os.fspath(to), resume=resume, progress=progress)

    def _with(self, kind: str, **parameters: Any) -> Migration:
        given = {name: value for name, value in parameters.items() if value is not None}
        step = parse_step(kind, given, where=f"step {len(self.steps) + 1} ({kind})")
        return replace(self, steps=(*self.steps, step))
