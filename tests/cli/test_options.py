"""Common options and sizes."""

from __future__ import annotations

from functools import reduce

import click
import pytest
from click.testing import CliRunner

from embsnap.cli import sizes
from embsnap.cli.options import (
    at_option,
    dry_run_option,
    json_option,
    memory_budget_option,
    quiet_option,
    storage_option,
    threads_option,
)
from embsnap.cli.sizes import parse_size
from embsnap.ops.memory import available_memory

_OPTIONS = (
    json_option,
    quiet_option,
    dry_run_option,
    memory_budget_option,
    threads_option,
    storage_option,
    at_option,
)


def _parse(*arguments):
    values = {}
    decorated = reduce(lambda function, option: option(function), _OPTIONS, lambda **given: values.update(given))
    command = click.command("probe")(decorated)
    result = CliRunner().invoke(command, arguments)
    return values if result.exit_code == 0 else result


def test_defaults():
    values = _parse()
    assert 1 <= values.pop("memory_budget") <= available_memory()
    assert values.pop("threads") >= 1
    assert values == {"as_json": False, "quiet": False, "dry_run": False, "storage_options": {}, "at": None}


def test_given():
    values = _parse(
        *("--json", "-q", "--dry-run", "--memory-budget", "2MiB", "--threads", "3", "--at", "model.embeddings"),
        *("--storage-option", "token=a=b", "--storage-option", "project=x"),
    )
    assert values == {
        "as_json": True,
        "quiet": True,
        "dry_run": True,
        "memory_budget": 2**21,
        "threads": 3,
        "storage_options": {"token": "a=b", "project": "x"},
        "at": "model.embeddings",
    }


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--memory-budget", "much"), "'much' is no size; write for example 512MB, 4GiB or 25%"),
        (("--memory-budget", "0"), "less than one byte"),
        (("--threads", "0"), "0 is not in the range"),
        (("--storage-option", "token"), "'token' is not of the form key=value"),
        (("--storage-option", "a=1", "--storage-option", "a=2"), "given twice: a"),
    ],
)
def test_what_is_wrong_is_named(arguments, words):
    result = _parse(*arguments)
    assert result.exit_code == 2
    assert words in result.output


@pytest.mark.parametrize(
    ("text", "num_bytes"),
    [
        ("1", 1),
        ("512MB", 512_000_000),
        ("4GiB", 2**32),
        ("4 gib", 2**32),
        ("1.5k", 1536),
        ("2T", 2**41),
        ("10kB", 10_000),
    ],
)
def test_sizes(text, num_bytes):
    assert parse_size(text) == num_bytes


def test_a_percentage_is_of_the_available_memory(monkeypatch):
    monkeypatch.setattr(sizes, "available_memory", lambda: 1000)
    assert parse_size("25%") == 250


@pytest.mark.parametrize("text", ["", "-1MB", "1XB", "MB", "1e3", "nan", "١MB"])
def test_what_is_no_size(text):
    with pytest.raises(ValueError, match="size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--timeout", "2.5"), {"timeout": "2.5"}),
        (("--storage-option", "project=x", "--timeout", "90"), {"project": "x", "timeout": "90"}),
        (("--storage-option", "timeout=3"), {"timeout": "3"}),
    ],
)
def test_a_timeout_is_a_setting_of_the_storage(arguments, expected):
    assert _parse(*arguments)["storage_options"] == expected


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--timeout", "0"), "0<x<=86400"),
        (("--timeout", "soon"), "not a valid float"),
        (("--timeout", "nan"), "'nan' is not a number"),
        (("--timeout", "1", "--storage-option", "timeout=2"), "given twice: timeout"),
    ],
)
def test_bad_timeouts(arguments, said):
    result = _parse(*arguments)
    assert result.exit_code == 2
    assert said in result.output
