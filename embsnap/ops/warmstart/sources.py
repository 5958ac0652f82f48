"""What a table starts from: the old table, the old vocabulary and the new one, found and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from embsnap.config.embedding import EmbeddingBagConfig, EmbeddingSnapshot, VocabColumns
from embsnap.errors import ErrorKind, IncompatibleError, NotFoundError, UsageError
from embsnap.formats.remap import read_remap
from embsnap.formats.sidecar import TableVocabulary
from embsnap.formats.torchsnapshot.rows import ArrayReader
from embsnap.formats.torchsnapshot.snapshot import Snapshot, open_snapshot
from embsnap.formats.vocabulary import VocabularyFiles, open_vocabulary, read_vocabulary
from embsnap.formats.vocabulary_columns import VocabularyColumns
from embsnap.kernels.join import Join, join
from embsnap.kernels.threads import run
from embsnap.model.dtypes import DTYPES, DType
from embsnap.model.progress import Progress
from embsnap.model.remap import Remap
from embsnap.model.table import Table
from embsnap.model.vocabulary import Vocabulary
from embsnap.ops.vocabulary import fingerprint_of
from embsnap.ops.warmstart.fetching import Fetching

__all__ = [
    "OldTable",
    "Sources",
    "VocabularyRef",
    "check_dim",
    "check_vocabularies_given",
    "new_dtype",
    "recorded_vocabulary",
]


@dataclass(frozen=True, slots=True)
class VocabularyRef:
    """Which vocabulary: where it was read, and what it holds."""

    uri: str
    fingerprint: str


@dataclass(frozen=True, slots=True, eq=False)
class OldTable:
    """The table that a new one starts from."""

    snapshot: Snapshot
    table: Table
    weight: ArrayReader
    progress: Progress
    """Is told of rows that are fetched in advance."""

    @property
    def shown_name(self) -> str:
        """Its name, or its path where the snapshot has several of that name."""
        is_only = list(self.snapshot.index.names.values()).count(self.table.name) == 1
        return self.table.name if is_only else self.table.weight.path

    def fetching(self, old: ArrayReader, wanted: Sequence[NDArray[np.int64] | None] | None, num_rows: int) -> Fetching:
        """Of one of the table's arrays, for `num_rows` new rows; `wanted` as for `ArrayReader.stage`, but for Nones."""
        named = None if wanted is None else [rows_N for rows_N in wanted if rows_N is not None]
        return Fetching(old, named, num_rows, self.progress)


class Sources:
    """Opens each snapshot and reads each vocabulary of one run, as its tables ask for them.

    Attributes:
        join: What joins the ids of two vocabularies.
        progress: Is told of what is read.
    """

    def __init__(
        self,
        *,
        options: Mapping[str, str],
        threads: int,
        progress: Progress,
        check: bool = True,
        join: Join = join,
    ) -> None:
        self.join, self.progress = join, progress
        self._options, self._threads, self._check = options, threads, check
        self._snapshots: dict[str, Snapshot] = {}

    def old_table(self, pretrained: EmbeddingSnapshot, *, with_state: bool) -> OldTable:
        """The snapshot's table of exactly that name; its optimizer state is looked at only where it is wanted.

        Raises:
            NotFoundError: No such table, or several.
            SnapshotError: Not a committed, readable snapshot.
        """
        uri = pretrained.embedding_snapshot_uri
        if uri not in self._snapshots:
            self._snapshots[uri] = open_snapshot(uri, options=self._options, check=self._check)
        snapshot = self._snapshots[uri]
        table = snapshot.table(pretrained.emb_name, with_state=with_state)
        return OldTable(snapshot, table, snapshot.reader(table.weight), self.progress)

    def new_files(self, table: EmbeddingBagConfig) -> VocabularyFiles:
        """The files of the vocabulary that the new table is to have."""
        assert table.vocab is not None
        donor = table.initializer.donor if table.initializer is not None else None
        return self._open(table.vocab, table.vocab_columns, None if donor is None else donor.column)

    def new_vocabulary(self, table: EmbeddingBagConfig) -> tuple[Vocabulary, VocabularyRef]:
        """The vocabulary that the new table is to have."""
        return self._read(self.new_files(table))

    def old_files(self, table: EmbeddingBagConfig, old: OldTable) -> VocabularyFiles:
        """The files of the vocabulary that the old table was trained with: `pretrained.vocab`, else the recorded one.

        Raises:
            IncompatibleError: There is none (`no-vocabulary`).
        """
        pretrained, recorded = table.pretrained, recorded_vocabulary(old)
        assert pretrained is not None
        uri = pretrained.vocab or (recorded.uri if recorded is not None else None)
        if uri is None:
            raise IncompatibleError(
                ErrorKind.NO_VOCABULARY,
                "nothing says which vocabulary the old rows were trained with",
                where=f"table {table.name}",
                expected=f"pretrained.vocab, or one recorded beside {old.snapshot.uri}",
                found="neither",
                hint="set pretrained.vocab to the old vocabulary, or by_position: true there to keep rows in place",
            )
        try:
            return self._open(uri, pretrained.vocab_columns, None)
        except NotFoundError as error:
            if pretrained.vocab is None:
                error.where = f"{error.where}, which {old.snapshot.uri} records for table {old.table.name}"
                error.hint = "set pretrained.vocab to where the old vocabulary lies now"
            raise

    def old_vocabulary(self, table: EmbeddingBagConfig, old: OldTable) -> tuple[Vocabulary, VocabularyRef]:
        """The vocabulary that the old table was trained with: `pretrained.vocab`, else the one its sidecar records.

        Raises:
            IncompatibleError: There is none (`no-vocabulary`), or it is no longer what the sidecar recorded.
        """
        return _as_recorded(table, old, *self._read(self.old_files(table, old)))

    def both_vocabularies(
        self, table: EmbeddingBagConfig, old: OldTable
    ) -> tuple[tuple[Vocabulary, VocabularyRef], tuple[Vocabulary, VocabularyRef]]:
        """`old_vocabulary` and `new_vocabulary`, read at the same time unless they are one and the same."""
        files = self.old_files(table, old), self.new_files(table)
        threads = self._threads if files[0].uri != files[1].uri else 1
        old_side, new_side = run([partial(self._read, each) for each in files], threads)
        return _as_recorded(table, old, *old_side), new_side

    def remap(self, uri: str, table: EmbeddingBagConfig, old: OldTable) -> Remap:
        """A row map between an old table and a new one, with all that is wrong with it."""
        return read_remap(
            uri,
            num_new_rows=table.num_embeddings,
            num_old_rows=old.table.num_embeddings,
            options=self._options,
            threads=self._threads,
            progress=self.progress,
        )

    def entities_of(self, remap: Remap) -> Vocabulary:
        """The entities that a row map names, at their new rows."""
        assert remap.id_column is not None
        columns = VocabularyColumns(id=remap.id_column, row=remap.new_column)
        return read_vocabulary(
            remap.uri, columns=columns, options=self._options, threads=self._threads, progress=self.progress
        )

    def _open(self, uri: str, columns: VocabColumns | None, donor_column: str | None) -> VocabularyFiles:
        return open_vocabulary(
            uri,
            columns=None if columns is None else VocabularyColumns(columns.id, columns.row, columns.count),
            donor_column=donor_column,
            options=self._options,
            threads=self._threads,
        )

    def _read(self, files: VocabularyFiles) -> tuple[Vocabulary, VocabularyRef]:
        vocabulary = files.read_all(progress=self.progress)
        return vocabulary, VocabularyRef(vocabulary.uri, fingerprint_of(vocabulary, threads=self._threads))


