"""Statistics as events of TensorBoard, and as a run of Weights & Biases.

Both are optional packages, loaded when they are asked for.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

from embsnap.errors import ErrorKind, UsageError
from embsnap.model.statistics import statistics_of
from embsnap.model.table_stats import NormHistogram, SnapshotStats

__all__ = ["log_to_tensorboard", "log_to_wandb", "require_tensorboard", "require_wandb"]


def require_tensorboard() -> None:
    """Load tensorboard.

    Raises:
        UsageError: `missing-package`.
    """
    _load("tensorboard.summary.writer.event_file_writer", "tensorboard")


def require_wandb() -> None:
    """Load wandb.

    Raises:
        UsageError: `missing-package`.
    """
    _load("wandb", "wandb")


def log_to_tensorboard(stats: SnapshotStats, directory: str) -> None:
    """Add one event file to a local log directory: a scalar for each statistic, a histogram for each table's norms.

    Tags are `<table>/<statistic>`, with `/<part>` after it where that is not all rows.

    Raises:
        UsageError: `missing-package`.
    """
    writers = _load("tensorboard.summary.writer.event_file_writer", "tensorboard")
    events, summaries = import_module("tensorboard.compat.proto.event_pb2"), _summaries()
    values = [summaries.Summary.Value(tag=tag, simple_value=value) for tag, value in _scalars(stats)]
    for name, histogram in _histograms(stats):
        values.append(summaries.Summary.Value(tag=f"{name}/norm", histo=_histogram_proto(histogram)))
    writer = writers.EventFileWriter(directory)
    try:
        summary = summaries.Summary(value=values)
        writer.add_event(events.Event(wall_time=time.time(), step=stats.step or 0, summary=summary))
    finally:
        writer.close()


def log_to_wandb(stats: SnapshotStats, project: str, *, mode: str | None = None, directory: str | None = None) -> str:
    """Log one step of a run: the same scalars and histograms.

    Args:
        stats: Of one snapshot.
        project: Name of the project.
        mode: `online` or `offline`; None leaves it to wandb's own settings.
        directory: Where wandb keeps its files; None leaves it to wandb.

    Returns:
        Where the run is: its URL, or its directory when offline.

    Raises:
        UsageError: `missing-package`.
    """
    wandb: Any = _load("wandb", "wandb")
    settings = wandb.Settings(silent=True)
    config = {"uri": stats.uri, "metadata_sha256": stats.metadata_sha256}
    run = wandb.init(project=project, mode=mode, dir=directory, config=config, settings=settings, job_type="embsnap")
    try:
        logged: dict[str, Any] = dict(_scalars(stats))
        for name, histogram in _histograms(stats):
            logged[f"{name}/norm"] = wandb.Histogram(np_histogram=(list(histogram.counts), list(histogram.edges)))
        run.log(logged, step=stats.step)
        return str(run.dir if run.offline else run.url)
    finally:
        run.finish()


def _load(module: str, package: str) -> ModuleType:
    try:
        return import_module(module)
    except ImportError as error:
        raise UsageError(
            ErrorKind.MISSING_PACKAGE,
            f"{package} is not installed, or does not load",
            found=error,
            hint=f"pip install 'embsnap[{package}]'",
        ) from error


def _scalars(stats: SnapshotStats) -> Iterator[tuple[str, float]]:
    for found in statistics_of(stats):
        part = "" if found.part == "all" else f"/{found.part}"
        yield f"{found.table}/{found.name}{part}", found.value


def _histograms(stats: SnapshotStats) -> Iterator[tuple[str, NormHistogram]]:
    for table in stats.tables:
        if table.rows.norms is not None and table.rows.norms.histogram.counts:
            yield table.name, table.rows.norms.histogram


def _histogram_proto(histogram: NormHistogram) -> Any:
    """Bins end at their limits in this format; sums are of the bins' middles."""
    pairs = zip(histogram.edges[:-1], histogram.edges[1:], histogram.counts, strict=True)
    middles = [(low + (high - low) / 2 if math.isfinite(high) else low, count) for low, high, count in pairs]
    return _summaries().HistogramProto(
        min=histogram.edges[0],
        max=histogram.edges[-1],
        num=sum(histogram.counts),
        sum=sum(middle * count for middle, count in middles),
        sum_squares=sum(middle * middle * count for middle, count in middles),
        bucket_limit=histogram.edges,
        bucket=(0, *histogram.counts),
    )


def _summaries() -> ModuleType:
    return import_module("tensorboard.compat.proto.summary_pb2")
