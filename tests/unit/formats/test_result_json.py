"""Results as JSON, read back."""

from __future__ import annotations

import json

import numpy as np
import pytest

from embsnap.cli.output import to_json
from embsnap.errors import ErrorKind, UsageError
from embsnap.formats.result_json import read_result, restored
from embsnap.model.table_stats import SnapshotStats
from embsnap.ops.diff.snapshots import diff_snapshots
from embsnap.ops.stats.plan import plan_stats
from embsnap.storage.uri import open_store
from embsnap.testing.tables import write_arrays

KINDS = {SnapshotStats.schema: SnapshotStats}


@pytest.fixture
def stats(tmp_path):
    rows = np.array([[3, 4], [0, 0], [np.nan, 1]], np.float32)
    write_arrays(f"{tmp_path}/run", {"user": rows, "lost": np.full((2, 2), np.nan, np.float32)})
    return plan_stats(f"{tmp_path}/run").compute()


def _read(text):
    open_store("memory://result_json").delete("result.json")
    open_store("memory://result_json").create("result.json", text.encode())
    return read_result("memory://result_json/result.json", KINDS)


def test_what_was_printed_comes_back(stats):
    found = _read(to_json(stats))
    assert isinstance(found, SnapshotStats)
    assert to_json(found) == to_json(stats)  # NaN equals nothing, not even itself
    assert found.tables[0] == stats.tables[0]


def test_a_comparison_comes_back(stats, tmp_path):
    diff = diff_snapshots(f"{tmp_path}/run", f"{tmp_path}/run")
    assert to_json(restored(type(diff), json.loads(to_json(diff)))) == to_json(diff)


def test_unknown_fields_are_left_out(stats):
    document = json.loads(to_json(stats))
    document["tables"][0]["later"] = {"nested": [1]}
    assert _read(json.dumps(document)).tables[0] == stats.tables[0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": 2}, "version 2"),
        ({"schema": "embsnap.diff"}, "embsnap.diff"),
        ({"schema": ["embsnap.stats"]}, "no kind"),
        ({"uri": 7}, "uri is int"),
        ({"near_zero": "much"}, "near_zero is str"),
        ({"near_zero": True}, "near_zero is bool"),
        ({"tables": {}}, "tables is dict"),
        ({"tables": [{}]}, r"tables\[0\].name is missing"),
        ({"findings": [{"severity": "dire"}]}, "severity is 'dire'"),
    ],
)
def test_another_thing_is_refused(stats, change, said):
    document = {**json.loads(to_json(stats)), **change}
    with pytest.raises(UsageError, match=said) as error:
        _read(json.dumps(document))
    assert error.value.kind is ErrorKind.BAD_RESULT


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "7", "[" * 100_000, "\x00"])
def test_no_result_at_all(text):
    with pytest.raises(UsageError) as error:
        _read(text)
    assert error.value.kind is ErrorKind.BAD_RESULT
