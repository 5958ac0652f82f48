"""Every kind of error is raised somewhere, and a test raises it."""

from __future__ import annotations

import re

import pytest

from embsnap.errors import ErrorKind


@pytest.fixture(scope="module")
def source(modules):
    return "\n".join(module.text for module in modules if module.name != "embsnap.errors")


@pytest.fixture(scope="module")
def tests(root):
    files = [path for path in (root / "tests").rglob("*.py") if "meta" not in path.parts]
    return "\n".join(path.read_text(encoding="utf-8") for path in files)


def test_each_is_raised(source):
    assert [kind.name for kind in ErrorKind if not re.search(rf"\bErrorKind\.{kind.name}\b", source)] == []


def test_each_is_raised_by_a_test(tests):
    untested = [
        kind.name for kind in ErrorKind if not re.search(rf"""\b{kind.name}\b|["']{re.escape(kind.value)}["']""", tests)
    ]
    assert untested == []
