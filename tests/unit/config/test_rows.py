from __future__ import annotations

import pytest
from pydantic import ValidationError

from embsnap.config.policies import DataType, ReservedPolicy
from embsnap.config.rows import ReservedRowsConfig, VocabColumns
from embsnap.model.dtypes import DTYPES


@pytest.mark.parametrize(
    ("written", "start", "end"), [("0:3", 0, 3), ("2:10", 2, 10), (3, 0, 3), ("4", 0, 4), ("5:6", 5, 6)]
)
def test_rows_are_half_open(written: object, start: int, end: int) -> None:
    reserved = ReservedRowsConfig(rows=written)
    assert (reserved.start, reserved.end) == (start, end)
    assert reserved.policy is ReservedPolicy.CARRY


@pytest.mark.parametrize(
    "written", ["3:3", "4:3", 0, -1, "-1:2", "1:", ":2", "a:b", "1:2:3", 1.5, True, "", [0, 3], "٣"]
)
def test_what_is_no_range_of_rows_is_refused(written: object) -> None:
    with pytest.raises(ValidationError, match="expected rows as 'start:end'"):
        ReservedRowsConfig(rows=written)


def test_columns_are_distinct() -> None:
    with pytest.raises(ValidationError, match="one column cannot be two things"):
        VocabColumns(id="a", row="a")
    assert VocabColumns(row="slot").id is None


@pytest.mark.parametrize(("name", "dtype"), [("fp32", "float32"), ("fp16", "float16"), ("bf16", "bfloat16")])
def test_data_types_are_those_of_snapshots(name: str, dtype: str) -> None:
    assert DataType(name).dtype == DTYPES[dtype]
