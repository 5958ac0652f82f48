"""Models sharded in one way are filled from snapshots of models sharded in another, at other world sizes.

Every table of a job takes its rows from a table of another sharding twice: by entity, and by position. What each rank
holds afterwards is compared bit for bit with an oracle in plain numpy; after one step of training, a carried row and
its state are compared with the same row of the table that was carried by position.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.testing.vocabularies import make_vocabulary
from tests.distributed.jobs import load, run_job, whole

pytest.importorskip("torchrec")
pytestmark = [pytest.mark.distributed, pytest.mark.slow]

DIM, NEW_VALUE = 8, 7.5
OLD_ROWS = {"rw": 10, "cw": 4, "tw": 6, "dp": 3, "twrw": 9, "grid": 7}
FUSED = ("rowwise", "adagrad")
OPTIMIZERS = (*FUSED, "adam")
JOBS = {"1to2": (1, 2), "2to3": (2, 3), "3to1": (3, 1)}
INEXACT = (("cw", "rw"), ("rw", "cw"))
SIMPLE, HOSTS = ("rw", "cw", "tw", "dp"), ("rw", "twrw", "grid")


def new_rows(kind: str) -> NDArray[np.int64]:
    """Old row of each row of the new table, or -1: permuted, one dropped, two new entities, the last without any."""
    order = np.random.default_rng(OLD_ROWS[kind]).permutation(OLD_ROWS[kind])[1:]
    return np.concatenate([[-1], order, [-1, -1]])


def write_vocabularies(root: Path) -> None:
    for kind, num_rows in OLD_ROWS.items():
        write_vocabulary(make_vocabulary(list(range(100, 100 + num_rows))), f"{root}/{kind}.old.parquet")
        ids = [int(row) + 100 if row >= 0 else 500 + place for place, row in enumerate(new_rows(kind))][:-1]
        write_vocabulary(make_vocabulary(ids), f"{root}/{kind}.new.parquet")


def to_save(world_size: int, kinds: tuple[str, ...]) -> list[dict[str, Any]]:
    tables = {f"t_{kind}": (kind, OLD_ROWS[kind]) for kind in kinds}
    return [
        {"do": "save", "name": f"{optimizer}.{world_size}", "optimizer": optimizer, "tables": tables}
        for optimizer in (*OPTIMIZERS, "numbered")
        if optimizer in FUSED or kinds != HOSTS  # their shards have no dense kernel
    ]


def to_fill(root: Path, job: str, old_size: int, kinds: tuple[str, ...], pairs: list[tuple[str, str]]) -> list[Any]:
    cases = []
    for optimizer in OPTIMIZERS:
        if optimizer not in FUSED and kinds == HOSTS:
            continue
        for dtensors in (False, True) if optimizer == "rowwise" else (False,):
            name = f"{optimizer}{'.dtensors' * dtensors}.{job}"
            tables, configs = {}, []
            for old, new in pairs:
                for way in ("by_entity", "by_position"):
                    table = f"{new}_{old}_{way}"
                    tables[table] = (new, len(new_rows(old)) if way == "by_entity" else OLD_ROWS[old])
                    configs.append(table_config(root, table, tables[table][1], f"{optimizer}.{old_size}", old, way))
            (root / f"{name}.yaml").write_text(yaml.safe_dump({"tables": configs, "tables_to_log": list(tables)}))
            train = not dtensors
            case = {"do": "fill", "name": name, "optimizer": optimizer, "dtensors": dtensors, "train": train}
            cases.append(case | {"tables": tables})
    return cases


def to_restore(job: str, old_size: int, kinds: tuple[str, ...]) -> list[Any]:
    """The tables that `to_save` saves, each sharded as the one before it was."""
    tables = {f"t_{old}": (new, OLD_ROWS[old]) for old, new in zip(kinds, (kinds[-1], *kinds), strict=False)}
    cases = ("rowwise",) if kinds == HOSTS else ("rowwise", "adam", "numbered")
    return [
        {"do": "restore", "name": f"{optimizer}.restored.{job}", "snapshot": f"{optimizer}.{old_size}"}
        | {"optimizer": optimizer, "train": False, "tables": tables}
        for optimizer in cases
    ]


def table_config(root: Path, table: str, num_rows: int, snapshot: str, old: str, way: str) -> dict[str, Any]:
    pretrained: dict[str, Any] = {"emb_name": f"t_{old}", "embedding_snapshot_uri": f"{root}/{snapshot}"}
    config: dict[str, Any] = {"name": table, "num_embeddings": num_rows, "embedding_dim": DIM}
    config["initializer"] = {"constant": {"value": NEW_VALUE}}
    if table.startswith(f"{old}_{old}") and old != "dp":
        config["optimizer_state"] = "refuse"  # of the same columns it follows exactly
    if way == "by_position":
        return config | {"pretrained": pretrained | {"by_position": True}}
    return config | {
        "vocab": f"{root}/{old}.new.parquet",
        "pretrained": pretrained | {"vocab": f"{root}/{old}.old.parquet"},
    }


def to_refuse(root: Path, old_size: int) -> list[Any]:
    """Tables whose row-wise state is of other columns than theirs."""
    cases = []
    for old, new in INEXACT:
        table = f"{new}_{old}_by_position"
        config = table_config(root, table, OLD_ROWS[old], f"rowwise.{old_size}", old, "by_position")
        (root / f"inexact.{table}.yaml").write_text(
            yaml.safe_dump({"tables": [config | {"optimizer_state": "refuse"}]})
        )
        case = {"do": "refuse", "name": f"inexact.{table}", "optimizer": "rowwise"}
        cases.append(case | {"tables": {table: (new, OLD_ROWS[old])}})
    return cases


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where jobs of one, two, three and four ranks have saved and filled everything, each world size in one go."""
    root = tmp_path_factory.mktemp("jobs")
    write_vocabularies(root)
    pairs = [(old, new) for old in SIMPLE for new in SIMPLE]
    run_job(root, 1, to_save(1, SIMPLE))
    for job, (old_size, new_size) in JOBS.items():
        saves = [] if new_size == 1 else to_save(new_size, SIMPLE)
        fills = to_fill(root, job, old_size, SIMPLE, pairs) + to_restore(job, old_size, SIMPLE)
        run_job(root, new_size, saves + fills + (to_refuse(root, old_size) if job == "2to3" else []))
    host_pairs = [("rw", "twrw"), ("rw", "grid"), ("twrw", "rw"), ("grid", "rw"), ("grid", "grid"), ("twrw", "grid")]
    fills = to_fill(root, "hosts", 4, HOSTS, host_pairs) + to_restore("hosts", 4, HOSTS)
    run_job(root, 4, to_save(4, HOSTS) + fills)
    return root


