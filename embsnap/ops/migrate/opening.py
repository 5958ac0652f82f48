"""A snapshot as a draft: every table with its stored rows, before any step."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from embsnap.config.migration_steps import Placing, StateForm
from embsnap.formats.dtypes import to_numpy
from embsnap.formats.torchsnapshot.snapshot import Snapshot
from embsnap.formats.torchsnapshot.states import column_cuts
from embsnap.model.table import Sharding, StateLayout, Table, TableState
from embsnap.ops.migrate.context import Context
from embsnap.ops.migrate.draft import Draft, Entities, Placement, StateDraft, TableDraft
from embsnap.ops.migrate.nodes import FoldedRows, RowNode, StoredRows, ZeroRows

__all__ = ["open_draft", "stored_table"]

_PLACINGS = {
    Sharding.ROW_WISE: Placing.ROW_WISE,
    Sharding.GRID: Placing.ROW_WISE,
    Sharding.COLUMN_WISE: Placing.COLUMN_WISE,
}


def open_draft(snapshot: Snapshot, context: Context) -> Draft:
    """All readable tables of a snapshot. Others are no tables to a migration: their entries are kept as they lie."""
    tables = [table for table in snapshot.index.survey.values() if isinstance(table, Table)]
    times = Counter(table.name for table in tables)
    drafts: dict[str, TableDraft] = {}
    for table in tables:
        name = table.name if times[table.name] == 1 else table.weight.path
        drafts[name] = stored_table(snapshot, table, name, context)
    return Draft(snapshot, drafts, world_size=snapshot.manifest.world_size)


def stored_table(snapshot: Snapshot, table: Table, name: str, context: Context) -> TableDraft:
    """One table as it is stored, under a name of its own."""
    state = tuple(_state(snapshot, table, found) for found in table.state)
    return TableDraft(
        name=name,
        weight_path=table.weight.path,
        origin=table,
        rows=StoredRows(snapshot.reader(table.weight)),
        state=state,
        state_form=StateForm.TENSOR,
        placement=_placement(table),
        entities=_entities(snapshot, table, context),
    )


def _state(snapshot: Snapshot, table: Table, state: TableState) -> StateDraft:
    shape = state.array.shape
    if len(shape) > 2:  # no rows; it cannot follow any
        nothing = ZeroRows(0, 1, to_numpy(state.array.dtype))
        return StateDraft(state.array.path, StateLayout.OTHER, shape, nothing)
    rows: RowNode = StoredRows(snapshot.reader(state.array))
    if state.layout is StateLayout.OTHER and len(shape) == 2 and shape[0] == table.num_embeddings:
        return StateDraft(state.array.path, StateLayout.ELEMENT_WISE, shape[1:], rows)  # beside fused 8-bit rows
    match state.layout:
        case StateLayout.SINGLE | StateLayout.OTHER:
            return StateDraft(state.array.path, state.layout, shape, rows)
        case StateLayout.ROW_WISE_PER_COLUMN_SHARD:
            widths = [end - start for start, end in pairwise((*column_cuts(table.weight), table.embedding_dim))]
            folded = FoldedRows(rows, table.num_embeddings, widths)
            return StateDraft(state.array.path, StateLayout.ROW_WISE, (), folded)
    return StateDraft(state.array.path, state.layout, shape[1:], rows)


def _placement(table: Table) -> Placement:
    kind = _PLACINGS.get(table.sharding, Placing.TABLE_WISE)
    if kind is Placing.TABLE_WISE:
        return Placement(kind, (min(table.ranks, default=0),))
    if kind is Placing.COLUMN_WISE:
        holders = {piece.offsets[1]: piece.rank for piece in table.weight.pieces}
        return Placement(kind, tuple(rank for _, rank in sorted(holders.items())))
    return Placement(kind, table.ranks)


def _entities(snapshot: Snapshot, table: Table, context: Context) -> Entities | None:
    known = {} if snapshot.sidecar is None else snapshot.sidecar.tables
    recorded = known.get(table.weight.path) or known.get(table.name)
    return None if recorded is None else context.recorded(recorded.uri, recorded.fingerprint)
