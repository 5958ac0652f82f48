"""Reading the rows of a projection, and writing its files.

Shape suffixes: N points.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.errors import ErrorKind, RefusedError
from embsnap.formats.projector_files import CONFIG_NAME, config_text, labels_text, points_bytes, points_text
from embsnap.kernels.pairs import floats_of
from embsnap.kernels.reduce import row_norms
from embsnap.model.findings import Finding, Severity
from embsnap.model.projection import ProjectedTable, Projection
from embsnap.ops.projector.options import PointFormat
from embsnap.ops.projector.plan import Points, ProjectionPlan
from embsnap.storage.base import Store
from embsnap.storage.uri import open_store

__all__ = ["write_projection"]


def write_projection(plan: ProjectionPlan, uri: str) -> Projection:
    """Read the rows and write the files; the configuration comes last. What was written before a failure is removed.

    Args:
        plan: What to write.
        uri: An empty directory, or one that does not exist.

    Raises:
        RefusedError: `destination-taken`.
        SnapshotError, StorageError: As reading rows; the disk is full, or the storage failed.
    """
    store = open_store(uri, plan.options.storage_options)
    taken = next(store.list(), None)
    if taken is not None:
        raise RefusedError(
            ErrorKind.DESTINATION_TAKEN,
            "holds something already",
            where=uri,
            expected="a directory that does not exist, or an empty one",
            found=repr(taken.location),
            hint="write to another destination; embsnap overwrites nothing",
        )
    written: list[str] = []
    try:
        return _write(plan, store, uri, written)
    except BaseException:
        for location in written:
            store.delete(location)
        raise


def _write(plan: ProjectionPlan, store: Store, uri: str, written: list[str]) -> Projection:
    tables, findings, num_bytes = [], list(plan.result.findings), 0

    def create(location: str, data: bytes) -> None:
        nonlocal num_bytes
        written.append(location)
        num_bytes += store.create(location, data).size

    for table, place, points in zip(plan.result.tables, plan.places, plan.points, strict=True):
        rows_N = _rows_of(points)
        reader = place.snapshot.reader(place.table.weight)
        rows_ND = np.empty((len(rows_N), reader.dim), reader.dtype)
        reader.gather(rows_N, rows_ND)
        points_ND = floats_of(rows_ND)
        kept_N = np.asarray(np.isfinite(_as_float32(points_ND)).all(axis=1))
        findings += _left_out(table, int(np.count_nonzero(~kept_N)))
        header, labels = _labels(points, row_norms(points_ND))
        text = points_text if plan.options.form is PointFormat.TSV else points_bytes
        create(table.tensor_file, text(_as_float32(points_ND[kept_N])))
        chosen = (label for label, kept in zip(labels, kept_N.tolist(), strict=True) if kept)
        create(table.metadata_file, labels_text(header, chosen))
        tables.append(replace(table, num_points=int(np.count_nonzero(kept_N))))
    plan.places[0].snapshot.check_unchanged()
    shapes = ((t.name, (t.num_points, t.dim), t.tensor_file, t.metadata_file) for t in tables)
    create(CONFIG_NAME, config_text(shapes))
    return replace(
        plan.result, tables=tuple(tables), num_bytes_to_write=num_bytes, destination=uri, findings=tuple(findings)
    )


def _as_float32(points_ND: NDArray[Any]) -> NDArray[np.float32]:
    """As the projector shows them; what float32 does not hold becomes infinite."""
    with np.errstate(over="ignore"):
        return points_ND.astype(np.float32)


def _rows_of(points: Points) -> NDArray[np.int64]:
    return np.array([point.row for point in points], np.int64) if isinstance(points, tuple) else points


def _labels(points: Points, norms_N: NDArray[np.float64]) -> tuple[list[str], list[tuple[object, ...]]]:
    norms = [f"{norm:.6g}" for norm in norms_N.tolist()]
    if not isinstance(points, tuple):
        return ["row", "norm"], list(zip(points.tolist(), norms, strict=True))
    if all(point.count is None for point in points):
        rows = [(point.id, point.row, norm) for point, norm in zip(points, norms, strict=True)]
        return ["id", "row", "norm"], list(rows)
    counted = [(point.id, point.row, point.count, norm) for point, norm in zip(points, norms, strict=True)]
    return ["id", "row", "count", "norm"], list(counted)


def _left_out(table: ProjectedTable, num: int) -> list[Finding]:
    if not num:
        return []
    message = f"{num:,} of {table.num_points:,} points have a NaN or an infinity, and were left out"
    remedy = "`embsnap stats` counts such rows"
    return [Finding(Severity.WARNING, "non-finite-rows", f"table {table.name}", message, remedy, num)]
