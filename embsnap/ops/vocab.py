"""`embsnap.Vocab`: a vocabulary in hand, with what can be done with one as methods.

Shape suffixes: N entities or ids in hand.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.formats.counted_ids import CountedIds
from embsnap.formats.vocabulary import VocabularyColumns, read_vocabulary
from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.model.rowmap import RowMap
from embsnap.model.vocab_diff import VocabDiff
from embsnap.model.vocabulary import BytesIds, Declared, IdType, Vocabulary
from embsnap.ops.id_batches import arrow_ids, ids_of, integers
from embsnap.ops.vocab_align import AlignOptions, align_vocabularies
from embsnap.ops.vocab_build import BuildOptions, BuildResult, build_vocabulary
from embsnap.ops.vocab_diff import VocabDiffOptions, compare_vocabularies
from embsnap.ops.vocab_extend import extend_vocabulary
from embsnap.ops.vocab_extension import ExtendOptions, ExtendResult
from embsnap.ops.vocab_index import Oov, VocabIndex
from embsnap.ops.vocabulary import check_vocabulary, fingerprint_of
from embsnap.ops.vocabulary_findings import refuse_errors
from embsnap.storage.uri import Uri

__all__ = ["Vocab"]

_IN_MEMORY = "a vocabulary in memory"


class Vocab:
    """Entity ids and the row of each. It is a value: what changes a vocabulary returns another.

        >>> monday = Vocab.from_numpy(np.array([70, 50, 60]), counts=np.array([9, 8, 1]))
        >>> monday.lookup([60, 99]).tolist()
        [2, -1]
        >>> monday.extend([60, 80], counts=[5, 4]).lookup([70, 80]).tolist()
        [0, 3]

    Attributes:
        vocabulary: What the operations in `embsnap.ops` take.
        report: What `build` or `extend` has to say about it; otherwise None.
    """

    def __init__(self, vocabulary: Vocabulary, report: BuildResult | ExtendResult | None = None) -> None:
        """Wrap a vocabulary that is there already."""
        self.vocabulary, self.report = vocabulary, report

    @classmethod
    def read(
        cls,
        uri: Uri,
        *,
        columns: VocabularyColumns | None = None,
        threads: int = 1,
        options: Mapping[str, str] | None = None,
    ) -> Vocab:
        """Read parquet files; arguments and errors are `embsnap.read_vocabulary`'s."""
        return cls(read_vocabulary(uri, columns=columns, threads=threads, options=options))

    @classmethod
    def from_numpy(cls, ids: Any, rows: Any = None, counts: Any = None, *, declared: Declared | None = None) -> Vocab:
        """Take over arrays; contiguous ones of int64 (ids of uint64 too) are not copied, and are not to be changed.

        Args:
            ids: N distinct ids: integers, strings or bytes.
            rows: Of each, each once; 0, 1, 2, … if left out.
            counts: How often each was seen.
            declared: Reserved, free and OOV rows; `num_rows` is what all of them need if it is left out.

        Raises:
            IncompatibleError: `bad-vocabulary`: no ids, columns of different lengths, or a row or count below 0;
                `id-type-mismatch`; `null-ids`.
        """
        id_type, batch = ids_of(ids)
        rows_N = np.arange(len(batch)) if rows is None else integers(rows, "rows")
        counts_N = None if counts is None else integers(counts, "counts")
        for name, values_N in (("row", rows_N), ("count", counts_N)):
            if values_N is not None and (len(values_N) != len(batch) or values_N.min(initial=0) < 0):
                found = f"{len(values_N)} of them, the smallest {values_N.min(initial=0)}"
                raise _bad(f"its {name}s do not fit its ids", f"{len(batch)} of 0 or more", found)
        if not len(batch):
            raise _bad("it is empty", "at least one entity", "none")
        if declared is not None and declared.num_rows is None:
            ends = (int(rows_N.max()) + 1, *(end for _, end in (*declared.special, *declared.free)))
            declared = replace(declared, num_rows=max(ends))
        return cls(Vocabulary(_IN_MEMORY, id_type, batch, rows_N, counts_N, declared=declared))

    @classmethod
    def from_arrow(cls, table: Any, *, declared: Declared | None = None) -> Vocab:
        """Take over the columns `id`, `row` and perhaps `count` of an Arrow table or record batch.

        Columns of one chunk are not copied if they are int64, uint64 ids, `large_string` or `large_binary`.

        Raises:
            IncompatibleError: `bad-vocabulary`: a column is missing; otherwise as `from_numpy`.
        """
        names = table.schema.names
        if names.count("id") != 1 or names.count("row") != 1:
            raise _bad("its columns do not fit", "one 'id', one 'row' and perhaps one 'count'", str(names))
        counts = table.column("count") if "count" in names else None
        return cls.from_numpy(table.column("id"), table.column("row"), counts, declared=declared)

    @classmethod
    def build(cls, events: str | Sequence[str], options: BuildOptions) -> Vocab:
        """Count the ids of event logs and give the most frequent rows: `embsnap.ops.vocab_build.build_vocabulary`."""
        built = build_vocabulary([events] if isinstance(events, str) else list(events), options)
        return cls(built.vocabulary, built.result)

    def write(self, uri: Uri, *, threads: int = 1, options: Mapping[str, str] | None = None) -> str:
        """Write it as parquet that reads fast, all of it or nothing, and return the file's URI.

        Raises:
            RefusedError: `destination-taken`.
            StorageError: The disk is full, or the storage failed.
        """
        return write_vocabulary(self.vocabulary, os.fspath(uri), threads=threads, options=options)

    def extend(self, ids: Any, counts: Any = None, options: ExtendOptions | None = None) -> Vocab:
        """Bring it up to date with the ids seen since: `embsnap.ops.vocab_extend.extend_vocabulary`.

        Args:
            ids: Distinct ids of this vocabulary's type, or a `Vocab` whose ids and counts are taken.
            counts: How often each was seen.
            options: Size, eviction, decay.
        """
        if not isinstance(ids, Vocab):
            _, batch = ids_of(ids, self.id_type)
            none = np.arange(len(batch))
            seen = Vocabulary("the ids given", self.id_type, batch, none)
            seen_counts = None if counts is None else integers(counts, "counts")
        else:
            seen, seen_counts = ids.vocabulary, ids.vocabulary.counts_N
        if seen_counts is not None and (len(seen_counts) != len(seen) or seen_counts.min(initial=0) < 0):
            found = f"{len(seen_counts)} of them, the smallest {seen_counts.min(initial=0)}"
            raise _bad("the counts do not fit the ids", f"{len(seen)} of 0 or more", found)
        refuse_errors(check_vocabulary(Vocabulary(seen.uri, seen.id_type, seen.ids, np.arange(len(seen))), None))
        counted = CountedIds.of(seen.id_type, seen.ids, seen_counts)
        extended = extend_vocabulary(self.vocabulary, counted, options)
        return Vocab(extended.vocabulary, extended.result)

    def align(self, new: Vocab, options: AlignOptions | None = None) -> RowMap:
        """Where each row of the new vocabulary's table comes from: `embsnap.ops.vocab_align.align_vocabularies`."""
        return align_vocabularies(self.vocabulary, new.vocabulary, options).row_map

    def diff(self, other: Vocab, options: VocabDiffOptions | None = None) -> VocabDiff:
        """How the other one differs: `embsnap.ops.vocab_diff.compare_vocabularies`."""
        return compare_vocabularies(self.vocabulary, other.vocabulary, options)

    def index(self, *, oov: tuple[int, int] | None = None, threads: int = 1) -> VocabIndex:
        """An index for looking up many batches: `embsnap.ops.vocab_index.VocabIndex.build`."""
        return VocabIndex.build(self.vocabulary, oov=oov, threads=threads)

    def lookup(self, ids: Any, oov: Oov = "skip") -> NDArray[np.int64]:
        """The row of each id, -1 where there is none: `embsnap.ops.vocab_index.VocabIndex.lookup`.

        The index is built at the first call and kept.
        """
        return self._index.lookup(ids, oov)

    @cached_property
    def _index(self) -> VocabIndex:
        return self.index()

    @property
    def id_type(self) -> IdType:
        """Type of the ids."""
        return self.vocabulary.id_type

    @property
    def ids(self) -> Any:
        """The ids, in their order: a numpy array of int64 or uint64, or an Arrow array of strings or bytes; no copy."""
        ids = self.vocabulary.ids
        return arrow_ids(self.id_type, ids) if isinstance(ids, BytesIds) else ids

    @property
    def rows(self) -> NDArray[np.int64]:
        """The row of each, `int64[N]`; no copy."""
        return self.vocabulary.rows_N

    @property
    def counts(self) -> NDArray[np.int64] | None:
        """How often each was seen, `int64[N]`, or None; no copy."""
        return self.vocabulary.counts_N

    @cached_property
    def fingerprint(self) -> str:
        """The same for the same ids at the same rows, in whatever order."""
        return fingerprint_of(self.vocabulary)

    def to_arrow(self) -> Any:
        """An Arrow table of `id`, `row` and, where there are any, `count`; no copy."""
        columns = {"id": arrow_ids(self.id_type, self.vocabulary.ids), "row": arrow_ids(IdType.INT64, self.rows)}
        if self.counts is not None:
            columns["count"] = arrow_ids(IdType.INT64, self.counts)
        return pa.table(columns)

    def __len__(self) -> int:
        return len(self.vocabulary)

    def __repr__(self) -> str:
        return f"Vocab({len(self):,} {self.id_type} ids, {self.vocabulary.uri})"


def _bad(problem: str, expected: str, found: str) -> IncompatibleError:
    return IncompatibleError(
        ErrorKind.BAD_VOCABULARY, problem, where=_IN_MEMORY, expected=expected, found=found, hint="check the arrays"
    )
