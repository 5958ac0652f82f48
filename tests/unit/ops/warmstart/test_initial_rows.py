"""Rows without an old one: every initializer, reserved rows, donors."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embsnap.errors import ErrorKind, IncompatibleError, NotFoundError, UsageError


def start(days, make_rows, initializer, *, num_new: int = 3000, dim: int = 4) -> np.ndarray:
    """The new rows of a table that starts with a few old ones."""
    days.old(make_rows(50, dim), list(range(50)))
    days.new([0, *range(1000, 1000 + num_new)])
    days.table = {"initializer": initializer}
    return days.rows(1 + num_new)[1:]


def test_zeros_and_constants(days, new_days, make_rows) -> None:
    assert (start(days, make_rows, "zeros") == 0).all()
    assert (start(new_days(), make_rows, {"constant": {"value": -2.5}}) == -2.5).all()


def test_uniform_by_default_as_torchrec_does(days, make_rows) -> None:
    rows = start(days, make_rows, None)
    bound = 1 / np.sqrt(3001)
    assert np.abs(rows).max() <= bound
    assert rows.std() == pytest.approx(bound / np.sqrt(3), rel=0.03)
    assert abs(rows.mean()) < 0.02 * bound
    assert days.plan(3001).tables[0].initializer == f"uniform(±{bound:.6g}, seed=0)"


def test_normal_and_truncated_normal(days, new_days, make_rows) -> None:
    rows = start(days, make_rows, {"normal": {"mean": 1.0, "std": 0.1}})
    assert (rows.mean(), rows.std()) == (pytest.approx(1, abs=0.005), pytest.approx(0.1, rel=0.03))
    cut = start(new_days(), make_rows, "truncated_normal")
    assert np.abs(cut).max() <= 2 / np.sqrt(4)
    assert cut.std() == pytest.approx(0.88 / np.sqrt(4), rel=0.03)


def test_mean_of_the_rows_that_entities_hold(days, make_rows) -> None:
    old = make_rows(6, 4)
    days.old(old, [1, 2, 3], [0, 4, 5])
    days.new([1, 77])
    days.table = {"initializer": "mean"}
    np.testing.assert_allclose(days.rows(2)[1], old[[0, 4, 5]].astype(np.float64).mean(axis=0), rtol=1e-6)


def test_mean_and_covariance(days, new_days) -> None:
    rng = np.random.default_rng(1)
    mixing = np.array([[1.0, 0, 0], [0.8, 0.2, 0], [0, 0, 0]])
    old = (rng.standard_normal((5000, 3)) @ mixing.T + [1, 2, 3]).astype(np.float32)
    days.old(old, list(range(5000)))
    days.new([0, *range(10_000, 30_000)])
    days.table = {"initializer": "mean_covariance"}
    rows = days.rows(20_001)[1:]
    np.testing.assert_allclose(rows.mean(axis=0), old.mean(axis=0), atol=0.03)
    np.testing.assert_allclose(np.cov(rows.T), np.cov(old.T), atol=0.03)
    np.testing.assert_array_equal(rows[:, 2], np.float32(3))


def test_seed_and_norm_limit(days, new_days, make_rows) -> None:
    rows = start(days, make_rows, {"normal": {"std": 1.0}, "seed": 1, "max_norm": 0.5})
    other = start(new_days(), make_rows, {"normal": {"std": 1.0}, "seed": 2, "max_norm": 0.5})
    assert np.linalg.norm(rows, axis=1).max() <= 0.5 * (1 + 1e-6)
    assert not np.isclose(rows, other).any(axis=1).all()


def test_one_donor_for_all(days, make_rows) -> None:
    rows = start(days, make_rows, {"donor": {"id": 7}}, num_new=5)
    np.testing.assert_array_equal(rows, np.repeat(make_rows(50, 4)[7:8], 5, axis=0))


def test_a_donor_that_nobody_knows(days, new_days, make_rows) -> None:
    with pytest.raises(NotFoundError) as caught:
        start(days, make_rows, {"donor": {"id": 51}})
    assert caught.value.kind is ErrorKind.NO_SUCH_ENTITY
    with pytest.raises(IncompatibleError) as mistyped:
        start(new_days(), make_rows, {"donor": {"id": "7"}})
    assert mistyped.value.kind is ErrorKind.ID_TYPE_MISMATCH


def test_a_donor_column(tmp_path, days, make_rows) -> None:
    old = make_rows(4, 3)
    days.old(old, [10, 11, 12, 13])
    like = pa.array([13, 12, 12, None, 99], pa.int64())
    pq.write_table(
        pa.table({"id": [10, 50, 53, 51, 52], "row": [0, 2, 1, 3, 4], "like": like}), tmp_path / "new.parquet"
    )
    days.table = {"vocab": f"{tmp_path}/new.parquet", "initializer": {"donor": {"column": "like"}}}
    result, _ = days.run(5)
    rows = days.rows(5)
    np.testing.assert_array_equal(rows[:3], old[[0, 2, 2]])
    assert (np.abs(rows[3:]) <= 0.5).all()
    assert (result.tables[0].counts.carried, result.tables[0].counts.new) == (1, 4)


def test_reserved_rows_by_each_policy(new_days, make_rows) -> None:
    old = make_rows(6, 3)
    for policy, check in (
        ("carry", lambda rows: np.array_equal(rows[:2], old[:2])),
        ("zeros", lambda rows: (rows[:2] == 0).all()),
        ("initialize", lambda rows: (rows[:2] == 9).all()),
    ):
        days = new_days()
        days.old(old, [1, 2, 3, 4], [2, 3, 4, 5])
        days.new([4, 1, 8], [2, 3, 4])
        days.table = {"reserved": {"rows": 2, "policy": policy}, "initializer": {"constant": {"value": 9}}}
        result, _ = days.run(5)
        rows = days.rows(5)
        assert check(rows), policy
        np.testing.assert_array_equal(rows[2:4], old[[5, 2]])
        assert (rows[4] == 9).all()
        assert result.tables[0].counts.reserved == (2 if policy == "carry" else 0)


def test_reserved_rows_that_hold_entities(days, make_rows) -> None:
    days.old(make_rows(6, 3), [1, 2])
    days.new([1, 2], [0, 1])
    days.table = {"reserved": {"rows": "1:2"}}
    with pytest.raises(IncompatibleError) as caught:
        days.run(2)
    assert caught.value.kind is ErrorKind.BAD_VOCABULARY
    assert "entities in rows 1" in caught.value.found


def test_reserved_rows_that_the_old_table_does_not_have(days, make_rows) -> None:
    days.old(make_rows(2, 3), [1, 2])
    days.new([1, 2], [3, 4])
    days.table = {"reserved": {"rows": 3}}
    with pytest.raises(IncompatibleError) as caught:
        days.run(5)
    assert caught.value.kind is ErrorKind.ROW_OUT_OF_RANGE


@pytest.mark.parametrize(
    ("initializer", "dtype", "kind"),
    [
        ({"constant": {"value": 1e6}}, np.float16, ErrorKind.CAST_OVERFLOW),
        ({"constant": {"value": 1e39}}, np.float32, ErrorKind.CAST_OVERFLOW),
        ({"normal": {"std": 1e5}}, np.float16, ErrorKind.CAST_OVERFLOW),
        ({"constant": {"value": 300}}, np.int8, ErrorKind.NOT_REPRESENTABLE),
        (None, np.int8, ErrorKind.NOT_REPRESENTABLE),
    ],
)
def test_values_that_the_type_does_not_hold_are_refused(days, make_rows, initializer, dtype, kind) -> None:
    days.old(make_rows(5, 4).astype(dtype), list(range(5)))
    days.new([0, *range(100, 200)])
    days.table = {"initializer": initializer}
    with pytest.raises(IncompatibleError) as caught:
        days.rows(101)
    assert caught.value.kind is kind
    assert "table user, new rows by" in str(caught.value)


def test_large_values_that_fit_are_drawn(days, make_rows) -> None:
    days.old(make_rows(5, 4).astype(np.float16), list(range(5)))
    days.new([0, *range(100, 200)])
    days.table = {"initializer": {"normal": {"std": 1e4}, "max_norm": 6e4}}
    rows = days.rows(101)[1:]
    assert np.isfinite(rows).all()
    assert np.abs(rows.astype(np.float64)).max() > 1e4


def test_a_donor_that_the_type_does_not_hold(days, make_rows) -> None:
    old = make_rows(5, 4)
    old[3] = 1e6
    days.old(old, list(range(5)))
    days.new([0, 100])
    days.table = {"initializer": {"donor": {"id": 3}}, "data_type": "fp16"}
    days.pretrained = {"cast": True}
    with pytest.raises(IncompatibleError) as caught:
        days.rows(2)
    assert caught.value.kind is ErrorKind.CAST_OVERFLOW


@pytest.mark.parametrize("initializer", ["mean", "mean_covariance", {"donor": {"id": 2}}])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nothing_is_drawn_from_rows_that_are_not_finite(days, make_rows, initializer, value) -> None:
    old = make_rows(5, 4)
    old[2, 1] = value
    days.old(old, list(range(5)))
    days.new([0, 100])
    days.table = {"initializer": initializer}
    with pytest.raises(IncompatibleError) as caught:
        days.plan(2)
    assert caught.value.kind is ErrorKind.NOT_FINITE
    assert "row 2" in str(caught.value)


@pytest.mark.parametrize("initializer", ["mean_covariance", {"donor": {"id": 2}}])
def test_what_is_carried_by_position_asks_nothing_of_old_rows(days, make_rows, initializer) -> None:
    old = make_rows(5, 4)
    old[2, 1] = np.nan
    days.old(old, list(range(5)))
    days.new(list(range(5)))
    days.table, days.pretrained = {"initializer": initializer}, {"by_position": True, "vocab": None}
    np.testing.assert_array_equal(days.rows(5), old)


@pytest.mark.parametrize("policy", ["zeros", "initialize"])
def test_reserved_rows_keep_what_they_hold_by_position(days, make_rows, policy) -> None:
    days.old(make_rows(5, 4), list(range(5)))
    days.table = {"reserved": {"rows": "0:2", "policy": policy}, "vocab": None}
    days.pretrained = {"by_position": True, "vocab": None}
    with pytest.raises(UsageError) as caught:
        days.plan(5)
    assert caught.value.kind is ErrorKind.BAD_CONFIG


def test_the_digest_tells_initializers_and_donors_apart(tmp_path, days, make_rows) -> None:
    days.old(make_rows(5, 4), list(range(5)))
    days.new([0, 100, 101])
    digests = set()
    for value in (0.12345671, 0.12345674):
        days.table = {"initializer": {"constant": {"value": value}}}
        digests.add(days.plan(3).plan_digest)
    for donors in ([0, 1, 2], [0, 2, 1]):
        pq.write_table(pa.table({"id": [0, 100, 101], "row": [0, 1, 2], "like": donors}), tmp_path / "new.parquet")
        days.table = {"initializer": {"donor": {"column": "like"}}, "vocab": f"{tmp_path}/new.parquet"}
        digests.add(days.plan(3).plan_digest)
    assert len(digests) == 4
