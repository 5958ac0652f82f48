"""Finding out what a report can show, and computing it.

report = plan_report("runs/ranking", ReportOptions()).compute()
report.run, report.stats, report.diff      # of the run's newest committed step, against the one before
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.formats.result_json import read_result
from embsnap.formats.vocabulary_survey import survey
from embsnap.model.findings import Finding
from embsnap.model.inspection import RunInspection, SnapshotInspection
from embsnap.model.progress import SILENT, Progress
from embsnap.model.run_history import HistoryStep, RunHistory
from embsnap.model.snapshot_diff import SnapshotDiff
from embsnap.model.table_stats import SnapshotStats
from embsnap.model.vocab_coverage import VocabCoverage
from embsnap.ops.diff.snapshots import diff_snapshots
from embsnap.ops.history import RunScan, plan_history
from embsnap.ops.inspect import InspectOptions, inspect
from embsnap.ops.stats.plan import SnapshotScan, plan_stats
from embsnap.ops.warmstart.result import WarmstartResult
from embsnap.report.before import Comparison, plan_comparison
from embsnap.report.contents import Report, ReportOutline
from embsnap.report.options import ReportOptions

__all__ = ["ReportPlan", "plan_report"]

_RESULTS = {kind.schema: kind for kind in (WarmstartResult, VocabCoverage, SnapshotStats, SnapshotDiff, RunHistory)}
"""What is taken as JSON, by schema."""

_Result = WarmstartResult | VocabCoverage | SnapshotStats | SnapshotDiff | RunHistory


@dataclass(frozen=True, slots=True, eq=False)
class ReportPlan:
    """What one report is made from; no row has been read."""

    source: str
    options: ReportOptions
    results: tuple[_Result, ...]
    run: RunInspection | None = None
    inspection: SnapshotInspection | None = None
    scan: SnapshotScan | None = None
    """None where the statistics come with the run's, or from a result."""
    run_scan: RunScan | None = None
    comparison: Comparison | None = None

    def outline(self, destination: str | None = None) -> ReportOutline:
        """The same, to be shown."""
        scans = (self.run_scan, self.scan, None if self.comparison is None else self.comparison.scan)
        plans = tuple(scan.result() for scan in scans if scan is not None)
        num_bytes = sum(plan.num_bytes_to_read for plan in plans)
        return ReportOutline(
            source=self.source,
            snapshot=None if self.inspection is None else self.inspection.uri,
            before=None if self.comparison is None else self.comparison.uri,
            stats=plans,
            results=tuple(result.schema for result in self.results),
            num_bytes_to_read=num_bytes + (0 if self.comparison is None else self.comparison.num_bytes),
            destination=destination,
        )

    def compute(self, *, tool: str, progress: Progress = SILENT) -> Report:
        """Read what is to be read.

        Args:
            tool: Name and version of what makes the report.
            progress: Is told of what is read.

        Raises:
            SnapshotError, StorageError, IncompatibleError: As of `stats`, `history` and `diff`.
        """
        seen: dict[str, SnapshotStats] = {}

        def keep(step: HistoryStep, stats: SnapshotStats) -> None:
            seen[step.uri] = stats

        history = None if self.run_scan is None else self.run_scan.compute(progress=progress, on_stats=keep)
        stats = seen.get(self.inspection.uri) if self.inspection is not None else None
        if self.scan is not None:
            stats = self.scan.compute(progress=progress)
        before = diff = None
        if self.comparison is not None:
            before = seen.get(self.comparison.uri)
            if self.comparison.scan is not None:
                before = self.comparison.scan.compute(progress=progress)
            diff = self._diff(self.comparison, progress)
        report = Report(
            source=self.source,
            tool=tool,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            run=self.run,
            inspection=self.inspection,
            stats=stats,
            before=before,
            diff=diff,
            history=history,
            coverage=(),
            warmstart=None,
            findings=(),
            destination=None,
        )
        return _completed(report, self.results)

    def _diff(self, comparison: Comparison, progress: Progress) -> SnapshotDiff:
        assert self.inspection is not None
        try:
            return diff_snapshots(comparison.uri, self.inspection.uri, comparison.options, progress=progress)
        except IncompatibleError as error:
            if error.kind is not ErrorKind.NO_VOCABULARY:
                raise
            fields = {"where": error.where, "expected": error.expected, "found": error.found}
            hint = "give it with --vocab or --vocab-before, or --by-position to compare row by row"
            raise IncompatibleError(error.kind, error.problem, **fields, hint=hint) from None


