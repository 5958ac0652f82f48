"""Which old row each row of a new table takes, where a row map says so.

Shape suffixes: V rows of the new table, N entities.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embsnap.config.embedding import EmbeddingBagConfig
from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.kernels.hashing import fingerprint, id_keys, row_keys
from embsnap.kernels.join import join
from embsnap.model.findings import Finding
from embsnap.model.remap import NOT_LISTED, Remap
from embsnap.model.vocabulary import IdType, Vocabulary
from embsnap.ops.vocabulary_findings import entity_text, refuse_errors
from embsnap.ops.warmstart.donors import donor_row, donor_rows, needs_occupied_rows
from embsnap.ops.warmstart.new_vocabulary import check_new, reserved_range
from embsnap.ops.warmstart.result import Alignment, RowCounts
from embsnap.ops.warmstart.sources import OldTable, Sources, VocabularyRef
from embsnap.ops.warmstart.table_mapping import TableMapping

__all__ = ["map_by_remap"]


@dataclass(frozen=True, slots=True, eq=False)
class _New:
    """The entities of the new table, by its vocabulary or by the row map itself."""

    vocabulary: Vocabulary | None
    ref: VocabularyRef | None
    rows_N: NDArray[np.int64]
    """Rows of entities that take no old row, ascending."""
    keys_N: NDArray[np.uint64]
    """What their initial rows are drawn from."""
    findings: tuple[Finding, ...] = ()


def map_by_remap(table: EmbeddingBagConfig, old: OldTable, sources: Sources, uri: str, threads: int) -> TableMapping:
    """Check a row map against the tables and their vocabularies, and take it over.

    Args:
        table: The new table's config. Its vocabulary, if it has one, says which of the rows that take no old row hold
            an entity; otherwise the row map does.
        old: What it starts from.
        sources: Reads vocabularies and the row map.
        uri: The row map's.
        threads: Of the kernels.

    Raises:
        IncompatibleError: The row map is wrong in itself, or fits neither the tables nor their vocabularies; or no new
            row takes an old one.
        NotFoundError, SnapshotError, StorageError: As `read_remap` and `read_vocabulary`.
    """
    remap = sources.remap(uri, table, old)
    refuse_errors(remap.findings)
    num_carried = int(np.count_nonzero(remap.row_V >= 0))
    if not num_carried:
        raise _nothing_carried(remap, old)
    if table.vocab is not None:
        new = _by_vocabulary(table, remap, sources, threads)
    else:
        new = _by_row_map(table, remap, sources, threads)
    old_vocabulary, old_ref = _old_side(table, old, remap, sources)
    num_new = len(new.rows_N) + (0 if table.vocab is not None else _num_unnamed(table, remap))
    num_dropped = _num_dropped(remap, old, old_vocabulary)
    row_V = np.maximum(remap.row_V, -1, out=remap.row_V)
    counts = RowCounts(num_carried, num_new, num_dropped, 0, len(row_V) - num_carried - num_new)
    return TableMapping(
        Alignment.REMAP,
        counts,
        row_V,
        new.rows_N,
        new.keys_N,
        _donors(table, old_vocabulary, new, threads),
        old_vocabulary.rows_N if old_vocabulary is not None and needs_occupied_rows(table) else None,
        None if old_vocabulary is None else donor_row(table, old_vocabulary),
        num_carried / (num_carried + num_new),
        _weighted_coverage(row_V, new.vocabulary),
        (old_ref, new.ref),
        sum(len(side) for side in (old_vocabulary, new.vocabulary) if side is not None),
        (*remap.findings, *new.findings),
        (uri, _digest(row_V, new, threads)),
    )


def _by_vocabulary(table: EmbeddingBagConfig, remap: Remap, sources: Sources, threads: int) -> _New:
    vocabulary, ref = sources.new_vocabulary(table)
    findings = check_new(vocabulary, table, threads)
    recorded = None if remap.origin is None else remap.origin.new_fingerprint
    if recorded is not None and recorded != ref.fingerprint:
        raise _mismatch(remap, "it was made for another new vocabulary", recorded, f"{ref.fingerprint} ({ref.uri})")
    if recorded is None and remap.id_column is not None:
        _check_entities(sources.entities_of(remap), vocabulary, table.num_embeddings, threads)
    _check_held(remap, vocabulary, reserved_range(table))
    is_new_N = remap.row_V[vocabulary.rows_N] < 0
    rows_N = vocabulary.rows_N[is_new_N]
    order = np.argsort(rows_N)
    keys_N = id_keys(vocabulary.ids, threads=threads)[is_new_N][order]
    return _New(vocabulary, ref, rows_N[order], keys_N, findings)


def _by_row_map(table: EmbeddingBagConfig, remap: Remap, sources: Sources, threads: int) -> _New:
    if remap.id_column is None:
        rows_N = np.flatnonzero(remap.row_V == -1)
        return _New(None, None, rows_N, row_keys(0, len(remap.row_V))[rows_N])
    entities = sources.entities_of(remap)
    findings = check_new(entities, table, threads)
    is_new_N = remap.row_V[entities.rows_N] < 0
    rows_N = entities.rows_N[is_new_N]
    order = np.argsort(rows_N)
    return _New(entities, None, rows_N[order], id_keys(entities.ids, threads=threads)[is_new_N][order], findings)


def _num_unnamed(table: EmbeddingBagConfig, remap: Remap) -> int:
    """Rows that a row map made elsewhere leaves out: new ones, unless they are reserved."""
    if remap.origin is not None:
        return 0
    unnamed_V = remap.row_V == NOT_LISTED
    start, end = reserved_range(table) or (0, 0)
    return int(np.count_nonzero(unnamed_V)) - int(np.count_nonzero(unnamed_V[start:end]))


def _old_side(
    table: EmbeddingBagConfig, old: OldTable, remap: Remap, sources: Sources
) -> tuple[Vocabulary | None, VocabularyRef | None]:
    """The old vocabulary where anything has to be looked up in it; what the row map was made from is checked."""
    pretrained = table.pretrained
    assert pretrained is not None
    made_from = None if remap.origin is None else remap.origin.old_fingerprint
    recorded = old.snapshot.sidecar.tables.get(old.table.name) if old.snapshot.sidecar is not None else None
    if made_from is not None and recorded is not None and made_from != recorded.fingerprint:
        raise _mismatch(remap, "it was made from another old vocabulary", recorded.fingerprint, made_from)
    donor = table.initializer.donor if table.initializer is not None else None
    to_compare = made_from is not None and recorded is None and pretrained.vocab is not None
    if not (needs_occupied_rows(table) or donor is not None or to_compare):
        return None, None
    vocabulary, ref = sources.old_vocabulary(table, old)
    if made_from is not None and made_from != ref.fingerprint:
        raise _mismatch(remap, "it was made from another old vocabulary", f"{ref.fingerprint} ({ref.uri})", made_from)
    return vocabulary, ref


def _check_entities(named: Vocabulary, vocabulary: Vocabulary, num_rows: int, threads: int) -> None:
    """Refuse a row map that gives an entity another row than the vocabulary does, or names one that is not in it."""
    if named.id_type is not vocabulary.id_type:
        raise IncompatibleError(
            ErrorKind.ID_TYPE_MISMATCH,
            "the row map has ids of another type than the table's vocabulary",
            where=named.uri,
            expected=f"{vocabulary.id_type} ids as in {vocabulary.uri}",
            found=f"{named.id_type} ids",
            hint="write the ids of both in one type",
        )
    joined = join(vocabulary.ids, vocabulary.rows_N, named.ids, named.rows_N, num_rows, threads=threads)
    wrong = np.flatnonzero(joined.row_V[named.rows_N] != named.rows_N)
    if len(wrong):
        examples = ", ".join(f"{entity_text(named, i)} in row {named.rows_N[i]}" for i in wrong[:3].tolist())
        raise IncompatibleError(
            ErrorKind.VOCABULARY_MISMATCH,
            f"{len(wrong):,} of its records name an entity in another row than the table's vocabulary",
            where=named.uri,
            expected=f"the entities of {vocabulary.uri}",
            found=examples,
            hint="make the row map for this vocabulary",
        )


def _check_held(remap: Remap, vocabulary: Vocabulary, reserved: tuple[int, int] | None) -> None:
    """Refuse a row map that fills rows which no entity of the table's vocabulary holds."""
    unheld_V = remap.row_V >= 0
    unheld_V[vocabulary.rows_N] = False
    if reserved is not None:
        unheld_V[slice(*reserved)] = False
    unheld = np.flatnonzero(unheld_V)
    if len(unheld):
        raise IncompatibleError(
            ErrorKind.VOCABULARY_MISMATCH,
            f"it gives old rows to {len(unheld):,} new rows that hold no entity",
            where=remap.uri,
            expected=f"rows of the entities of {vocabulary.uri}",
            found=f"new_row {', '.join(map(str, unheld[:3].tolist()))}",
            hint="make the row map for this vocabulary",
        )


