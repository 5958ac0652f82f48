"""Statistics of tables, against naive numpy and scipy."""

from __future__ import annotations

from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from embsnap.errors import ErrorKind, IncompatibleError, NotFoundError, StorageError, UsageError
from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.model.statistics import statistics_of
from embsnap.model.table_stats import PERCENTILES
from embsnap.ops.stats.options import StatsOptions
from embsnap.ops.stats.plan import plan_stats
from embsnap.testing.snapshots import SnapshotBuilder, row_shards
from embsnap.testing.tables import write_arrays
from embsnap.testing.vocabularies import make_vocabulary

PATH = "model/ebc.embedding_bags.user.weight"
STATE = "optimizer/state/fused_opt.ebc.embedding_bags.user.weight/user.momentum1"


@pytest.fixture
def stats_of(tmp_path):
    """The statistics of one table of these rows."""

    def compute(rows, state=None, **options):
        uri = str(tmp_path / f"snapshot{len(list(tmp_path.iterdir()))}")
        write_arrays(uri, {"user": rows}, {} if state is None else {STATE: state})
        return plan_stats(uri, StatsOptions(**options)).compute().tables[0]

    return compute


def _check(rows, found):
    """Everything of `found` by its definition, from the finite rows in float64."""
    wide = rows.astype(np.float64)
    finite = wide[np.isfinite(wide).all(1)]
    norms = np.linalg.norm(finite, axis=1)
    assert found.num_rows == len(rows)
    assert found.num_non_finite == len(rows) - len(finite)
    assert found.num_dead == np.count_nonzero(norms == 0)
    assert found.num_near_zero == np.count_nonzero(norms <= 1e-4)
    if not len(finite):
        assert found.norms is None
        assert found.spectrum is None
        assert np.isnan(found.dim_means).all()
        return
    close = {"rtol": 1e-9, "atol": 1e-12 * max(1.0, float(norms.max()))}
    np.testing.assert_allclose([found.norms.mean, found.norms.std], [norms.mean(), norms.std()], **close)
    wanted = np.percentile(norms, PERCENTILES)
    np.testing.assert_allclose(list(found.norms.percentiles.values()), wanted, rtol=1e-13)
    histogram = found.norms.histogram
    assert sum(histogram.counts) == np.count_nonzero(norms)
    if histogram.counts:
        counts, _ = np.histogram(norms[norms > 0], np.array(histogram.edges))
        assert counts.tolist() == list(histogram.counts)
        assert histogram.counts[0]
        assert histogram.counts[-1]
    np.testing.assert_allclose(found.dim_means, finite.mean(0), **close)
    np.testing.assert_allclose(found.dim_stds, finite.std(0), rtol=1e-7, atol=1e-9 * max(1.0, float(norms.max())))
    units = finite[norms > 0] / norms[norms > 0][:, None]
    if len(units) > 1:
        cosines = units @ units.T
        mean = (cosines.sum() - np.trace(cosines)) / (len(units) * (len(units) - 1))
        np.testing.assert_allclose(found.mean_cosine, mean, rtol=1e-8, atol=1e-10)
    else:
        assert found.mean_cosine is None
    _check_spectrum(finite, found.spectrum)


def _check_spectrum(finite, found):
    values = np.linalg.svd(finite, compute_uv=False)
    scale = float(values[0])
    padded = np.zeros(finite.shape[1])
    padded[: len(values)] = values
    np.testing.assert_allclose(found.singular_values, padded, atol=3e-7 * scale)
    if not scale:
        assert (found.effective_rank, found.stable_rank, found.information_abundance) == (None, None, None)
        return
    np.testing.assert_allclose(found.effective_rank, np.exp(scipy.stats.entropy(values)), rtol=3e-5)
    np.testing.assert_allclose(found.stable_rank, ((values / scale) ** 2).sum(), rtol=1e-9)
    np.testing.assert_allclose(found.information_abundance, values.sum() / scale, rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("shape", [(1, 1), (1, 8), (3, 8), (500, 7), (600, 64), (9000, 32)])
def test_random_tables(stats_of, dtype, shape):
    rows = np.random.default_rng(2).normal(0.1, 1, shape).astype(dtype)
    found = stats_of(rows, threads=2)
    _check(rows, found.rows)
    assert found.duplicates.num_duplicates == len(rows) - len({row.tobytes() for row in rows})


@pytest.mark.parametrize(
    "rows",
    [
        np.empty((0, 4), np.float32),
        np.zeros((5, 4), np.float32),
        np.full((700, 4), 0.3, np.float32),
        np.full((5, 4), np.nan, np.float32),
        np.array([[np.nan, 1], [1, 2], [3, np.inf], [0, 0], [2, 1]], np.float32),
        np.full((6, 3), 1e-38, np.float32) * np.arange(6, dtype=np.float32)[:, None],
        np.full((6, 3), 3e38, np.float32),
        np.array([[1e-45, 0], [3e38, 1], [1, 1e-38]], np.float32),
        np.array([[65504, 1], [6e-8, 0]], np.float16),
        np.outer(np.arange(1, 900), [1, 2, 3]).astype(np.float32),
        np.eye(5, dtype=np.float32),
        -np.eye(1, dtype=np.float32),
    ],
    ids=lambda rows: f"{rows.dtype}{rows.shape}",
)
def test_degenerate_and_adversarial_tables(stats_of, rows):
    _check(rows, stats_of(rows).rows)


@settings(max_examples=25, deadline=None)
@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 30), st.integers(1, 6)),
        elements=st.floats(-1e3, 1e3, width=32) | st.sampled_from([np.nan, np.inf, 0.0, -0.0]),
    )
)
def test_any_table(tmp_path_factory, rows):
    uri = str(tmp_path_factory.mktemp("any") / "snapshot")
    write_arrays(uri, {"user": rows})
    _check(rows, plan_stats(uri).compute().tables[0].rows)


