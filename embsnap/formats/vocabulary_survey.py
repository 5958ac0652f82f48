"""The files and columns of a vocabulary, by their footers alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from embsnap.formats.parquet import ColumnChunk, ParquetObject
from embsnap.formats.vocabulary_columns import Layout, VocabularyColumns, agree_on_layout
from embsnap.formats.vocabulary_files import find_parquet
from embsnap.kernels.threads import run
from embsnap.model.vocab_inspection import VocabColumn, VocabFile

__all__ = ["survey"]


def survey(
    uri: str,
    *,
    columns: VocabularyColumns | None = None,
    options: Mapping[str, str] | None = None,
    threads: int = 1,
) -> tuple[tuple[VocabFile, ...], tuple[VocabColumn, ...]]:
    """The files of a vocabulary in the order they are read, and their columns: those that are read first.

    Args:
        uri: A parquet file, a directory of them, or a glob.
        columns: Names of columns, where they are not to be found by their usual names.
        options: Of the store.
        threads: How many files are opened at a time.

    Raises:
        IncompatibleError: `bad-vocabulary`, `id-type-mismatch`: the columns are not those of a vocabulary.
        NotFoundError: No parquet file is there.
        SnapshotError: `bad-parquet`: a file is damaged.
        StorageError: The storage failed.
    """
    found = find_parquet(uri, options)
    files = run([partial(ParquetObject, found.store, location) for location in found.locations], threads)
    layout = agree_on_layout(files, columns or VocabularyColumns(), None)
    infos = [found.store.stat(location) for location in found.locations]
    described = tuple(
        VocabFile(file.uri, file.num_rows, 0 if info is None else info.size, len(file.row_groups))
        for file, info in zip(files, infos, strict=True)
    )
    roles = _roles(layout)
    names = [*roles, *(name for file in files for name in file.names if name not in roles)]
    return described, tuple(_column(files, name, roles.get(name)) for name in dict.fromkeys(names))


def _roles(layout: Layout) -> dict[str, str]:
    roles = {layout.id: "id", layout.row: "row"}
    return roles if layout.count is None else {**roles, layout.count: "count"}


def _column(files: Sequence[ParquetObject], name: str, role: str | None) -> VocabColumn:
    having = [file for file in files if file.names.count(name) == 1]
    found = [file.chunk(group, name) for file in having for group in range(len(file.row_groups))]
    chunks: list[ColumnChunk] = [chunk for chunk in found if chunk is not None]
    encodings = sorted({encoding for chunk in chunks for encoding in chunk.encodings})
    compressions = sorted({chunk.compression for chunk in chunks})
    kind = str(having[0].type_of(name)) if having else "ambiguous"
    num_bytes = sum(chunk.num_bytes for chunk in chunks)
    return VocabColumn(name, role, kind, num_bytes, tuple(encodings), tuple(compressions))
