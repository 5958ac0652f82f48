"""Conditions: what they may say, and what they are held against."""

from __future__ import annotations

import numpy as np
import pytest

from embsnap.errors import ErrorKind, UsageError
from embsnap.ops.diff.conditions import parse_condition
from embsnap.ops.diff.options import DiffOptions
from embsnap.ops.diff.snapshots import diff_snapshots
from embsnap.testing.tables import write_arrays


def gates(days, *conditions, **options):
    return days.diff(fail_if=conditions, **options).gates


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("cosine.p5<0.8", (None, "cosine.p5", "<", 0.8)),
        (" user:gone_share >= 1e-3 ", ("user", "gone_share", ">=", 1e-3)),
        ("a:b=c:born!=-2", ("a:b=c", "born", "!=", -2)),
        ("x<y: overlap<.5", ("x<y", "overlap", "<", 0.5)),
    ],
)
def test_the_grammar(text, parts):
    found = parse_condition(text, "--fail-if")
    assert (found.table, found.measure, found.operator, found.number) == parts


@pytest.mark.parametrize(
    "text", ["", "cosine.p5", "cosine.p5<", "<0.8", "cosine.p5<0.8 or 1", "f()<1", "cosine.p5<nan"]
)
def test_what_is_no_condition(text):
    with pytest.raises(UsageError, match="is no condition") as raised:
        parse_condition(text, "--fail-if")
    assert raised.value.kind is ErrorKind.BAD_OPTION


@pytest.mark.parametrize(("operator", "met"), [("<", 0), ("<=", 1), (">", 0), (">=", 1), ("==", 1), ("!=", 0)])
def test_each_operator(days, operator, met):
    (gate,) = gates(days, f"gone{operator}50")
    assert (gate.value, gate.met, gate.table) == (50, bool(met), "user")


def test_every_measure_has_its_value(days):
    measures = {
        **{"shared": 550, "born": 20, "gone": 50, "gone_share": 50 / 600, "born_share": 20 / 570},
        **{"identical": 0, "identical_share": 0, "non_finite": 0, "zero": 0, "differing": 550, "differing_share": 1},
    }
    found = gates(days, *(f"{name}<0" for name in measures), bit_exact=True)
    assert {gate.condition[:-2]: gate.value for gate in found} == measures


def test_figures_of_distributions(days):
    names = ["cosine.p2_5", "cosine.p0", "relative_l2.mean", "procrustes.distance.max", "procrustes.residual"]
    result = days.diff(fail_if=[f"{name}>99" for name in names], procrustes=True)
    table = result.tables[0]
    assert [gate.value for gate in result.gates] == [
        *(table.drift.cosine.percentiles["p2_5"], table.drift.cosine.min, table.drift.relative_l2.mean),
        *(table.procrustes.drift.distance.max, table.procrustes.residual),
    ]
    assert not any(gate.met for gate in result.gates)


def test_a_gate_of_one_table_is_about_that_one_alone(days):
    (gate,) = gates(days, "user:cosine.p5>0.5")
    assert gate.met
    (gate,) = gates(days, "usr:cosine.p5>0.5")
    assert (gate.table, gate.value, gate.met) == ("usr", None, True)


def test_a_gate_without_a_value_is_met(write_days):
    nans = np.full((2, 2), np.nan, np.float32)
    (gate,) = gates(write_days(nans, nans, np.arange(2), np.arange(2)), "cosine.p5<0.1")
    assert (gate.value, gate.met) == (None, True)


@pytest.mark.parametrize(("name", "whole"), [("p99_99999", "p100"), ("p99_999999", "p100"), ("p5_000001", "p5")])
def test_a_percentile_with_many_digits_is_that_one(days, name, whole):
    result = days.diff(fail_if=[f"cosine.{name}>99", f"cosine.{whole}>99"])
    found, other = (gate.value for gate in result.gates)
    percentiles = result.tables[0].drift.cosine.percentiles
    assert (found, other) == (percentiles[name], percentiles[whole])
    assert found != other


@pytest.mark.parametrize("weight", [np.float16, np.float64])
def test_weights_that_have_no_bits_in_common_are_no_pass(tmp_path, weight):
    state = {"optimizer/state/fused_opt.ebc.embedding_bags.user.weight/user.momentum1": np.ones(4, np.float32)}
    for side, dtype in (("a", np.float32), ("b", weight)):
        write_arrays(f"{tmp_path}/{side}", {"user": np.ones((4, 2), dtype)}, state)
    options = DiffOptions(fail_if=["differing>0", "differing_share>0"], bit_exact=True, neighbors=0)
    diff = diff_snapshots(f"{tmp_path}/a", f"{tmp_path}/b", options)
    assert [(gate.value, gate.met) for gate in diff.gates] == [(None, True)] * 2


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("cosin.p5<1", "did you mean cosine"),
        ("cosine.p101<1", "names no measure"),
        ("cosine<1", "names no measure"),
        ("overlap<1", "--neighbors"),
        ("procrustes.residual<1", "--procrustes"),
        ("differing>0", "--bit-exact"),
    ],
)
def test_measures_that_there_are_none_of(days, condition, said):
    with pytest.raises(UsageError, match=said):
        gates(days, condition)


def test_thresholds_are_about_figures_of_rows(days):
    with pytest.raises(UsageError, match="names no measure"):
        days.diff(thresholds=["cosine.p5<1"])
