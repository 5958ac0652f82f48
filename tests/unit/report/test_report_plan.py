"""What a report is made from."""

from __future__ import annotations

import numpy as np
import pytest

from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.ops.diff.options import DiffOptions
from embsnap.ops.diff.snapshots import diff_snapshots
from embsnap.ops.stats.options import StatsOptions
from embsnap.ops.stats.plan import plan_stats
from embsnap.report.options import ReportOptions
from embsnap.report.plan import plan_report
from embsnap.testing.tables import write_arrays
from embsnap.testing.vocabularies import make_vocabulary

NUM_ROWS, DIM = 30, 4


def _rows(step):
    return np.random.default_rng(step).standard_normal((NUM_ROWS, DIM)).astype(np.float32)


@pytest.fixture
def run(tmp_path):
    for step in (1, 2, 3):
        write_arrays(f"{tmp_path}/run/{step}", {"user": _rows(step), f"only{step}": _rows(9)})
    write_vocabulary(make_vocabulary(range(100, 130), counts=range(1, 31)), f"{tmp_path}/counted")
    write_vocabulary(make_vocabulary(range(100, 130)), f"{tmp_path}/uncounted")
    return tmp_path / "run"


def _report(source, **options):
    return plan_report(str(source), ReportOptions(**options)).compute(tool="test")


def test_a_run_shows_its_newest_step_against_the_one_before(run):
    report = _report(run)
    assert (report.inspection.uri, report.diff.a.uri) == (f"{run}/3", f"{run}/2")
    assert [step.step for step in report.history.steps] == [1, 2, 3]
    assert report.stats.tables == plan_stats(f"{run}/3").compute().tables
    assert [table.name for table in report.before.tables] == ["user", "only2"]
    assert report.diff.tables == diff_snapshots(f"{run}/2", f"{run}/3", DiffOptions()).tables


def test_a_step_is_read_once_for_its_statistics(run):
    plan = plan_report(str(run))
    assert (plan.scan, plan.comparison.scan) == (None, None)
    num_bytes = 2 * NUM_ROWS * DIM * 4
    assert plan.outline().num_bytes_to_read == 3 * num_bytes + num_bytes  # user of both is read to be compared


def test_known_steps_are_not_read_again(run, tmp_path):
    history = f"{tmp_path}/kept.parquet"
    first = _report(run, history=history)
    again = plan_report(str(run), ReportOptions(history=history))
    assert again.run_scan.scans == ()
    report = again.compute(tool="test")
    assert report.history.series == first.history.series
    assert (report.stats.tables, report.before.tables[0]) == (first.stats.tables, first.before.tables[0])


def test_a_snapshot_alone(run):
    report = _report(run / "2")
    assert (report.run, report.history, report.before, report.diff) == (None, None, None, None)
    assert [table.name for table in report.stats.tables] == ["user", "only2"]


def test_another_snapshot_before(run):
    report = _report(run / "3", before=f"{run}/1")
    assert report.diff.a.uri == f"{run}/1"
    assert [table.name for table in report.before.tables] == ["user"]
    assert _report(run / "1", before=str(run)).diff.a.uri == f"{run}/3"
    assert _report(run, compare=False).diff is None


def test_chosen_tables(run):
    report = _report(run, stats=StatsOptions(tables=["user"]))
    assert [table.name for table in (*report.stats.tables, *report.before.tables, *report.diff.tables)] == ["user"] * 3
    assert _report(run, stats=StatsOptions(tables=["only3"])).diff is None


def test_vocabularies_match_rows_and_those_with_counts_rank_them(run, tmp_path):
    for kind, has_popularity in (("counted", True), ("uncounted", False)):
        vocabulary = {"user": f"{tmp_path}/{kind}"}
        report = _report(
            run, stats=StatsOptions(vocabularies=vocabulary), diff=DiffOptions(vocab_a={"user": f"{tmp_path}/counted"})
        )
        assert (report.stats.tables[0].popularity is not None) is has_popularity
        assert report.before.tables[0].popularity is not None
        assert report.diff.tables[0].matching.by == "entity"


def test_a_vocabulary_on_one_side_only(run, tmp_path):
    with pytest.raises(IncompatibleError, match="--vocab-before") as error:
        _report(run, stats=StatsOptions(vocabularies={"user": f"{tmp_path}/counted"}))
    assert error.value.kind is ErrorKind.NO_VOCABULARY


def test_findings_come_once(run):
    write_arrays(f"{run}/4", {"user": np.full((NUM_ROWS, DIM), np.nan, np.float32)})
    (run / "5").mkdir()
    (run / "5" / "half").touch()
    findings = _report(run).findings
    assert len(set(findings)) == len(findings)
    assert [finding.kind for finding in findings].count("non-finite-rows") == 1
    assert "torn-step" in {finding.kind for finding in findings}
