"""LargeEmbeddings on the meta device, sharded by torchrec with the optimizers that were attached."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist
from torchrec.distributed import sharding_plan as sharding
from torchrec.distributed.model_parallel import DistributedModelParallel
from torchrec.distributed.sharding_plan import construct_module_sharding_plan
from torchrec.distributed.types import ShardingPlan
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor

from embsnap.config.embedding import LargeEmbeddingsConfig
from embsnap.live.modules import LargeEmbeddings

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
