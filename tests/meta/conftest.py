"""The source of embsnap, as data."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

import pytest

from embsnap.cli.group import COMMANDS
from embsnap.cli.vocab import VOCAB_COMMANDS

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Module:
    """One source file."""

    name: str
    path: Path
    text: str
    tree: ast.Module

    def __repr__(self):
        return self.name


def _modules():
    for path in sorted((ROOT / "embsnap").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        text = path.read_text(encoding="utf-8")
        yield Module(name, path, text, ast.parse(text))


MODULES = tuple(_modules())


@pytest.fixture(scope="session")
def modules():
    """All modules."""
    return MODULES


@pytest.fixture(scope="session")
def root():
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def entries():
    """Where each command is, those in groups included, by what is typed after `embsnap`."""
    return {**COMMANDS, **{f"vocab {name}": entry for name, entry in VOCAB_COMMANDS.items()}}
