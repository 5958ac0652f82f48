"""Choosing the rows of an export.

    plan = plan_export("runs/7@latest", "user.parquet", ExportOptions(tables=["user"], where="count >= 10"))
    write_export(plan)

Shape suffixes: N entities.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from embsnap.errors import ErrorKind, UsageError
from embsnap.formats.exchange.content import Entities
from embsnap.formats.exchange.elements import numpy_dtype, stored_dtype
from embsnap.formats.exchange.formats import COLUMNAR, check_entities, files_of
from embsnap.formats.projector_files import file_stem
from embsnap.formats.torchsnapshot.snapshot import open_snapshot
from embsnap.model.exchange import ExchangeFormat, ExportedTable, ExportResult
from embsnap.model.progress import SILENT, Progress
from embsnap.model.vocabulary import BytesIds
from embsnap.ops.export.options import ExportOptions
from embsnap.ops.export.sources import ExportSource, choose_entities, open_source
from embsnap.ops.memory import available_memory
from embsnap.ops.table_names import check_table_names, table_names
from embsnap.storage.uri import split_uri

__all__ = ["ExportPlan", "plan_export"]

_BLOCK_BYTES = 32 << 20
_BLOCKS = 4
"""In memory at a time: one that is read, one that is written, its wider form and its text."""
_BYTES_PER_NUMBER = 13
"""Of a number as text, about."""
_ID_BYTES = 9
_OWN_COLUMNS = {"id", "row", "vector"}
_DIMENSION = re.compile(r"v[0-9]+")


@dataclass(frozen=True, slots=True, eq=False)
class ExportPlan:
    """Which rows will be read, and where they go."""

    result: ExportResult
    sources: tuple[ExportSource, ...]
    entities: tuple[Entities, ...]
    """Of each table."""
    out: str | None
    root: str | None
    """The directory that the files are written to."""
    is_file: bool
    """Whether `out` is the file of the one table."""
    block_bytes: int
    options: ExportOptions


def plan_export(
    uri: str, out: str | None = None, options: ExportOptions | None = None, *, progress: Progress = SILENT
) -> ExportPlan:
    """Read the vocabularies and choose rows. No row is read yet.

    Args:
        uri: The snapshot.
        out: A file, if its name ends as those of the format do and there is one table; else a directory.
        options: See there.
        progress: Is told how far the reading of vocabularies is.

    Raises:
        UsageError: `bad-option`: the condition is none; several tables for one file; an option that means nothing to
            the format. `nothing-to-do`: there is no table, or no entity meets the condition.
        NotFoundError: No such snapshot, table, vocabulary or column.
        SnapshotError: Not a committed, readable snapshot.
        IncompatibleError: `no-vocabulary`; a vocabulary that does not fit; `not-representable`: the format has no place
            for the ids or the element type.
        StorageError: The storage failed.
    """
    options = options or ExportOptions()
    snapshot = open_snapshot(uri, options=options.storage_options)
    names = list(dict.fromkeys(options.tables)) or list(table_names(snapshot))
    check_table_names(options.vocab, names, "--vocab")
    is_file = out is not None and out.endswith(options.format.suffixes)
    _check(uri, names, options, is_file=is_file)
    sources = [open_source(snapshot, name, options) for name in names]
    chosen = [choose_entities(source, options, progress) for source in sources]
    root, stems = (out, _stems(names)) if not is_file or out is None else (split_uri(out)[0], [""])
    tables = []
    for source, stem, (entities, num_entities, _) in zip(sources, stems, chosen, strict=True):
        location = split_uri(out)[1] if is_file and out is not None else stem + options.format.suffix
        files = files_of(options.format, location, has_ids=entities.ids is not None)
        tables.append(_described(source, entities, num_entities, files, options))
    findings = [finding for source, (_, _, found) in zip(sources, chosen, strict=True) for finding in found]
    block_bytes = min(_BLOCK_BYTES, max(1 << 16, (options.memory_budget or available_memory() // 4) // _BLOCKS))
    all_entities = tuple(entities for entities, _, _ in chosen)
    result = ExportResult(
        uri=snapshot.uri,
        format=options.format,
        tables=tuple(tables),
        where=options.where,
        num_bytes_to_read=sum(
            t.num_rows * p.table.embedding_dim * p.table.weight.dtype.itemsize
            for t, p in zip(tables, sources, strict=True)
        ),
        num_bytes_to_write=sum(map(_size, tables, all_entities, [options.format] * len(tables))),
        peak_memory_bytes=sum(map(_memory, all_entities)) + _BLOCKS * block_bytes,
        destination=None,
        num_unchecked_rows=0,
        seconds=0.0,
        findings=tuple(findings),
    )
    return ExportPlan(result, tuple(sources), all_entities, out, root, is_file, block_bytes, options)


def _check(uri: str, names: Sequence[str], options: ExportOptions, *, is_file: bool) -> None:
    if not names:
        hint = "`embsnap inspect` shows what it holds"
        raise UsageError(ErrorKind.NOTHING_TO_DO, "has no table", where=uri, expected="a table", hint=hint)
    if is_file and len(names) > 1:
        raise _bad("--out", "names one file, and there are several tables", "a directory, or one --table", names)
    if options.further_columns and options.format not in COLUMNAR:
        expected = f"one of the formats {', '.join(COLUMNAR)}"
        raise _bad("--column", f"{options.format} has no place for further columns", expected, options.format)
    for name in options.further_columns:
        if name in _OWN_COLUMNS or _DIMENSION.fullmatch(name):
            raise _bad("--column", "an export has a column of this name already", "another column", name)
    if options.by_position and (options.where or options.further_columns or options.vocab):
        raise _bad("--by-position", "rows without entities have no vocabulary", "no --where, --column, --vocab", "one")


def _bad(where: str, problem: str, expected: str, found: object) -> UsageError:
    shown = ", ".join(found[:10]) if isinstance(found, list) else found
    return UsageError(ErrorKind.BAD_OPTION, problem, where=where, expected=expected, found=shown)


def _stems(names: Sequence[str]) -> list[str]:
    stems: list[str] = []
    for name in names:
        stems.append(file_stem(name, stems))
    return stems


def _described(
    source: ExportSource, entities: Entities, num_entities: int, files: tuple[str, ...], options: ExportOptions
) -> ExportedTable:
    table = source.table
    if entities.ids is None:
        check_entities(options.format, entities, f"table {table.name}")
    return ExportedTable(
        name=table.name,
        path=table.weight.path,
        vocab=source.vocab,
        num_embeddings=table.num_embeddings,
        num_entities=num_entities,
        num_rows=len(entities),
        dim=table.embedding_dim,
        dtype=table.weight.dtype.name,
        stored_dtype=stored_dtype(table.weight.dtype.name, options.format),
        files=files,
    )


def _size(table: ExportedTable, entities: Entities, target: ExchangeFormat) -> int:
    is_text = target in (ExchangeFormat.CSV, ExchangeFormat.WORD2VEC)
    number_bytes = _BYTES_PER_NUMBER if is_text else numpy_dtype(table.stored_dtype).itemsize
    return table.num_rows * (table.dim * number_bytes + 8) + _id_bytes(entities)


def _id_bytes(entities: Entities) -> int:
    ids = entities.ids
    if ids is None:
        return 0
    return int(ids.offsets[-1] - ids.offsets[0]) if isinstance(ids, BytesIds) else _ID_BYTES * len(ids)


def _memory(entities: Entities) -> int:
    """Ids and rows as read, and as taken."""
    columns = sum(int(array.nbytes) for array in entities.columns.values())
    return 2 * (8 * len(entities) + _id_bytes(entities)) + columns
