"""A hundredth of `scripts/torture` with a fixed seed, and that it would tell a loss."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.torture.children import in_child
from tests.torture.tally import Tally, table

pytestmark = pytest.mark.slow
SCRIPT = Path(__file__).parents[2] / "scripts" / "torture"


@pytest.mark.parametrize("parts", ["kills,interruptions,corruptions,races", "stores", "connections,lies", "fuzz"])
def test_a_hundredth_of_it(parts: str, tmp_path: Path) -> None:
    out = tmp_path / "table.md"
    command = [sys.executable, SCRIPT, "--share", "0.01", "--seed", "7", "--only", parts, "--out", out]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    assert done.stdout == out.read_text()
    rows = re.findall(r"^\| (?P<what>.+) \| (?P<tried>[\d,]+) \| .* \| 0 \|$", done.stdout, re.MULTILINE)
    assert rows
    assert all(int(tried.replace(",", "")) > 0 for _, tried in rows)
    assert "kills" not in parts or "ended with objects of the killed" in done.stdout


def test_losses_are_counted() -> None:
    tally = Tally("flips")
    tally.outcomes["found"] += 2
    tally.losses.append("7: nobody found it")
    assert table([tally]).splitlines()[2:] == ["| flips | 3 | 2 found | 1 |", "| all | 3 | | 1 |"]


def test_a_child_that_is_killed_returns_nothing_and_one_that_fails_says_why() -> None:
    assert in_child(lambda: 3) == 3
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        in_child(lambda: 1 // 0)
