"""One snapshot written by all ranks of a job: they plan it, each writes its share of the objects, rank 0 commits.

With a live model over the ranks in between, which each fills its part of, or without.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from time import monotonic
from typing import TypeAlias

import torch
import torch.distributed as dist

from embsnap.config.embedding import LargeEmbeddingsConfig
from embsnap.formats.sidecar import ObjectSums
from embsnap.formats.torchsnapshot.commit import TOOL, commit, withdraw
from embsnap.formats.torchsnapshot.contents import ArrayToWrite, build_manifest, check_contents
from embsnap.formats.torchsnapshot.destination import check_destination, claim_run, object_location
from embsnap.formats.torchsnapshot.encoding import encode_metadata
from embsnap.formats.torchsnapshot.layout import ObjectLayout, PlacedPiece, place
from embsnap.formats.torchsnapshot.object_writer import write_objects
from embsnap.live.rank_reports import merged_result, report_of
from embsnap.live.ranks import Ranks
from embsnap.live.shared_model import HeldRows, LiveOptions, SharedModel, device_of_rank
from embsnap.live.targets import Filled
from embsnap.model.findings import Finding
from embsnap.model.progress import SILENT, Progress
from embsnap.ops.warmstart.fetching import Fetching
from embsnap.ops.warmstart.peers import Share
from embsnap.ops.warmstart.plan import WarmstartPlan
from embsnap.ops.warmstart.result import WarmstartResult
from embsnap.storage.base import Store
from embsnap.storage.uri import open_store

__all__ = ["holders_of", "write_together"]


MakePlan: TypeAlias = Callable[[Share], tuple[LargeEmbeddingsConfig, WarmstartPlan]]


def write_together(
    make_plan: MakePlan, uri: str, *, live: LiveOptions | None, progress: Progress = SILENT
) -> WarmstartResult:
    """Write a planned warm start as one snapshot, as every rank that torchrun has started calls it.

    The snapshot is the one that a single process writes. With a live model each rank fills its part of that, a pooled
    lookup through all ranks is compared with the source rows, and a rank writes the objects of which it holds most
    rows; what it does not hold of them it reads from their source. Without one a rank reads the rows of the objects
    that it writes. What fails on one rank is raised on all of them, and nothing is visible at `uri`.

    Args:
        make_plan: Reads the config and makes the plan together with the other ranks; what fails on one of them is
            raised on all.
        uri: Of the new snapshot.
        live: The model to build; None to build none.
        progress: Is told how far this rank is.

    Raises:
        EmbsnapError: What `make_plan` raises, or as `write_warmstart`; `rank-lost` if another rank is gone;
            `lookup-mismatch`.
    """
    _join(live)
    ranks = Ranks()
    try:
        return _SharedWrite(ranks, uri, progress).run(make_plan, live)
    finally:
        ranks.leave()
        dist.destroy_process_group()


def _join(live: LiveOptions | None) -> None:
    """Begin the job that torchrun has started, or one of this process alone."""
    device = "cpu" if live is None else device_of_rank(live.device)
    backend = "gloo"
    if device != "cpu":
        torch.cuda.set_device(device)
        backend = "cpu:gloo,cuda:nccl"
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        dist.init_process_group(backend)
    else:
        store = dist.HashStore()  # type: ignore[attr-defined] # not listed among what it exports
        dist.init_process_group(backend, store=store, rank=0, world_size=1)


class _SharedWrite:
    """One such write, on one rank."""

    def __init__(self, ranks: Ranks, uri: str, progress: Progress) -> None:
        self._ranks, self._uri, self._progress = ranks, uri, progress
        self._config: LargeEmbeddingsConfig
        self._plan: WarmstartPlan
        self._store: Store
        self._arrays: list[ArrayToWrite]
        self._objects: list[tuple[str, ObjectLayout]]
        self._own: list[tuple[str, ObjectLayout]]

    def run(self, make_plan: MakePlan, live: LiveOptions | None) -> WarmstartResult:
        """Plan, fill, write and commit."""
        self._config, self._plan = make_plan(Share(self._ranks))
        self._ranks.agree(self._check)
        began = monotonic()
        model = None if live is None else self._build(live)
        run_id, notes = self._ranks.agree(self._claim)[0]
        layouts = place([array.rows for array in self._arrays])
        self._objects = [(object_location(run_id, index), layout) for index, layout in enumerate(layouts)]
        self._own = self._objects[self._ranks.rank :: self._ranks.size]
        metadata = encode_metadata(build_manifest(self._arrays, {}, self._objects))
        try:
            filled = None if model is None else self._fill(model)
            sums = self._ranks.agree(self._write)
            self._ranks.agree(lambda: self._commit(metadata, {at: sum_ for part in sums for at, sum_ in part.items()}))
        except BaseException:
            if self._ranks.rank == 0:
                withdraw(self._store, run_id, (location for location, _ in self._objects), metadata)
            raise
        reports = self._ranks.gather(report_of(self._plan) if filled is None else filled.report)
        result = merged_result(self._plan, reports, monotonic() - began)
        result = replace(result, destination=self._store.uri, notes=(*notes, *self._plan.notes()))
        return result if filled is None or live is None else _with_model(result, filled, live)

    def _check(self) -> None:
        self._store = open_store(self._uri, self._plan.options.storage_options)
        self._arrays = self._plan.arrays()
        check_contents(self._arrays, {})

    def _claim(self) -> tuple[str, tuple[Finding, ...]]:
        if self._ranks.rank != 0:
            return "", ()
        notes = check_destination(self._store)
        return claim_run(self._store, self._plan.digest, TOOL), notes

    def _build(self, live: LiveOptions) -> SharedModel:
        built: list[SharedModel] = []
        self._ranks.agree(lambda: built.append(SharedModel(self._config, self._plan, live)))
        return built[0]

    def _fill(self, model: SharedModel) -> Filled:
        """Fill the model and look it up, each step on all ranks; then its rows are what is written."""
        filled = self._ranks.agree(lambda: model.fill(self._plan.budget.fill_block_bytes, self._progress))
        lookups, notes = self._ranks.agree(model.check)[0]
        self._arrays = model.arrays()
        holders = holders_of([layout for _, layout in self._objects], self._ranks.gather(model.held()), self._arrays)
        objects = zip(self._objects, holders, strict=True)
        self._own = [placed for placed, holder in objects if holder == self._ranks.rank]
        own = filled[self._ranks.rank]
        return replace(own, lookups=lookups, notes=(*notes, *(note for one in filled for note in one.notes)))

    def _write(self) -> dict[str, ObjectSums]:
        plan = self._plan
        with ExitStack() as stack:
            for fetching in self._fetchings():
                stack.enter_context(fetching)
            sums = write_objects(
                self._store,
                self._arrays,
                self._own,
                threads=plan.threads_to(self._uri),
                block_bytes=plan.budget.block_bytes if plan.is_mapped else plan.budget.fill_block_bytes,
                progress=self._progress,
            )
        plan.check_unchanged()
        return dict(sums)

    def _fetchings(self) -> Iterator[Fetching]:
        """What fetches the old rows of those new ones that this rank reads from their source."""
        ranges: dict[int, list[tuple[int, int]]] = {}
        for piece in (piece for _, layout in self._own for piece in layout.pieces):
            source, rows = self._arrays[piece.array].source, (piece.start_row, piece.end_row)
            ranges.setdefault(piece.array, []).extend(source.missing(*rows) if isinstance(source, HeldRows) else [rows])
        sources = (source for table in self._plan.tables for source in table.sources)
        for index, source in enumerate(sources):
            if source.fetching is not None:
                asked = ranges.get(index, [])
                wanted = [rows_N for rows in asked for rows_N in source.wanted(*rows)]
                source.fetching.limit(wanted, sum(end - start for start, end in asked))
                yield source.fetching

    def _commit(self, metadata: bytes, sums: dict[str, ObjectSums]) -> None:
        if self._ranks.rank == 0:
            commit(self._store, metadata, sums, self._plan.vocabularies(), self._plan.lineage())


def holders_of(
    layouts: Sequence[ObjectLayout], held: Sequence[Mapping[int, tuple[int, int]]], arrays: Sequence[ArrayToWrite]
) -> list[int]:
    """Which rank writes each object: the one that holds most bytes of it, or of several the one with least to write.

    Args:
        layouts: Of the objects.
        held: By rank: index of an array → the rows `[start, end)` that it holds.
        arrays: Of the snapshot.
    """
    num_bytes = [0] * len(held)
    holders = []
    for layout in layouts:
        counts = [sum(_num_held(piece, rows, arrays) for piece in layout.pieces) for rows in held]
        holder = min(range(len(held)), key=lambda rank: (-counts[rank], num_bytes[rank]))
        num_bytes[holder] += layout.num_bytes
        holders.append(holder)
    return holders


def _num_held(piece: PlacedPiece, rows: Mapping[int, tuple[int, int]], arrays: Sequence[ArrayToWrite]) -> int:
    start, end = rows.get(piece.array, (0, 0))
    num_rows = min(end, piece.end_row) - max(start, piece.start_row)
    return max(0, num_rows) * arrays[piece.array].rows.row_bytes


def _with_model(result: WarmstartResult, filled: Filled, live: LiveOptions) -> WarmstartResult:
    notes = {(note.kind, note.place): note for note in (*result.notes, *filled.notes)}
    device = device_of_rank(live.device).partition(":")[0]
    return replace(result, device=device, mode=live.mode.value, lookups=filled.lookups, notes=tuple(notes.values()))
