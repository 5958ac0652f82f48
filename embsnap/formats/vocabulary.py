"""Reading a vocabulary: parquet files of entity ids and rows, straight into arrays of their final size.

Integers take 8 bytes of id and 8 of row per entity and are decoded in small batches that stay in the cache, one
column of one row group per task. `docs/vocabularies.md` describes the files.

Shape suffixes: N entities.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.formats.parquet import ParquetObject
from embsnap.formats.vocabulary_arrays import MemoryLimit
from embsnap.formats.vocabulary_columns import Layout, VocabularyColumns, agree_on_layout
from embsnap.formats.vocabulary_defects import Defects
from embsnap.formats.vocabulary_files import find_parquet
from embsnap.formats.vocabulary_reading import VocabularyReading, groups_of_part
from embsnap.kernels.threads import run
from embsnap.model.findings import Finding
from embsnap.model.progress import SILENT, Progress
from embsnap.model.vocabulary import Vocabulary
from embsnap.storage.uri import Uri, is_remote

__all__ = ["VocabularyColumns", "VocabularyFiles", "open_vocabulary", "read_vocabulary"]

_REQUESTS_IN_FLIGHT = 8


def read_vocabulary(
    uri: Uri,
    *,
    columns: VocabularyColumns | None = None,
    donor_column: str | None = None,
    options: Mapping[str, str] | None = None,
    threads: int = 1,
    memory_limit: int | None = None,
    progress: Progress = SILENT,
) -> Vocabulary:
    """Read the entity ids and rows of one table, in the order of the files' names and of the rows in them.

    Duplicates and rows beyond the table are not looked for here: see `embsnap.ops.vocabulary`.

    Args:
        uri: A parquet file, a directory of them, or a glob.
        columns: Names of columns, where they are not to be found by their usual names.
        donor_column: Column of the old entity that a new row starts from. Where it is null the entity's own id stands
            for it.
        options: Of the store.
        threads: How many columns are decoded at a time; more where most of the time is spent waiting for a network.
        memory_limit: In bytes: a vocabulary that takes more is refused. By default this machine's memory.
        progress: Is told the rows done.

    Raises:
        IncompatibleError: `bad-vocabulary`: columns are missing, ambiguous or of impossible types; ids or rows are
            null, or rows negative; there is no entity; or it does not fit in memory. `id-type-mismatch`: files differ.
        NotFoundError: `no-such-object`: no parquet file is there.
        SnapshotError: `bad-parquet`: a file is damaged, or no parquet file.
        StorageError: The storage failed.
    """
    files = open_vocabulary(
        os.fspath(uri), columns=columns, donor_column=donor_column, options=options, threads=threads
    )
    return files.read_all(memory_limit=memory_limit, progress=progress)


@dataclass(frozen=True, slots=True, eq=False)
class VocabularyFiles:
    """The files of a vocabulary, whose footers were read and fit each other."""

    uri: str
    objects: Sequence[ParquetObject]
    layout: Layout
    findings: tuple[Finding, ...]
    at_a_time: int
    """How many columns are decoded at a time."""

    def read_all(self, *, memory_limit: int | None = None, progress: Progress = SILENT) -> Vocabulary:
        """Read all of it; errors as for `read_vocabulary`."""
        vocabulary, defects = self.read((0, 1), memory_limit=memory_limit, progress=progress)
        defects.check(self.uri, [file.uri for file in self.objects])
        return vocabulary

    def read(
        self, part: tuple[int, int], *, memory_limit: int | None = None, progress: Progress = SILENT
    ) -> tuple[Vocabulary, Defects]:
        """Read part `part[0]` of `part[1]`: whole row groups, in their order, that have about as many rows.

        Returns:
            The entities, and the values among them that cannot be.

        Raises:
            IncompatibleError, SnapshotError, StorageError: As `read_vocabulary`, but for such values.
        """
        limit = MemoryLimit(self.uri, _physical_memory() if memory_limit is None else memory_limit)
        task = f"read vocabulary {self.uri}"
        groups = groups_of_part(self.objects, *part)
        progress.start(task, sum(group.num_rows for group in groups), "rows")
        try:
            advance = partial(progress.advance, task)
            reading = VocabularyReading(self.objects, self.layout, limit, advance, groups)
            run(reading.tasks(), self.at_a_time)
        finally:
            progress.finish(task)
        return reading.vocabulary(self.uri, self.findings), reading.defects


def open_vocabulary(
    uri: str,
    *,
    columns: VocabularyColumns | None = None,
    donor_column: str | None = None,
    options: Mapping[str, str] | None = None,
    threads: int = 1,
) -> VocabularyFiles:
    """Find the files of a vocabulary and agree on their columns; arguments and errors as for `read_vocabulary`."""
    found = find_parquet(uri, options)
    at_a_time = max(threads, _REQUESTS_IN_FLIGHT) if is_remote(uri) else threads
    files = run([partial(ParquetObject, found.store, location) for location in found.locations], at_a_time)
    layout = agree_on_layout(files, columns or VocabularyColumns(), donor_column)
    if not any(file.num_rows for file in files):
        raise _empty(uri, files)
    return VocabularyFiles(uri, files, layout, found.findings, at_a_time)


def _physical_memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _empty(uri: str, files: Sequence[ParquetObject]) -> IncompatibleError:
    return IncompatibleError(
        ErrorKind.BAD_VOCABULARY,
        "the vocabulary is empty",
        where=uri,
        expected="at least one entity",
        found=f"no row in {len(files)} {'file' if len(files) == 1 else 'files'}",
        hint="check that whatever wrote the vocabulary has finished",
    )
