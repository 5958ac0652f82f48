"""Warm starts of live modules: in place, checked by a lookup, and equal to those without a model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchrec import EmbeddingBagCollection, EmbeddingBagConfig

from embsnap.config.embedding import LargeEmbeddingsConfig, Mode
from embsnap.errors import EmbsnapError, ErrorKind, IncompatibleError
from embsnap.formats.torchsnapshot.snapshot import open_snapshot
from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.live.arrays import as_array
from embsnap.live.lookup import check_lookup
from embsnap.live.warm_start import build_and_write, warm_start
from embsnap.ops.warmstart.plan import WarmstartOptions, plan_warmstart, write_warmstart
from embsnap.testing.tables import ArrayRows, read_array, write_arrays
from embsnap.testing.vocabularies import make_vocabulary

STATE = "optimizer/state/fused_opt.ebc.embedding_bags.user.weight/user.momentum1"


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((40, 8)).astype(np.float32)


@pytest.fixture
def config(tmp_path, rows) -> LargeEmbeddingsConfig:
    """A table that follows its entities, a cold one, both logged."""
    write_arrays(f"{tmp_path}/old", {"user": rows}, {STATE: np.arange(40, dtype=np.float32)})
    write_vocabulary(make_vocabulary(list(range(40))), f"{tmp_path}/old.parquet")
    write_vocabulary(make_vocabulary([*range(30, 9, -1), *range(100, 109)]), f"{tmp_path}/new.parquet")
    return LargeEmbeddingsConfig.model_validate(
        {
            "tables": [
                {
                    "name": "user",
                    "num_embeddings": 32,
                    "embedding_dim": 8,
                    "vocab": f"{tmp_path}/new.parquet",
                    "optimizer": {"rowwise_adagrad": {"lr": 0.1}},
                    "pretrained": {
                        "emb_name": "user",
                        "embedding_snapshot_uri": f"{tmp_path}/old",
                        "vocab": f"{tmp_path}/old.parquet",
                    },
                },
                {"name": "post", "num_embeddings": 7, "embedding_dim": 4, "pooling": "mean", "data_type": "fp32"},
            ],
            "tables_to_log": ["user", "model/ebc.embedding_bags.post.weight"],
        }
    )


def collection(*tables: tuple[str, int, int], device: str = "cpu") -> EmbeddingBagCollection:
    return EmbeddingBagCollection(
        tables=[
            EmbeddingBagConfig(name=name, num_embeddings=num_rows, embedding_dim=dim, feature_names=[f"f_{name}"])
            for name, num_rows, dim in tables
        ],
        device=torch.device(device),
    )


class Tower(torch.nn.Module):
    """A model with its tables in two collections."""

    def __init__(self) -> None:
        super().__init__()
        self.left = collection(("user", 32, 8), ("other", 5, 8))
        self.right = collection(("post", 7, 4))


def test_a_jobs_own_module_is_filled_in_place(config, rows) -> None:
    model = Tower()
    weight = model.left.embedding_bags["user"].weight
    other = model.left.embedding_bags["other"].weight.detach().clone()
    result = warm_start(model, config)
    assert weight is model.left.embedding_bags["user"].weight
    np.testing.assert_array_equal(as_array(weight)[:21], rows[30:9:-1])
    assert torch.equal(model.left.embedding_bags["other"].weight, other)
    assert [note.place for note in result.notes if note.kind == "not-filled"] == ["table other"]
    assert result.applied
    assert {lookup.table for lookup in result.lookups} == {"user", "post"}
    norms = {report.name: report.mean_norm for report in result.tables}
    for name, home in (("user", model.left), ("post", model.right)):
        expected = np.linalg.norm(as_array(home.embedding_bags[name].weight).astype(np.float64), axis=1).mean()
        assert norms[name] == pytest.approx(expected)


def test_a_config_by_uri(tmp_path, config, rows) -> None:
    (tmp_path / "job.yaml").write_text(
        f"""model:
  embeddings:
    tables:
    - {{name: user, num_embeddings: 40, embedding_dim: 8,
       pretrained: {{emb_name: user, embedding_snapshot_uri: "{tmp_path}/old", by_position: true}}}}
