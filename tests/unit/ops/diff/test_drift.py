"""Drift by entity, against numpy."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from embsnap.model.snapshot_diff import MatchedBy
from embsnap.ops.diff.options import MoverOrder


def figures(a_ND, b_ND):
    a, b = a_ND.astype(np.float64), b_ND.astype(np.float64)
    norm_a, norm_b, distance = (np.linalg.norm(rows, axis=1) for rows in (a, b, b - a))
    return {"cosine": (a * b).sum(1) / norm_a / norm_b, "relative_l2": distance / norm_a, "distance": distance}


def check(drift, expected):
    for name, values in expected.items():
        found = getattr(drift, name)
        assert found.num == len(values)
        for figure in ("mean", "std", "min", "max"):
            np.testing.assert_allclose(getattr(found, figure), getattr(values, figure)(), rtol=1e-12)
        for percentile in (1, 5, 10, 25, 50, 75, 90, 95, 99):
            np.testing.assert_allclose(
                found.percentiles[f"p{percentile}"], np.percentile(values, percentile), rtol=1e-12
            )
        histogram = found.histogram
        edges = np.array(histogram.edges)
        assert sum(histogram.counts) + histogram.num_below + histogram.num_above == len(values)
        inside = values[(values >= edges[0]) & (values <= edges[-1])]
        assert abs(np.array(histogram.counts) - np.histogram(inside, edges)[0]).sum() <= 2  # a value on an edge


def test_shared_entities_are_compared_wherever_their_rows_are(days):
    table = days.diff().tables[0]
    rows_a, rows_b = days.shared
    matching = table.matching
    assert matching.by is MatchedBy.ENTITY
    assert (matching.num_shared, matching.num_born, matching.num_gone) == (550, 20, 50)
    assert matching.num_moved == (rows_a != rows_b).sum()
    check(table.drift, figures(days.a_VD[rows_a], days.b_VD[rows_b]))


def test_born_and_gone_entities_are_named(days):
    matching = days.diff(num_shown=1000).tables[0].matching
    assert {entity.id for entity in matching.gone} == set(days.ids_a.tolist()) - set(days.ids_b.tolist())
    assert {entity.id for entity in matching.born} == set(days.ids_b.tolist()) - set(days.ids_a.tolist())
    counts = [entity.count for entity in matching.born]
    assert counts == sorted(counts, reverse=True)
    assert all(days.ids_b[entity.row] == entity.id for entity in matching.born)


@pytest.mark.parametrize("order", MoverOrder)
def test_top_movers(days, order):
    rows_a, rows_b = days.shared
    expected = figures(days.a_VD[rows_a], days.b_VD[rows_b])
    values = expected[order.value.replace("-", "_")]
    best = np.argsort(values if order is MoverOrder.COSINE else -values)[:7]
    movers = days.diff(num_shown=7, order=order).tables[0].movers
    assert [mover.id for mover in movers] == days.ids_b[rows_b[best]].tolist()
    assert [(mover.row_a, mover.row_b) for mover in movers] == list(zip(rows_a[best], rows_b[best], strict=True))
    assert [mover.count for mover in movers] == rows_b[best].tolist()
    np.testing.assert_allclose([mover.cosine for mover in movers], expected["cosine"][best])
    np.testing.assert_allclose([mover.norm_a for mover in movers], np.linalg.norm(days.a_VD[rows_a[best]], axis=1))


def test_entities_beyond_thresholds_are_counted(days):
    rows_a, rows_b = days.shared
    expected = figures(days.a_VD[rows_a], days.b_VD[rows_b])
    first, second = days.diff(thresholds=["cosine<0.98", "distance >= 7e-1"]).tables[0].drift.beyond
    assert (first.threshold, first.num) == ("cosine<0.98", (expected["cosine"] < 0.98).sum())
    assert second.num == (expected["distance"] >= 0.7).sum()
    assert second.share == second.num / 550


@pytest.mark.parametrize("dtypes", [(np.float16, ml_dtypes.bfloat16), (np.float64, np.float32), (np.int8, np.int8)])
def test_other_dtypes(write_days, dtypes):
    rng = np.random.default_rng(1)
    a_VD, b_VD = (rng.integers(1, 90, (40, 5)).astype(dtype) for dtype in dtypes)
    ids = np.arange(40)
    days = write_days(a_VD, b_VD, ids, ids[::-1].copy())
    rows_a, rows_b = days.shared
    check(days.diff().tables[0].drift, figures(a_VD[rows_a], b_VD[rows_b]))


def test_rows_without_figures_are_counted_apart(write_days):
    a_VD = np.array([[1, 0], [0, 0], [np.nan, 1], [1, 1], [0, 0], [2, 1]], np.float32)
    b_VD = np.array([[1, 0], [0, 0], [1, 1], [np.inf, 1], [1, 0], [0, 0]], np.float32)
    days = write_days(a_VD, b_VD, np.arange(6), np.arange(6))
    drift = days.diff().tables[0].drift
    assert (drift.num_identical, drift.num_non_finite, drift.num_zero) == (2, 2, 3)
    assert (drift.cosine.num, drift.relative_l2.num, drift.distance.num) == (1, 3, 4)
    assert drift.relative_l2.max == 1


def test_nothing_to_measure_is_none_and_not_zero(write_days):
    nans = np.full((2, 3), np.nan, np.float32)
    days = write_days(nans, nans, np.arange(2), np.arange(2))
    table = days.diff(procrustes=True, neighbors=3).tables[0]
    assert (table.drift.cosine, table.drift.num_identical, table.movers) == (None, 2, ())
    assert (table.procrustes.num_rows, table.procrustes.residual) == (0, None)
    assert (table.neighbors.mean, table.neighbors.num_sampled) == (None, 0)


def test_one_row(write_days):
    days = write_days(np.ones((1, 1), np.float32), np.full((1, 1), 3, np.float32), np.arange(1), np.arange(1))
    drift = days.diff().tables[0].drift
    assert (drift.cosine.mean, drift.relative_l2.mean, drift.relative_l2.std) == (1, 2, 0)
    assert drift.relative_l2.percentiles["p5"] == 2


def test_the_number_of_threads_changes_nothing(days):
    options = {"procrustes": True, "neighbors": 5, "bit_exact": True}
    one, three = (days.diff(threads=threads, **options).tables for threads in (1, 3))
    assert one == three


def test_tables_of_another_width_are_matched_and_not_measured(write_days):
    ids = np.arange(4)
    days = write_days(np.ones((4, 2), np.float32), np.ones((4, 3), np.float32), ids, ids)
    diff = days.diff(bit_exact=True)
    table = diff.tables[0]
    assert table.not_compared == "embedding_dim is 2 in A and 3 in B"
    assert (table.drift, table.matching.num_shared, table.bits) == (None, 4, ())
    assert [(change.what, change.a, change.b) for change in table.changes] == [("embedding_dim", "2", "3")]
    assert not diff.same
