"""A bounded share of what `scripts/fuzz` tries, with fixed seeds."""

from __future__ import annotations

import subprocess
import sys

import pytest

from embsnap.errors import ErrorKind, UsageError
from embsnap.testing.fuzz_targets import fuzz_targets
from embsnap.testing.fuzzing import Target, fuzz, mutated

TARGETS = {target.name: target for target in fuzz_targets()}


@pytest.mark.parametrize("name", TARGETS)
def test_what_it_starts_from_is_sound(name):
    for seed in TARGETS[name].seeds:
        TARGETS[name].read(seed)


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_input_is_read_or_refused(name):
    result = fuzz(TARGETS[name], range(1_000_000, 1_000_250), most_s=60)
    assert [(escape.case, escape.problem) for escape in result.escapes] == []
    assert result.num_read + sum(result.refused.values()) == result.num_cases == 250
    assert sum(result.refused.values()) > 50


def test_cases_can_be_repeated():
    seeds = TARGETS["metadata"].seeds
    assert [mutated(seeds, case) for case in range(50)] == [mutated(seeds, case) for case in range(50)]
    assert len({mutated(seeds, case) for case in range(50)}) > 45


def test_what_escapes_is_reported():
    def read(data):
        if len(data) % 2:
            raise KeyError("x")
        raise UsageError(ErrorKind.BAD_OPTION, "even")

    result = fuzz(Target("odd", [b"abcdefgh"], read), range(40))
    assert {escape.problem for escape in result.escapes} == {"KeyError: 'x'"}
    assert len(result.escapes) + result.refused["bad-option"] == 40
    assert fuzz(Target("slow", [b"abc"], lambda data: None), range(2), most_s=-1).escapes


def test_the_script(root):
    command = [sys.executable, root / "scripts" / "fuzz", "--cases", "20", "--target", "sidecar"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("sidecar: 20 cases, ")


@pytest.fixture
def root(pytestconfig):
    return pytestconfig.rootpath
