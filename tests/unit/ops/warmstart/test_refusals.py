"""What does not fit is refused before anything is written, and the message says what, where and what to try."""

from __future__ import annotations

import math

import numpy as np
import pytest

from embsnap.errors import (
    EmbsnapError,
    ErrorKind,
    GateError,
    IncompatibleError,
    NotFoundError,
    RefusedError,
    UsageError,
)
from embsnap.storage.uri import open_store


def refused(days, num_embeddings: int, **options) -> EmbsnapError:
    """The error of a run, which must have left nothing behind."""
    before = list(open_store(days.root).list())
    with pytest.raises(EmbsnapError) as caught:
        days.run(num_embeddings, **options)
    assert list(open_store(days.root).list()) == before
    return caught.value


def test_another_dim(days, make_rows) -> None:
    days.old(make_rows(2, 4), [1, 2])
    days.new([1, 2])
    days.table = {"embedding_dim": 8}
    error = refused(days, 2)
    assert (error.kind, error.expected, error.found) == (ErrorKind.SHAPE_MISMATCH, "8", "4")
    assert "embedding_dim: 4" in error.hint


def test_another_dtype_unless_cast(days, make_rows) -> None:
    days.old(make_rows(2, 4), [1, 2])
    days.new([2, 1])
    days.table = {"data_type": "fp16"}
    error = refused(days, 2)
    assert (error.kind, error.expected, error.found) == (ErrorKind.DTYPE_MISMATCH, "float16", "float32")
    days.pretrained = {"cast": True}
    np.testing.assert_array_equal(days.rows(2), make_rows(2, 4)[[1, 0]].astype(np.float16))


def test_a_value_that_a_cast_would_lose(days) -> None:
    old = np.array([[1, 2], [3, 1e6], [np.inf, np.nan]], np.float32)
    days.old(old, [1, 2, 3])
    days.new([1, 2, 3])
    days.table, days.pretrained = {"data_type": "fp16"}, {"cast": True}
    error = refused(days, 3)
    assert error.kind is ErrorKind.CAST_OVERFLOW
    assert "new row 1, column 1" in error.where
    assert error.found == "1e+06"
    days.table = {"data_type": "bf16"}
    assert days.rows(3)[2, 0] == np.inf


def test_no_old_vocabulary(days, make_rows) -> None:
    days.old(make_rows(2, 4), [1, 2])
    days.new([1, 2])
    days.pretrained = {"vocab": None}
    error = refused(days, 2)
    assert error.kind is ErrorKind.NO_VOCABULARY
    assert "pretrained.vocab" in error.hint
    assert "by_position: true" in error.hint
    days.pretrained = {"vocab": None, "by_position": True}
    np.testing.assert_array_equal(days.rows(2), make_rows(2, 4))


def test_by_position_needs_as_many_rows(days, make_rows) -> None:
    days.old(make_rows(2, 4), [1, 2])
    days.new([1, 2, 3])
    days.pretrained = {"vocab": None, "by_position": True}
    error = refused(days, 3)
    assert (error.kind, error.found) == (ErrorKind.SHAPE_MISMATCH, "3")


@pytest.mark.parametrize(
    ("new", "rows", "kind"),
    [
        ([1, 1], None, ErrorKind.DUPLICATE_IDS),
        ([1, 2], [0, 0], ErrorKind.DUPLICATE_ROWS),
        ([1, 2], [0, 2], ErrorKind.ROW_OUT_OF_RANGE),
        (["1", "2"], None, ErrorKind.ID_TYPE_MISMATCH),
        ([8, 9], None, ErrorKind.ZERO_OVERLAP),
    ],
)
def test_vocabularies_that_do_not_fit(days, make_rows, new, rows, kind) -> None:
    days.old(make_rows(2, 4), [1, 2])
    days.new(new, rows)
    error = refused(days, 2)
    assert isinstance(error, IncompatibleError)
    assert error.kind is kind
    assert f"{days.root}/new.parquet" in str(error)


@pytest.mark.parametrize(
    ("new", "rows", "kind"), [([1, 1], None, "duplicate-ids"), ([1, 2], [0, 5], "row-out-of-range")]
)
@pytest.mark.parametrize("start", ["cold", "by position"])
def test_a_vocabulary_is_checked_where_nothing_is_aligned_too(days, make_rows, new, rows, kind, start) -> None:
    days.old(make_rows(2, 4), [1, 2])
    days.new(new, rows)
    days.pretrained = {"by_position": True, "vocab": None}
    if start == "cold":
        cold = {"name": "b", "num_embeddings": 2, "embedding_dim": 4, "vocab": f"{days.root}/new.parquet"}
        warm = days.parsed(2).tables[0].model_dump(exclude={"vocab"}, exclude_none=True)
        days.config = {"tables": [warm, cold]}
    assert refused(days, 2).kind == kind


