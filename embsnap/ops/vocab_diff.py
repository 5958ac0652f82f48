"""How two vocabularies differ.

Shape suffixes: A and B entities of the two sides, S entities that both have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.formats.vocabulary import VocabularyColumns, read_vocabulary
from embsnap.kernels.join import Joined, join
from embsnap.model.findings import Finding
from embsnap.model.progress import SILENT, Progress
from embsnap.model.vocab_diff import CountChange, DiffedVocab, MovedEntity, VocabDiff
from embsnap.model.vocabulary import Vocabulary
from embsnap.ops.vocab_entities import entities_at, exact_sum, id_of, largest
from embsnap.ops.vocabulary import fingerprint_of
from embsnap.ops.vocabulary_findings import duplicate_ids

__all__ = ["VocabDiffOptions", "compare_vocabularies", "diff_vocabularies"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VocabDiffOptions:
    """How to read both, and how much to show."""

    columns: VocabularyColumns = field(default_factory=VocabularyColumns)
    """Of both."""
    num_shown: int = 5
    """Entities in each list."""
    threads: int = 1
    storage_options: Mapping[str, str] = field(default_factory=dict)


def diff_vocabularies(
    uri_a: str, uri_b: str, options: VocabDiffOptions | None = None, *, progress: Progress = SILENT
) -> VocabDiff:
    """Compare two vocabularies by entity id. Of an id that stands twice on one side the first record counts.

    Raises:
        IncompatibleError: `id-type-mismatch`: their ids are of different types; or as `read_vocabulary` says.
        NotFoundError: No parquet file is there.
        SnapshotError: `bad-parquet`: a file is damaged.
        StorageError: The storage failed.
    """
    options = options or VocabDiffOptions()
    a, b = (
        read_vocabulary(
            uri,
            columns=options.columns,
            options=options.storage_options,
            threads=options.threads,
            progress=progress,
        )
        for uri in (uri_a, uri_b)
    )
    return compare_vocabularies(a, b, options)


def compare_vocabularies(a: Vocabulary, b: Vocabulary, options: VocabDiffOptions | None = None) -> VocabDiff:
    """The same for vocabularies in memory.

    Raises:
        IncompatibleError: `id-type-mismatch`.
    """
    options = options or VocabDiffOptions()
    if a.id_type is not b.id_type:
        raise _type_mismatch(a, b)
    joined = join(a.ids, np.arange(len(a)), b.ids, np.arange(len(b)), len(b), threads=options.threads)
    return _Comparison(a, b, joined, options).result()


class _Comparison:
    """Two vocabularies, and which of their entities are the same."""

    def __init__(self, a: Vocabulary, b: Vocabulary, joined: Joined, options: VocabDiffOptions) -> None:
        self._a, self._b, self._joined, self._options = a, b, joined, options
        self._at_b_S = np.flatnonzero(joined.row_V >= 0)
        self._at_a_S = joined.row_V[self._at_b_S]
        self._only_a = _only_a(a, b, joined, self._at_a_S, options.threads)
        self._only_b = joined.new_rows_N

    def result(self) -> VocabDiff:
        """All of it."""
        a, b, num_shared = self._a, self._b, len(self._at_b_S)
        (moved,) = np.nonzero(a.rows_N[self._at_a_S] != b.rows_N[self._at_b_S])
        num_either = num_shared + len(self._only_a) + len(self._only_b)
        num_changed, top_movers = self._count_changes()
        side_a, side_b = self._side(a, self._at_a_S, self._only_a), self._side(b, self._at_b_S, self._only_b)
        same_rows = side_a.fingerprint == side_b.fingerprint
        return VocabDiff(
            a=side_a,
            b=side_b,
            id_type=a.id_type,
            num_shared=num_shared,
            overlap=num_shared / num_either if num_either else None,
            weighted_overlap=self._weighted_overlap(),
            num_moved=len(moved),
            moved=tuple(map(self._moved, moved[: self._options.num_shown].tolist())),
            num_counts_changed=num_changed,
            top_movers=top_movers,
            same_rows=same_rows,
            same=same_rows and not num_changed,
            findings=self._findings(),
        )

    def _side(self, side: Vocabulary, shared_S: NDArray[np.int64], only: NDArray[np.int64]) -> DiffedVocab:
        counts_N, num_shown = side.counts_N, self._options.num_shown
        shown = only[:num_shown] if counts_N is None else only[largest(counts_N[only], num_shown, side.rows_N[only])]
        shared = None if counts_N is None else exact_sum(counts_N[shared_S])
        total = None if counts_N is None or shared is None else shared + exact_sum(counts_N[only])
        return DiffedVocab(
            uri=side.uri,
            num_entities=len(shared_S) + len(only),
            fingerprint=fingerprint_of(side, threads=self._options.threads),
            num_only=len(only),
            only=entities_at(side, shown.tolist()),
            total_count=total,
            shared_weight=shared / total if total and shared is not None else None,
        )

    def _id(self, at_b: int) -> int | str:
        return id_of(self._b.ids, self._b.id_type, at_b)

    def _moved(self, s: int) -> MovedEntity:
        at_a, at_b = self._at_a_S[s], int(self._at_b_S[s])
        return MovedEntity(self._id(at_b), int(self._a.rows_N[at_a]), int(self._b.rows_N[at_b]))

    def _count_changes(self) -> tuple[int | None, tuple[CountChange, ...]]:
        if self._a.counts_N is None or self._b.counts_N is None:
            return None, ()
        counts_a_S, counts_b_S = self._a.counts_N[self._at_a_S], self._b.counts_N[self._at_b_S]
        change_S = np.abs(counts_b_S - counts_a_S)
        num_changed = int(np.count_nonzero(change_S))
        top = largest(change_S, min(self._options.num_shown, num_changed), self._b.rows_N[self._at_b_S])
        ids = (self._id(int(self._at_b_S[s])) for s in top)
        return num_changed, tuple(
            CountChange(name, int(counts_a_S[s]), int(counts_b_S[s])) for name, s in zip(ids, top, strict=True)
        )

    def _weighted_overlap(self) -> float | None:
        a_N, b_N = self._a.counts_N, self._b.counts_N
        if a_N is None or b_N is None:
            return None
        shared_a, shared_b = a_N[self._at_a_S], b_N[self._at_b_S]
        only = exact_sum(a_N[self._only_a]) + exact_sum(b_N[self._only_b])
        either = exact_sum(np.maximum(shared_a, shared_b)) + only
        return exact_sum(np.minimum(shared_a, shared_b)) / either if either else None

    def _findings(self) -> tuple[Finding, ...]:
        a, b, joined = self._a, self._b, self._joined
        duplicates = (*duplicate_ids(a, joined.old_duplicates), *duplicate_ids(b, joined.new_duplicates))
        return (*a.findings, *b.findings, *duplicates)


def _only_a(
    a: Vocabulary, b: Vocabulary, joined: Joined, shared_S: NDArray[np.int64], threads: int
) -> NDArray[np.int64]:
    """Indices of the entities that B has not; of an id that stands twice the first."""
    is_only_A = np.ones(len(a), np.bool_)
    is_only_A[shared_S] = False
    only = np.flatnonzero(is_only_A)
    if len(only) == joined.num_dropped:
        return only
    return join(b.ids, np.arange(len(b)), a.ids, np.arange(len(a)), len(a), threads=threads).new_rows_N


def _type_mismatch(a: Vocabulary, b: Vocabulary) -> IncompatibleError:
    return IncompatibleError(
        ErrorKind.ID_TYPE_MISMATCH,
        "the two vocabularies have ids of different types, so that none would match",
        where=b.uri,
        expected=f"{a.id_type} ids, as in {a.uri}",
        found=f"{b.id_type} ids",
        hint="write the ids of both vocabularies in one type",
    )
