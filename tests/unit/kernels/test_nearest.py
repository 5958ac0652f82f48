"""Nearest rows against a search in numpy that sorts everything."""

from __future__ import annotations

import numpy as np
import pytest

from embsnap.kernels.nearest import Nearest, merged


def naive(queries_QD, rows_ND, k, excluded_Q):
    """Rows by cosine, ties by row; rows that are zero or not finite are nobody's neighbours."""
    results = []
    for query, excluded in zip(queries_QD.astype(float), excluded_Q, strict=True):
        found = []
        for row, vector in enumerate(rows_ND.astype(float)):
            norms = np.linalg.norm(query) * np.linalg.norm(vector)
            if row != excluded and norms > 0 and np.isfinite(norms):
                found.append((-round(float(query @ vector / norms), 11), row))
        results.append([row for _, row in sorted(found)[:k]])
    return results


def rows_of(results):
    return [rows.tolist() for rows, _ in results]


@pytest.fixture
def rows_ND():
    rng = np.random.default_rng(0)
    rows_ND = rng.standard_normal((300, 9)).astype(np.float32)
    rows_ND[40:60] = rows_ND[3]
    rows_ND[61], rows_ND[62, 2], rows_ND[63, 1] = 0, np.nan, np.inf
    return rows_ND


@pytest.mark.parametrize("k", [1, 2, 5, 17, 500])
def test_as_a_naive_search(rows_ND, k):
    asked = np.array([0, 3, 45, 100, 299])
    nearest = Nearest(rows_ND[asked], k, asked)
    nearest.add(0, rows_ND)
    assert rows_of(nearest.result()) == naive(rows_ND[asked], rows_ND, k, asked)


def test_blocks_in_any_order_on_any_number_of_instances(rows_ND):
    asked = np.array([3, 50, 7])
    parts = [Nearest(rows_ND[asked], 6, asked) for _ in range(3)]
    for number, start in enumerate([200, 0, 131, 70, 290]):
        end = {200: 290, 0: 70, 131: 200, 70: 131, 290: 300}[start]
        parts[number % 3].add(start, rows_ND[start:end])
    assert rows_of(merged(parts)) == naive(rows_ND[asked], rows_ND, 6, asked)


def test_cosines_come_with_the_rows(rows_ND):
    nearest = Nearest(rows_ND[3:4], 2, np.array([3]))
    nearest.add(0, rows_ND)
    rows, cosines = nearest.result()[0]
    assert rows.tolist() == [40, 41]
    np.testing.assert_allclose(cosines, 1, rtol=1e-15)
    assert (cosines <= 1).all()


def test_rows_that_do_not_count_are_no_neighbours(rows_ND):
    nearest = Nearest(rows_ND[3:4], 2, np.array([-1]))
    nearest.add(0, rows_ND, np.arange(300) >= 50)
    assert rows_of(nearest.result()) == [[50, 51]]


def test_queries_without_a_direction_have_none(rows_ND):
    nearest = Nearest(rows_ND[61:64], 2, np.array([61, 62, 63]))
    nearest.add(0, rows_ND)
    assert rows_of(nearest.result()) == [[], [], []]


def test_nothing_seen_is_nothing_found(rows_ND):
    assert rows_of(Nearest(rows_ND[:1], 3, np.array([0])).result()) == [[]]


def test_differences_that_single_precision_cannot_tell_decide():
    rng = np.random.default_rng(1)
    rows_ND = rng.standard_normal((1, 67)) + 1e-7 * rng.standard_normal((2000, 67))
    asked = np.arange(0, 2000, 50)
    nearest = Nearest(rows_ND[asked], 4, asked)
    nearest.add(0, rows_ND[:900])
    nearest.add(900, rows_ND[900:])
    units_ND = rows_ND.astype(np.longdouble)
    units_ND /= np.sqrt((units_ND**2).sum(axis=1, keepdims=True))
    for query, (rows, _) in zip(asked, nearest.result(), strict=True):
        angles_N = ((units_ND - units_ND[query]) ** 2).sum(axis=1)
        angles_N[query] = np.inf
        np.testing.assert_allclose(angles_N[rows].astype(float), np.sort(angles_N)[:4].astype(float), atol=1e-15)
