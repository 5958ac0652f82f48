"""Making a snapshot of other systems' files.

    plan = plan_import({"word": "glove.6B.300d.txt"}, "runs/words", ImportOptions(vocab_out="vocabularies/words"))
    write_import(plan)

Shape suffixes: V rows of a table, N vectors of a file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from embsnap import __version__
from embsnap.errors import ErrorKind, IncompatibleError, UsageError
from embsnap.formats.exchange.content import TableContent, bad_file
from embsnap.formats.exchange.elements import NARROWER, numpy_dtype, stored_dtype
from embsnap.formats.exchange.formats import READERS
from embsnap.formats.exchange.options import ReadOptions
from embsnap.formats.projector_files import file_stem
from embsnap.kernels.initialize import Uniform
from embsnap.kernels.rows import check_rows
from embsnap.model.dtypes import DTYPES
from embsnap.model.exchange import ExchangeFormat, ImportedTable, ImportResult
from embsnap.model.findings import Finding, Severity
from embsnap.model.progress import SILENT, Progress
from embsnap.model.vocabulary import Declared, IdType, Vocabulary
from embsnap.ops.importing.options import ImportOptions
from embsnap.ops.importing.rows import ImportedRows
from embsnap.ops.importing.sources import Source, find_sources
from embsnap.ops.vocabulary import check_vocabulary, fingerprint_of
from embsnap.ops.vocabulary_findings import ROW_GAPS, refuse_errors
from embsnap.ops.warmstart.initial_rows import InitialRows
from embsnap.ops.warmstart.paths import check_prefix, weight_path
from embsnap.storage.uri import join_uri

__all__ = ["ImportPlan", "PlannedImport", "plan_import"]

_MAX_EMPTY_ROWS = 1 << 26
_MAX_EMPTY_SHARE = 1000
"""A table of more rows, and of so many for each vector, is taken for a mistake."""


@dataclass(frozen=True, slots=True, eq=False)
class PlannedImport:
    """One table to be written."""

    table: ImportedTable
    rows: ImportedRows
    vocabulary: Vocabulary | None


@dataclass(frozen=True, slots=True, eq=False)
class ImportPlan:
    """Which tables will be written."""

    result: ImportResult
    tables: tuple[PlannedImport, ...]
    out: str | None
    options: ImportOptions


def plan_import(
    sources: Mapping[str, str] | str,
    out: str | None = None,
    options: ImportOptions | None = None,
    *,
    progress: Progress = SILENT,
) -> ImportPlan:
    """Read ids and rows, and check them. Forms in which ids and numbers stand side by side are read whole.

    Args:
        sources: URI of a file by the name of the table that it is to be; or of a directory that `export` wrote.
        out: The snapshot to be.
        options: See there.
        progress: Is told of each file.

    Raises:
        UsageError: `bad-option`: a name, prefix or format cannot be; ids are there and nothing says what becomes of
            them. `nothing-to-do`.
        IncompatibleError: Ids or rows are null, twice there, or of no type that ids have; vectors differ in length.
        SnapshotError: A file is damaged, or not what its name says.
        NotFoundError, StorageError: A file cannot be read.
    """
    options = options or ImportOptions()
    if options.prefix is not None:
        check_prefix(options.prefix)
    found = find_sources(sources, options.format, options.storage_options)
    taken: list[str] = []
    tables, findings = [], list[Finding]()
    progress.start("read files", len(found), "files")
    for source in found:
        taken.append(file_stem(source.name, taken))
        planned, noted = _plan_table(source, taken[-1], options)
        tables.append(planned)
        findings += noted
        progress.advance("read files", 1)
    progress.finish("read files")
    described = tuple(planned.table for planned in tables)
    num_bytes = sum(t.num_embeddings * t.dim * DTYPES[t.dtype].itemsize for t in described)
    digest = _digest(described, options)
    result = ImportResult(described, num_bytes, digest, None, 0.0, tuple(findings))
    return ImportPlan(result, tuple(tables), out, options)


def _plan_table(source: Source, stem: str, options: ImportOptions) -> tuple[PlannedImport, tuple[Finding, ...]]:
    content = READERS[source.format](
        source.uri,
        ReadOptions(
            vector_column=options.vector_column,
            columns=options.columns,
            id_type=options.id_type or _recorded_id_type(source),
            card=source.card,
            storage_options=options.storage_options,
        ),
    )
    card = source.card or content.card
    content = replace(content, card=card)
    if not content.vectors.num_rows or not content.vectors.dim:
        raise bad_file(source.uri, "holds no vector", "one at least")
    rows_N, num_embeddings = _rows(source, content, options)
    vocabulary, findings = _vocabulary(source, content, rows_N, num_embeddings, options)
    row_V = np.full(num_embeddings, -1, np.int64)
    row_V[rows_N] = np.arange(len(rows_N))
    dtype = DTYPES[_dtype(content, source.format)]
    num_drawn = num_embeddings - len(rows_N)
    initial = _initial(source.name, num_embeddings) if num_drawn and dtype.is_floating else None
    vocab_uri = None if vocabulary is None else join_uri(options.vocab_out or "", f"{stem}.parquet")
    keeps_path = card is not None and options.prefix is None and card.name == source.name
    table = ImportedTable(
        name=source.name,
        path=card.path if card is not None and keeps_path else weight_path(options.usual_prefix, source.name),
        source=source.uri,
        format=source.format,
        num_vectors=len(rows_N),
        num_embeddings=num_embeddings,
        dim=content.vectors.dim,
        dtype=dtype.name,
        id_type=None if vocabulary is None else vocabulary.id_type.value,
        num_drawn=num_drawn,
        initializer=None if not num_drawn else "zeros" if initial is None else initial.description,
        vocab=vocab_uri,
        fingerprint=None if vocabulary is None else fingerprint_of(vocabulary, threads=options.threads),
    )
    rows = ImportedRows(source.uri, content.vectors, row_V, content.dtype, numpy_dtype(dtype.name), initial)
    return PlannedImport(table, rows, vocabulary), findings


def _recorded_id_type(source: Source) -> IdType | None:
    return None if source.card is None or source.card.id_type is None else IdType(source.card.id_type)


def _rows(source: Source, content: TableContent, options: ImportOptions) -> tuple[NDArray[np.int64], int]:
    """The row of each vector, and how many rows the table gets."""
    num_vectors = content.vectors.num_rows
    if content.rows_N is None or options.compact:
        return np.arange(num_vectors), num_vectors
    check = check_rows(content.rows_N, None)
    num_embeddings = max(check.max_row + 1, 0 if content.card is None else content.card.num_embeddings)
    if check.num_duplicates:
        raise IncompatibleError(
            ErrorKind.DUPLICATE_ROWS,
            f"{check.num_duplicates:,} of its vectors have a row that an earlier one has already",
            where=source.uri,
            found=f"row {content.rows_N[check.duplicate_examples[0]]}",
            hint="number the rows in the order of the file with --compact",
        )
    if num_embeddings > max(_MAX_EMPTY_ROWS, _MAX_EMPTY_SHARE * num_vectors):
        raise IncompatibleError(
            ErrorKind.ROW_OUT_OF_RANGE,
            "gives its few vectors rows of a huge table",
            where=source.uri,
            expected=f"at most {_MAX_EMPTY_SHARE} rows for each of {num_vectors:,} vectors",
            found=f"{num_embeddings:,} rows",
            hint="number the rows in the order of the file with --compact",
        )
    return content.rows_N, num_embeddings


def _vocabulary(
    source: Source,
    content: TableContent,
    rows_N: NDArray[np.int64],
    num_embeddings: int,
    options: ImportOptions,
) -> tuple[Vocabulary | None, tuple[Finding, ...]]:
    """The vocabulary to write, checked, and what is to be said of it."""
    if content.ids is None or content.id_type is None or options.by_position:
        return None, ()
    if options.vocab_out is None:
        raise UsageError(
            ErrorKind.BAD_OPTION,
            "has entity ids, and nothing says what becomes of them",
            where=source.uri,
            expected="a place for the vocabulary",
            hint="give --vocab-out DIRECTORY, or leave the ids out with --by-position",
        )
    provenance = {
        "tool": f"embsnap {__version__}",
        "command": "import",
        "inputs": [{"uri": source.uri}],
        "options": {"format": source.format.value, "compact": options.compact},
    }
    declared = Declared(num_rows=num_embeddings, provenance=provenance)
    vocabulary = Vocabulary(
        source.uri, content.id_type, content.ids, rows_N, counts_N=content.counts_N, declared=declared
    )
    found = check_vocabulary(vocabulary, num_embeddings, threads=options.threads)
    refuse_errors(finding for finding in found if finding.kind != ROW_GAPS)
    return vocabulary, tuple(finding for finding in found if finding.severity is not Severity.ERROR)


def _dtype(content: TableContent, target: ExchangeFormat) -> str:
    """That of the table that was exported, where the file's is wider; else the file's."""
    card = content.card
    if card is None or card.dtype == content.dtype or card.dtype not in NARROWER:
        return content.dtype
    return card.dtype if stored_dtype(card.dtype, target) == content.dtype else content.dtype


def _initial(name: str, num_embeddings: int) -> InitialRows:
    """What torchrec itself would draw: see `resolve_initializer`."""
    bound = 1 / sqrt(num_embeddings)
    return InitialRows(Uniform(-bound, bound), name, 0, None, f"uniform(±{bound:.6g}, seed=0)")


def _digest(tables: tuple[ImportedTable, ...], options: ImportOptions) -> str:
    document = {"import": [asdict(table) for table in tables], "compact": options.compact}
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
