"""LargeEmbeddings on the meta device, sharded by torchrec with the optimizers that were attached."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torchrec.distributed import sharding_plan as sharding
from torchrec.distributed.model_parallel import DistributedModelParallel
from torchrec.distributed.sharding_plan import construct_module_sharding_plan
from torchrec.distributed.types import ShardingPlan
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor

import embsnap
from embsnap.cli.main import main
from embsnap.config.embedding import LargeEmbeddingsConfig, Mode
from embsnap.errors import ErrorKind, UsageError
from embsnap.formats.torchsnapshot.contents import ArrayToWrite
from embsnap.formats.torchsnapshot.layout import place
from embsnap.live.arrays import TensorRows
from embsnap.live.modules import LargeEmbeddings
from embsnap.live.shared_model import HeldRows, LiveOptions
from embsnap.live.shared_write import holders_of, write_together
from embsnap.model.dtypes import DTYPES
from embsnap.ops.warmstart.peers import Share
from embsnap.ops.warmstart.plan import WarmstartPlan, plan_warmstart, write_warmstart
from embsnap.testing.tables import ArrayRows, read_array, write_arrays

SHAPES = {"user": (8, 4), "post": (3, 4)}
KEY = "ebc.embedding_bags.user.weight"


@pytest.fixture
def one_process(tmp_path) -> Iterator[None]:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize("data_type", ["fp32", "fp16"])
def test_sharding_makes_fused_kernels_of_the_optimizers(data_type: str) -> None:
    optimizer = {"rowwise_adagrad": {"lr": 0.5}}
    table = {"name": "user", "num_embeddings": 8, "embedding_dim": 4, "optimizer": optimizer, "data_type": data_type}
    config = LargeEmbeddingsConfig.model_validate({"tables": [table]})
    embeddings = LargeEmbeddings(config, device="meta")
    row_wise = construct_module_sharding_plan(
        embeddings.ebc, {"user": sharding.row_wise()}, world_size=1, local_size=1, device_type="cpu"
    )
    model = DistributedModelParallel(
        embeddings, device=torch.device("cpu"), plan=ShardingPlan({"ebc": row_wise}), init_data_parallel=False
    )
    shards = model.state_dict()[KEY].local_shards()
    assert [tuple(shard.tensor.shape) for shard in shards] == [(8, 4)]
    weight = shards[0].tensor
    weight.fill_(1.0)
    features = KeyedJaggedTensor(keys=["user"], values=torch.tensor([3]), lengths=torch.tensor([1]))
    model(features)["user"].sum().backward()
    state = model.fused_optimizer.state_dict()["state"][KEY]["user.momentum1"]
    assert state.local_shards()[0].tensor.flatten().tolist() == [0, 0, 0, 1, 0, 0, 0, 0]
    assert weight.float().sum(1).tolist() == [4, 4, 4, 2, 4, 4, 4, 4]


@pytest.mark.usefixtures("one_process")
def test_shard_embeddings_is_filled_by_restore(tmp_path) -> None:
    tables = [
        {"name": "user", "num_embeddings": 8, "embedding_dim": 4, "optimizer": {"rowwise_adagrad": {"lr": 0.5}}},
        {"name": "post", "num_embeddings": 3, "embedding_dim": 4, "optimizer": {"adam": {"lr": 0.5}}},
    ]
    config = LargeEmbeddingsConfig.model_validate({"tables": tables})
    rows = {name: np.random.default_rng(0).random(shape, np.float32) for name, shape in SHAPES.items()}
    write_arrays(f"{tmp_path}/old", rows)
    model = embsnap.shard_embeddings(LargeEmbeddings(config, device="meta"), device="cpu")
    embsnap.restore(model, f"{tmp_path}/old")
    for name, expected in rows.items():
        (shard,) = model.state_dict()[f"ebc.embedding_bags.{name}.weight"].local_shards()
        np.testing.assert_array_equal(shard.tensor.numpy(), expected)
    assert [key.split(".")[2] for key in model.fused_optimizer.state_dict()["state"]] == ["user"]


def trained_rows(embeddings: LargeEmbeddings) -> tuple[torch.nn.Module, torch.Tensor]:
    """Shard a table `user`, fill it with ones, and train what is behind it; the rows afterwards."""
    model = embsnap.shard_embeddings(embeddings, device="cpu")
    rows = model.state_dict()[KEY].local_shards()[0].tensor.detach().fill_(1.0)
    tower = torch.nn.Linear(4, 1)
    features = KeyedJaggedTensor(keys=["user"], values=torch.tensor([3]), lengths=torch.tensor([1]))
    tower(model(features)["user"]).sum().backward()
    assert tower.weight.grad is not None
    return model, rows


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize("mode", [Mode.EVALUATE, Mode.INFERENCE])
@pytest.mark.parametrize("more", [{}, {"optimizer": {"sgd": {"lr": 1.0}}}], ids=["without", "with-optimizer"])
def test_outside_of_training_rows_stay(mode: Mode, more: dict[str, object]) -> None:
    table = {"name": "user", "num_embeddings": 8, "embedding_dim": 4} | more
    embeddings = LargeEmbeddings(LargeEmbeddingsConfig.model_validate({"tables": [table]}), device="meta", mode=mode)
    model, rows = trained_rows(embeddings)
    assert torch.equal(rows, torch.ones(8, 4))
    assert not model.training
    assert [parameter.grad for parameter in model.parameters()] == [None]
    assert embeddings.fused_optimizer().learning_rates() == {}


@pytest.mark.usefixtures("one_process")
@pytest.mark.filterwarnings("ignore:fbgemm.*an autograd kernel was not registered:UserWarning")
@pytest.mark.parametrize("data_type", ["fp32", "fp16"])
def test_a_table_without_an_optimizer_has_an_ordinary_gradient(data_type: str) -> None:
    table = {"name": "user", "num_embeddings": 8, "embedding_dim": 4, "data_type": data_type}
    embeddings = LargeEmbeddings(LargeEmbeddingsConfig.model_validate({"tables": [table]}), device="meta")
    model, rows = trained_rows(embeddings)
    assert torch.equal(rows.float(), torch.ones(8, 4))
    (parameter,) = model.parameters()
    assert parameter.grad.any(1).tolist() == [row == 3 for row in range(8)]


@pytest.mark.gpu
@pytest.mark.usefixtures("one_process")
def test_rows_that_are_cached_are_trained_by_a_fused_optimizer_or_not_at_all() -> None:
    table = {"name": "user", "num_embeddings": 8, "embedding_dim": 4}
    config = LargeEmbeddingsConfig.model_validate({"tables": [table]})
    caching = {"device": "cuda:0", "placement": embsnap.Placement.UVM_CACHING}
    with pytest.raises(UsageError, match="a table without an optimizer"):
        embsnap.shard_embeddings(LargeEmbeddings(config, device="meta"), **caching)
    embsnap.shard_embeddings(LargeEmbeddings(config, device="meta", mode=Mode.EVALUATE), **caching)


@pytest.mark.usefixtures("one_process")
def test_a_first_training_starts_from_the_rows_of_a_plain_model() -> None:
    config = LargeEmbeddingsConfig.model_validate(
        {"tables": [{"name": "user", "num_embeddings": 8, "embedding_dim": 4, "optimizer": {"adagrad": {"lr": 1.0}}}]}
    )
    model = embsnap.shard_embeddings(LargeEmbeddings(config, device="meta"), device="cpu")
    plain = LargeEmbeddings(config)
    for started in (model, plain):
        embsnap.warm_start(started, config)
    assert torch.equal(model.state_dict()[KEY].local_shards()[0].tensor, plain.weight("user"))


@pytest.mark.usefixtures("one_process")
def test_a_cpu_caches_no_rows_of_its_own_memory() -> None:
    config = LargeEmbeddingsConfig.model_validate(
        {"tables": [{"name": "user", "num_embeddings": 8, "embedding_dim": 4}]}
    )
    with pytest.raises(UsageError, match="uvm_caching") as caught:
        embsnap.shard_embeddings(
            LargeEmbeddings(config, device="meta"), device="cpu", placement=embsnap.Placement.UVM_CACHING
        )
    assert caught.value.kind is ErrorKind.BAD_OPTION


def test_what_a_rank_does_not_hold_comes_from_elsewhere() -> None:
    rows = np.arange(40, dtype=np.float32).reshape(10, 4)
    held = HeldRows(3, TensorRows(torch.from_numpy(rows[3:7]) + 100), ArrayRows(rows))
    expected = rows + np.where((np.arange(10) >= 3) & (np.arange(10) < 7), 100, 0)[:, None]
    for start in range(11):
        for end in range(start, 11):
            out = np.empty((end - start, 4), np.float32)
            held.read(start, end, out)
            np.testing.assert_array_equal(out, expected[start:end])


def test_the_rank_that_holds_most_of_an_object_writes_it() -> None:
    rows = ArrayRows(np.zeros((100, 1), np.float32))
    arrays = [ArrayToWrite(f"model/{name}", DTYPES["float32"], (100, 1), rows) for name in "ab"]
    layouts = place([array.rows for array in arrays], piece_bytes=100, object_bytes=100)
    held = [{0: (0, 50)}, {0: (50, 100)}]
    assert holders_of(layouts, held, arrays) == [0, 0, 1, 1, 0, 1, 0, 1]


@pytest.mark.parametrize(("data_type", "num_looked_up"), [("fp16", 1), ("bf16", 0)])
def test_a_job_of_one_process(tmp_path, data_type, num_looked_up) -> None:
    """Nothing pools sharded bf16 rows on a CPU: the result says that they were not looked up."""
    rows = np.random.default_rng(0).random((30, 4), np.float32)
    write_arrays(f"{tmp_path}/old", {"user": rows})
    pretrained = {"emb_name": "user", "embedding_snapshot_uri": f"{tmp_path}/old", "by_position": True, "cast": True}
    table = {"name": "user", "num_embeddings": 30, "embedding_dim": 4, "data_type": data_type}
    config = LargeEmbeddingsConfig.model_validate({"tables": [table | {"pretrained": pretrained}]})

    def make_plan(share: Share) -> tuple[LargeEmbeddingsConfig, WarmstartPlan]:
        return config, plan_warmstart(config, share=share)

    result = write_together(make_plan, f"{tmp_path}/live", live=LiveOptions("cpu", Mode.EVALUATE))
    write_warmstart(plan_warmstart(config), f"{tmp_path}/plain")
    live, plain = (read_array(f"{tmp_path}/{side}", "user") for side in ("live", "plain"))
    np.testing.assert_array_equal(live.view(np.uint16), plain.view(np.uint16))
    assert (result.device, result.mode, len(result.lookups)) == ("cpu", "evaluate", num_looked_up)
    assert [note.kind for note in result.notes] == ["lookup-not-compared"] * (1 - num_looked_up)


@pytest.mark.gpu
@pytest.mark.parametrize("placement", list(embsnap.Placement))
def test_placements_on_a_gpu(tmp_path, placement) -> None:
    rows = np.random.default_rng(0).random((3000, 16), np.float32)
    write_arrays(f"{tmp_path}/old", {"user": rows})
    pretrained = {"emb_name": "user", "embedding_snapshot_uri": f"{tmp_path}/old", "by_position": True}
    table = {"name": "user", "num_embeddings": 3000, "embedding_dim": 16, "pretrained": pretrained}
    (tmp_path / "job.yaml").write_text(json.dumps({"tables": [table]}))
    arguments = ["--device", "cuda", "--placement", placement, "--out", f"{tmp_path}/new"]
    assert main(["warmstart", f"{tmp_path}/job.yaml", *arguments]) == 0
    np.testing.assert_array_equal(read_array(f"{tmp_path}/new", "user"), rows)


def ramp(lr: float, to: float) -> dict[str, object]:
    schedule = {"linear_ramp_to_constant": {"learning_rate": to, "num_ramp_steps": 10}}
    return {"sgd": {"lr": lr}, "learning_rate": schedule}


def sharded(**optimizers: dict[str, object]) -> tuple[LargeEmbeddings, torch.nn.Module]:
    tables = [
        {"name": name, "num_embeddings": 8, "embedding_dim": 4, "optimizer": optimizer}
        for name, optimizer in optimizers.items()
    ]
    embeddings = LargeEmbeddings(LargeEmbeddingsConfig.model_validate({"tables": tables}), device="meta")
    return embeddings, embsnap.shard_embeddings(embeddings, device="cpu")


@pytest.mark.usefixtures("one_process")
def test_schedules_drive_the_kernels() -> None:
    embeddings, model = sharded(user=ramp(0.5, 1.0), post=ramp(0.25, 2.0), tag={"sgd": {"lr": 0.125}})
    optimizer = embeddings.fused_optimizer()
    keys = {name: f"ebc.embedding_bags.{name}.weight" for name in ("user", "post", "tag")}
    assert optimizer.learning_rates() == {keys["user"]: 0.5, keys["post"]: 0.25, keys["tag"]: 0.125}
    assert optimizer.state_dict()["state"].keys() == model.fused_optimizer.state_dict()["state"].keys()
    for step, expected in ((2, (0.2, 0.4, 0.125)), (20, (1.0, 2.0, 0.125))):
        optimizer.set_step(step)
        for name in keys:
            model.state_dict()[keys[name]].local_shards()[0].tensor.fill_(0.0)
        features = KeyedJaggedTensor(keys=list(keys), values=torch.tensor([3, 3, 3]), lengths=torch.tensor([1, 1, 1]))
        sum(model(features)[name].sum() for name in keys).backward()
        for name, rate in zip(keys, expected, strict=True):
            rows = model.state_dict()[keys[name]].local_shards()[0].tensor
            torch.testing.assert_close(rows[3], torch.full((4,), -rate))
            assert not rows[4].any()


@pytest.mark.usefixtures("one_process")
def test_one_kernel_has_one_schedule() -> None:
    embeddings, _ = sharded(user=ramp(0.5, 1.0), post=ramp(0.5, 2.0))
    with pytest.raises(UsageError, match=r"(?s)user.*post.*another `lr`"):
        embeddings.fused_optimizer()


@pytest.mark.usefixtures("one_process")
def test_a_width_that_no_kernel_has_is_refused() -> None:
    table = {"name": "user", "num_embeddings": 8, "embedding_dim": 6}
    config = LargeEmbeddingsConfig.model_validate({"tables": [table]})
    with pytest.raises(UsageError, match="multiple of 4") as caught:
        embsnap.shard_embeddings(LargeEmbeddings(config, device="meta"), device="cpu")
    assert caught.value.kind is ErrorKind.BAD_OPTION