def test_known_spectra(stats_of):
    """One direction: all ranks are 1. Equal directions: all are D, and nothing is more isotropic."""
    line = stats_of(np.full((50, 8), 2, np.float32)).rows.spectrum
    assert (line.effective_rank, line.stable_rank, line.information_abundance) == pytest.approx((1, 1, 1), rel=1e-12)
    assert (line.centred_effective_rank, line.iso_score) == (None, None)
    even = np.concatenate([np.eye(8), -np.eye(8)]).astype(np.float32)
    found = stats_of(even).rows
    assert found.spectrum.effective_rank == pytest.approx(8)
    assert found.spectrum.stable_rank == pytest.approx(8)
    assert found.spectrum.information_abundance == pytest.approx(8)
    assert found.spectrum.iso_score == pytest.approx(1)
    assert found.mean_cosine == pytest.approx(-1 / 15)
    one = np.zeros((40, 8), np.float32)
    one[:, 3] = np.arange(40)
    assert stats_of(one).rows.spectrum.iso_score == pytest.approx(0, abs=1e-12)


def test_exploded_rows_are_told_from_those_that_are_alive(stats_of):
    rows = np.ones((1000, 4), np.float32)
    rows[:500] = 0
    rows[-3:] = 100
    found = stats_of(rows, exploded_factor=10)
    assert found.exploded_norm == pytest.approx(20)
    assert found.rows.num_exploded == 3
    assert stats_of(np.zeros((3, 2), np.float32)).exploded_norm is None


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_change_nothing(stats_of, threads):
    rows = np.random.default_rng(0).normal(size=(150_000, 8)).astype(np.float32)
    assert stats_of(rows, threads=threads) == stats_of(rows, threads=3)


def test_what_does_not_fit_into_memory_is_in_a_file(stats_of):
    rows = np.random.default_rng(0).integers(0, 5, (40_000, 3)).astype(np.float32)
    assert stats_of(rows, memory_budget=1) == stats_of(rows)


@pytest.mark.parametrize("shape", [(6,), (6, 1), (6, 3)])
def test_rows_never_updated(stats_of, shape):
    state = np.zeros(shape, np.float32)
    state[1], state[4] = 1, -1
    state[5] = -0.0
    found = stats_of(np.ones((6, 3), np.float32), state)
    assert (found.rows.num_never_updated, found.never_updated_by) == (4, "momentum1")


def test_without_optimizer_state_they_are_unknown(stats_of):
    found = stats_of(np.ones((6, 3), np.float32))
    assert (found.rows.num_never_updated, found.never_updated_by) == (None, None)
    found = stats_of(np.ones((6, 3), np.float32), np.zeros(6, np.float32), updates=False)
    assert found.rows.num_never_updated is None


