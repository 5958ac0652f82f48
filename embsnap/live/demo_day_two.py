"""Day two of the demo: the same first steps from a warm and from a cold start.

Shape suffixes: N rows in hand, D embedding_dim.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.linalg import vector_norm
from torchrec.optim.keyed import CombinedOptimizer
from torchsnapshot import Snapshot
from torchsnapshot.knobs import override_is_batching_disabled

from embsnap.config.embedding import LargeEmbeddingsConfig
from embsnap.errors import EmbsnapError, ErrorKind, IncompatibleError, UsageError
from embsnap.formats.torchsnapshot.snapshot import Snapshot as OpenedSnapshot
from embsnap.formats.torchsnapshot.snapshot import open_snapshot
from embsnap.formats.vocabulary import read_vocabulary
from embsnap.live.demo_config import read_config, read_options
from embsnap.live.demo_data import TABLES, UNKNOWN_ROW, DayRows, int64_ids, lookup_rows, read_events, rows_of_day
from embsnap.live.demo_model import InteractionModel, bag, fill_uniform, train
from embsnap.live.demo_places import DemoPlaces, local_copy
from embsnap.live.demo_values import COMPARED_STEPS, DemoDayTwo, DemoOptions, PooledCheck, TableNorm
from embsnap.model.progress import SILENT, Progress
from embsnap.model.vocabulary import Vocabulary
from embsnap.storage.local_errors import storage_errors_at

__all__ = ["REQUIRED_ADVANTAGE", "run_day_two"]

REQUIRED_ADVANTAGE = 0.05
"""How much lower than the cold start's the warm start's mean loss has to be."""
_BAG_SIZE = 3
_STATE = "0/optimizer/state/"


@dataclass(frozen=True, slots=True, eq=False)
class _DayTwo:
    """What both starts share."""

    places: DemoPlaces
    options: DemoOptions
    config: LargeEmbeddingsConfig
    old: dict[str, Vocabulary]
    new: dict[str, Vocabulary]
    rows: DayRows
    batches: list[slice]

    @property
    def old_snapshot(self) -> str:
        """URI of day one's snapshot."""
        pretrained = self.config.tables[0].pretrained
        assert pretrained is not None
        return pretrained.embedding_snapshot_uri


def run_day_two(
    directory: str,
    *,
    warm: str | None = None,
    num_steps: int = 100,
    storage_options: Mapping[str, str] | None = None,
    progress: Progress = SILENT,
) -> DemoDayTwo:
    """Train the first steps of day two from the warm start and from a cold one, on the same batches.

    Both start with the relations of day one, so that the tables alone make the difference.

    Args:
        directory: Path or URI of an earlier `make_day_one`.
        warm: The snapshot that `embsnap warmstart` wrote; `day2/warm` in `directory` if None.
        num_steps: At least `COMPARED_STEPS`; fewer are run if the day has fewer batches.
        storage_options: Of the stores of the directory and of the warm start.
        progress: Is told of the steps.

    Raises:
        NotFoundError: There is no demo.
        SnapshotError: The warm start has not been written.
        StorageError: The directory cannot be read.
        IncompatibleError: A pooled lookup after the warm start is not the sum of day one's rows.
    """
    places = DemoPlaces.at(directory, storage_options)
    with storage_errors_at(places.directory):
        return _run_day_two(places, warm or places.warm, num_steps, progress)


def _run_day_two(places: DemoPlaces, warm: str, num_steps: int, progress: Progress) -> DemoDayTwo:
    started_s = time.monotonic()
    day = _read_day_two(places, num_steps)
    warm_model, cold_model = InteractionModel(day.config), InteractionModel(day.config)
    with_state = _restore_warm(warm_model, _open_warm(warm, places), places.options)
    fill_uniform(cold_model.embeddings, day.options.seed)
    with local_copy(day.old_snapshot, places.options) as path:
        for model in (warm_model, cold_model):
            _restore(path, {"relations": model.relations})
    pooled, norms = _check_lookup(day, warm_model), _norms(day, warm_model, cold_model)
    warm_losses = _train("warm", warm_model, day, progress)
    cold_losses = _train("cold", cold_model, day, progress)
    mean_warm, mean_cold = (float(np.mean(losses[:COMPARED_STEPS])) for losses in (warm_losses, cold_losses))
    return DemoDayTwo(
        warm_losses=warm_losses,
        cold_losses=cold_losses,
        compared_steps=COMPARED_STEPS,
        mean_warm=mean_warm,
        mean_cold=mean_cold,
        advantage=1 - mean_warm / mean_cold,
        required=REQUIRED_ADVANTAGE,
        passed=mean_warm <= (1 - REQUIRED_ADVANTAGE) * mean_cold,
        optimizer_state=with_state,
        pooled=pooled,
        mean_norms=norms,
        seconds=time.monotonic() - started_s,
    )


