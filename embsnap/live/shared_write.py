"""One snapshot written by all ranks of a job: each plans, each writes its share of the objects, rank 0 commits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from time import monotonic

import torch.distributed as dist

from embsnap.formats.sidecar import ObjectSums
from embsnap.formats.torchsnapshot.commit import TOOL, commit, withdraw
from embsnap.formats.torchsnapshot.contents import ArrayToWrite, build_manifest, check_contents
from embsnap.formats.torchsnapshot.destination import check_destination, claim_run, object_location
from embsnap.formats.torchsnapshot.encoding import encode_metadata
from embsnap.formats.torchsnapshot.layout import ObjectLayout, place
from embsnap.formats.torchsnapshot.object_writer import write_objects
from embsnap.live.rank_reports import merged_result, report_of
from embsnap.live.ranks import Ranks
from embsnap.model.findings import Finding
from embsnap.model.progress import SILENT, Progress
from embsnap.ops.warmstart.plan import WarmstartPlan
from embsnap.ops.warmstart.result import WarmstartResult
from embsnap.storage.base import Store
from embsnap.storage.uri import open_store

__all__ = ["write_together"]


def write_together(make_plan: Callable[[], WarmstartPlan], uri: str, *, progress: Progress = SILENT) -> WarmstartResult:
    """Write a planned warm start as one snapshot, as every rank that torchrun has started calls it.

    The snapshot is the one that a single process writes. A rank reads the rows of the objects that it writes; what
    fails on one rank is raised on all of them, and nothing is visible at `uri`.

    Args:
        make_plan: Makes the plan, which is the same on all ranks.
        uri: Of the new snapshot.
        progress: Is told how far this rank is.

    Raises:
        EmbsnapError: What `make_plan` raises, or as `write_warmstart`; `rank-lost` if another rank is gone.
    """
    dist.init_process_group("gloo")
    ranks = Ranks()
    try:
        return _SharedWrite(ranks, uri, progress).run(make_plan)
    finally:
        ranks.leave()
        dist.destroy_process_group()


class _SharedWrite:
    """One such write, on one rank."""

    def __init__(self, ranks: Ranks, uri: str, progress: Progress) -> None:
        self._ranks, self._uri, self._progress = ranks, uri, progress
        self._plan: WarmstartPlan
        self._arrays: list[ArrayToWrite]
        self._objects: list[tuple[str, ObjectLayout]]

    def run(self, make_plan: Callable[[], WarmstartPlan]) -> WarmstartResult:
        """Plan, write and commit."""
        self._ranks.agree(lambda: self._make(make_plan))
        began = monotonic()
        run_id, notes = self._ranks.agree(self._claim)[0]
        layouts = place([array.rows for array in self._arrays])
        self._objects = [(object_location(run_id, index), layout) for index, layout in enumerate(layouts)]
        metadata = encode_metadata(build_manifest(self._arrays, {}, self._objects))
        try:
            sums = self._ranks.agree(self._write)
            self._ranks.agree(lambda: self._commit(metadata, {at: sum_ for part in sums for at, sum_ in part.items()}))
        except BaseException:
            if self._ranks.rank == 0:
                withdraw(self._store(), run_id, (location for location, _ in self._objects), metadata)
            raise
        result = merged_result(self._plan, self._ranks.gather(report_of(self._plan)), monotonic() - began)
        return replace(result, destination=self._store().uri, notes=notes)

    def _make(self, make_plan: Callable[[], WarmstartPlan]) -> None:
        self._plan = make_plan()
        self._arrays = self._plan.arrays()
        check_contents(self._arrays, {})

    def _claim(self) -> tuple[str, tuple[Finding, ...]]:
        if self._ranks.rank != 0:
            return "", ()
        notes = check_destination(self._store())
        return claim_run(self._store(), self._plan.digest, TOOL), notes

    def _write(self) -> dict[str, ObjectSums]:
        plan = self._plan
        sums = write_objects(
            self._store(),
            self._arrays,
            self._objects[self._ranks.rank :: self._ranks.size],
            threads=plan.threads_to(self._uri),
            block_bytes=plan.budget.block_bytes if plan.is_mapped else plan.budget.fill_block_bytes,
            progress=self._progress,
        )
        plan.check_unchanged()
        return dict(sums)

    def _commit(self, metadata: bytes, sums: dict[str, ObjectSums]) -> None:
        if self._ranks.rank == 0:
            commit(self._store(), metadata, sums, self._plan.vocabularies(), self._plan.lineage())

    def _store(self) -> Store:
        return open_store(self._uri, self._plan.options.storage_options)
