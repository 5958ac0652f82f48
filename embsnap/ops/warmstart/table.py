"""One planned table of a warm start: its row map, its initializer, and the sources of its weight and state."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from embsnap.config.embedding import EmbeddingBagConfig, OptimizerStatePolicy, ReservedPolicy
from embsnap.formats.dtypes import to_numpy
from embsnap.formats.torchsnapshot.writer import ArrayToWrite
from embsnap.model.dtypes import DType
from embsnap.model.findings import Finding
from embsnap.ops.warmstart.fetching import Fetching
from embsnap.ops.warmstart.initial_rows import InitialRows, OldRows, resolve_initializer
from embsnap.ops.warmstart.mapping import map_table
from embsnap.ops.warmstart.paths import weight_path
from embsnap.ops.warmstart.peers import WHOLE, Share, alike, together
from embsnap.ops.warmstart.result import Alignment, RowCounts
from embsnap.ops.warmstart.rows import WarmRows
from embsnap.ops.warmstart.sources import OldTable, Sources, VocabularyRef, check_dim, new_dtype
from embsnap.ops.warmstart.state import OptimizerStateForm, carries_state, plan_state
from embsnap.ops.warmstart.state_rows import CarriedState, FoldedState
from embsnap.ops.warmstart.table_mapping import TableMapping
from embsnap.ops.warmstart.tap import Tap

__all__ = ["PlannedTable", "plan_table"]

_ENTITY_BYTES = 40
"""Most that an entity takes while vocabularies are joined: id and row, both once more by partition, and the row map."""


@dataclass(frozen=True, slots=True, eq=False)
class PlannedTable:
    """One new table and where its rows come from."""

    name: str
    weight_to_write: ArrayToWrite
    state_to_write: tuple[ArrayToWrite, ...]
    rows: WarmRows
    """The weight's rows, without the tap."""
    tap: Tap
    old: OldTable | None
    vocabulary: VocabularyRef | None
    alignment: Alignment
    counts: RowCounts
    coverage: float | None
    weighted_coverage: float | None
    initializer: str
    description: dict[str, object]
    """All that decides its bytes, as JSON values."""
    num_entities: int
    """In both vocabularies together."""
    findings: tuple[Finding, ...]
    row_map: str | None
    """URI of the row map that was given."""
    state_policy: OptimizerStatePolicy
    num_mapped_rows: int
    """How many rows of its row map are filled in."""

    @property
    def num_bytes_to_read(self) -> int:
        """Of carried rows and their state."""
        if self.old is None:
            return 0
        carried = self.counts.carried + self.counts.reserved
        arrays = [self.old.table.weight, *(state.array for state in self.old.table.state)]
        return sum(array.num_bytes * carried // max(1, self.old.table.num_embeddings) for array in arrays)

    @property
    def sources(self) -> list[WarmRows | CarriedState | FoldedState]:
        """Of the rows of its weight, and of each state."""
        states = [array.source for array in self.state_to_write]
        return [self.rows, *(source for source in states if isinstance(source, CarriedState | FoldedState))]

    @property
    def fetchings(self) -> list[Fetching]:
        """Of its arrays' old rows, for the time in which they are written."""
        return [source.fetching for source in self.sources if source.fetching is not None]

    @property
    def num_planning_bytes(self) -> int:
        """Of its two vocabularies and their join, while it was planned."""
        return _ENTITY_BYTES * self.num_entities

    @property
    def num_map_bytes(self) -> int:
        """Of its row map and entity keys, held until it is written."""
        arrays = (self.rows.new_rows_N, self.rows.new_keys_N, self.rows.donor_row_N)
        return 8 * self.num_mapped_rows + sum(array.nbytes for array in arrays if array is not None)


def plan_table(
    table: EmbeddingBagConfig,
    sources: Sources,
    *,
    prefix: str,
    optimizer_state: OptimizerStateForm,
    identical: bool,
    threads: int,
    log_norm: bool,
    row_map: str | None = None,
    share: Share = WHOLE,
) -> PlannedTable:
    """Check one table's sources against its config and map its rows, together with others that have a share in it."""
    old, dtype = alike(
        share.peers,
        lambda: _old_side(table, sources, optimizer_state),
        lambda found: _told(found[0]),
        f"table {table.name}",
    )
    mapping = map_table(table, old, sources, identical=identical, threads=threads, row_map=row_map, share=share)
    initial = resolve_initializer(table, _drawn_from(old, mapping, share))

    def planned() -> PlannedTable:
        state = plan_state(table, old, mapping, prefix, optimizer_state, is_whole=share.wanted is None)
        return _planned(table, old, dtype, mapping, initial, prefix, state, log_norm=log_norm)

    return together(share.peers, planned)


def _drawn_from(old: OldTable | None, mapping: TableMapping, share: Share) -> OldRows | None:
    """What new rows may be drawn from; a table that is carried by position has none."""
    if old is None or mapping.alignment is Alignment.POSITION:
        return None
    where = f"{old.table.name} in {old.snapshot.uri}"
    return OldRows(old.weight, where, mapping.old_rows_N, mapping.donor_row, share.peers)


def _old_side(
    table: EmbeddingBagConfig, sources: Sources, optimizer_state: OptimizerStateForm
) -> tuple[OldTable | None, DType]:
    with_state = carries_state(table, optimizer_state)
    old = None if table.pretrained is None else sources.old_table(table.pretrained, with_state=with_state)
    if old is not None:
        check_dim(table, old)
    return old, new_dtype(table, old)


def _told(old: OldTable | None) -> str:
    """Which table of which snapshot.

    Two snapshots of torchsnapshot's own can have the same metadata, so the URI tells them apart; ranks that spell one
    place in two ways have to agree on one.
    """
    if old is None:
        return "no old table"
    return f"{old.table.weight.path} in {old.snapshot.uri} with the metadata {old.snapshot.metadata_sha256[:12]}"


def _planned(
    table: EmbeddingBagConfig,
    old: OldTable | None,
    dtype: DType,
    mapping: TableMapping,
    initial: InitialRows,
    prefix: str,
    state_to_write: tuple[ArrayToWrite, ...],
    *,
    log_norm: bool,
) -> PlannedTable:
    rows = _warm_rows(table, old, mapping, initial, to_numpy(dtype))
    tap = Tap(rows, with_norms=log_norm)
    path = weight_path(prefix, table.name)
    shape = (table.num_embeddings, table.embedding_dim)
    return PlannedTable(
        name=table.name,
        weight_to_write=ArrayToWrite(path, dtype, shape, tap, "sharded"),
        state_to_write=state_to_write,
        rows=rows,
        tap=tap,
        old=old,
        vocabulary=mapping.vocabularies[1],
        alignment=mapping.alignment,
        counts=mapping.counts,
        coverage=mapping.coverage,
        weighted_coverage=mapping.weighted_coverage,
        initializer=initial.description,
        description=_describe(table, old, mapping, dtype.name),
        num_entities=mapping.num_entities,
        findings=mapping.findings,
        row_map=None if mapping.row_map is None else mapping.row_map[0],
        state_policy=table.optimizer_state,
        num_mapped_rows=_num_mapped_rows(mapping),
    )


def _num_mapped_rows(mapping: TableMapping) -> int:
    whole = 0 if mapping.row_V is None else len(mapping.row_V)
    return whole if mapping.num_mapped_rows is None or mapping.row_V is None else mapping.num_mapped_rows


def _warm_rows(
    table: EmbeddingBagConfig, old: OldTable | None, mapping: TableMapping, initial: InitialRows, dtype: np.dtype[Any]
) -> WarmRows:
    zeros = table.reserved if table.reserved is not None and table.reserved.policy is ReservedPolicy.ZEROS else None
    wanted = (mapping.row_V, mapping.donor_row_N)
    empty = WarmRows(table.name, table.num_embeddings, table.embedding_dim, dtype, initial)
    return replace(
        empty,
        old=None if old is None else old.weight,
        fetching=None if old is None else old.fetching(old.weight, wanted, table.num_embeddings),
        row_V=mapping.row_V,
        new_rows_N=empty.new_rows_N if mapping.new_rows_N is None else mapping.new_rows_N,
        new_keys_N=empty.new_keys_N if mapping.new_keys_N is None else mapping.new_keys_N,
        donor_row_N=mapping.donor_row_N,
        zero_rows=range(0) if zeros is None else range(zeros.start, zeros.end),
    )


def _describe(
    table: EmbeddingBagConfig,
    old: OldTable | None,
    mapping: TableMapping,
    dtype: str,
) -> dict[str, object]:
    old_ref, new_ref = mapping.vocabularies
    described = {} if mapping.row_map is None else {"row_map": mapping.row_map[1]}
    return {
        **described,
        "name": table.name,
        "shape": [table.num_embeddings, table.embedding_dim],
        "dtype": dtype,
        "source": None if old is None else [old.snapshot.metadata_sha256, old.table.weight.path],
        "alignment": mapping.alignment.value,
        "old_vocabulary": None if old_ref is None else old_ref.fingerprint,
        "new_vocabulary": None if new_ref is None else new_ref.fingerprint,
        "initializer": table.initializer_or_default.model_dump(mode="json"),
        "donors": mapping.described_donors,
        "optimizer_state": table.optimizer_state.value,
        "column_state": table.column_state.value,
        "reserved": None if table.reserved is None else table.reserved.model_dump(mode="json"),
    }
