"""Every command documents itself."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys

import click
import pytest

from embsnap.cli.group import COMMANDS, group

_CODES = {0, 1, 2, 3, 4, 5, 6, 7}


def _walk(command, path):
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from _walk(command.get_command(context, name), f"{path} {name}")


_ALL = dict(_walk(group, "embsnap"))


@pytest.fixture(params=_ALL)
def path(request):
    return request.param


@pytest.fixture
def command(path):
    return _ALL[path]


def _help(command):
    return inspect.cleandoc(command.help).replace("\b\n", "")


def _block(command, title):
    match = re.search(rf"^{title}:\n((?:  .*\n?)+)", _help(command), re.MULTILINE)
    return match[1].splitlines() if match else []


def test_the_walk_finds_them():
    assert len(_ALL) > len(COMMANDS)


def test_it_has_a_summary_of_one_sentence(command):
    summary = _help(command).split("\n\n")[0]
    assert "\n" not in summary
    assert summary.endswith(".")
    assert len(summary) <= 100


def test_the_list_of_commands_says_what_the_command_says(entries):
    said = {name: _help(_ALL[f"embsnap {name}"]).split("\n\n")[0] for name in entries}
    assert {name: entry.summary for name, entry in entries.items()} == said


def test_it_says_more_than_its_summary(command):
    """Groups describe themselves by what is in them."""
    if not isinstance(command, click.Group):
        prose = [part for part in _help(command).split("\n\n")[1:] if not re.match(r"\w[\w ]*:\n", part)]
        assert prose


def test_it_has_an_example_that_calls_it(path, command):
    examples = [line.strip() for line in _block(command, "Examples")]
    assert any(example.startswith(path) for example in examples)


def test_its_examples_parse(command):
    """The options in them exist, and their arguments are as many as it takes."""
    for line in _block(command, "Examples"):
        words = line.split("#")[0].split(">")[0].split("|")[0].split()
        context = click.Context(group, info_name="embsnap")
        _parse(group, words[words.index("embsnap") + 1 :], context)


def _parse(command, words, parent):
    with command.make_context(command.name, words, parent=parent, resilient_parsing=False) as context:
        if isinstance(command, click.Group):
            name, *rest = [*context._protected_args, *context.args]
            child = command.get_command(context, name)
            assert child is not None, name
            _parse(child, rest, context)


def test_it_ends_with_its_exit_codes(command):
    lines = _block(command, "Exit codes")
    assert _help(command).rstrip().endswith(lines[-1].strip())
    codes = [int(line.split()[0]) for line in lines]
    assert codes == sorted(codes)
    assert {0, 2} <= set(codes) <= _CODES | {70}


def test_each_option_has_its_help(command):
    silent = [option.name for option in command.params if isinstance(option, click.Option) and not option.help]
    assert silent == []


def test_what_writes_can_be_tried_dry(command):
    names = {name for option in command.params for name in option.opts}
    if "--out" in names:
        assert "--dry-run" in names


def test_every_command_that_shows_a_result_has_json(path, command):
    if not isinstance(command, click.Group) and path not in {"embsnap config schema"}:
        assert "--json" in {name for option in command.params for name in option.opts}


def test_common_options_mean_the_same_everywhere():
    helps = {}
    for path, command in _ALL.items():
        for option in command.params:
            if isinstance(option, click.Option) and option.name in {"as_json", "quiet", "dry_run", "at", "threads"}:
                helps.setdefault(option.name, {}).setdefault(option.help, []).append(path)
    assert {name: texts for name, texts in helps.items() if len(texts) > 1} == {}


def test_the_page_of_commands_is_fresh(root):
    subprocess.run([sys.executable, root / "scripts" / "docs", "--check"], check=True)