def test_the_state_of_column_shards(tmp_path):
    """One run of V values for each column shard; a row is untouched if all of them are zero."""
    rows = np.random.default_rng(0).random((5, 4)).astype(np.float32)
    state = np.array([0, 1, 0, 0, 0, 0, 0, 0, 2, 0], np.float32)
    builder = SnapshotBuilder(world_size=2)
    columns = {rank: [((0, 2 * rank), (5, 2))] for rank in range(2)}
    builder.sharded(PATH, rows, columns)
    builder.sharded(STATE, state, row_shards((10,), 2))
    found = plan_stats(str(builder.write(tmp_path))).compute().tables[0]
    assert found.rows.num_never_updated == 3
    _check(rows, found.rows)
    for rank in range(2):
        mean = np.linalg.norm(rows[:, 2 * rank : 2 * rank + 2].astype(float), axis=1).mean()
        assert found.ranks[rank].mean_norm == pytest.approx(mean, rel=1e-14)
        assert found.shards[rank].mean_norm == pytest.approx(mean, rel=1e-14)


def test_norms_by_rank_are_upstreams(tmp_path):
    """`log_ebc_norms`: `norm(dim=1).mean()` of a rank's local shard, under `<key>-norm-<rank>`."""
    rows = np.random.default_rng(0).random((11, 3)).astype(np.float32)
    builder = SnapshotBuilder(world_size=4)
    builder.sharded(PATH, rows, row_shards(rows.shape, 4))
    found = plan_stats(str(builder.write(tmp_path))).compute().tables[0]
    assert [rank.name for rank in found.ranks] == [f"ebc.embedding_bags.user.weight-norm-{rank}" for rank in range(4)]
    means = [np.linalg.norm(rows[3 * rank : 3 * rank + 3].astype(float), axis=1).mean() for rank in range(4)]
    assert [rank.mean_norm for rank in found.ranks] == pytest.approx(means, rel=1e-14)
    assert [rank.num_rows for rank in found.ranks] == [3, 3, 3, 2]


@pytest.fixture
def counted(tmp_path):
    """A table of 1,200 rows, 1,000 of them with entities, and the counts by row."""
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(1200, 8)).astype(np.float32)
    counts = rng.integers(0, 50, 1000)
    rows[:1000] *= 1 + counts[:, None] / 20
    rows[7] = np.nan
    order = rng.permutation(1000)
    vocabulary = make_vocabulary((order + 10**9).tolist(), order.tolist(), counts=counts[order].tolist())
    write_vocabulary(vocabulary, str(tmp_path / "vocab"))
    write_arrays(str(tmp_path / "snapshot"), {"user": rows}, {STATE: (rows[:, 0] > 0).astype(np.float32)})
    return rows, counts, str(tmp_path / "snapshot"), {"user": str(tmp_path / "vocab")}


def test_deciles_and_correlation(counted):
    rows, counts, uri, vocabularies = counted
    found = plan_stats(uri, StatsOptions(vocabularies=vocabularies, threads=2)).compute().tables[0]
    _check(rows, found.rows)
    popularity = found.popularity
    norms = np.linalg.norm(rows[:1000].astype(float), axis=1)
    known = np.isfinite(norms)
    expected = scipy.stats.spearmanr(norms[known], counts[known]).statistic
    assert popularity.norm_correlation == pytest.approx(expected, rel=1e-12)
    assert (popularity.num_entities, popularity.num_unoccupied) == (1000, 200)
    order = np.lexsort((np.arange(1000), -counts))
    for number, decile in enumerate(popularity.deciles):
        members = order[number * 100 : (number + 1) * 100]
        _check(rows[members], decile.rows)
        assert (decile.max_count, decile.min_count) == (counts[members].max(), counts[members].min())
        assert decile.rows.num_never_updated == np.count_nonzero(~(rows[members, 0] > 0))


def test_a_sample_states_intervals_that_hold_the_truth(counted):
    _rows, _counts, uri, vocabularies = counted
    whole = plan_stats(uri, StatsOptions(vocabularies=vocabularies)).compute().tables[0]
    hits = dict.fromkeys(("norm.mean", "norm.p50", "spectrum.effective_rank", "spectrum.stable_rank", "cosine.mean"), 0)
    truth = {
        "norm.mean": whole.rows.norms.mean,
        "norm.p50": whole.rows.norms.percentiles["p50"],
        "spectrum.effective_rank": whole.rows.spectrum.effective_rank,
        "spectrum.stable_rank": whole.rows.spectrum.stable_rank,
        "cosine.mean": whole.rows.mean_cosine,
    }
    for seed in range(40):
        options = StatsOptions(sample_rows=300, seed=seed, vocabularies=vocabularies)
        found = plan_stats(uri, options).compute().tables[0]
        assert (found.sample_rows, found.rows.num_rows) == (300, 300)
        assert (found.duplicates, found.shards) == (None, ())
        for name, value in truth.items():
            hits[name] += found.intervals[name].low <= value <= found.intervals[name].high
    assert {name: count for name, count in hits.items() if count < 34} == {}