def plan_report(source: str, options: ReportOptions | None = None) -> ReportPlan:
    """Find out what there is to show of a source.

    Args:
        source: A snapshot (`RUN@latest` and `RUN@<step>` too), the directory of a run, or a result as JSON: a name
            that ends in `.json`.
        options: What to show beside it, and how to compute it.

    Raises:
        UsageError: `bad-result`: a file of JSON holds no result that a report shows; or as for `plan_stats`.
        NotFoundError: Nothing is there, or no such step or table.
        SnapshotError: No committed, readable snapshot is there.
        StorageError: The storage failed.
    """
    options = options or ReportOptions()
    is_result = source.endswith(".json")
    uris = [*([source] if is_result else []), *options.results]
    results = tuple(read_result(uri, _RESULTS, options.storage_options) for uri in uris)
    plan = ReportPlan(source, options, results)
    if is_result:
        return plan
    found = inspect(source, InspectOptions(storage_options=options.storage_options))
    if isinstance(found, SnapshotInspection):
        return _of_snapshot(plan, found)
    uris_of_steps = [step.uri for step in found.steps if step.committed]
    newest = inspect(uris_of_steps[-1], InspectOptions(storage_options=options.storage_options))
    assert isinstance(newest, SnapshotInspection)
    run_scan = plan_history(source, replace(options.stats, vocabularies={}), history=options.history)
    before = options.before or (uris_of_steps[-2] if len(uris_of_steps) > 1 and options.compare else None)
    options = replace(options, before=before)
    return _of_snapshot(replace(plan, options=options, run=found, run_scan=run_scan), newest)


def _of_snapshot(plan: ReportPlan, inspection: SnapshotInspection) -> ReportPlan:
    """The plan with the statistics of a snapshot, and those of the one before."""
    options, stats = plan.options, plan.options.stats
    counted = _with_counts(stats.vocabularies, options)
    scan = plan_stats(inspection.uri, replace(stats, vocabularies=counted))
    read_anyway = () if plan.run_scan is None else [step.uri for step, _ in plan.run_scan.scans]
    comparison = None
    if options.before is not None:
        comparison = plan_comparison(options, scan, _with_counts(options.diff.vocab_a, options), read_anyway)
    is_read_anyway = inspection.uri in read_anyway and not counted
    return replace(plan, inspection=inspection, scan=None if is_read_anyway else scan, comparison=comparison)


def _with_counts(vocabularies: Mapping[str, str], options: ReportOptions) -> dict[str, str]:
    """Those that say how often their entities were seen."""
    found = {}
    for name, uri in vocabularies.items():
        _, columns = survey(uri, columns=options.stats.columns, options=options.storage_options)
        if any(column.role == "count" for column in columns):
            found[name] = uri
    return found


def _completed(report: Report, results: Iterable[_Result]) -> Report:
    """The report with results that were read, and with all findings."""
    for result in results:
        if isinstance(result, VocabCoverage):
            report = replace(report, coverage=(*report.coverage, result))
        elif isinstance(result, WarmstartResult):
            report = replace(report, warmstart=result)
        elif isinstance(result, SnapshotStats):
            report = replace(report, stats=result)
        elif isinstance(result, SnapshotDiff):
            report = replace(report, diff=result)
        else:
            report = replace(report, history=result)
    return replace(report, findings=tuple(dict.fromkeys(_findings(report))))


def _in_our_words(finding: Finding) -> Finding:
    """What `diff` says, with the options of `report`."""
    if finding.kind != "matched-by-position":
        return finding
    return replace(finding, remedy="give --vocab and --vocab-before if the two tables have vocabularies")


def _findings(report: Report) -> Iterator[Finding]:
    for result in (report.inspection, report.stats, report.diff, *report.coverage):
        yield from () if result is None else result.findings
    if report.history is not None:
        shown = None if report.stats is None else f"step {report.history.steps[-1].step}: "
        yield from (each for each in report.history.findings if shown is None or not each.place.startswith(shown))
    for table in () if report.diff is None else report.diff.tables:
        yield from map(_in_our_words, table.findings)
    if report.warmstart is not None:
        yield from (finding for table in report.warmstart.tables for finding in table.findings)
        yield from report.warmstart.notes
