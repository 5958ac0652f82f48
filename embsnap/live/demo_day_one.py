"""Day one of the demo: a graph, its vocabularies, a trained model, its snapshot, and all that day two begins with."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np
from torchsnapshot import Snapshot, StateDict

from embsnap.live.demo_config import claim, day_config, write_config
from embsnap.live.demo_data import (
    TABLES,
    int64_ids,
    rank_entities,
    roomy,
    rows_of_day,
    write_events,
    write_vocabulary,
)
from embsnap.live.demo_graph import DayEvents, draw_day, make_graph
from embsnap.live.demo_model import InteractionModel, fill_uniform, train
from embsnap.live.demo_places import DemoPlaces, local_original
from embsnap.live.demo_values import DemoDayOne, DemoOptions, DemoTable
from embsnap.model.progress import SILENT, Progress
from embsnap.model.vocabulary import Vocabulary
from embsnap.storage.local_errors import storage_errors_at

__all__ = ["make_day_one"]

_TASK = "day one: train"


def make_day_one(
    directory: str,
    options: DemoOptions | None = None,
    *,
    overwrite: bool = False,
    storage_options: Mapping[str, str] | None = None,
    progress: Progress = SILENT,
) -> DemoDayOne:
    """Make two days of a graph, train on the first and take a snapshot with torchsnapshot.

    Args:
        directory: Path or URI of a new or empty directory.
        options: Sizes and seed; the same give the same files but for the snapshot's object names.
        overwrite: Whether an earlier demo in `directory` may be replaced.
        storage_options: Of the directory's store.
        progress: Is told of the training's steps.

    Raises:
        RefusedError: The directory holds something else.
        StorageError: It cannot be written.
    """
    places = DemoPlaces.at(directory, storage_options)
    with storage_errors_at(places.directory):
        return _make_day_one(places, options or DemoOptions(), overwrite, progress)


def _make_day_one(places: DemoPlaces, options: DemoOptions, overwrite: bool, progress: Progress) -> DemoDayOne:
    started_s = time.monotonic()
    claim(places, options, overwrite=overwrite)
    days = _write_days(places, options)
    old, new = (_write_vocabularies(places, day, events) for day, events in days.items())
    losses = _train_and_save(places, options, days[1], old, progress)
    snapshot = places.snapshot(len(losses))
    write_config(places, new, options, snapshot)
    return DemoDayOne(
        directory=places.directory,
        tables=tuple(_compare(name, old[name], new[name]) for name in TABLES),
        num_events=options.num_events,
        num_steps=len(losses),
        first_loss=losses[0],
        last_loss=float(np.mean(losses[-50:])),
        snapshot=snapshot,
        config=places.config,
        warm=places.warm,
        seconds=time.monotonic() - started_s,
    )


def _write_days(places: DemoPlaces, options: DemoOptions) -> dict[int, DayEvents]:
    graph = make_graph(options)
    days = {day: draw_day(graph, day) for day in (1, 2)}
    for day, events in days.items():
        write_events(events, places.events(day), places.options)
    return days


def _write_vocabularies(places: DemoPlaces, day: int, events: DayEvents) -> dict[str, Vocabulary]:
    ids = {"user": events.user_ids_E, "post": events.post_ids_E}
    vocabularies = {table: rank_entities(ids[table], places.vocabulary(day, table)) for table in TABLES}
    for vocabulary in vocabularies.values():
        write_vocabulary(vocabulary, places.options)
    return vocabularies


def _train_and_save(
    places: DemoPlaces,
    options: DemoOptions,
    events: DayEvents,
    vocabularies: dict[str, Vocabulary],
    progress: Progress,
) -> tuple[float, ...]:
    """Train day one's model and take its snapshot; the loss of each step."""
    started_s = time.monotonic()
    model = InteractionModel(day_config(vocabularies, options))
    fill_uniform(model.embeddings, options.seed)
    day = rows_of_day(events, vocabularies["user"], vocabularies["post"])
    batches = list(day.slices(options.batch_size, options.epochs))
    progress.start(_TASK, len(batches), "steps")
    try:
        losses = train(model, day, batches, lambda: progress.advance(_TASK, 1))
    finally:
        progress.finish(_TASK)
    extra = StateDict(step=len(losses), walltime=time.monotonic() - started_s)
    with local_original(places.snapshot(len(losses)), places.options) as path:
        Snapshot.take(path, model.app_state(extra_state=extra))
    return losses


def _compare(name: str, old: Vocabulary, new: Vocabulary) -> DemoTable:
    num_carried = len(np.intersect1d(int64_ids(old), int64_ids(new)))
    return DemoTable(name, len(old), len(new), num_carried, roomy(new))
