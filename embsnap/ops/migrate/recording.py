"""What a migration leaves in its snapshot's sidecar: see `embsnap.ops.lineage`, which reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embsnap.formats.sidecar import Lineage, Parent
from embsnap.ops.lineage import records
from embsnap.ops.migrate.steps import describe
from embsnap.storage.uri import absolute_uri

if TYPE_CHECKING:
    from embsnap.ops.migrate.plan import MigrationPlan

__all__ = ["lineage_of"]

_MAX_ANCESTORS = 100


def lineage_of(plan: MigrationPlan) -> Lineage:
    """What the sidecar is to say."""
    parents = plan.context.parents
    ancestors = [record for parent in parents for record in records(parent)]
    steps = [describe(step) for step in plan.steps]
    return Lineage(
        parents=tuple(Parent(absolute_uri(parent.uri), parent.metadata_sha256) for parent in parents),
        command="migrate",
        plan_digest=plan.digest,
        counts={table.name: dict(table.counts) for table in plan.changed()},
        extra={"plan": {"steps": steps}, "undo": list(plan.undos), "ancestors": ancestors[:_MAX_ANCESTORS]},
    )