"""
    )
    model = collection(("user", 40, 8))
    warm_start(model, f"{tmp_path}/job.yaml")
    np.testing.assert_array_equal(as_array(model.embedding_bags["user"].weight), rows)


def test_a_first_training_draws_all_rows(tmp_path, config) -> None:
    """As a table without `pretrained` does beside another one; the plan of a snapshot stays refused."""
    fields = config.tables[1].model_dump(exclude_none=True)
    cold = LargeEmbeddingsConfig.model_validate({"tables": [fields, fields | {"name": "tag", "num_embeddings": 9}]})
    model = collection(("post", 7, 4), ("tag", 9, 4))
    result = warm_start(model, cold)
    assert [(table.name, table.alignment) for table in result.tables] == [("post", "cold"), ("tag", "cold")]
    beside = Tower()
    warm_start(beside, config)
    assert torch.equal(model.embedding_bags["post"].weight, beside.right.embedding_bags["post"].weight)
    with pytest.raises(EmbsnapError) as caught:
        plan_warmstart(cold)
    assert caught.value.kind is ErrorKind.NOTHING_TO_DO


@pytest.mark.parametrize("mode", list(Mode))
def test_with_and_without_a_model_the_snapshots_are_equal(tmp_path, config, mode) -> None:
    plan = plan_warmstart(config, WarmstartOptions())
    with_model = build_and_write(config, plan, f"{tmp_path}/live", device="cpu", mode=mode)
    without = write_warmstart(plan_warmstart(config, WarmstartOptions()), f"{tmp_path}/plain")
    assert (with_model.device, with_model.mode, without.device) == ("cpu", mode.value, None)
    assert with_model.plan_digest == without.plan_digest
    live, plain = open_snapshot(f"{tmp_path}/live"), open_snapshot(f"{tmp_path}/plain")
    assert list(live.manifest.entries) == list(plain.manifest.entries)
    for path in ("user", "post", STATE):
        np.testing.assert_array_equal(read_array(live, path), read_array(plain, path))


@pytest.mark.parametrize("data_type", ["fp16", "bf16"])
def test_narrow_tables(tmp_path, config, data_type) -> None:
    table = config.tables[0].model_dump(exclude_none=True) | {"data_type": data_type}
    table["pretrained"]["cast"] = True
    narrow = LargeEmbeddingsConfig.model_validate({"tables": [table]})
    for side, write in (
        ("live", lambda plan, uri: build_and_write(narrow, plan, uri, device="cpu", mode=Mode.EVALUATE)),
        ("plain", write_warmstart),
    ):
        write(plan_warmstart(narrow), f"{tmp_path}/{side}")
    live, plain = read_array(f"{tmp_path}/live", "user"), read_array(f"{tmp_path}/plain", "user")
    assert live.dtype.itemsize == 2
    np.testing.assert_array_equal(live.view(np.uint16), plain.view(np.uint16))


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        (collection(("post", 7, 4)), ErrorKind.NO_SUCH_TABLE),
        (
            torch.nn.ModuleList([collection(("user", 32, 8), ("post", 7, 4)), collection(("user", 32, 8))]),
            ErrorKind.AMBIGUOUS_TABLE,
        ),
        (collection(("user", 33, 8), ("post", 7, 4)), ErrorKind.SHAPE_MISMATCH),
        (collection(("user", 32, 8), ("post", 7, 4)).half(), ErrorKind.DTYPE_MISMATCH),
        (collection(("user", 32, 8), ("post", 7, 4), device="meta"), ErrorKind.DTYPE_MISMATCH),
    ],
    ids=["missing", "twice", "shape", "dtype", "meta"],
)
def test_models_that_do_not_fit_are_left_alone(config, model, kind) -> None:
    before = [parameter.detach().clone() for parameter in model.parameters()]
    with pytest.raises(EmbsnapError) as caught:
        warm_start(model, config)
    assert caught.value.kind is kind
    if not before[0].is_meta:
        assert all(torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True))


def test_a_device_that_is_not_there(tmp_path, config) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(EmbsnapError) as caught:
        build_and_write(config, plan_warmstart(config), f"{tmp_path}/out", device="cuda", mode=Mode.TRAIN)
    assert caught.value.kind is ErrorKind.BAD_OPTION


def test_a_lookup_that_pools_other_rows_is_noticed(rows) -> None:
    model = collection(("user", 40, 8))
    as_array(model.embedding_bags["user"].weight)[:] = rows
    assert check_lookup(model, {"user": ArrayRows(rows)})[0].max_abs_error < 1e-5
    wrong = rows.copy()
    wrong[39] += 0.01
    with pytest.raises(IncompatibleError) as caught:
        check_lookup(model, {"user": ArrayRows(wrong)})
    assert caught.value.kind is ErrorKind.LOOKUP_MISMATCH
    assert "39" in caught.value.where


def test_rows_that_are_not_finite_pool_alike(rows) -> None:
    rows[3], rows[5, 2] = np.nan, np.inf
    model = collection(("user", 40, 8))
    as_array(model.embedding_bags["user"].weight)[:] = rows
    check_lookup(model, {"user": ArrayRows(rows)})


@pytest.mark.gpu
def test_on_a_gpu(tmp_path, config) -> None:
    build_and_write(config, plan_warmstart(config), f"{tmp_path}/gpu", device="cuda", mode=Mode.TRAIN)
    write_warmstart(plan_warmstart(config), f"{tmp_path}/plain")
    for path in ("user", "post", STATE):
        np.testing.assert_array_equal(read_array(f"{tmp_path}/gpu", path), read_array(f"{tmp_path}/plain", path))
