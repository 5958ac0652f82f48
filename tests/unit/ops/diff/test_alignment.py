"""Procrustes and neighbour overlap, against scipy and a naive search."""

from __future__ import annotations

import numpy as np
from scipy.linalg import orthogonal_procrustes
from scipy.stats import ortho_group


def test_a_rotated_table_is_found_to_be_the_same(write_days):
    rng = np.random.default_rng(0)
    a_VD, ids = rng.standard_normal((500, 8)), np.arange(500)
    b_VD = a_VD @ ortho_group.rvs(8, random_state=1)
    days = write_days(a_VD, b_VD[::-1].copy(), ids, ids[::-1].copy())
    table = days.diff(procrustes=True, neighbors=10).tables[0]
    assert table.drift.cosine.mean < 0.9
    assert table.procrustes.drift.cosine.min > 1 - 1e-12
    assert table.procrustes.residual < 1e-6 < table.procrustes.residual_before
    assert table.neighbors.mean == 1


def test_the_rotation_is_scipys(days):
    rows_a, rows_b = days.shared
    a_ND, b_ND = days.a_VD[rows_a].astype(float), days.b_VD[rows_b].astype(float)
    turned = a_ND @ orthogonal_procrustes(a_ND, b_ND)[0]
    found = days.diff(procrustes=True).tables[0].procrustes
    np.testing.assert_allclose(found.residual, np.linalg.norm(turned - b_ND) / np.linalg.norm(b_ND), rtol=1e-9)
    np.testing.assert_allclose(found.residual_before, np.linalg.norm(a_ND - b_ND) / np.linalg.norm(b_ND), rtol=1e-9)
    cosines = (turned * b_ND).sum(1) / np.linalg.norm(turned, axis=1) / np.linalg.norm(b_ND, axis=1)
    np.testing.assert_allclose(found.drift.cosine.mean, cosines.mean(), rtol=1e-9)
    assert found.num_rows == 550


def test_rows_that_are_not_finite_do_not_spoil_the_rotation(write_days):
    rng = np.random.default_rng(0)
    a_VD = rng.standard_normal((100, 4))
    b_VD = a_VD @ ortho_group.rvs(4, random_state=1)
    a_VD[7, 2], b_VD[9, 0] = np.nan, np.inf
    found = write_days(a_VD, b_VD, np.arange(100), np.arange(100)).diff(procrustes=True).tables[0].procrustes
    assert found.num_rows == 98
    assert found.drift.cosine.min > 1 - 1e-12


def test_squares_beyond_float64_have_no_rotation(write_days):
    rows_VD = np.array([[1e200, 2], [3, 1]])
    table = write_days(rows_VD, 2 * rows_VD, np.arange(2), np.arange(2)).diff(procrustes=True).tables[0]
    assert table.procrustes is None
    assert table.drift.relative_l2.mean == 1


def neighbors(rows_ND, k):
    units = rows_ND / np.linalg.norm(rows_ND, axis=1, keepdims=True)
    cosines = units @ units.T
    np.fill_diagonal(cosines, -2)
    return [set(row) for row in np.argsort(-cosines, axis=1, kind="stable")[:, :k].tolist()]


def test_neighbours_kept_by_all_shared_entities(days):
    rows_a, rows_b = days.shared
    in_a, in_b = (neighbors(rows.astype(float), 5) for rows in (days.a_VD[rows_a], days.b_VD[rows_b]))
    kept = np.array([len(a & b) for a, b in zip(in_a, in_b, strict=True)])
    found = days.diff(neighbors=5, num_sampled=10_000).tables[0].neighbors
    assert (found.k, found.num_sampled, found.num_candidates) == (5, 550, 550)
    np.testing.assert_allclose(found.mean, kept.mean() / 5)
    assert found.histogram == tuple(np.bincount(kept, minlength=6).tolist())
    np.testing.assert_allclose(found.half_width, 1.96 * (kept / 5).std(ddof=1) / np.sqrt(550))


def test_the_same_entities_are_sampled_whatever_their_rows(days, write_days):
    backwards = write_days(
        days.a_VD[::-1].copy(), days.b_VD[::-1].copy(), days.ids_a[::-1].copy(), days.ids_b[::-1].copy()
    )
    options = {"neighbors": 5, "num_sampled": 40}
    assert days.diff(**options).tables[0].neighbors == backwards.diff(**options).tables[0].neighbors


def test_fewer_entities_than_neighbours(write_days):
    rows_VD = np.eye(3, dtype=np.float32) + 1
    found = write_days(rows_VD, rows_VD, np.arange(3), np.arange(3)).diff(neighbors=10).tables[0].neighbors
    assert (found.mean, found.num_sampled, found.histogram[2]) == (1, 3, 3)
