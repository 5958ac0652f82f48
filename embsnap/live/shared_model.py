"""A live model that the ranks of a job build to warm-start a snapshot together, as far as one rank holds it.

Shape suffixes: N rows in hand, D embedding_dim.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from embsnap.config.embedding import LargeEmbeddingsConfig
from embsnap.config.policies import Mode, Placement
from embsnap.formats.torchsnapshot.contents import ArrayToWrite
from embsnap.live.arrays import TensorRows
from embsnap.live.device import choose_device
from embsnap.live.lookup import check_lookup
from embsnap.live.modules import LargeEmbeddings
from embsnap.live.sharding import divide_over_ranks
from embsnap.live.tables import find_tables
from embsnap.live.targets import Filled, Target, fill_targets, find_targets
from embsnap.live.warm_start import table_dtypes
from embsnap.model.findings import Finding, Severity
from embsnap.model.progress import Progress
from embsnap.model.rows import RowSource
from embsnap.ops.warmstart.plan import WarmstartPlan
from embsnap.ops.warmstart.result import Lookup

__all__ = ["HeldRows", "LiveOptions", "SharedModel", "device_of_rank"]


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """What the live model is."""

    device: str = "auto"
    mode: Mode = Mode.TRAIN
    placement: Placement = Placement.DEVICE


@dataclass(frozen=True, slots=True, eq=False)
class HeldRows:
    """The rows of a table as a row source: those that this rank holds out of its memory, others from elsewhere."""

    start: int
    """First row that it holds."""
    held: TensorRows
    elsewhere: RowSource
    """The whole table."""

    @property
    def num_rows(self) -> int:
        """Of the whole table."""
        return self.elsewhere.num_rows

    @property
    def dim(self) -> int:
        """Of the whole table."""
        return self.elsewhere.dim

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the elements."""
        return self.elsewhere.dtype

    def read(self, start: int, end: int, out_ND: NDArray[Any]) -> None:
        """Fill `out_ND` with the rows `[start, end)`."""
        first, last = self._held_of(start, end)
        if first < last:
            self.held.read(first - self.start, last - self.start, out_ND[first - start : last - start])
        for begin, stop in self.missing(start, end):
            self.elsewhere.read(begin, stop, out_ND[begin - start : stop - start])

    def missing(self, start: int, end: int) -> list[tuple[int, int]]:
        """The ranges of the rows `[start, end)` that it does not hold."""
        first, last = self._held_of(start, end)
        return [rows for rows in ((start, first), (last, end)) if rows[0] < rows[1]]

    def _held_of(self, start: int, end: int) -> tuple[int, int]:
        first = min(max(start, self.start), end)
        return first, max(min(end, self.start + self.held.num_rows), first)


class SharedModel:
    """`LargeEmbeddings` sharded over the ranks; all of them make, fill and check it together."""

    def __init__(self, config: LargeEmbeddingsConfig, plan: WarmstartPlan, live: LiveOptions) -> None:
        """Build it; its rows are uninitialised memory.

        Args:
            config: What the plan was made of.
            plan: Every check was made with it.
            live: What to build.

        Raises:
            UsageError: There is no such device, or no such placement on it, or no table can have the planned dtype.
        """
        self._plan, self.device = plan, device_of_rank(live.device)
        embeddings = LargeEmbeddings(config, device="meta", mode=live.mode, dtypes=table_dtypes(plan))
        model = divide_over_ranks(embeddings, torch.device(self.device), live.placement, with_gradients=False)
        self._targets: list[Target] = find_targets(find_tables(model, plan.shapes), plan, None)
        self._collection = embeddings.ebc

    def fill(self, block_bytes: int, progress: Progress) -> Filled:
        """Write the planned rows and state into this rank's parts."""
        return fill_targets(self._targets, self._plan, block_bytes, progress)

    def check(self) -> tuple[tuple[Lookup, ...], tuple[Finding, ...]]:
        """Compare a pooled lookup through all ranks with the source rows.

        Returns:
            What was looked up, and a note where no kernel can.

        Raises:
            IncompatibleError: `lookup-mismatch`.
        """
        dtypes = {target.table.name: target.table.dtype for target in self._targets}
        if self.device == "cpu" and torch.bfloat16 in dtypes.values():
            place = ", ".join(f"table {name}" for name, dtype in dtypes.items() if dtype == torch.bfloat16)
            message = "no pooled lookup was compared: FBGEMM pools no sharded bf16 table on a CPU"
            return (), (Finding(Severity.NOTE, "lookup-not-compared", place, message),)
        rows = {target.table.name: target.planned.rows for target in self._targets}
        return check_lookup(self._collection, rows, threads=self._plan.threads_to(None)), ()

    def held(self) -> dict[int, tuple[int, int]]:
        """The rows `[start, end)` that this rank holds, by index of the array in `arrays`."""
        rows: dict[int, tuple[int, int]] = {}
        indexes = {array.path: index for index, array in enumerate(self._plan.arrays())}
        for target in self._targets:
            for part in target.table.parts:
                start = part.offsets[0]
                rows[indexes[target.planned.weight_to_write.path]] = (start, start + len(part.tensor))
        return rows

    def arrays(self) -> list[ArrayToWrite]:
        """The plan's, with the weights out of this rank's memory as far as they are there."""
        sources = {target.planned.weight_to_write.path: _rows(target) for target in self._targets}
        return [replace(array, source=sources.get(array.path, array.source)) for array in self._plan.arrays()]


def _rows(target: Target) -> RowSource:
    rows = target.planned.rows
    for part in target.table.parts:  # one at most: whole rows
        return HeldRows(part.offsets[0], TensorRows(part.tensor), rows)
    return rows


def device_of_rank(name: str) -> str:
    """This rank's device: of several GPUs the one with its number on this host.

    Raises:
        UsageError: `bad-option`: there is none.
    """
    chosen = choose_device(name)
    if chosen != "cuda":
        return chosen
    return choose_device(f"cuda:{os.environ.get('LOCAL_RANK', '0')}")