def fill_cases() -> list[Any]:
    cases = []
    for job in [*JOBS, "hosts"]:
        for optimizer in ("rowwise", "rowwise.dtensors", "adagrad", "adam"):
            if not (job == "hosts" and optimizer == "adam"):
                cases.append(pytest.param(job, optimizer, id=f"{job}-{optimizer}"))
    return cases


def tables_of(root: Path, case: str) -> list[tuple[str, str, str, NDArray[np.int64]]]:
    """Name, new and old sharding, and the old row of each new one."""
    tables = []
    for config in yaml.safe_load((root / f"{case}.yaml").read_text())["tables"]:
        new, old, way = config["name"].split("_", 2)
        row_V = new_rows(old) if way == "by_entity" else np.arange(OLD_ROWS[old])
        tables.append((config["name"], new, old, row_V))
    return tables


def carried(old: NDArray[Any], row_V: NDArray[np.int64], otherwise: float) -> NDArray[Any]:
    rows = old[np.maximum(row_V, 0)]
    rows[row_V < 0] = otherwise
    return rows


@pytest.mark.parametrize(("job", "optimizer"), fill_cases())
def test_every_rank_holds_the_rows_of_its_shards(root: Path, job: str, optimizer: str) -> None:
    old_size = 4 if job == "hosts" else JOBS[job][0]
    old_ranks = load(root / f"{optimizer.split('.')[0]}.{old_size}", "truth")
    ranks = load(root / f"{optimizer}.{job}.out", "filled")
    for name, _, old, row_V in tables_of(root, f"{optimizer}.{job}"):
        expected = carried(whole(old_ranks, f"t_{old}/weight"), row_V, NEW_VALUE)
        np.testing.assert_array_equal(whole(ranks, f"{name}/weight"), expected, err_msg=name)


@pytest.mark.parametrize(("job", "optimizer"), fill_cases())
def test_optimizer_state_follows(root: Path, job: str, optimizer: str) -> None:
    old_size = 4 if job == "hosts" else JOBS[job][0]
    algorithm = optimizer.split(".")[0]
    old_ranks = load(root / f"{algorithm}.{old_size}", "truth")
    ranks = load(root / f"{optimizer}.{job}.out", "filled")
    names = ["exp_avg", "exp_avg_sq"] if algorithm == "adam" else ["momentum1"]
    num_compared = 0
    for name, new, old, row_V in tables_of(root, f"{optimizer}.{job}"):
        if algorithm != "adam" and new == "dp":
            continue
        for state in names:
            found = whole(ranks, f"{name}/{state}")
            if algorithm != "adam" and old == "dp":
                assert not found.any(), "there was no state, so that it starts anew"
                continue
            stored = whole(old_ranks, f"t_{old}/{state}")
            expected = row_wise(stored, new, old, row_V) if algorithm == "rowwise" else carried(stored, row_V, 0)
            np.testing.assert_array_equal(found, expected, err_msg=f"{name} {state}")
            num_compared += 1
    assert num_compared >= 6
    if algorithm == "adam":
        assert {float(rank[key]) for rank in ranks for key in rank if "/step" in key} == {100.0}


