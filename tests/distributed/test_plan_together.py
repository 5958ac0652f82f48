"""Ranks that plan together, each a part of the vocabularies, do what a process does that plans alone.

What each rank holds afterwards is compared bit for bit with an oracle that looks every id up in a dictionary.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from numpy.typing import NDArray

from embsnap.cli.output import to_json
from embsnap.config.embedding import LargeEmbeddingsConfig
from embsnap.errors import EmbsnapError
from embsnap.ops.warmstart.plan import plan_warmstart
from embsnap.testing.tables import write_arrays
from tests.distributed.jobs import load, run_job, whole

pytest.importorskip("torchrec")
pytestmark = [pytest.mark.distributed, pytest.mark.slow]

OLD_ROWS, NEW_ROWS, DIM, NEW_VALUE = 3000, 3100, 8, 7.5
STATE = "optimizer/state/fused_opt.ebc.embedding_bags.user.weight/user.momentum1"
KINDS = ("rw", "cw", "tw", "dp")
ID_TYPES = {"int": lambda i: int(i) * 2_654_435_761, "text": lambda i: f"user {'-' * (int(i) % 5)}{i}"}


def write(path: Path, ids: list[Any], rows: list[int], num_files: int) -> None:
    """A vocabulary in several files of several row groups."""
    path.mkdir()
    counts = np.arange(len(ids)) % 11
    for number, part in enumerate(np.array_split(np.arange(len(ids)), num_files)):
        table = pa.table({"id": pa.array(ids).take(part), "row": pa.array(rows).take(part), "count": counts[part]})
        pq.write_table(table, path / f"{number}.parquet", row_group_size=250)


def vocabularies(root: Path) -> dict[str, tuple[dict[int, int], dict[int, int]]]:
    """Old and new row by number of entity, written in each type of id: some dropped, some new, all moved."""
    rng, found = np.random.default_rng(3), {}
    for name, id_of in ID_TYPES.items():
        days = []
        for day, first, num_rows, num_files in (("old", 0, OLD_ROWS, 3), ("new", 200, NEW_ROWS, 2)):
            entities = rng.permutation(2900) + first
            rows = rng.permutation(num_rows)[:2900].tolist()
            write(root / f"{name}.{day}", [id_of(i) for i in entities], rows, num_files)
            days.append(dict(zip(entities.tolist(), rows, strict=True)))
        found[name] = (days[0], days[1])
    return found


def config(root: Path, kind: str, name: str, new: str | None = None) -> dict[str, Any]:
    pretrained = {"emb_name": "user", "embedding_snapshot_uri": f"{root}/old", "vocab": f"{root}/{name}.old"}
    table = {"name": f"{kind}_{name}", "num_embeddings": NEW_ROWS, "embedding_dim": DIM, "pretrained": pretrained}
    return table | {"vocab": f"{root}/{new or name + '.new'}", "initializer": {"constant": {"value": NEW_VALUE}}}


def write_broken(root: Path) -> None:
    """An id twice, in the first file and in the last; and a last file of which some values cannot be read."""
    ids, rows = list(range(2000)), list(range(2000))
    write(root / "twice", [*ids, ids[3]], [*rows, 2000], 3)
    write(root / "damaged", ids, rows, 3)
    file = root / "damaged" / "2.parquet"
    chunk = pq.ParquetFile(file).metadata.row_group(2).column(0)
    content = bytearray(file.read_bytes())
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    content[start : start + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    file.write_bytes(content)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two ranks have filled, and refused to fill, everything in one go."""
    root = tmp_path_factory.mktemp("together")
    rows = np.random.default_rng(1).standard_normal((OLD_ROWS, DIM)).astype(np.float32)
    write_arrays(f"{root}/old", {"user": rows}, {STATE: np.arange(OLD_ROWS, dtype=np.float32)})
    np.save(root / "rows.npy", rows)
    (root / "entities.json").write_text(json.dumps(vocabularies(root)))
    write_broken(root)
    tables = [config(root, kind, name) for kind in KINDS for name in ID_TYPES]
    cases = [
        {
            "do": "fill",
            "name": "filled",
            "train": False,
            "tables": {t["name"]: [t["name"][:2], NEW_ROWS] for t in tables},
        }
    ]
    (root / "filled.yaml").write_text(yaml.safe_dump({"tables": tables}))
    for broken in ("twice", "damaged"):
        (root / f"{broken}.yaml").write_text(yaml.safe_dump({"tables": [config(root, "rw", "int", broken)]}))
        cases.append({"do": "refuse", "name": broken, "tables": {"rw_int": ["rw", NEW_ROWS]}})
    run_job(root, 2, [case | {"optimizer": "rowwise"} for case in cases])
    return root


def test_every_row_follows_its_entity(root: Path) -> None:
    old_ND, ranks = np.load(root / "rows.npy"), load(root / "filled.out", "filled")
    for name, (old, new) in json.loads((root / "entities.json").read_text()).items():
        row_V = np.full(NEW_ROWS, -1)
        row_V[list(new.values())] = [old.get(entity, -1) for entity in new]
        assert np.count_nonzero(row_V >= 0) == 2700
        for kind in KINDS:
            table = f"{kind}_{name}"
            np.testing.assert_array_equal(whole(ranks, f"{table}/weight"), expected(old_ND, row_V, NEW_VALUE))
            if kind != "dp":
                state = whole(ranks, f"{table}/momentum1").reshape(-1, NEW_ROWS)
                for shard in state:
                    np.testing.assert_array_equal(shard, expected(np.arange(OLD_ROWS, dtype="f4"), row_V, 0))


def expected(old: NDArray[Any], row_V: NDArray[np.int64], otherwise: float) -> NDArray[Any]:
    rows = old[np.maximum(row_V, 0)]
    rows[row_V < 0] = otherwise
    return rows


def test_every_rank_reports_what_one_process_plans(root: Path) -> None:
    alone = json.loads(to_json(plan_warmstart(parsed(root, "filled")).result()))
    for file in (root / "filled.out").glob("result.*.json"):
        told = json.loads(file.read_text())
        assert told["plan_digest"] == alone["plan_digest"]
        assert told["peak_memory_bytes"] <= alone["peak_memory_bytes"]
        for table, planned in zip(told["tables"], alone["tables"], strict=True):
            shown = planned.keys() - {"seconds", "mean_norm", "num_unchecked_rows"}
            assert {key: table[key] for key in shown} == {key: planned[key] for key in shown}
            assert table["counts"]["new"] == 200
            assert table["weighted_coverage"] is not None


def parsed(root: Path, name: str) -> LargeEmbeddingsConfig:
    return LargeEmbeddingsConfig.model_validate(yaml.safe_load((root / f"{name}.yaml").read_text()))


def test_an_id_in_two_ranks_parts_is_refused_by_both(root: Path) -> None:
    with pytest.raises(EmbsnapError) as alone:
        plan_warmstart(parsed(root, "twice"))
    errors = [file.read_text() for file in (root / "twice.out").glob("error.*.txt")]
    assert errors == [str(alone.value)] * 2
    assert "an id that an earlier entity has already" in errors[0]


def test_what_one_rank_cannot_read_ends_both(root: Path) -> None:
    errors = sorted(file.read_text() for file in (root / "damaged.out").glob("error.*.txt"))
    assert len(errors) == 2
    assert all("damaged/2.parquet" in error for error in errors)
    assert sum("rank 1: " in error for error in errors) == 1
