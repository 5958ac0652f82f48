"""Checking a vocabulary against its table, and turning two vocabularies into a row map.

Shape suffixes: N entities, V rows of a table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.kernels.hashing import fingerprint
from embsnap.kernels.join import Join, Joined, duplicates_of, join
from embsnap.kernels.rows import RowCheck, check_rows
from embsnap.kernels.threads import run
from embsnap.model.findings import Finding, Severity
from embsnap.model.rowmap import RowMap
from embsnap.model.vocabulary import Vocabulary
from embsnap.ops.vocab_gaps import holes_of, undeclared_gaps
from embsnap.ops.vocabulary_findings import duplicate_ids, entity_text, gaps, refuse_errors, row_errors

__all__ = ["align", "check_vocabulary", "fingerprint_of", "gap_notes"]

_OLD_REMEDY = "give the vocabulary that the snapshot was trained with"
_NEW_REMEDY = "raise num_embeddings above it, or drop those entities"


def check_vocabulary(
    vocabulary: Vocabulary, num_embeddings: int | None, *, reserved: tuple[int, int] | None = None, threads: int = 1
) -> tuple[Finding, ...]:
    """All that is wrong with one vocabulary: duplicate ids, duplicate rows, gaps, rows beyond the table.

    Args:
        vocabulary: As read.
        num_embeddings: Rows of its table; None to let it have as many as it needs.
        reserved: Rows `[start, end)` that need no entity.
        threads: For the kernels.

    Returns:
        Errors with counts and examples, after the findings of reading it.
    """
    check = check_rows(vocabulary.rows_N, num_embeddings)
    return (
        *vocabulary.findings,
        *duplicate_ids(vocabulary, duplicates_of(vocabulary.ids, threads=threads)),
        *row_errors(vocabulary, check, num_embeddings, remedy=_NEW_REMEDY),
        *gaps(vocabulary, check, num_embeddings, reserved, Severity.ERROR),
    )


def align(
    old: Vocabulary,
    new: Vocabulary,
    *,
    num_new_rows: int,
    num_old_rows: int,
    reserved: tuple[int, int] | None = None,
    threads: int = 1,
    join: Join = join,
) -> tuple[RowMap, tuple[Finding, ...]]:
    """Where each row of the new table comes from, following the entities.

    Args:
        old: The vocabulary that the snapshot was trained with.
        new: The vocabulary to come.
        num_new_rows: V of the new table.
        num_old_rows: Rows of the snapshot's table.
        reserved: Rows `[start, end)` of the new table that need no entity, and so are no gap.
        threads: For the kernels.
        join: What joins the ids.

    Returns:
        The row map, and what the two vocabularies' findings and the new one's gaps are. Nothing of it is an error.

    Raises:
        IncompatibleError: `id-type-mismatch`; `row-out-of-range`, `duplicate-rows` or `duplicate-ids` on either side;
            `zero-overlap`: no entity is in both.
    """
    if old.id_type is not new.id_type:
        raise _type_mismatch(old, new)
    old_check, new_check = run(
        [partial(check_rows, old.rows_N, num_old_rows), partial(check_rows, new.rows_N, num_new_rows)], threads
    )
    wrong_rows = [
        *row_errors(old, old_check, num_old_rows, remedy=_OLD_REMEDY),
        *row_errors(new, new_check, num_new_rows, remedy=_NEW_REMEDY),
    ]
    if wrong_rows:
        twice = [duplicate_ids(side, duplicates_of(side.ids, threads=threads)) for side in (old, new)]
        refuse_errors([*wrong_rows, *twice[0], *twice[1]])
    # Beside both vocabularies, half of the keys at a time is enough.
    sides = (old.ids, old.rows_N, new.ids, new.rows_N)
    joined = join(*sides, num_new_rows, counts_N=new.counts_N, passes=2, threads=threads)
    refuse_errors(duplicate_ids(old, joined.old_duplicates) + duplicate_ids(new, joined.new_duplicates))
    if not joined.num_carried:
        raise _zero_overlap(old, new)
    return _row_map(joined, num_old_rows), (
        *old.findings,
        *new.findings,
        *gap_notes(new, new_check, num_new_rows, reserved, partial(holes_of, new.rows_N, num_new_rows)),
    )


def gap_notes(
    vocabulary: Vocabulary,
    check: RowCheck,
    num_rows: int,
    reserved: tuple[int, int] | None,
    holes: Callable[[], NDArray[np.int64]],
) -> Sequence[Finding]:
    """A note of rows without an entity that neither the caller nor the vocabulary itself declares.

    Args:
        vocabulary: None of its rows is out of range.
        check: Of its rows.
        num_rows: Of the table.
        reserved: Rows `[start, end)` that need no entity.
        holes: Finds all ranges of rows without one (`embsnap.ops.vocab_gaps.holes_of`).
    """
    declared = vocabulary.declared
    if declared is None or not check.num_gap_rows:
        return gaps(vocabulary, check, num_rows, reserved, Severity.NOTE)
    ranges = (*declared.special, *declared.free, *(() if reserved is None else (reserved,)))
    return [replace(finding, severity=Severity.NOTE) for finding in undeclared_gaps(vocabulary.uri, holes(), ranges)]


def fingerprint_of(vocabulary: Vocabulary, *, threads: int = 1) -> str:
    """The same for the same ids at the same rows, whatever the order and the files: `v1:int64:3:…`."""
    return fingerprint(vocabulary.id_type, vocabulary.ids, vocabulary.rows_N, threads=threads)


def _row_map(joined: Joined, num_old_rows: int) -> RowMap:
    return RowMap(
        row_V=joined.row_V,
        num_old_rows=num_old_rows,
        new_rows_N=joined.new_rows_N,
        new_keys_N=joined.new_keys_N,
        num_carried=joined.num_carried,
        num_dropped=joined.num_dropped,
        carried_weight=joined.carried_weight,
        total_weight=joined.total_weight,
    )


def _some_ids(vocabulary: Vocabulary) -> str:
    return ", ".join(entity_text(vocabulary, index) for index in range(min(3, len(vocabulary)))) or "no ids"


def _type_mismatch(old: Vocabulary, new: Vocabulary) -> IncompatibleError:
    return IncompatibleError(
        ErrorKind.ID_TYPE_MISMATCH,
        "the new vocabulary has ids of another type than the old one, so that none would match",
        where=new.uri,
        expected=f"{old.id_type} ids as in {old.uri} (such as {_some_ids(old)})",
        found=f"{new.id_type} ids (such as {_some_ids(new)})",
        hint="write the ids of both vocabularies in one type",
    )


def _zero_overlap(old: Vocabulary, new: Vocabulary) -> IncompatibleError:
    return IncompatibleError(
        ErrorKind.ZERO_OVERLAP,
        "no entity of the new vocabulary is in the old one",
        where=new.uri,
        expected=f"some of the {len(old):,} ids of {old.uri} (such as {_some_ids(old)})",
        found=f"{len(new):,} other ids (such as {_some_ids(new)})",
        hint="check that both belong to the same table, and that ids are written alike on both sides",
    )
