"""What all tests share."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from embsnap.cli.main import main

pytest_plugins = ("tests.servers.gcs", "tests.servers.s3")


@dataclass(frozen=True)
class Run:
    """One command run in this process."""

    exit_code: int
    stdout: str
    stderr: str


@pytest.fixture
def embsnap(capsys: pytest.CaptureFixture[str]) -> Callable[..., Run]:
    """Runs `embsnap` with the given arguments, through `main`, which owns the exit codes."""

    def run(*arguments: object) -> Run:
        capsys.readouterr()
        exit_code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Run(exit_code, captured.out, captured.err)

    return run


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first, so that none is left to one worker at the end; skip what needs a missing GPU."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if marked and not _has_gpu():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


def _has_gpu() -> bool:
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()
