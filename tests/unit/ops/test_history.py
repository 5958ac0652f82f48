"""Statistics of a run: each step is read once."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from embsnap.errors import ErrorKind, NotFoundError, SnapshotError, UsageError
from embsnap.formats.vocabulary_columns import VocabularyColumns
from embsnap.ops.history import plan_history
from embsnap.ops.stats.options import StatsOptions
from embsnap.ops.stats.plan import plan_stats
from embsnap.testing.tables import write_arrays
from embsnap.testing.vocabularies import parquet_bytes, put


def _write(run, step, **tables):
    tables = tables or {"user": _rows(step)}
    write_arrays(str(run / str(step)), tables)


def _rows(step):
    return np.random.default_rng(step).normal(size=(50, 4)).astype(np.float32) * step


@pytest.fixture
def run(tmp_path):
    for step in (1, 2, 10):
        _write(tmp_path / "run", step)
    return tmp_path / "run"


@pytest.fixture
def kept(tmp_path):
    return str(tmp_path / "stats.parquet")


def _lose_rows(snapshot):
    """Take away every object but the metadata, so that reading a row fails."""
    for path in snapshot.rglob("*"):
        if path.is_file() and path.name != ".snapshot_metadata" and ".embsnap" not in path.parts:
            path.unlink()


def _series(history, statistic, part="all"):
    return next(s.values for s in history.series if (s.statistic, s.part) == (statistic, part))


def _new(history):
    return [step.step for step in history.steps if step.is_new]


def test_series_are_the_steps_statistics(run):
    found = plan_history(str(run)).compute()
    assert [step.step for step in found.steps] == [1, 2, 10]
    means = [np.linalg.norm(_rows(step).astype(float), axis=1).mean() for step in (1, 2, 10)]
    assert _series(found, "norm.mean") == pytest.approx(means, rel=1e-13)
    assert _series(found, "norm.mean", "rank-0") == pytest.approx(means, rel=1e-13)
    assert found.num_bytes_read == 3 * 50 * 4 * 4


def test_only_new_steps_are_read(run, kept):
    first = plan_history(str(run), history=kept).compute()
    assert _new(first) == [1, 2, 10]
    for step in (1, 2, 10):
        _lose_rows(run / str(step))
    _write(run, 11)
    again = plan_history(str(run), history=kept)
    assert again.result().known_steps == (1, 2, 10)
    assert [table.step for table in again.result().tables] == [11]
    found = again.compute()
    assert _new(found) == [11]
    assert found.num_bytes_read == 50 * 4 * 4
    assert _series(found, "norm.mean")[:3] == _series(first, "norm.mean")
    assert _new(plan_history(str(run), history=kept).compute()) == []


def test_it_is_what_computing_everything_gives(run, kept):
    plan_history(str(run), history=kept).compute()
    _write(run, 11)
    assert plan_history(str(run), history=kept).compute().series == plan_history(str(run)).compute().series


def test_other_options_read_again(run, kept):
    plan_history(str(run), history=kept).compute()
    found = plan_history(str(run), StatsOptions(near_zero=1.0), history=kept).compute()
    assert _new(found) == [1, 2, 10]
    assert _new(plan_history(str(run), history=kept).compute()) == []


def test_other_columns_of_a_vocabulary_read_again(run, kept, tmp_path):
    columns = {"id": range(50), "row": range(50), "seen": range(50), "sold": range(50, 0, -1)}
    put(f"{tmp_path}/counts.parquet", parquet_bytes(columns))
    for name in ("seen", "sold"):
        options = StatsOptions(
            vocabularies={"user": f"{tmp_path}/counts.parquet"}, columns=VocabularyColumns(count=name), updates=False
        )
        found = plan_history(str(run), options, history=kept).compute()
        assert _new(found) == [1, 2, 10]
        assert found.series == plan_history(str(run), options).compute().series


def test_a_replaced_step_is_read_again(run, kept):
    plan_history(str(run), history=kept).compute()
    shutil.rmtree(run / "2")
    _write(run, 2, user=_rows(77)[:20])
    found = plan_history(str(run), history=kept).compute()
    assert _new(found) == [2]
    mean = np.linalg.norm(_rows(77)[:20].astype(float), axis=1).mean()
    assert _series(found, "norm.mean")[1] == pytest.approx(mean)


def test_what_was_done_before_a_failure_is_kept(run, kept):
    _lose_rows(run / "10")
    with pytest.raises(SnapshotError) as caught:
        plan_history(str(run), history=kept).compute()
    assert caught.value.kind is ErrorKind.MISSING_OBJECT
    assert plan_history(str(run), history=kept).result().known_steps == (1, 2)


def test_what_stats_appends_is_known(run, kept):
    from embsnap.cli.output import to_json
    from embsnap.ops.stats.outputs import Outputs

    stats = plan_stats(f"{run}@2").compute()
    Outputs(files=[kept], storage_options={}).write(stats, StatsOptions().digest(), to_json)
    assert _new(plan_history(str(run), history=kept).compute()) == [1, 10]


def test_tables_that_some_steps_lack(run):
    _write(run, 12, user=_rows(12), post=_rows(3))
    found = plan_history(str(run)).compute()
    post = next(s for s in found.series if (s.table, s.statistic, s.part) == ("post", "norm.mean", "all"))
    assert [value is None for value in post.values] == [True, True, True, False]
    only = plan_history(str(run), StatsOptions(tables=["post"])).compute()
    assert [step.step for step in only.steps] == [12]
    assert [finding.kind for finding in only.findings] == ["no-such-table"] * 3
    with pytest.raises(NotFoundError) as caught:
        plan_history(str(run), StatsOptions(tables=["nobody"]))
    assert caught.value.kind is ErrorKind.NO_SUCH_TABLE


def test_vocabularies_of_tables_that_some_steps_lack(run, kept, tmp_path):
    _write(run, 12, post=_rows(3))
    put(f"{tmp_path}/counts.parquet", parquet_bytes({"id": range(50), "row": range(50), "count": range(50)}))
    options = StatsOptions(vocabularies={"user": f"{tmp_path}/counts.parquet"})
    for _ in range(2):
        found = plan_history(str(run), options, history=kept).compute()
        assert [value is None for value in _series(found, "norm.mean", "decile-1")] == [False, False, False, True]
    with pytest.raises(UsageError, match="names 'usr'"):
        plan_history(str(run), StatsOptions(vocabularies={"usr": f"{tmp_path}/counts.parquet"}))


def test_a_step_without_tables_is_left_out(run):
    _write(run, 12, user=np.ones((3, 2), np.int8))
    found = plan_history(str(run)).compute()
    assert [step.step for step in found.steps] == [1, 2, 10]
    (finding,) = found.findings
    assert (finding.kind, finding.place) == ("no-such-table", f"{run}/12")
    assert finding.message == "the step is left out: it has no table of floating point numbers"


def test_torn_steps_are_noted(run):
    (run / "99").mkdir()
    found = plan_history(str(run)).compute()
    assert [finding.kind for finding in found.findings] == ["torn-step"]


def test_findings_name_their_step(run):
    bad = _rows(5)
    bad[0] = np.nan
    _write(run, 5, user=bad)
    findings = plan_history(str(run)).compute().findings
    assert [(finding.kind, finding.place) for finding in findings] == [("non-finite-rows", "step 5: user")]


def test_no_run(tmp_path):
    with pytest.raises(NotFoundError) as caught:
        plan_history(str(tmp_path / "nothing"))
    assert caught.value.kind is ErrorKind.NO_SUCH_STEP