def recorded_vocabulary(old: OldTable) -> TableVocabulary | None:
    """The vocabulary of the old table, as the sidecar beside its snapshot records it."""
    return old.snapshot.sidecar.tables.get(old.table.name) if old.snapshot.sidecar is not None else None


def _as_recorded(
    table: EmbeddingBagConfig, old: OldTable, vocabulary: Vocabulary, ref: VocabularyRef
) -> tuple[Vocabulary, VocabularyRef]:
    """An old vocabulary, unless the sidecar recorded another one."""
    recorded = recorded_vocabulary(old)
    if recorded is not None and recorded.fingerprint != ref.fingerprint:
        raise IncompatibleError(
            ErrorKind.VOCABULARY_MISMATCH,
            "the old vocabulary is not the one the snapshot was written with",
            where=f"table {table.name}, {vocabulary.uri}",
            expected=recorded.fingerprint,
            found=ref.fingerprint,
            hint=f"point pretrained.vocab at an unchanged copy of {recorded.uri}",
        )
    return vocabulary, ref


def check_dim(table: EmbeddingBagConfig, old: OldTable) -> None:
    """Refuse an old table of another width.

    Raises:
        IncompatibleError: `shape-mismatch`.
    """
    if old.table.embedding_dim != table.embedding_dim:
        raise IncompatibleError(
            ErrorKind.SHAPE_MISMATCH,
            "the snapshot's rows have another embedding_dim",
            where=f"table {table.name}, from {old.table.name} in {old.snapshot.uri}",
            expected=table.embedding_dim,
            found=old.table.embedding_dim,
            hint=f"set embedding_dim: {old.table.embedding_dim}, or migrate the snapshot first",
        )


def new_dtype(table: EmbeddingBagConfig, old: OldTable | None) -> DType:
    """The dtype of the new table: `data_type`, else the snapshot's, else float32.

    Raises:
        IncompatibleError: `data_type` differs from the snapshot's and `pretrained.cast` is not set.
    """
    configured = table.data_type.dtype if table.data_type is not None else None
    if old is None:
        return configured or DTYPES["float32"]
    found = old.table.weight.dtype
    assert table.pretrained is not None
    if configured is not None and configured != found and not table.pretrained.cast:
        raise IncompatibleError(
            ErrorKind.DTYPE_MISMATCH,
            "the snapshot's table has another dtype",
            where=f"table {table.name}, from {old.table.name} in {old.snapshot.uri}",
            expected=configured,
            found=found,
            hint="set pretrained.cast: true, or leave data_type out to keep the snapshot's",
        )
    return configured or found


def check_vocabularies_given(table: EmbeddingBagConfig, old: OldTable) -> None:
    """Refuse a table without a vocabulary whose old rows have one.

    Raises:
        UsageError: The sidecar records the old table's vocabulary and the table has no `vocab`.
    """
    recorded = recorded_vocabulary(old)
    if table.vocab is None and recorded is not None:
        raise UsageError(
            ErrorKind.BAD_CONFIG,
            "the old rows have a vocabulary and the table has none",
            where=f"table {table.name}",
            expected="vocab: the vocabulary of the new table",
            found=f"only the one that {old.snapshot.uri} records: {recorded.uri}",
            hint="set the table's vocab, or pretrained.by_position: true to keep every row's place",
        )
