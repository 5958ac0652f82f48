"""Reading the rows of an export in order, and writing its files.

Shape suffixes: N rows, D columns.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap import __version__
from embsnap.errors import ErrorKind, RefusedError, UsageError
from embsnap.formats.exchange.content import Blocks, Entities, Place, TableCard
from embsnap.formats.exchange.elements import in_dtype
from embsnap.formats.exchange.formats import WRITERS
from embsnap.formats.torchsnapshot.rows import ArrayReader
from embsnap.model.exchange import ExportedTable, ExportResult
from embsnap.model.progress import SILENT, Progress
from embsnap.ops.export.plan import ExportPlan
from embsnap.storage.base import Store
from embsnap.storage.recording import RecordingStore
from embsnap.storage.uri import open_store

__all__ = ["MANIFEST_NAME", "card_of", "write_export"]

MANIFEST_NAME = "export.json"
"""What a directory of exported tables holds, written last."""


def card_of(table: ExportedTable, id_type: str | None) -> TableCard:
    """What the files say of a table."""
    return TableCard(table.name, table.path, table.dtype, table.num_embeddings, id_type)


def write_export(plan: ExportPlan, *, progress: Progress = SILENT) -> ExportResult:
    """Read the rows and write the files. What was written before a failure is removed.

    Raises:
        UsageError: `bad-option`: the plan has no destination.
        RefusedError: `destination-taken`.
        SnapshotError, StorageError: As reading rows; the disk is full, or the storage failed; or the snapshot was
            replaced meanwhile.
    """
    if plan.out is None or plan.root is None:
        raise UsageError(ErrorKind.BAD_OPTION, "the plan has no destination", expected="one", hint="plan it with `out`")
    began = monotonic()
    store = RecordingStore(open_store(plan.root, plan.options.storage_options))
    _check_free(plan, store)
    try:
        num_unchecked_rows = _write(plan, store, progress)
    except BaseException:
        store.withdraw()
        raise
    num_bytes = sum(info.size for info in store.written)
    return replace(
        plan.result,
        num_bytes_to_write=num_bytes,
        num_unchecked_rows=num_unchecked_rows,
        destination=plan.out,
        seconds=monotonic() - began,
    )


def _check_free(plan: ExportPlan, store: Store) -> None:
    if plan.is_file:
        names = plan.result.tables[0].files
        taken = next((name for name in names if store.stat(name) is not None), None)
    else:
        found = next(store.list(), None)
        taken = None if found is None else found.location
    if taken is not None:
        raise RefusedError(
            ErrorKind.DESTINATION_TAKEN,
            "holds something already",
            where=plan.out,
            expected="a file that does not exist, or an empty directory",
            found=repr(taken),
            hint="write to another destination; embsnap overwrites nothing",
        )


def _write(plan: ExportPlan, store: Store, progress: Progress) -> int:
    """The files; returns how many rows were read without a checksum to compare them with."""
    num_unchecked_rows = 0
    cards = []
    for table, source, entities in zip(plan.result.tables, plan.sources, plan.entities, strict=True):
        reader = source.snapshot.reader(source.table.weight)
        id_type = None if entities.id_type is None else entities.id_type.value
        cards.append(card_of(table, id_type))
        task = f"export {table.name}"
        progress.start(task, table.num_rows, "rows")
        blocks = _blocks(reader, entities, table.stored_dtype, plan.block_bytes, progress, task)
        write = WRITERS[plan.options.format]
        write(Place(store, table.files[0]), entities, table.dim, table.stored_dtype, cards[-1], blocks)
        progress.finish(task)
        num_unchecked_rows += reader.num_unchecked_rows
    plan.sources[0].snapshot.check_unchanged()
    if not plan.is_file:
        store.create(MANIFEST_NAME, _manifest(plan, cards))
    return num_unchecked_rows


def _manifest(plan: ExportPlan, cards: list[TableCard]) -> bytes:
    document = {
        "schema": "embsnap.exported",
        "version": 1,
        "tool": f"embsnap {__version__}",
        "source": {"uri": plan.result.uri, "metadata_sha256": plan.sources[0].snapshot.metadata_sha256},
        "format": plan.result.format.value,
        "where": plan.result.where,
        "tables": [
            {**asdict(card), "vocab": table.vocab, "num_rows": table.num_rows, "files": list(table.files)}
            for card, table in zip(cards, plan.result.tables, strict=True)
        ],
    }
    return json.dumps(document, indent=2).encode() + b"\n"


def _blocks(
    reader: ArrayReader, entities: Entities, dtype: str, block_bytes: int, progress: Progress, task: str
) -> Blocks:
    """All rows, one block being read while the one before it is written."""
    step = max(1, block_bytes // max(1, reader.dim * max(reader.dtype.itemsize, np.dtype(np.float32).itemsize)))

    def fetch(start: int) -> NDArray[Any]:
        rows_N = entities.rows_N[start : start + step]
        rows_ND = np.empty((len(rows_N), reader.dim), reader.dtype)
        reader.gather(rows_N, rows_ND)
        return in_dtype(rows_ND, dtype)

    return _ahead(fetch, range(0, len(entities), step), progress, task)


def _ahead(fetch: Any, starts: range, progress: Progress, task: str) -> Iterator[NDArray[Any]]:
    with ThreadPoolExecutor(1, thread_name_prefix="embsnap-export") as pool:
        coming = pool.submit(fetch, starts[0]) if starts else None
        for start in starts:
            assert coming is not None
            rows_ND = coming.result()
            coming = pool.submit(fetch, start + starts.step) if start + starts.step < starts.stop else None
            yield rows_ND
            progress.advance(task, len(rows_ND))
