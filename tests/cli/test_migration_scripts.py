"""The worked examples of scripted migrations do what they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from embsnap.formats.torchsnapshot.snapshot import open_snapshot
from embsnap.formats.vocabulary import read_vocabulary
from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.testing.tables import read_array, write_arrays
from embsnap.testing.vocabularies import listed, make_vocabulary

SCRIPTS = Path(__file__).parents[2] / "scripts" / "migrations"
ROWS = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
STATE = "optimizer/state/fused_opt.ebc.embedding_bags.user.weight/user.momentum1"


@pytest.fixture
def migrate(embsnap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs one of the scripts on a snapshot of four tables that records their vocabularies."""
    monkeypatch.setenv("DAY1", str(tmp_path / "user.parquet"))
    monkeypatch.setenv("DAY2", str(tmp_path / "day2.parquet"))
    tables = {"user": ROWS, "item": ROWS * 3, "user_eu": ROWS[:8], "user_us": ROWS[8:14]}
    write_arrays(str(tmp_path / "bare"), tables, {STATE: np.arange(20, dtype=np.float32)})
    ids = {"user": range(20), "item": range(20), "user_eu": range(8), "user_us": range(6, 12)}
    steps = []
    for name, found in ids.items():
        counts = [entity % 10 for entity in found]
        write_vocabulary(make_vocabulary(list(found), counts=counts), str(tmp_path / f"{name}.parquet"))
        steps.append(f"- vocab: {{table: {name}, vocab: {tmp_path}/{name}.parquet}}")
    write_vocabulary(make_vocabulary([5, 2, 100]), str(tmp_path / "day2.parquet"))
    (tmp_path / "record.yaml").write_text("steps:\n" + "\n".join(steps) + "\n")
    recorded = embsnap("migrate", tmp_path / "record.yaml", tmp_path / "bare", "--out", tmp_path / "source")
    assert recorded.exit_code == 0, recorded.stderr

    def run(name: str) -> str:
        done = embsnap("migrate", SCRIPTS / name, tmp_path / "source", "--out", tmp_path / "out")
        assert done.exit_code == 0, done.stderr
        return str(tmp_path / "out")

    return run


def test_rename_and_cast(migrate) -> None:
    np.testing.assert_array_equal(read_array(migrate("rename_and_cast.py"), "member"), ROWS.astype(np.float16))


def test_follow_the_vocabulary(migrate) -> None:
    out = migrate("follow_the_vocabulary.py")
    found = read_array(out, "user")
    np.testing.assert_array_equal(found[:2], ROWS[[5, 2]])
    assert 0 < np.abs(found[2]).max() < 0.1
    np.testing.assert_array_equal(read_array(out, STATE), [5, 2, 0])


def test_prune_rare(migrate) -> None:
    out = migrate("prune_rare.py")
    kept = [row for row in range(20) if row % 10 >= 5]
    np.testing.assert_array_equal(read_array(out, "user"), ROWS[kept])
    sidecar = open_snapshot(out).sidecar
    assert sidecar is not None
    assert listed(read_vocabulary(sidecar.tables["user"].uri).ids) == kept


def test_merge_regions(embsnap, migrate, tmp_path: Path) -> None:
    drop = tmp_path / "drop.yaml"
    drop.write_text("steps: [{drop: {tables: user}}]")
    (tmp_path / "source").rename(tmp_path / "all")
    assert embsnap("migrate", drop, tmp_path / "all", "--out", tmp_path / "source").exit_code == 0
    found = read_array(migrate("merge_regions.py"), "user")
    both = [(ROWS[row].astype(np.float64) + ROWS[row + 2]) / 2 for row in (6, 7)]
    np.testing.assert_array_equal(found, np.vstack([ROWS[:6], both, ROWS[10:14]]).astype(np.float32))


def test_serve_small(migrate) -> None:
    out = migrate("serve_small.py")
    assert [table.name for table in open_snapshot(out).tables()] == ["user"]
    assert read_array(out, "user").shape == (20, 2 + 8)


def test_own_function(migrate) -> None:
    norms = np.linalg.norm(ROWS * 3, axis=1, keepdims=True)
    np.testing.assert_allclose(
        read_array(migrate("own_function.py"), "item"), ROWS * 3 / np.maximum(1, np.sqrt(norms)), rtol=1e-6
    )
