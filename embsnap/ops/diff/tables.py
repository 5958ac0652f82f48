"""One pair of tables compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.model.progress import Progress
from embsnap.model.snapshot_diff import Drift, MovedRow, NeighborOverlap, Procrustes, TableDiff
from embsnap.ops.diff.bits import compare_bits
from embsnap.ops.diff.drift import DriftCollector, top_movers
from embsnap.ops.diff.gates import Conditions
from embsnap.ops.diff.matching import MatchedRows, match_rows
from embsnap.ops.diff.neighbors import NeighborSearch
from embsnap.ops.diff.options import DiffOptions
from embsnap.ops.diff.paired_rows import PairedRows, Visit
from embsnap.ops.diff.procrustes import fit_rotation
from embsnap.ops.diff.sides import Side
from embsnap.ops.diff.structure import table_changes

__all__ = ["diff_tables"]


def diff_tables(a: Side, b: Side, options: DiffOptions, conditions: Conditions, progress: Progress) -> TableDiff:
    """Match the rows of two tables and compare them.

    Raises:
        IncompatibleError: Their vocabularies do not fit the tables or each other.
        SnapshotError: An object is not what the manifest says.
        StorageError: The storage failed.
    """
    matched = match_rows(a, b, num_shown=options.num_shown, threads=options.threads)
    name = a.table.name if a.table.name == b.table.name else f"{a.table.name} → {b.table.name}"
    reason = _incomparable(a, b)
    drift, procrustes, neighbors = None, None, None
    movers: tuple[MovedRow, ...] = ()
    if reason is None:
        comparison = _Comparison(a, b, matched, options, conditions, progress)
        with comparison.paired.staged(progress):
            drift, movers, neighbors = comparison.raw()
            procrustes = comparison.turned() if options.procrustes else None
    bits = None
    if options.bit_exact:
        bits = compare_bits(a, b, matched, num_shown=options.num_shown, threads=options.threads, progress=progress)
    return TableDiff(
        name=name,
        a=a.described(),
        b=b.described(),
        changes=table_changes(a.table, b.table),
        matching=matched.matching,
        drift=drift,
        not_compared=reason,
        movers=movers,
        procrustes=procrustes,
        neighbors=neighbors,
        bits=bits,
        findings=matched.findings,
    )


class _Comparison:
    """The passes over the rows of both tables."""

    def __init__(
        self, a: Side, b: Side, matched: MatchedRows, options: DiffOptions, conditions: Conditions, progress: Progress
    ) -> None:
        readers = (a.snapshot.reader(a.table.weight), b.snapshot.reader(b.table.weight))
        self.paired = PairedRows(*readers, matched)
        self._matched, self._options, self._conditions = matched, options, conditions
        self._progress, self._name = progress, b.table.name

    def raw(self) -> tuple[Drift, tuple[MovedRow, ...], NeighborOverlap | None]:
        """One pass for the drift and the neighbours."""
        options, collector = self._options, DriftCollector(self.paired.num_rows)
        search = None
        if options.neighbors:
            search = NeighborSearch(
                self.paired,
                self._matched,
                k=options.neighbors,
                num_sampled=options.num_sampled,
                threads=options.threads,
            )
        if search is not None:
            self._visit(lambda: _both(collector.add, search.new_visitor()), "compare")
        elif not self._compare_in_place(collector):
            self._visit(lambda: collector.add, "compare")
        drift = self._drift(collector)
        movers = top_movers(self.paired, self._matched, collector.furthest(options.num_shown, options.order))
        return drift, movers, None if search is None else search.result()

    def turned(self) -> Procrustes | None:
        """Two passes: one to find the rotation, one for the drift that it leaves; None where none can be found."""
        threads = self._options.threads
        rotation = fit_rotation(self.paired, threads=threads, progress=self._progress, task=f"align {self._name}")
        if rotation is None:
            return None
        collector = DriftCollector(self.paired.num_rows)

        def add(start: int, a_ND: NDArray[Any], b_ND: NDArray[Any], shared_N: NDArray[np.bool_]) -> None:
            collector.add(start, rotation.turn(a_ND), b_ND, shared_N)

        self._visit(lambda: add, "compare aligned")
        return Procrustes(rotation.num_rows, rotation.residual_before, rotation.residual, self._drift(collector))

    def _visit(self, new_visitor: Callable[[], Visit], verb: str) -> None:
        threads, task = self._options.threads, f"{verb} {self._name}"
        self.paired.visit(new_visitor, threads=threads, progress=self._progress, task=task)

    def _compare_in_place(self, collector: DriftCollector) -> bool:
        threads, task = self._options.threads, f"compare {self._name}"
        return self.paired.compare_in_place(collector.compared, threads=threads, progress=self._progress, task=task)

    def _drift(self, collector: DriftCollector) -> Drift:
        conditions = self._conditions
        return collector.result(conditions.thresholds, conditions.percentiles, self._options.threads)


def _both(first: Visit, second: Visit) -> Visit:
    def visit(start: int, a_ND: NDArray[Any], b_ND: NDArray[Any], shared_N: NDArray[np.bool_]) -> None:
        first(start, a_ND, b_ND, shared_N)
        second(start, a_ND, b_ND, shared_N)

    return visit


def _incomparable(a: Side, b: Side) -> str | None:
    """Why rows of the two tables cannot be held against each other; None if they can."""
    dims = (a.table.embedding_dim, b.table.embedding_dim)
    if dims[0] != dims[1]:
        return f"embedding_dim is {dims[0]} in A and {dims[1]} in B"
    complex_ = [side.table.weight.dtype.name for side in (a, b) if side.table.weight.dtype.name.startswith("complex")]
    return f"rows of {complex_[0]} have no cosine" if complex_ else None
