"""Statistics of every step of a run, computed once for each step."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from embsnap.errors import EmbsnapError, ErrorKind, NotFoundError, UsageError
from embsnap.formats.stats_history import HistoryPart, StatsHistory
from embsnap.formats.torchsnapshot.metadata import MAX_METADATA_BYTES, METADATA_LOCATION
from embsnap.formats.torchsnapshot.run import Step, steps
from embsnap.model.findings import Finding, Severity
from embsnap.model.progress import SILENT, Progress
from embsnap.model.run_history import HistoryStep, RunHistory, Series
from embsnap.model.statistics import Statistic, statistics_of
from embsnap.model.stats_plan import StatsPlan
from embsnap.model.table_stats import SnapshotStats
from embsnap.ops.stats.options import StatsOptions
from embsnap.ops.stats.plan import SnapshotScan, check_vocabularies, plan_step
from embsnap.storage.uri import open_store

__all__ = ["RunScan", "plan_history"]


@dataclass(frozen=True, slots=True, eq=False)
class RunScan:
    """The steps of a run: those that a history knows, and those that are to be read."""

    uri: str
    options: StatsOptions
    history: StatsHistory | None
    known: tuple[tuple[HistoryStep, HistoryPart], ...]
    scans: tuple[tuple[HistoryStep, SnapshotScan], ...]
    findings: tuple[Finding, ...]

    def result(self) -> StatsPlan:
        """The same, to be shown."""
        plans = [scan.result() for _, scan in self.scans]
        return StatsPlan(
            uri=self.uri,
            tables=tuple(table for plan in plans for table in plan.tables),
            skipped=tuple(dict.fromkeys(skipped for plan in plans for skipped in plan.skipped)),
            known_steps=tuple(step.step for step, _ in self.known),
            outputs=() if self.history is None else (self.history.uri,),
            num_bytes_to_read=sum(plan.num_bytes_to_read for plan in plans),
            scratch_bytes=max((plan.scratch_bytes for plan in plans), default=0),
        )

    def compute(
        self, *, progress: Progress = SILENT, on_stats: Callable[[HistoryStep, SnapshotStats], None] | None = None
    ) -> RunHistory:
        """Read the new steps, oldest first, and put each into the history as soon as it is done.

        Args:
            progress: Is told of what is read.
            on_stats: Is called with all statistics of each step that is read, of which a history keeps the numbers.

        Raises:
            SnapshotError: An object is not what its manifest says, or a file of the history is damaged.
            StorageError: The storage failed.
            IncompatibleError: A vocabulary does not fit its table.
        """
        started = time.monotonic()
        by_step: dict[int, tuple[HistoryStep, Sequence[Statistic]]] = {}
        for step, part in self.known:
            assert self.history is not None
            by_step[step.step] = step, self.history.read(part)
        findings, num_bytes = list(self.findings), 0
        for step, scan in self.scans:
            stats = scan.compute(progress=progress)
            stats = replace(stats, step=step.step)
            if self.history is not None:
                self.history.append(stats, self.options.digest())
            if on_stats is not None:
                on_stats(step, stats)
            by_step[step.step] = step, tuple(statistics_of(stats))
            num_bytes += stats.num_bytes_read
            findings += [replace(found, place=f"step {step.step}: {found.place}") for found in stats.findings]
        ordered = [by_step[number] for number in sorted(by_step)]
        return RunHistory(
            uri=self.uri,
            steps=tuple(step for step, _ in ordered),
            series=_series([found for _, found in ordered]),
            num_bytes_read=num_bytes,
            seconds=time.monotonic() - started,
            history=None if self.history is None else self.history.uri,
            findings=tuple(findings),
        )


def plan_history(uri: str, options: StatsOptions | None = None, *, history: str | None = None) -> RunScan:
    """Find the committed steps of a run, and which of them are to be read.

    A step is known if the history has its statistics with these options, and its metadata is what it was then.

    Args:
        uri: Directory of the run.
        options: As of `plan_stats`; a vocabulary may be of a table that some steps lack.
        history: URI of the directory that keeps the statistics; None computes all steps and keeps nothing.

    Raises:
        NotFoundError: There is no committed step, or no step has a table asked for.
        RefusedError: What is under `history` is no history.
        SnapshotError, IncompatibleError, StorageError: As for `plan_stats`.
    """
    options = options or StatsOptions()
    found = steps(uri, options=options.storage_options)
    committed = [step for step in found if step.committed]
    if not committed:
        raise NotFoundError(
            ErrorKind.NO_SUCH_STEP,
            "has no committed step",
            where=uri,
            expected="a directory with one snapshot for each step, named by its number",
            found=f"{len(found)} steps, none of them committed",
            hint="give the directory above the steps; `embsnap stats` is for a single snapshot",
        )
    kept = None if history is None else StatsHistory(history, options.storage_options)
    known, new = _sorted_out(committed, kept, options)
    scans, missing = _scans(new, options)
    if missing and not scans and not known:
        raise missing[0][1]
    if scans and not known:
        check_vocabularies(options, list({to_scan.table.name: None for _, scan in scans for to_scan in scan.tables}))
    torn = tuple(step for step in found if not step.committed)
    return RunScan(uri, options, kept, tuple(known), tuple(scans), (*_torn(torn), *_lacking(missing)))


def _sorted_out(
    committed: Iterable[Step], history: StatsHistory | None, options: StatsOptions
) -> tuple[list[tuple[HistoryStep, HistoryPart]], list[HistoryStep]]:
    known, new, digest = [], [], options.digest()
    for step in committed:
        sha256 = _metadata_sha256(step.uri, options)
        part = None if history is None else history.find(step.step, sha256, digest)
        described = HistoryStep(step.step, step.uri, sha256, is_new=part is None)
        if part is None:
            new.append(described)
        else:
            known.append((described, part))
    return known, new


def _metadata_sha256(uri: str, options: StatsOptions) -> str:
    data = open_store(uri, options.storage_options).read(METADATA_LOCATION, limit=MAX_METADATA_BYTES)
    return hashlib.sha256(data).hexdigest()


def _scans(
    new: Iterable[HistoryStep], options: StatsOptions
) -> tuple[list[tuple[HistoryStep, SnapshotScan]], list[tuple[HistoryStep, EmbsnapError]]]:
    """The steps that can be read, and those that lack a table asked for, or have none at all."""
    scans, missing = [], list[tuple[HistoryStep, EmbsnapError]]()
    for step in new:
        try:
            scans.append((step, plan_step(step.uri, options)))
        except (NotFoundError, UsageError) as error:
            if error.kind not in (ErrorKind.NO_SUCH_TABLE, ErrorKind.NOTHING_TO_DO):
                raise
            missing.append((step, error))
    return scans, missing


def _torn(torn: Iterable[Step]) -> Iterator[Finding]:
    for step in torn:
        message = "the step has no metadata: it was never finished"
        remedy = "`embsnap gc` shows what embsnap left there, which it can remove"
        yield Finding(Severity.NOTE, "torn-step", step.uri, message, remedy)


def _lacking(missing: Iterable[tuple[HistoryStep, EmbsnapError]]) -> Iterator[Finding]:
    for step, error in missing:
        if error.kind is ErrorKind.NOTHING_TO_DO:
            yield Finding(Severity.WARNING, "no-such-table", step.uri, f"the step is left out: it {error.problem}")
            continue
        message = f"the step is left out: it has no table {error.where}"
        yield Finding(Severity.WARNING, "no-such-table", step.uri, message, "ask for tables that it has")


def _series(by_step: Sequence[Sequence[Statistic]]) -> tuple[Series, ...]:
    values: dict[tuple[str, str, str], list[float | None]] = {}
    for index, statistics in enumerate(by_step):
        for found in statistics:
            key = (found.table, found.name, found.part)
            values.setdefault(key, [None] * len(by_step))[index] = float(found.value)
    return tuple(Series(*key, values=tuple(series)) for key, series in values.items())
