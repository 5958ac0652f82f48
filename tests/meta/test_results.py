"""Every result renders as text and as JSON."""

from __future__ import annotations

import dataclasses
import importlib
import inspect

import pytest

from embsnap.cli import output


def _results(modules):
    for module in modules:
        if any(hint in module.text for hint in ("schema: ClassVar", "schema_version")):
            loaded = importlib.import_module(module.name)
            yield from (
                value
                for value in vars(loaded).values()
                if inspect.isclass(value)
                and value.__module__ == module.name
                and dataclasses.is_dataclass(value)
                and isinstance(vars(value).get("schema"), str)
                and module.name != "embsnap.formats.sidecar"  # a stored document, shown as part of results
            )


@pytest.fixture(scope="session")
def results(modules, entries):
    for entry in entries.values():
        importlib.import_module(entry.module)
    return tuple(_results(modules))


def test_there_are_some(results):
    assert len(results) >= 3


def test_each_has_a_text_renderer(results):
    assert [result.__name__ for result in results if result not in output._RENDERERS] == []


def test_each_renderer_is_for_a_result(results):
    ours = {result for result in output._RENDERERS if result.__module__.startswith("embsnap.")}
    assert ours <= set(results)


def test_each_has_its_own_schema_name_and_a_version(results):
    names = [result.schema for result in results]
    assert len(set(names)) == len(names)
    assert all(name.startswith("embsnap.") for name in names)
    assert all(isinstance(result.schema_version, int) and result.schema_version >= 1 for result in results)


def test_each_is_a_frozen_dataclass_with_slots(results):
    assert all(result.__dataclass_params__.frozen and "__slots__" in vars(result) for result in results)


def test_no_field_hides_the_header_of_its_json(results):
    hidden = {field.name for result in results for field in dataclasses.fields(result)} & {"schema", "version"}
    assert hidden == set()
