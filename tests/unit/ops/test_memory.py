"""Memory: how much there is, and how a budget is shared out."""

from __future__ import annotations

import pytest

from embsnap.errors import ErrorKind, UsageError
from embsnap.ops import memory
from embsnap.ops.memory import Budget, available_memory


def test_there_is_some():
    assert available_memory() > 2**20


def test_a_control_group_limits_it(monkeypatch, tmp_path):
    limit, usage = tmp_path / "limit", tmp_path / "usage"
    monkeypatch.setattr(memory, "_CGROUP_FILES", ((str(limit), str(usage)),))
    limit.write_text("3000000\n")
    usage.write_text("1000000\n")
    assert available_memory() == 2_000_000
    limit.write_text("max\n")
    assert available_memory() > 2_000_000


def test_a_control_group_that_is_used_up_leaves_a_byte(monkeypatch, tmp_path):
    (tmp_path / "limit").write_text("1000")
    (tmp_path / "usage").write_text("2000")
    monkeypatch.setattr(memory, "_CGROUP_FILES", ((str(tmp_path / "limit"), str(tmp_path / "usage")),))
    assert available_memory() == 1


@pytest.mark.parametrize("threads", [1, 2, 16])
@pytest.mark.parametrize("memory_budget", [2**24, 2**30, 2**40])
def test_the_blocks_in_flight_fit_the_budget(memory_budget, threads):
    budget = Budget.of(memory_budget, threads)
    assert budget.block_bytes <= memory.MAX_BLOCK_BYTES
    assert budget.row_bytes <= memory_budget
    assert budget.row_bytes >= threads * budget.block_bytes


def test_a_budget_that_holds_no_block_is_refused():
    with pytest.raises(UsageError, match="--memory-budget: is too small") as caught:
        Budget.of(1000, threads=2)
    assert caught.value.kind is ErrorKind.BAD_OPTION