def _read_day_two(places: DemoPlaces, num_steps: int) -> _DayTwo:
    if num_steps < COMPARED_STEPS:
        raise UsageError(
            ErrorKind.BAD_OPTION,
            "are too few to compare",
            where="steps",
            expected=f"{COMPARED_STEPS} or more",
            found=num_steps,
        )
    options, config = read_options(places), read_config(places)
    old, new = (_read_vocabularies(places, day) for day in (1, 2))
    rows = rows_of_day(read_events(places.events(2), places.options), new["user"], new["post"])
    return _DayTwo(places, options, config, old, new, rows, list(rows.slices(options.batch_size))[:num_steps])


def _read_vocabularies(places: DemoPlaces, day: int) -> dict[str, Vocabulary]:
    return {table: read_vocabulary(places.vocabulary(day, table), options=places.options) for table in TABLES}


def _open_warm(uri: str, places: DemoPlaces) -> OpenedSnapshot:
    try:
        return open_snapshot(uri, options=places.options)
    except EmbsnapError as error:
        error.hint = f"embsnap warmstart {places.config} --out {uri}"
        raise


def _restore_warm(model: InteractionModel, warm: OpenedSnapshot, options: Mapping[str, str]) -> bool:
    """Restore the tables, and the state of their optimizers if that is what is there; tells whether it was."""
    fused = CombinedOptimizer([("fused_opt", model.tables_optimizer)])
    wanted = {f"{_STATE}{key}/{name}" for key, named in fused.state_dict()["state"].items() for name in named}
    found = {path for path in warm.manifest.entries if path.startswith(_STATE) and "/" in path[len(_STATE) :]}
    with_state = found == wanted
    with local_copy(warm.uri, options) as path:
        _restore(path, {"model": model.embeddings, **({"optimizer": fused} if with_state else {})})
    return with_state


def _restore(path: str, app_state: dict[str, object]) -> None:
    with override_is_batching_disabled(True):  # torchsnapshot 0.1.0 loses the errors of batched reads
        Snapshot(path).restore(app_state)


def _train(start: str, model: InteractionModel, day: _DayTwo, progress: Progress) -> tuple[float, ...]:
    task = f"day two: train from the {start} start"
    progress.start(task, len(day.batches), "steps")
    try:
        return train(model, day.rows, day.batches, lambda: progress.advance(task, 1))
    finally:
        progress.finish(task)


def _norms(day: _DayTwo, warm: InteractionModel, cold: InteractionModel) -> tuple[TableNorm, ...]:
    def mean_norm(model: InteractionModel, table: str) -> float:
        return float(vector_norm(model.embeddings.weight(table).detach(), dim=1).mean())

    return tuple(
        TableNorm(table, mean_norm(warm, table), mean_norm(cold, table)) for table in day.config.logged_tables()
    )


def _check_lookup(day: _DayTwo, model: InteractionModel) -> PooledCheck:
    """Pool the most frequent posts that both days know, and hold the result against day one's rows.

    Raises:
        IncompatibleError: `lookup-mismatch`.
    """
    old, new = day.old["post"], day.new["post"]
    new_ids_N = int64_ids(new)
    entities_N = new_ids_N[lookup_rows(old, new_ids_N) != UNKNOWN_ROW][:_BAG_SIZE]
    old_rows_N, new_rows_N = lookup_rows(old, entities_N), lookup_rows(new, entities_N)
    features = bag(
        {"user": np.zeros(1, np.int64), "post": new_rows_N},
        {"user": np.ones(1, np.int64), "post": np.array([len(new_rows_N)])},
    )
    with torch.no_grad():
        pooled_D = model.embeddings(features)["post"][0].numpy()
    expected_D = _old_rows(day, old_rows_N).sum(axis=0)
    if not np.allclose(pooled_D, expected_D, rtol=1e-5, atol=1e-6):
        raise IncompatibleError(
            ErrorKind.LOOKUP_MISMATCH,
            "a pooled lookup after the warm start is not the sum of the old rows",
            where=f"table post, entities {entities_N.tolist()}",
            expected=expected_D[:4],
            found=pooled_D[:4],
            hint="run the warm start of this very demo again",
        )
    return PooledCheck(
        "post",
        *(tuple(values.tolist()) for values in (entities_N, old_rows_N, new_rows_N, pooled_D, expected_D)),
    )


def _old_rows(day: _DayTwo, rows_N: NDArray[np.int64]) -> NDArray[np.float32]:
    """Rows of the post table as day one's snapshot holds them, `[N, D]`."""
    snapshot = open_snapshot(day.old_snapshot, options=day.places.options)
    reader = snapshot.reader(snapshot.table("post").weight)
    out_ND = np.empty((len(rows_N), reader.dim), np.float32)
    reader.gather(rows_N, out_ND)
    return out_ND
