"""Pages of other sources: a warm start, one snapshot, degenerate tables, very many tables."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.testing.tables import write_arrays
from embsnap.testing.vocabularies import make_vocabulary
from tests.browser.chromium import Page


@pytest.fixture
def shown(embsnap: Callable[..., Any], opened: Callable[[Path], Page], tmp_path: Path) -> Callable[..., Page]:
    """Makes a page, and opens it."""

    def show(*arguments: object) -> Page:
        run = embsnap("report", *arguments, "--out", tmp_path / "page.html", "--quiet")
        assert run.exit_code == 0, run.stderr
        return opened(tmp_path / "page.html")

    return show


def test_a_warm_start(embsnap: Callable[..., Any], shown: Callable[..., Page], tmp_path: Path) -> None:
    write_arrays(f"{tmp_path}/old", {"user": np.ones((4, 3), np.float32)})
    write_vocabulary(make_vocabulary([10, 11, 12, 14]), f"{tmp_path}/monday.parquet")
    write_vocabulary(make_vocabulary([14, 13, 12, 11], counts=[5, 1, 3, 1]), f"{tmp_path}/tuesday.parquet")
    (tmp_path / "config.yaml").write_text(
        f"""tables:
- name: user
  num_embeddings: 5
  embedding_dim: 3
  vocab: {tmp_path}/tuesday.parquet
  pretrained: {{emb_name: user, embedding_snapshot_uri: {tmp_path}/old, vocab: {tmp_path}/monday.parquet}}
"""
    )
    run = embsnap("warmstart", tmp_path / "config.yaml", "--out", tmp_path / "new", "--no-model", "--json")
    assert run.exit_code == 0, run.stderr
    (tmp_path / "warmstart.json").write_text(run.stdout)
    page = shown(tmp_path / "warmstart.json")
    found = page.run(
        "Object.fromEntries([...document.querySelectorAll('#table-0 .figure')]"
        ".map((figure) => [...figure.children].map((each) => each.innerText)))"
    )
    assert found["coverage"] == "75.00 %"
    assert found["by count"] == "90.00 %"
    assert page.run("document.querySelector('#table-0').innerText").count(f"{tmp_path}/old") == 1
    bars = page.run(
        "[...document.querySelectorAll('#table-0 .meters li')]"
        ".map((each) => each.innerText.split('\\n').map((text) => text.trim()))"
    )
    overview = page.run(
        "[...document.querySelectorAll('#overview tr')].map((e) => [...e.cells].map((c) => c.innerText))"
    )
    assert overview == [["table", "rows", "dim", "findings"], ["user", "5", "3", "\u2013"]]
    assert bars[:2] == [["carried", "3 · 60.00 %"], ["new", "1 · 20.00 %"]]


def test_a_table_with_its_warm_start_beside_it(shown: Callable[..., Page], tmp_path: Path) -> None:
    write_arrays(f"{tmp_path}/new", {"user": np.eye(4, dtype=np.float32)})
    page = shown(tmp_path / "new", "--no-compare")
    assert page.run("[...document.querySelectorAll('main > section')].map((e) => e.id)") == [
        "overview",
        "findings",
        "tables",
    ]
    assert page.run("document.querySelector('h1').textContent") == f"{tmp_path}/new"


def test_degenerate_tables(shown: Callable[..., Page], tmp_path: Path) -> None:
    tables = {
        "zero_rows": np.zeros((0, 4)),
        "one_row": np.ones((1, 4)),
        "one_column": np.arange(5.0)[:, None],
        "all_zero": np.zeros((9, 4)),
        "all_nan": np.full((9, 4), np.nan),
        "constant": np.full((9, 4), 3.0),
        "tiny": np.full((9, 4), 1e-38),
        "huge": np.full((9, 4), 1e38),
    }
    for step in (1, 2):
        write_arrays(f"{tmp_path}/run/{step}", {name: rows.astype(np.float32) for name, rows in tables.items()})
    page = shown(tmp_path / "run")
    names = page.run("[...document.querySelectorAll('.table-card h3')].map((e) => e.textContent)")
    assert names == list(tables)
    attributes = page.run(
        "[...document.querySelectorAll('figure svg *')].flatMap((e) => [...e.attributes].map((a) => a.value))"
    )
    assert [value for value in attributes if "NaN" in value or "Infinity" in value] == []


def test_many_tables(shown: Callable[..., Page], tmp_path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((20, 4)).astype(np.float32)
    write_arrays(f"{tmp_path}/run", {f"t{i}": rows for i in range(150)})
    page = shown(tmp_path / "run", "--without", "duplicates")
    assert page.run("document.querySelectorAll('.table-card').length") == 150
    took = page.run("performance.getEntriesByType('navigation')[0].domComplete")
    assert took < 20_000


def test_a_sample_says_so(shown: Callable[..., Page], tmp_path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((500, 4)).astype(np.float32)
    write_arrays(f"{tmp_path}/run", {"user": rows})
    page = shown(tmp_path / "run", "--sample-rows", 200)
    text = page.run("document.querySelector('#table-0').innerText")
    assert "a sample of 200 rows" in text
    assert "95 % confidence intervals" in text


def test_json_that_was_kept(embsnap: Callable[..., Any], shown: Callable[..., Page], tmp_path: Path) -> None:
    """A page of results alone: nothing is read again, so that the snapshot may be gone."""
    write_arrays(f"{tmp_path}/run/1", {"user": np.eye(4, dtype=np.float32)})
    (tmp_path / "stats.json").write_text(embsnap("stats", tmp_path / "run" / "1", "--json", "--quiet").stdout)
    (tmp_path / "run").rename(tmp_path / "moved")
    page = shown(tmp_path / "stats.json")
    stats = json.loads((tmp_path / "stats.json").read_text())
    path = '["stats","tables",0,"rows","norms","mean"]'
    mean = page.run(
        f"[...document.querySelectorAll('[data-path]')].find((e) => e.dataset.path === '{path}').textContent"
    )
    assert float(mean) == stats["tables"][0]["rows"]["norms"]["mean"] == 1.0
