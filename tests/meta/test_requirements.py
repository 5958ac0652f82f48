"""What the code imports is required, and what is required is pinned for the checks."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest

_BROUGHT_BY = {"llvmlite": "numba", "pydantic-core": "pydantic"}
"""Packages that another requires in one exact version, so that naming them would say it twice."""


@pytest.fixture(scope="module")
def project(root):
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def _names(requirements):
    return {_normal(re.match(r"[\w.-]+", requirement)[0]) for requirement in requirements} - {"embsnap"}


def _normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def _imported(tree):
    """Top-level packages that a module imports, its own and Python's left out."""
    nodes = list(ast.walk(tree))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    return {name.split(".")[0] for name in names} - sys.stdlib_module_names - {"embsnap", "__future__"}


def _distributions(packages):
    known = packages_distributions()
    names = {_normal(name) for package in packages for name in known[package]}
    return {_BROUGHT_BY.get(name, name) for name in names}


def test_what_the_package_imports_is_required(modules, project):
    base = [module for module in modules if not module.name.startswith(("embsnap.live", "embsnap.testing"))]
    imported = set().union(*(_imported(module.tree) for module in base))
    assert _distributions(imported) - _names(project["dependencies"]) == set()


def test_every_base_requirement_is_used(modules, project):
    imported = set().union(*(_imported(module.tree) for module in modules))
    assert _names(project["dependencies"]) - _distributions(imported) == set()


def test_what_live_imports_is_in_both_extras_but_torchrec_and_fbgemm(modules, project):
    live = [module for module in modules if module.name.startswith("embsnap.live")]
    imported = set().union(*(_imported(module.tree) for module in live)) - {"fbgemm_gpu"}
    needed = _distributions(imported) - _names(project["dependencies"])
    extras = project["optional-dependencies"]
    assert needed - _names(extras["gpu"]) == set()
    assert needed - _names(extras["cpu"]) == {"torchrec"}


def test_what_tests_and_scripts_import_is_in_some_extra(root, project):
    files = [path for folder in ("tests", "scripts") for path in (root / folder).rglob("*.py")]
    own = {"tests"} | {path.stem for path in files}
    imported = set().union(*(_imported(ast.parse(path.read_text(encoding="utf-8"))) for path in files)) - own
    extras = project["optional-dependencies"].values()
    required = _names([*project["dependencies"], *(requirement for extra in extras for requirement in extra)])
    assert _distributions(imported) - required - {"torchrec"} == set()


def test_every_requirement_is_pinned(root, project):
    extras = project["optional-dependencies"].values()
    wanted = _names([*project["dependencies"], *(requirement for extra in extras for requirement in extra)])
    lines = (root / "scripts" / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {_normal(line.split("==")[0]) for line in lines if not line.startswith("#")}
    assert wanted - pinned == set()
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines if not line.startswith("#"))
