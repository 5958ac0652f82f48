"""Choosing the points of a projection.

    plan = plan_projection("runs/day2", ProjectorOptions(vocab={"user": "day2/user"}))
    write_projection(plan, "projector")     # then: tensorboard --logdir projector

Shape suffixes: N entities or rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embsnap.errors import ErrorKind, NotFoundError, UsageError
from embsnap.formats.projector_files import file_stem
from embsnap.formats.torchsnapshot.snapshot import open_snapshot
from embsnap.formats.vocabulary import read_vocabulary
from embsnap.kernels.hashing import id_keys, row_keys
from embsnap.model.progress import SILENT, Progress
from embsnap.model.projection import ProjectedTable, Projection
from embsnap.model.vocab_inspection import Entity
from embsnap.ops.lookup.place import Place, open_place
from embsnap.ops.projector.options import PointFormat, ProjectorOptions, SampleOrder
from embsnap.ops.table_names import check_table_names, table_names
from embsnap.ops.vocab_entities import entities_at, largest

__all__ = ["Points", "ProjectionPlan", "plan_projection"]

_BYTES_PER_NUMBER = 12
"""Of a number and its tab as text, about."""
_LABELS = "_metadata.tsv"

Points = tuple[Entity, ...] | NDArray[np.int64]
"""Entities, or rows where there is no vocabulary."""


@dataclass(frozen=True, slots=True, eq=False)
class ProjectionPlan:
    """Which rows will be read, and what will be written."""

    result: Projection
    places: tuple[Place, ...]
    points: tuple[Points, ...]
    """Of each table."""
    options: ProjectorOptions


def plan_projection(
    uri: str, options: ProjectorOptions | None = None, *, progress: Progress = SILENT
) -> ProjectionPlan:
    """Choose the points of each table. No row is read yet.

    Raises:
        UsageError: `bad-option`: ids are given, and several tables; `nothing-to-do`: there is no table.
        NotFoundError: No such snapshot, table, vocabulary or entity.
        SnapshotError: Not a committed, readable snapshot.
        IncompatibleError: A vocabulary does not fit its table.
        StorageError: The storage failed.
    """
    options = options or ProjectorOptions()
    names = list(dict.fromkeys(options.tables)) or list(
        table_names(open_snapshot(uri, options=options.storage_options))
    )
    _check_names(uri, names, options)
    check_table_names(options.vocab, names, "--vocab")
    places = [
        open_place(
            uri,
            name,
            options.vocab.get(name),
            columns=options.columns,
            threads=options.threads,
            storage_options=options.storage_options,
        )
        for name in names
    ]
    return _plan(uri, places, options, progress)


def _plan(uri: str, places: Sequence[Place], options: ProjectorOptions, progress: Progress) -> ProjectionPlan:
    tables: list[ProjectedTable] = []
    points: list[Points] = []
    for place in places:
        chosen, num_entities, chosen_by = _choose(place, options, progress)
        stem = _stem(place.table.name, [name for table in tables for name in (table.tensor_file, table.metadata_file)])
        points.append(chosen)
        tables.append(
            ProjectedTable(
                name=place.table.name,
                vocab=place.vocab,
                num_entities=num_entities,
                num_points=len(chosen),
                dim=place.table.embedding_dim,
                chosen_by=chosen_by,
                tensor_file=f"{stem}.{options.form.value}",
                metadata_file=stem + _LABELS,
            )
        )
    numbers = [(table.num_points * table.dim, place) for table, place in zip(tables, places, strict=True)]
    number_bytes = 4 if options.form is PointFormat.BYTES else _BYTES_PER_NUMBER
    result = Projection(
        uri=places[0].snapshot.uri,
        tables=tuple(tables),
        num_bytes_to_read=sum(num * place.table.weight.dtype.itemsize for num, place in numbers),
        num_bytes_to_write=sum(num * number_bytes for num, _ in numbers),
        destination=None,
        findings=tuple(finding for place in places for finding in place.findings),
    )
    return ProjectionPlan(result, tuple(places), tuple(points), options)


def _stem(name: str, files: Sequence[str]) -> str:
    """What the files of a table are called, apart from those of other tables: `user_metadata` is one beside `user`."""
    stems = {file.rsplit(".", 1)[0] for file in files}
    return file_stem(name, {*stems, *(stem.removesuffix(_LABELS.rsplit(".", 1)[0]) for stem in stems)})


def _choose(place: Place, options: ProjectorOptions, progress: Progress) -> tuple[Points, int, str]:
    """The points of one table, how many there are to choose from, and what they were chosen by."""
    num = options.num_sampled
    if options.ids:
        found = place.entities(options.ids, ())
        if found.missing_ids:
            raise _no_such_entities(place, found.missing_ids)
        return found.entities, len(found.entities), "id"
    if place.vocab is None:
        num_rows = place.table.num_embeddings
        return _least(row_keys(0, num_rows), num), num_rows, SampleOrder.RANDOM.value
    vocabulary = read_vocabulary(
        place.vocab,
        columns=options.columns,
        options=options.storage_options,
        threads=options.threads,
        progress=progress,
    )
    if options.order is SampleOrder.COUNT and vocabulary.counts_N is not None:
        indices = largest(vocabulary.counts_N, num, vocabulary.rows_N)
        return place.checked(entities_at(vocabulary, indices)), len(vocabulary), SampleOrder.COUNT.value
    indices = _least(id_keys(vocabulary.ids, threads=options.threads), num).tolist()
    return place.checked(entities_at(vocabulary, indices)), len(vocabulary), SampleOrder.RANDOM.value


def _least(keys_N: NDArray[np.uint64], num: int) -> NDArray[np.int64]:
    """Indices of the least keys, ascending: the same ones every time, and unrelated to anything else."""
    if num >= len(keys_N):
        return np.arange(len(keys_N))
    return np.sort(np.argpartition(keys_N, num)[:num])


def _check_names(uri: str, names: Sequence[str], options: ProjectorOptions) -> None:
    if not names:
        hint = "`embsnap inspect` shows what it holds"
        raise UsageError(ErrorKind.NOTHING_TO_DO, "has no table", where=uri, expected="a table", hint=hint)
    if options.ids and len(names) > 1:
        raise UsageError(
            ErrorKind.BAD_OPTION,
            "ids were given, and several tables",
            where="--id",
            expected="one table",
            found=", ".join(names[:10]),
            hint="name the table with --table",
        )


def _no_such_entities(place: Place, missing: Sequence[str]) -> NotFoundError:
    shown = ", ".join(missing[:10]) + (f" and {len(missing) - 10} more" if len(missing) > 10 else "")
    return NotFoundError(
        ErrorKind.NO_SUCH_ENTITY, "the vocabulary does not have these ids", where=place.vocab, found=shown
    )