def test_a_sample_is_the_same_for_the_same_seed(stats_of):
    rows = np.random.default_rng(0).random((500, 4)).astype(np.float32)
    first, again, other = (stats_of(rows, sample_rows=50, seed=seed) for seed in (1, 1, 2))
    assert first == again != other
    everything = stats_of(rows, sample_rows=500)
    assert everything.sample_rows is None
    assert everything == replace(stats_of(rows), name="user")


@pytest.mark.parametrize(
    ("options", "kind", "error"),
    [
        ({"tables": ["usr"]}, ErrorKind.NO_SUCH_TABLE, NotFoundError),
        ({"vocabularies": {"post": "x"}}, ErrorKind.BAD_OPTION, UsageError),
    ],
)
def test_what_is_refused(counted, options, kind, error):
    with pytest.raises(error) as caught:
        plan_stats(counted[2], StatsOptions(**options))
    assert caught.value.kind is kind


@pytest.mark.parametrize("options", [{"near_zero": -1}, {"exploded_factor": 0}, {"sample_rows": 0}])
def test_options_out_of_range(options):
    with pytest.raises(UsageError, match="out of range"):
        StatsOptions(**options)


@pytest.mark.parametrize(
    ("ids", "rows", "counts", "kind"),
    [
        ([1, 2], [0, 1], None, ErrorKind.BAD_VOCABULARY),
        ([1, 2], [0, 0], [1, 2], ErrorKind.DUPLICATE_ROWS),
        ([1, 2], [0, 1200], [1, 2], ErrorKind.ROW_OUT_OF_RANGE),
    ],
)
def test_a_vocabulary_that_does_not_fit(counted, tmp_path, ids, rows, counts, kind):
    uri = str(tmp_path / "other")
    write_vocabulary(make_vocabulary(ids, rows, counts=counts), uri)
    with pytest.raises(IncompatibleError) as caught:
        plan_stats(counted[2], StatsOptions(vocabularies={"user": uri})).compute()
    assert caught.value.kind is kind


def test_tables_without_norms(tmp_path):
    write_arrays(str(tmp_path / "a"), {"user": np.ones((3, 2), np.int8), "post": np.ones((3, 2), np.float32)})
    scan = plan_stats(str(tmp_path / "a"))
    assert [(skipped.name, skipped.reason) for skipped in scan.skipped] == [("user", "it holds int8")]
    with pytest.raises(IncompatibleError, match="has no norms"):
        plan_stats(str(tmp_path / "a"), StatsOptions(tables=["user"]))
    write_arrays(str(tmp_path / "b"), {"user": np.ones((3, 2), np.int8)})
    with pytest.raises(UsageError, match="no table"):
        plan_stats(str(tmp_path / "b"))


def test_tables_of_one_name_have_the_names_of_their_paths(tmp_path):
    builder = SnapshotBuilder()
    for app_key, scale in (("model", 1), ("ema", 2)):
        builder.tensor(PATH.replace("model", app_key, 1), np.full((4, 1), scale, np.float32))
    found = plan_stats(str(builder.write(tmp_path))).compute()
    averages = PATH.replace("model", "ema", 1)
    assert {table.name: table.rows.norms.mean for table in found.tables} == {PATH: 1, averages: 2}
    named = {(each.table, each.name, each.part) for each in statistics_of(found)}
    assert len(named) == len(list(statistics_of(found)))
    chosen = plan_stats(str(tmp_path), StatsOptions(tables=[averages])).compute().tables
    assert [table.name for table in chosen] == [averages]


def test_findings(tmp_path):
    bad = np.ones((300, 16), np.float32)
    bad[0, 0] = np.nan
    bad[1] = 1e6
    write_arrays(str(tmp_path / "a"), {"user": bad, "post": np.zeros((3, 2), np.float32)})
    found = plan_stats(str(tmp_path / "a")).compute().findings
    assert {finding.kind for finding in found} == {
        *("non-finite-rows", "exploded-rows", "aligned-rows", "collapsed-table", "all-zero-table")
    }


def test_a_snapshot_that_was_replaced_meanwhile(tmp_path):
    write_arrays(str(tmp_path / "a"), {"user": np.ones((3, 2), np.float32)})
    scan = plan_stats(str(tmp_path / "a"))
    metadata = tmp_path / "a" / ".snapshot_metadata"
    metadata.write_bytes(metadata.read_bytes() + b"\n")
    with pytest.raises(StorageError) as caught:
        scan.compute()
    assert caught.value.kind is ErrorKind.OBJECT_REPLACED