def _num_dropped(remap: Remap, old: OldTable, vocabulary: Vocabulary | None) -> int:
    is_taken = np.zeros(old.table.num_embeddings, np.bool_)
    is_taken[remap.row_V[remap.row_V >= 0]] = True
    if vocabulary is not None:
        return len(vocabulary) - int(np.count_nonzero(is_taken[vocabulary.rows_N]))
    made_from = None if remap.origin is None else remap.origin.old_fingerprint
    parts = (made_from or "").split(":")
    num_old = int(parts[2]) if len(parts) == 4 and parts[2].isdecimal() else old.table.num_embeddings
    return max(0, num_old - int(np.count_nonzero(is_taken)))


def _donors(table: EmbeddingBagConfig, old: Vocabulary | None, new: _New, threads: int) -> NDArray[np.int64] | None:
    if old is None or new.vocabulary is None:
        return None
    return donor_rows(old, new.vocabulary, new.rows_N, table.num_embeddings, threads)


def _weighted_coverage(row_V: NDArray[np.int64], vocabulary: Vocabulary | None) -> float | None:
    if vocabulary is None or vocabulary.counts_N is None:
        return None
    total = int(vocabulary.counts_N.sum())
    return int(vocabulary.counts_N[row_V[vocabulary.rows_N] >= 0].sum()) / total if total else None


def _digest(row_V: NDArray[np.int64], new: _New, threads: int) -> str:
    """All of the row map that decides which bytes are written."""
    new_rows_N = np.flatnonzero(row_V >= 0)
    carried = fingerprint(IdType.INT64, new_rows_N, row_V[new_rows_N], threads=threads)
    return f"{carried} {fingerprint(IdType.UINT64, new.keys_N, new.rows_N, threads=threads)}"


def _mismatch(remap: Remap, problem: str, expected: str, found: str) -> IncompatibleError:
    hint = "make the row map again: embsnap vocab align"
    kind = ErrorKind.VOCABULARY_MISMATCH
    return IncompatibleError(kind, problem, where=remap.uri, expected=expected, found=found, hint=hint)


def _nothing_carried(remap: Remap, old: OldTable) -> IncompatibleError:
    return IncompatibleError(
        ErrorKind.ZERO_OVERLAP,
        "no new row takes an old one",
        where=remap.uri,
        expected=f"some rows of {old.table.name} in {old.snapshot.uri}",
        found="no old row at all",
        hint="check that the row map belongs to this table, and that old_row is filled",
    )