@pytest.mark.parametrize(("job", "old_size"), [*((job, sizes[0]) for job, sizes in JOBS.items()), ("hosts", 4)])
def test_restored_tables_are_those_of_the_snapshot(root: Path, job: str, old_size: int) -> None:
    kinds = HOSTS if job == "hosts" else SIMPLE
    moments = ["exp_avg", "exp_avg_sq"]
    for optimizer, states in (("rowwise", ["momentum1"]), ("adam", moments), ("numbered", moments)):
        if job == "hosts" and optimizer not in FUSED:
            continue
        old_ranks = load(root / f"{optimizer}.{old_size}", "truth")
        ranks = load(root / f"{optimizer}.restored.{job}.out", "filled")
        for old, new in zip(kinds, (kinds[-1], *kinds), strict=False):
            table, row_V = f"t_{old}", np.arange(OLD_ROWS[old])
            np.testing.assert_array_equal(whole(ranks, f"{table}/weight"), whole(old_ranks, f"{table}/weight"))
            if optimizer == "rowwise" and "dp" in (old, new):
                continue
            for state in states:
                stored = whole(old_ranks, f"{table}/{state}")
                expected = row_wise(stored, new, old, row_V) if optimizer == "rowwise" else stored
                np.testing.assert_array_equal(whole(ranks, f"{table}/{state}"), expected, err_msg=f"{table} {state}")


def row_wise(stored: NDArray[Any], new: str, old: str, row_V: NDArray[np.int64]) -> NDArray[Any]:
    """Per column shard where there are two on both sides; their mean where there is one; the same value for each."""
    runs = stored.reshape(2, -1) if old in ("cw", "grid") else stored[None]
    if new not in ("cw", "grid"):
        mean = runs.astype(np.float64).mean(axis=0).astype(np.float32)
        return carried(mean, row_V, 0)
    return np.concatenate([carried(runs[shard % len(runs)], row_V, 0) for shard in range(2)])


@pytest.mark.parametrize(("job", "optimizer"), [case for case in fill_cases() if "dtensors" not in case.id])
def test_a_further_step_does_to_carried_rows_what_it_does_without_moving_them(
    root: Path, job: str, optimizer: str
) -> None:
    before = load(root / f"{optimizer}.{job}.out", "filled")
    after = load(root / f"{optimizer}.{job}.out", "trained")
    names = {key.split("|")[0].partition("/")[2] for rank in after for key in rank} - {"step"}
    for name, new, old, row_V in tables_of(root, f"{optimizer}.{job}"):
        if name.endswith("by_position"):
            continue
        new_N, old_N = np.flatnonzero(row_V >= 0), row_V[row_V >= 0]
        moved = not (new == "dp" and optimizer != "adam")
        for array in sorted(names):
            if not moved and array != "weight":
                continue
            found, reference = whole(after, f"{name}/{array}"), whole(after, f"{new}_{old}_by_position/{array}")
            if found.ndim == 1:
                runs = len(found) // len(row_V)
                found, reference = found.reshape(runs, -1).T, reference.reshape(runs, -1).T
            np.testing.assert_array_equal(found[new_N], reference[old_N], err_msg=f"{name} {array}")
        changed = whole(after, f"{name}/weight")[new_N] != whole(before, f"{name}/weight")[new_N]
        assert changed.all() == moved


@pytest.mark.parametrize("job", [*JOBS, "hosts"])
def test_all_ranks_report_the_same(root: Path, job: str) -> None:
    out = root / f"rowwise.{job}.out"
    results = [json.loads(file.read_text()) for file in sorted(out.glob("result.*.json"))]
    ranks = load(out, "filled")
    for result in results:
        assert result["applied"]
        for table in result["tables"]:
            norms = np.linalg.norm(whole(ranks, f"{table['name']}/weight").astype(np.float64), axis=1)
            assert table["mean_norm"] == pytest.approx(norms.mean())
        left = {note["place"] for note in result["notes"] if note["kind"] == "state-not-carried"}
        names = {table["name"] for table in result["tables"]}
        assert left == {f"table {name}" for name in names if "dp" in name and not name.startswith("dp_dp")}


@pytest.mark.parametrize(("old", "new"), INEXACT)
def test_row_wise_state_of_other_columns_is_refused_where_it_has_to_be_exact(root: Path, old: str, new: str) -> None:
    errors = [file.read_text() for file in sorted((root / f"inexact.{new}_{old}_by_position.out").glob("error.*.txt"))]
    assert len(errors) == 3
    assert all("cannot follow the rows exactly" in error for error in errors)
