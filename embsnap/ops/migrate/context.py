"""What the steps of one migration share: opened snapshots, vocabularies that were read, options."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray

from embsnap.config.rows import VocabColumns
from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.formats.remap import read_remap
from embsnap.formats.torchsnapshot.snapshot import Snapshot, open_snapshot
from embsnap.formats.vocabulary import read_vocabulary
from embsnap.formats.vocabulary_columns import VocabularyColumns
from embsnap.kernels.hashing import fingerprint
from embsnap.model.progress import Progress
from embsnap.model.remap import Remap
from embsnap.model.vocabulary import IdType, Vocabulary
from embsnap.ops.migrate.draft import Entities, TableDraft
from embsnap.ops.vocabulary import fingerprint_of
from embsnap.ops.vocabulary_findings import refuse_errors
from embsnap.storage.uri import open_store, split_uri

__all__ = ["Context"]

_MAX_MATRIX_BYTES = 1 << 30


@dataclass(slots=True, eq=False)
class Context:
    """Shared by the steps. `inputs` collects what decides the result beside the plan itself."""

    storage_options: Mapping[str, str]
    threads: int
    block_bytes: int
    progress: Progress
    max_error: float | None = None
    """Bound of every cast that names none."""
    check: bool = True
    """Whether blocks that are read whole are compared with the sidecar's checksums."""
    inputs: dict[str, str] = field(default_factory=dict)
    """Digest or fingerprint of everything that was read, by URI."""
    num_planning_bytes: int = 0
    """Rows read while planning, for moments and norms."""
    where: str = ""
    """The step in hand, as messages name it."""
    _snapshots: dict[str, Snapshot] = field(default_factory=dict)

    def snapshot(self, uri: str) -> Snapshot:
        """A snapshot, opened once."""
        if uri not in self._snapshots:
            found = self._snapshots[uri] = open_snapshot(uri, options=self.storage_options, check=self.check)
            self.inputs[found.uri] = found.metadata_sha256
        return self._snapshots[uri]

    @property
    def parents(self) -> tuple[Snapshot, ...]:
        """All snapshots that were opened, in order."""
        return tuple(dict.fromkeys(self._snapshots.values()))

    def vocabulary(self, uri: str, columns: VocabColumns | None = None, donor_column: str | None = None) -> Vocabulary:
        """Read a vocabulary; its fingerprint becomes an input."""
        found = read_vocabulary(
            uri,
            columns=None if columns is None else VocabularyColumns(columns.id, columns.row, columns.count),
            donor_column=donor_column,
            options=self.storage_options,
            threads=self.threads,
            progress=self.progress,
        )
        self.inputs[uri] = fingerprint_of(found, threads=self.threads)
        if found.counts_N is not None or found.last_seen_N is not None or found.donors is not None:
            self.inputs[uri] += f" {_digest_of_columns(found)}"
        return found

    def recorded(self, uri: str, expected: str | None, columns: VocabColumns | None = None) -> Entities:
        """A vocabulary that lies at `uri`, read when somebody asks; another fingerprint than `expected` is refused."""
        load = lru_cache(maxsize=1)(partial(self._checked, uri, expected, columns))
        return Entities(uri, expected, load)

    def made(self, vocabulary: Vocabulary) -> Entities:
        """A vocabulary that a step has made."""
        known = fingerprint_of(vocabulary, threads=self.threads)
        return Entities(None, known, lambda: vocabulary, is_made=True)

    def entities_of(self, table: TableDraft) -> Vocabulary:
        """The vocabulary of a table.

        Raises:
            IncompatibleError: `no-vocabulary`, or it is no longer the one that its snapshot was written with.
        """
        if table.entities is None:
            raise IncompatibleError(
                ErrorKind.NO_VOCABULARY,
                "nothing says which entities the rows belong to",
                where=f"{self.where}, table {table.name}",
                expected="a vocabulary that the snapshot records, or a step that names it",
                found="neither",
                hint=f"put a step before it: vocab: {{table: {table.name}, vocab: <URI>}}",
            )
        return table.entities.load()

    def remap(self, uri: str, *, num_new_rows: int, num_old_rows: int) -> Remap:
        """Read a row map, and refuse a wrong one."""
        found = read_remap(
            uri,
            num_new_rows=num_new_rows,
            num_old_rows=num_old_rows,
            options=self.storage_options,
            threads=self.threads,
            progress=self.progress,
        )
        refuse_errors(found.findings)
        rows_V = np.arange(num_new_rows)
        self.inputs[uri] = fingerprint(IdType.INT64, rows_V, np.maximum(found.row_V, -1) + 1, threads=self.threads)
        return found

    def matrix(self, uri: str) -> NDArray[np.float64]:
        """A two-dimensional npy file. No pickle is loaded."""
        root, name = split_uri(uri)
        data = open_store(root, self.storage_options).read(name, limit=_MAX_MATRIX_BYTES)
        self.inputs[uri] = hashlib.sha256(data).hexdigest()
        try:
            found = np.load(io.BytesIO(data), allow_pickle=False)
            matrix_DE = np.asarray(found, np.float64)
        except (ValueError, EOFError, TypeError) as error:
            raise self._bad_matrix(uri, str(error)[:120]) from error
        if matrix_DE.ndim != 2 or not np.isfinite(matrix_DE).all():
            raise self._bad_matrix(uri, f"shape {list(matrix_DE.shape)}")
        return matrix_DE

    def digest_of_inputs(self) -> str:
        """Of all inputs."""
        return hashlib.sha256(json.dumps(sorted(self.inputs.items())).encode()).hexdigest()

    def _checked(self, uri: str, expected: str | None, columns: VocabColumns | None) -> Vocabulary:
        found = self.vocabulary(uri, columns)
        known = fingerprint_of(found, threads=self.threads)
        if expected is not None and known != expected:
            raise IncompatibleError(
                ErrorKind.VOCABULARY_MISMATCH,
                "the vocabulary is not the one the snapshot was written with",
                where=f"{self.where}, {uri}",
                expected=expected,
                found=known,
                hint="name an unchanged copy of it in a step: vocab: {table: …, vocab: <URI>}",
            )
        return found

    def _bad_matrix(self, uri: str, found: str) -> IncompatibleError:
        return IncompatibleError(
            ErrorKind.SHAPE_MISMATCH,
            "is no matrix",
            where=f"{self.where}, {uri}",
            expected="an npy file of two dimensions, finite numbers",
            found=found,
            hint="write it with numpy.save",
        )


def _digest_of_columns(vocabulary: Vocabulary) -> str:
    digest = hashlib.sha256()
    for column in (vocabulary.counts_N, vocabulary.last_seen_N, vocabulary.donors):
        if isinstance(column, np.ndarray):
            digest.update(np.ascontiguousarray(column).data)
        elif column is not None:
            digest.update(column.offsets.tobytes())
            digest.update(column.data.tobytes())
    return digest.hexdigest()[:16]
