"""`embsnap pool`: against a naive loop over the same examples."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.model.vocabulary import Declared
from embsnap.testing.tables import write_arrays
from embsnap.testing.vocabularies import make_vocabulary

pytest.importorskip("torchrec")

DIM = 8
IDS = {"user": [70, 50, 60, 10, 11], "item": ["a", "b", "c"]}
NUM_EXAMPLES = 50


def rows_of(table: str, seed: int = 0) -> NDArray[np.float32]:
    rng = np.random.default_rng([seed, len(IDS[table])])
    return rng.normal(size=(len(IDS[table]), DIM)).astype(np.float32)


@pytest.fixture(scope="module")
def examples() -> dict[str, list[Any]]:
    """Users in lists with unknown ids, nulls and empty lists; one item each, some of them null."""
    rng = np.random.default_rng(1)
    users: list[Any] = [rng.choice([*IDS["user"], 99], size=rng.integers(0, 5)).tolist() for _ in range(NUM_EXAMPLES)]
    users[3] = None
    items = [None if number % 7 == 0 else IDS["item"][number % 3] for number in range(NUM_EXAMPLES)]
    weights = [None if bag is None else [0.5 * i + 1 for i in range(len(bag))] for bag in users]
    discrete = [[number % 2, number % 5][: 1 if number == 8 else 2] for number in range(NUM_EXAMPLES)]
    return {
        "user": users,
        "item": items,
        "w": weights,
        "discrete_features": discrete,
        "key": list(range(NUM_EXAMPLES)),
    }


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, examples: dict[str, list[Any]]) -> Path:
    """Snapshots `a` and `b` (other rows, user 70 in another place), vocabularies, and two files of examples."""
    root = tmp_path_factory.mktemp("pool")
    for name, ids in IDS.items():
        write_vocabulary(make_vocabulary(ids), str(root / f"{name}.parquet"))
    moved = [50, 70, 60, 10, 12]
    write_vocabulary(make_vocabulary(moved), str(root / "user_b.parquet"))
    write_arrays(str(root / "a"), {name: rows_of(name) for name in IDS})
    rows_b = rows_of("user")[[1, 0, 2, 3, 4]]
    write_arrays(str(root / "b"), {"user": rows_b, "item": 2 * rows_of("item")})
    table = pa.table(examples)
    (root / "examples").mkdir()
    pq.write_table(table.slice(0, 20), root / "examples" / "0.parquet", row_group_size=6)
    pq.write_table(table.slice(20), root / "examples" / "1.parquet")
    return root


def vocab(place: Path, **others: str) -> list[str]:
    files = {"user": "user.parquet", "item": "item.parquet"} | others
    return [text for name, file in files.items() for text in ("--vocab", f"{name}={place / file}")]


def expected(table: str, bags: list[Any], weights: list[Any] | None = None) -> NDArray[np.float32]:
    """Pooled one by one, in float64."""
    known = {entity: row for row, entity in enumerate(IDS[table])}
    rows, pooled = rows_of(table).astype(np.float64), np.zeros((len(bags), DIM))
    for example, bag in enumerate(bags):
        ids = [] if bag is None else bag if isinstance(bag, list) else [bag]
        for number, entity in enumerate(ids):
            weight = 1.0 if weights is None else weights[example][number]
            if entity in known:
                pooled[example] += weight * rows[known[entity]]
    return pooled.astype(np.float32)


def vectors(path: Path, column: str) -> NDArray[np.float32]:
    found = pq.read_table(path)[column].combine_chunks()
    return np.asarray(found.flatten()).reshape(len(found), -1)


def test_vectors_are_those_of_a_loop(embsnap: Any, place: Path, examples: dict[str, list[Any]], tmp_path: Path) -> None:
    out = tmp_path / "pooled.parquet"
    run = embsnap(
        "pool", place / "a", place / "examples", *vocab(place), "--out", out, "--keep", "key", "--batch-size", 7
    )
    assert run.exit_code == 0, run.stderr
    assert "pooled 50 examples of 2 files on" in run.stdout
    assert str(out) in run.stdout
    table = pq.read_table(out)
    assert table.column_names == ["key", "user", "item"]
    assert table["key"].to_pylist() == examples["key"]
    for name in IDS:
        np.testing.assert_allclose(vectors(out, name), expected(name, examples[name]), rtol=1e-5, atol=1e-6)


def test_figures_are_those_of_a_loop(embsnap: Any, place: Path, examples: dict[str, list[Any]]) -> None:
    run = embsnap("pool", place / "a", place / "examples", *vocab(place), "--json", "--batch-size", 9)
    assert run.exit_code == 0, run.stderr
    report = json.loads(run.stdout)
    user = next(found for found in report["tables"] if found["name"] == "user")
    ids = [entity for bag in examples["user"] if bag for entity in bag]
    known = [entity for entity in ids if entity != 99]
    bags = [[entity for entity in bag or [] if entity != 99] for bag in examples["user"]]
    assert (user["num_bags"], user["num_ids"], user["num_unknown"]) == (50, len(ids), len(ids) - len(known))
    assert user["oov_rate"] == pytest.approx((len(ids) - len(known)) / len(ids))
    assert user["num_empty_bags"] == sum(not bag for bag in bags)
    assert user["pooling_factor"] == pytest.approx(len(known) / 50)
    assert user["max_bag"] == max(map(len, bags))
    norms = np.linalg.norm(expected("user", examples["user"]), axis=1)
    assert user["mean_norm"] == pytest.approx(norms.mean(), rel=1e-5)
    counts = sorted((known.count(entity) for entity in IDS["user"]), reverse=True)
    access = {"num_rows_touched": 5, "max_lookups": counts[0]}
    assert access.items() <= user["access"].items()
    assert user["access"]["top_1_percent"] == pytest.approx(counts[0] / len(known))
    assert report["row_bytes_per_s"] > 0
    assert report["bags_per_s"] > 0


def test_weights_and_strata(embsnap: Any, place: Path, examples: dict[str, list[Any]], tmp_path: Path) -> None:
    out = tmp_path / "pooled.parquet"
    weights, strata = ("--weights", "user=w"), ("--stratum", "odd=0:1", "--stratum", "four=1:4", "--stratum", "no=0:9")
    run = embsnap("pool", place / "a", place / "examples", *vocab(place), *weights, *strata, "--out", out, "--json")
    assert run.exit_code == 0, run.stderr
    pooled = expected("user", examples["user"], examples["w"])
    np.testing.assert_allclose(vectors(out, "user"), pooled, rtol=1e-5, atol=1e-6)
    found = {(part["stratum"], part["table"]): part for part in json.loads(run.stdout)["strata"]}
    assert len(found) == 6
    for name, index, value in (("odd", 0, 1), ("four", 1, 4)):
        inside = [len(row) > index and row[index] == value for row in examples["discrete_features"]]
        part = found[name, "user"]
        assert part["num_examples"] == sum(inside)
        np.testing.assert_allclose(part["mean"], pooled[inside].mean(axis=0), rtol=1e-4, atol=1e-6)
    assert found["no", "item"] == {"stratum": "no", "table": "item", "num_examples": 0, "mean_norm": None, "mean": None}


def test_compared_bags_are_the_same_where_all_entities_are_carried(
    embsnap: Any, place: Path, examples: dict[str, list[Any]]
) -> None:
    other = ["--compare", place / "b", "--compare-vocab", f"user={place / 'user_b.parquet'}"]
    other += ["--compare-vocab", f"item={place / 'item.parquet'}"]
    run = embsnap("pool", place / "a", place / "examples", *vocab(place), *other, "--json")
    assert run.exit_code == 0, run.stderr
    tables = {found["name"]: found["change"] for found in json.loads(run.stdout)["tables"]}
    carried = [bag for bag in examples["user"] if bag and not {11, 99} & set(bag)]
    assert len(carried) > 3
    assert (tables["user"]["num_carried"], tables["user"]["num_identical"]) == (len(carried), len(carried))
    assert tables["user"]["max_relative_l2"] == 0
    items = sum(item is not None for item in examples["item"])
    assert (tables["item"]["num_carried"], tables["item"]["num_identical"]) == (items, 0)
    assert tables["item"]["median_relative_l2"] == pytest.approx(1)
    text = embsnap("pool", place / "a", place / "examples", *vocab(place), *other).stdout
    assert f"against {place / 'b'}" in text


def test_a_config_is_warm_started(embsnap: Any, place: Path, examples: dict[str, list[Any]], tmp_path: Path) -> None:
    config = {
        "tables": [
            {
                "name": "user",
                "num_embeddings": 5,
                "embedding_dim": DIM,
                "pooling": "mean",
                "vocab": str(place / "user_b.parquet"),
                "pretrained": {
                    "emb_name": "user",
                    "embedding_snapshot_uri": str(place / "a"),
                    "vocab": str(place / "user.parquet"),
                },
            }
        ]
    }
    (tmp_path / "job.yaml").write_text(json.dumps(config))
    out = tmp_path / "pooled"
    run = embsnap("pool", tmp_path / "job.yaml", place / "examples", "--out", out, "--limit", 30)
    assert run.exit_code == 0, run.stderr
    pooled = vectors(out / "part-00000.parquet", "user")
    assert len(pooled) == 30
    checked = 0
    for example, bag in enumerate(examples["user"][:30]):
        if bag and not {11, 99} & set(bag):
            wanted = expected("user", [bag])[0] / len(bag)
            np.testing.assert_allclose(pooled[example], wanted, rtol=1e-5, atol=1e-6)
            checked += 1
    assert checked > 3


def job(place: Path, uri: Path, **options: Any) -> Path:
    """A config of both tables as they are in snapshot `a`; `options` by table."""
    tables = []
    for name in IDS:
        snapshot = {"emb_name": name, "embedding_snapshot_uri": str(place / "a"), "by_position": True, "cast": True}
        shape = {"num_embeddings": len(IDS[name]), "embedding_dim": DIM}
        vocab = str(place / f"{name}.parquet")
        tables.append({"name": name, **shape, "vocab": vocab, "pretrained": snapshot, **options.get(name, {})})
    uri.write_text(json.dumps({"tables": tables}))
    return uri


def weighed(place: Path, tmp_path: Path, weights: pa.Array) -> tuple[Path, tuple[str, ...]]:
    """Three examples of users with these weights, and how they are pooled."""
    pq.write_table(pa.table({"user": [[70, 50], None, [60]], "w": weights}), tmp_path / "examples.parquet")
    return tmp_path / "examples.parquet", ("--vocab", f"user={place / 'user.parquet'}", "--weights", "user=w")


@pytest.mark.parametrize(
    "weights",
    [
        pa.array([[2**24 + 1, 2], None, [-3]]),
        pa.array([[True, False], [], [True]]),
        pa.array([[0.5, None], [], [2]], pa.list_(pa.float16())),
        pa.array([[None, None], [], [None]], pa.list_(pa.null())),
    ],
)
def test_weights_are_numbers_of_any_kind(embsnap: Any, place: Path, tmp_path: Path, weights: pa.Array) -> None:
    (examples, options), out = weighed(place, tmp_path, weights), tmp_path / "pooled.parquet"
    run = embsnap("pool", place / "a", examples, *options, "--out", out)
    assert run.exit_code == 0, run.stderr
    plain = [[float(weight or 0) for weight in bag or []] for bag in weights.to_pylist()]
    np.testing.assert_allclose(vectors(out, "user"), expected("user", [[70, 50], None, [60]], plain), rtol=1e-5)


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        (pa.array([["1", "2"], [], ["x"]]), "expected numbers, or lists of them, found list<element: string>"),
        (pa.array([1, 2, 3], pa.timestamp("s")), "expected numbers, or lists of them, found timestamp[ms]"),
        (pa.array([[1, 2], [], [-1e300]]), "a weight is too large for float32 (expected weights within ±3.40282e+38, "),
    ],
)
def test_weights_that_weigh_nothing_are_refused(
    embsnap: Any, place: Path, tmp_path: Path, weights: pa.Array, said: str
) -> None:
    examples, options = weighed(place, tmp_path, weights)
    run = embsnap("pool", place / "a", examples, *options)
    assert run.exit_code == 5, run.stderr
    assert f"{examples}, column w: " in run.stderr
    assert said in run.stderr


@pytest.mark.parametrize("data_types", [("fp16", "fp16"), ("bf16", "bf16"), ("bf16", "fp32")])
def test_weights_of_narrow_tables(
    embsnap: Any, place: Path, examples: dict[str, list[Any]], tmp_path: Path, data_types: tuple[str, str]
) -> None:
    options = {name: {"data_type": data_type} for name, data_type in zip(IDS, data_types, strict=True)}
    config, out = job(place, tmp_path / "job.yaml", **options), tmp_path / "pooled.parquet"
    run = embsnap("pool", config, place / "examples", "--weights", "user=w", "--out", out)
    assert run.exit_code == 0, run.stderr
    for name, weights in (("user", examples["w"]), ("item", None)):
        np.testing.assert_allclose(vectors(out, name), expected(name, examples[name], weights), rtol=0.02, atol=0.1)


def test_sums_are_not_compared_with_means(embsnap: Any, place: Path, tmp_path: Path) -> None:
    config = job(place, tmp_path / "job.yaml", user={"pooling": "mean"}, item={"pooling": "mean"})
    other = ["--compare", place / "a", "--compare-vocab", f"user={place / 'user.parquet'}"]
    other += ["--compare-vocab", f"item={place / 'item.parquet'}"]
    run = embsnap("pool", config, place / "examples", *other)
    assert run.exit_code == 2, run.stderr
    assert "the two sources pool in different ways" in run.stderr
    assert "table user" in run.stderr
    assert "expected pooling: mean, found sum" in run.stderr
    assert "--pooling" in run.stderr
    assert embsnap("pool", config, place / "examples", *other, "--pooling", "mean").exit_code == 0


def test_strata_of_one_name_are_refused(embsnap: Any, place: Path) -> None:
    strata = ("--stratum", "odd=0:1", "--stratum", "four=1:4", "--stratum", "odd=1:3")
    run = embsnap("pool", place / "a", place / "examples", *vocab(place), *strata)
    assert run.exit_code == 2, run.stderr
    assert "stratum odd: several strata have the same name" in run.stderr
    assert "found 0:1, 1:3" in run.stderr


def test_a_dry_run_writes_nothing(embsnap: Any, place: Path, tmp_path: Path) -> None:
    arguments = ("pool", place / "a", place / "examples", *vocab(place), "--out", tmp_path / "x.parquet", "--dry-run")
    run = embsnap(*arguments, "--json")
    report = json.loads(run.stdout)
    assert (run.exit_code, report["applied"], report["num_examples"]) == (0, False, 50)
    assert "would pool 50 examples" in embsnap(*arguments).stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "exit_code", "said"),
    [
        (["--feature", "user=nowhere", "--vocab", "user={}/user.parquet"], 3, "nowhere"),
        (["--vocab", "user={}/user.parquet", "--keep", "key"], 2, "leave it out, or give --out"),
        (
            ["--vocab", "user={}/user.parquet", "--keep", "nowhere", "--out", "{}/new.pq"],
            3,
            "check the names that --weights, --keep",
        ),
        (["--table", "none"], 3, "one of user, item"),
        (["--vocab", "user={}/user.parquet", "--at", "model"], 2, "only a config file"),
        (["--table", "item"], 5, "--vocab item=URI"),
        ([], 5, "--vocab user=URI"),
        (["--vocab", "user={}/user.parquet", "--compare", "{}/b"], 5, "--compare-vocab user=URI"),
        (["--vocab", "user={}/user.parquet", "--pooling", "mean", "--weights", "user=w"], 2, "mean"),
        (["--vocab", "user={}/user.parquet", "--weights", "user=discrete_features"], 5, "one weight for each id"),
        (["--vocab", "user={}/user.parquet", "--weights", "usr=w"], 3, "--weights usr=…"),
        (["--vocab", "user={}/user.parquet", "--weights", "item=w"], 3, "one of user)"),
        (["--vocab", "user={}/user.parquet", "--table", "user", "--feature", "item=w"], 3, "--feature item=…"),
        (["--vocab", "user={}/user.parquet", "--oov", "row"], 2, "embsnap vocab build --num-oov"),
        (["--vocab", "user={}/item.parquet"], 5, "string"),
        (["--vocab", "item={}/user_b.parquet", "--table", "item"], 5, "rows below 3"),
        (["--vocab", "user={}/user.parquet", "--stratum", "x"], 2, "NAME=INDEX:VALUE"),
        (["--vocab", "user={}/user.parquet", "--stratum", "x=0:²"], 2, "NAME=INDEX:VALUE"),
        (["--vocab", "user={}/user.parquet", "--stratum", "x=0:1", "--discrete-column", "key"], 5, "lists of integers"),
        (["--vocab", "user={}/user.parquet", "--out", "{}/user.parquet"], 7, "holds something already"),
        (["--vocab", "user={}/user.parquet", "--device", "tpu"], 2, "tpu"),
        (
            ["--vocab", "user={}/user.parquet", "--keep", "user", "--out", "{}/new.pq"],
            2,
            "found the vectors of table user",
        ),
        (
            ["--vocab", "user={}/user.parquet", *(2 * ["--keep", "key"]), "--out", "{}/new.pq"],
            2,
            "the same --keep twice",
        ),
    ],
)
def test_what_does_not_fit_is_refused(
    embsnap: Any, place: Path, arguments: list[str], exit_code: int, said: str
) -> None:
    run = embsnap("pool", place / "a", place / "examples", *(text.replace("{}", str(place)) for text in arguments))
    assert run.exit_code == exit_code, run.stderr
    assert said in run.stderr


def test_examples_without_a_table_s_column_are_refused(embsnap: Any, place: Path) -> None:
    run = embsnap("pool", place / "a", place / "user.parquet", *vocab(place))
    assert run.exit_code == 2
    assert "--feature TABLE=COLUMN" in run.stderr


def test_rows_for_unknown_ids(embsnap: Any, place: Path, examples: dict[str, list[Any]], tmp_path: Path) -> None:
    declared = replace(make_vocabulary(IDS["user"][:4]), declared=Declared(num_rows=5, oov=(4, 5)))
    write_vocabulary(declared, str(tmp_path / "oov.parquet"))
    vocabulary, out = ("--vocab", f"user={tmp_path / 'oov.parquet'}"), tmp_path / "pooled.parquet"
    run = embsnap("pool", place / "a", place / "examples", *vocabulary, "--oov", "row", "--out", out, "--json")
    assert run.exit_code == 0, run.stderr
    as_known = [None if bag is None else [11 if entity == 99 else entity for entity in bag] for bag in examples["user"]]
    np.testing.assert_allclose(vectors(out, "user"), expected("user", as_known), rtol=1e-5, atol=1e-6)
    (user,) = json.loads(run.stdout)["tables"]
    assert user["num_unknown"] == sum(entity in (11, 99) for bag in examples["user"] if bag for entity in bag)


def test_dictionaries_and_fixed_lists_are_read(embsnap: Any, place: Path, tmp_path: Path) -> None:
    columns = {
        "item": pa.array(["a", "c", "a"]).dictionary_encode(),
        "user": pa.FixedSizeListArray.from_arrays(pa.array([70, 50, 60, 10, 11, 70]), 2),
        "kind": pa.array(["x", None, "y"]).dictionary_encode(),
    }
    pq.write_table(pa.table(columns), tmp_path / "examples.parquet")
    out = tmp_path / "pooled.parquet"
    run = embsnap("pool", place / "a", tmp_path / "examples.parquet", *vocab(place), "--keep", "kind", "--out", out)
    assert run.exit_code == 0, run.stderr
    assert pq.read_table(out)["kind"].to_pylist() == ["x", None, "y"]
    np.testing.assert_array_equal(vectors(out, "item"), rows_of("item")[[0, 2, 0]])
    np.testing.assert_allclose(vectors(out, "user"), expected("user", [[70, 50], [60, 10], [11, 70]]), rtol=1e-6)


def test_ids_that_do_not_fit_are_named_by_file_and_column(embsnap: Any, place: Path, tmp_path: Path) -> None:
    examples = tmp_path / "examples.parquet"
    for number, (bags, said) in enumerate(
        [([[70, None], [50]], "1 of 3 ids to look up are null"), ([["a"]], "expected int64 ids, found string ids")]
    ):
        pq.write_table(pa.table({"buyers": bags}), examples)
        run = embsnap("pool", place / "a", examples, *vocab(place), "--feature", "user=buyers")
        assert run.exit_code == 5, number
        assert f"{examples}, column buyers, with the vocabulary {place / 'user.parquet'}: " in run.stderr
        assert said in run.stderr


@pytest.mark.parametrize("kind", [pa.null(), pa.list_(pa.null())])
def test_nothing_but_nulls_are_empty_bags(embsnap: Any, place: Path, tmp_path: Path, kind: pa.DataType) -> None:
    pq.write_table(pa.table({"user": pa.nulls(3, kind)}), tmp_path / "examples.parquet")
    run = embsnap("pool", place / "a", tmp_path / "examples.parquet", *vocab(place), "--json")
    assert run.exit_code == 0, run.stderr
    assert json.loads(run.stdout)["tables"][0]["num_empty_bags"] == 3


def test_lists_may_be_called_otherwise_in_each_file(embsnap: Any, place: Path, tmp_path: Path) -> None:
    kinds = [pa.list_(pa.int64()), pa.list_(pa.field("item", pa.int64(), nullable=False)), pa.large_list(pa.int64())]
    for number, kind in enumerate(kinds):
        file = tmp_path / f"{number}.parquet"
        pq.write_table(pa.table({"user": pa.array([[70]], kind)}), file, use_compliant_nested_type=False)
    run = embsnap("pool", place / "a", tmp_path, *vocab(place), "--json")
    assert run.exit_code == 0, run.stderr
    assert json.loads(run.stdout)["tables"][0]["num_ids"] == 3
    pq.write_table(pa.table({"user": pa.array([[70]], pa.list_(pa.int32()))}), tmp_path / "narrow.parquet")
    assert embsnap("pool", place / "a", tmp_path, *vocab(place)).exit_code == 5


def test_strata_of_what_no_feature_can_be_are_empty(embsnap: Any, place: Path) -> None:
    strata = ("--stratum", f"value=0:{10**30}", "--stratum", f"index={10**30}:0", "--stratum", f"low=0:-{2**63 + 1}")
    run = embsnap("pool", place / "a", place / "examples", *vocab(place), *strata, "--json")
    assert run.exit_code == 0, run.stderr
    assert {part["num_examples"] for part in json.loads(run.stdout)["strata"]} == {0}


def test_missing_examples_are_no_vocabulary(embsnap: Any, place: Path, tmp_path: Path) -> None:
    run = embsnap("pool", place / "a", tmp_path / "nowhere", *vocab(place))
    assert run.exit_code == 3
    assert "nowhere: there are no examples" in run.stderr


@pytest.mark.gpu
def test_a_gpu_pools_what_the_cpu_does(
    embsnap: Any, place: Path, examples: dict[str, list[Any]], tmp_path: Path
) -> None:
    out = tmp_path / "pooled.parquet"
    run = embsnap("pool", place / "a", place / "examples", *vocab(place), "--device", "cuda", "--out", out)
    assert run.exit_code == 0, run.stderr
    np.testing.assert_allclose(vectors(out, "user"), expected("user", examples["user"]), rtol=1e-5, atol=1e-5)