def test_nothing_to_start_from(days, make_rows) -> None:
    days.old(make_rows(2, 4), [1, 2])
    days.new([1, 2])
    days.table = {"pretrained": None}
    error = refused(days, 2)
    assert isinstance(error, UsageError)
    assert error.kind is ErrorKind.NOTHING_TO_DO


def test_a_table_that_the_snapshot_does_not_have(days, make_rows) -> None:
    days.old(make_rows(2, 4), [1, 2])
    days.new([1, 2])
    days.pretrained = {"emb_name": "usr"}
    error = refused(days, 2)
    assert isinstance(error, NotFoundError)
    assert error.kind is ErrorKind.NO_SUCH_TABLE
    assert "user" in str(error)


def test_coverage_below_the_gate(days, make_rows) -> None:
    days.old(make_rows(2, 4), [1, 2])
    days.new([1, 7, 8, 9], counts=[96, 2, 1, 1])
    error = refused(days, 4, min_coverage=0.5)
    assert isinstance(error, GateError)
    assert (error.kind, error.exit_code) == (ErrorKind.COVERAGE_BELOW_GATE, 1)
    assert "user coverage 0.2500 < 0.5" in str(error)
    result, _ = days.run(4, min_weighted_coverage=0.95)
    assert result.tables[0].weighted_coverage == 0.96


@pytest.mark.parametrize("counts", [None, [0, 0]])
def test_a_weighted_gate_without_counts(days, make_rows, counts) -> None:
    days.old(make_rows(2, 4), [1, 2])
    days.new([1, 2], counts=counts)
    error = refused(days, 2, min_weighted_coverage=0.5)
    assert error.kind is ErrorKind.BAD_OPTION
    assert "no counts, or counts that are all zero" in error.found


@pytest.mark.parametrize(
    ("option", "value"),
    [("min_coverage", math.nan), ("min_coverage", 1.5), ("min_weighted_coverage", math.nan), ("threads", 0)],
)
def test_options_out_of_range(days, make_rows, option, value) -> None:
    days.old(make_rows(2, 4), [1, 2])
    days.new([1, 7], counts=[2, 1])
    error = refused(days, 2, **{option: value})
    assert isinstance(error, UsageError)
    assert (error.kind, error.where, error.found) == (ErrorKind.BAD_OPTION, option, str(value))


def test_a_destination_that_exists(days, make_rows) -> None:
    days.old(make_rows(2, 4), [1, 2])
    days.new([1, 2])
    open_store(days.root).create("out-taken/notes.txt", b"mine")
    with pytest.raises(RefusedError) as caught:
        days.run_to(2, f"{days.root}/out-taken")
    assert caught.value.kind is ErrorKind.DESTINATION_TAKEN
    assert [info.location for info in open_store(f"{days.root}/out-taken").list()] == ["notes.txt"]


def test_restore_refuses_moved_rows(days, make_rows) -> None:
    days.old(make_rows(2, 4), [1, 2])
    days.new([2, 1])
    assert refused(days, 2, identical=True).kind is ErrorKind.VOCABULARY_MISMATCH
    days.new_again([1, 2])
    result, _ = days.run(2, identical=True)
    assert result.tables[0].counts.carried == 2


@pytest.mark.parametrize("prefix", ["model", "/ebc", "a/b/c", ""])
def test_a_prefix_that_is_no_place(days, make_rows, prefix) -> None:
    days.old(make_rows(2, 4), [1, 2])
    days.new([1, 2])
    assert refused(days, 2, prefix=prefix).kind is ErrorKind.BAD_OPTION


def test_a_budget_that_holds_no_block(days, make_rows) -> None:
    days.old(make_rows(2, 4), [1, 2])
    days.new([1, 2])
    assert refused(days, 2, memory_budget=1000).kind is ErrorKind.BAD_OPTION


def test_the_vocabulary_beside_the_snapshot_is_used_and_must_be_unchanged(days, make_rows) -> None:
    old = make_rows(3, 4)
    days.old(old, [1, 2, 3])
    days.new([3, 1, 2])
    _, snapshot = days.run(3)
    days.pretrained = {"embedding_snapshot_uri": snapshot.uri, "vocab": None}
    days.new_again([1, 2, 3], name="third.parquet")
    np.testing.assert_array_equal(days.rows(3), old)
    days.new_again([2, 1, 3], name="new.parquet")
    assert refused(days, 3).kind is ErrorKind.VOCABULARY_MISMATCH


def test_a_table_loses_its_vocabulary(days, make_rows) -> None:
    days.old(make_rows(2, 4), [1, 2])
    days.new([1, 2])
    _, snapshot = days.run(2)
    days.pretrained = {"embedding_snapshot_uri": snapshot.uri, "vocab": None}
    days.table = {"vocab": None}
    error = refused(days, 2)
    assert error.kind is ErrorKind.BAD_CONFIG
    assert "new.parquet" in error.found
