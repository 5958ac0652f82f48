"""A browser, and pages of the small world in it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from embsnap.cli.main import main
from tests.browser.chromium import Browser, Page, find_chromium
from tests.browser.world import HOSTILE, make_world

_NONE_THERE = "no Chromium is installed: scripts/setup installs it where it may, else install the package chromium"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a browser where there is none, all from one line; continuous integration must have one."""
    if find_chromium() is None:
        if os.environ.get("CI"):
            pytest.fail(_NONE_THERE, pytrace=False)
        pytest.skip(_NONE_THERE)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Headless Chromium."""
    executable = find_chromium()
    assert executable is not None
    browser = Browser(executable)
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The world on disk."""
    root = tmp_path_factory.mktemp("world")
    make_world(root)
    return root


@pytest.fixture(scope="session")
def written(world: Path) -> Path:
    """The page of the world's run, with all that a page can show."""
    coverage = world / "coverage.json"
    page = world / "run.html"
    events = ("vocab", "coverage", world / "tuesday", world / "events.parquet", "--id-column", "user")
    coverage.write_text("".join(_printed(*events).splitlines()))
    vocabularies = [
        *("--vocab", f"user={world}/tuesday", "--vocab-before", f"user={world}/monday"),
        *("--vocab", f"{HOSTILE}={world}/named", "--vocab-before", f"{HOSTILE}={world}/named"),
    ]
    text = _printed("report", world / "run", *vocabularies, "--with", coverage, "--procrustes", "--out", page)
    (world / "run.json").write_text(text)
    return page


@pytest.fixture(scope="session")
def data(written: Path) -> Any:
    """What `--json` printed when the page was written."""
    return json.loads(written.with_suffix(".json").read_text())


@pytest.fixture
def opened(browser: Browser) -> Callable[[Path], Page]:
    """Opens a file in a new page of 1280 pixels."""

    def open_page(path: Path) -> Page:
        page = browser.page()
        page.size(1280)
        page.open(path)
        assert page.problems() == []
        return page

    return open_page


@pytest.fixture
def page(opened: Callable[[Path], Page], written: Path) -> Iterator[Page]:
    """The run's page; whatever was done with it, nothing may have gone wrong, nor anything been asked for."""
    page = opened(written)
    yield page
    assert page.problems() == []
    assert page.requests() == [written.resolve().as_uri()]


def _printed(*arguments: object) -> str:
    """What a command prints with `--json`."""
    with redirect_stdout(StringIO()) as printed:
        assert main([*map(str, arguments), "--json", "--quiet"]) == 0
    return printed.getvalue()
