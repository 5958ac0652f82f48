"""LargeEmbeddings and SmallEmbeddings: what goes in, what comes out, where the rows live."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable

import pytest
import torch
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor, KeyedTensor

from embsnap.config.embedding import LargeEmbeddingsConfig, SmallEmbeddingsConfig
from embsnap.config.policies import Mode
from embsnap.errors import ErrorKind, UsageError
from embsnap.live.modules import LargeEmbeddings, SmallEmbeddings
from embsnap.model.dtypes import DTYPES

TOLERANCE = {"fp32": 1e-6, "fp16": 2e-3, "bf16": 2e-2}


def config_of(*tables: dict, **more: object) -> LargeEmbeddingsConfig:
    defaults = {"num_embeddings": 10, "embedding_dim": 4}
    return LargeEmbeddingsConfig.model_validate({"tables": [{**defaults, **table} for table in tables], **more})


def filled(embeddings: LargeEmbeddings, seed: int = 0) -> LargeEmbeddings:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in embeddings.parameters():
            parameter.copy_(torch.rand(parameter.shape, generator=generator) - 0.5)
    return embeddings


def features_of(**bags: list[list[int]]) -> KeyedJaggedTensor:
    lengths = [len(bag) for feature in bags.values() for bag in feature]
    values = [row for feature in bags.values() for bag in feature for row in bag]
    return KeyedJaggedTensor(keys=list(bags), values=torch.tensor(values), lengths=torch.tensor(lengths))


def pooled_by_hand(weight: torch.Tensor, bags: list[list[int]], pooling: str) -> torch.Tensor:
    rows = [weight.detach().double()[bag] for bag in bags]
    pooled = [row.sum(0) if pooling == "sum" or not len(row) else row.mean(0) for row in rows]
    return torch.stack(pooled).float()


@pytest.mark.parametrize("data_type", ["fp32", "fp16", "bf16"])
@pytest.mark.parametrize("pooling", ["sum", "mean"])
def test_a_pooled_lookup_is_the_pooled_rows(data_type: str, pooling: str) -> None:
    config = config_of({"name": "user", "pooling": pooling, "data_type": data_type})
    embeddings = filled(LargeEmbeddings(config))
    bags = [[1, 2, 3], [], [9], [4, 4]]
    out = embeddings(features_of(user=bags))
    assert isinstance(out, KeyedTensor)
    assert out["user"].dtype == torch.float32
    assert out["user"].shape == (4, 4)
    expected = pooled_by_hand(embeddings.weight("user"), bags, pooling)
    torch.testing.assert_close(out["user"], expected, rtol=TOLERANCE[data_type], atol=TOLERANCE[data_type])


@pytest.mark.parametrize(
    ("data_type", "dtype"), [("fp32", torch.float32), ("fp16", torch.float16), ("bf16", torch.bfloat16)]
)
def test_a_table_has_the_dtype_it_was_given(data_type: str, dtype: torch.dtype) -> None:
    embeddings = LargeEmbeddings(config_of({"name": "user", "data_type": data_type}))
    assert embeddings.weight("user").dtype == dtype
    assert embeddings.ebc.embedding_bag_configs()[0].data_type.name == data_type.upper()


def test_the_dtype_of_a_table_without_one_is_the_callers_choice() -> None:
    config = config_of({"name": "user"}, {"name": "post", "data_type": "fp16"}, {"name": "tag"})
    embeddings = LargeEmbeddings(config, dtypes={"user": DTYPES["bfloat16"], "post": DTYPES["float32"]})
    assert [embeddings.weight(name).dtype for name in ("user", "post", "tag")] == [
        torch.bfloat16,
        torch.float16,
        torch.float32,
    ]


def test_features_are_found_by_name_and_come_out_in_the_configs_order() -> None:
    config = config_of({"name": "user"}, {"name": "post", "embedding_dim": 2, "pooling": "mean"})
    embeddings = filled(LargeEmbeddings(config))
    out = embeddings(features_of(other=[[0], [0]], post=[[5, 6], [7]], user=[[1], []]))
    assert out.keys() == ["user", "post"]
    assert out.values().shape == (2, 6)
    torch.testing.assert_close(out["user"], pooled_by_hand(embeddings.weight("user"), [[1], []], "sum"))
    torch.testing.assert_close(out["post"], pooled_by_hand(embeddings.weight("post"), [[5, 6], [7]], "mean"))


def test_state_keys_are_those_of_the_collection() -> None:
    embeddings = LargeEmbeddings(config_of({"name": "user"}, {"name": "post"}))
    assert list(embeddings.state_dict()) == ["ebc.embedding_bags.user.weight", "ebc.embedding_bags.post.weight"]
    assert embeddings.weight("post") is embeddings.ebc.embedding_bags["post"].weight
    assert embeddings.ebc.device == torch.device("cpu")


def test_the_lookup_passes_the_cut_point() -> None:
    embeddings = filled(LargeEmbeddings(config_of({"name": "user"})))
    seen: list[KeyedTensor] = []
    embeddings.surgery_cut_point.register_forward_hook(lambda module, inputs, output: seen.append(output))
    out = embeddings(features_of(user=[[1]]))
    assert seen == [out]


@pytest.mark.parametrize("mode", [Mode.EVALUATE, Mode.INFERENCE])
def test_outside_of_training_nothing_has_a_gradient(mode: Mode) -> None:
    config = config_of({"name": "user", "optimizer": {"sgd": {"lr": 1.0}}})
    embeddings = filled(LargeEmbeddings(config, mode=mode))
    assert embeddings.mode is mode
    assert not embeddings.training
    assert not embeddings(features_of(user=[[1]]))["user"].requires_grad
    assert embeddings.fused_optimizer().state_dict() == {"state": {}}


def test_on_the_meta_device_nothing_is_allocated() -> None:
    config = config_of({"name": "user", "num_embeddings": 1 << 40, "optimizer": {"adam": {"lr": 1.0}}})
    embeddings = LargeEmbeddings(config, device="meta")
    assert embeddings.weight("user").is_meta
    assert embeddings.weight("user").shape == (1 << 40, 4)


@pytest.mark.parametrize("name", ["type", "keys", "forward", "training"])
def test_a_name_that_torch_keeps_is_refused(name: str) -> None:
    with pytest.raises(UsageError) as large:
        LargeEmbeddings(config_of({"name": name}))
    small_table = {"name": name, "num_embeddings": 2, "embedding_dim": 2, "index": 0}
    with pytest.raises(UsageError) as small:
        SmallEmbeddings(SmallEmbeddingsConfig.model_validate({"tables": [small_table]}))
    for refused in (large, small):
        assert refused.value.kind is ErrorKind.BAD_CONFIG
        assert f"table {name}" in str(refused.value)
        assert f"{name}_table" in str(refused.value)


def small_embeddings() -> SmallEmbeddings:
    tables = [
        {"name": "country", "num_embeddings": 5, "embedding_dim": 3, "index": 2},
        {"name": "client", "num_embeddings": 4, "embedding_dim": 2, "index": 0},
    ]
    return SmallEmbeddings(SmallEmbeddingsConfig.model_validate({"tables": tables}))


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
def test_small_tables_embed_their_features_side_by_side(dtype: torch.dtype) -> None:
    embeddings = small_embeddings()
    features = torch.tensor([[3, 9, 4], [0, 9, 1]], dtype=dtype)
    out = embeddings(features)
    country, client = (embeddings.embeddings[name].weight for name in ("country", "client"))
    assert out.shape == (2, 5)
    assert torch.equal(out[:, :3], country[[4, 1]])
    assert torch.equal(out[:, 3:], client[[3, 0]])
    out.sum().backward()
    assert country.grad is not None
    assert client.grad is not None


def test_a_small_table_refuses_rows_it_does_not_have() -> None:
    embeddings = small_embeddings()
    with pytest.raises(IndexError):
        embeddings(torch.tensor([[4, 0, 0]]))
    with pytest.raises(IndexError):
        embeddings(torch.tensor([[0, 0]]))


@pytest.mark.parametrize("move", [lambda module: module.double(), lambda module: module.to("meta")])
def test_tables_with_fused_optimizers_stay_where_they_are(move: Callable[[torch.nn.Module], object]) -> None:
    """torch forgets what a parameter's backward pass is hooked to when it is moved: nothing would train it."""
    table = {"name": "user", "num_embeddings": 4, "embedding_dim": 4, "optimizer": {"sgd": {"lr": 1.0}}}
    embeddings = LargeEmbeddings(LargeEmbeddingsConfig.model_validate({"tables": [table]}))
    before = torch.nn.init.normal_(embeddings.weight("user")).detach().clone()
    with pytest.raises(UsageError, match="as it was built") as caught:
        move(torch.nn.Sequential(embeddings))
    assert caught.value.kind is ErrorKind.BAD_OPTION
    assert torch.equal(embeddings.weight("user").detach(), before)
    embeddings.float().to("cpu")
    move(LargeEmbeddings(embeddings.config, mode=Mode.EVALUATE))


@pytest.mark.parametrize("algorithm", ["sgd", "adagrad", "rowwise_adagrad", "adam"])
def test_tables_of_the_meta_device_are_trained_once_they_have_memory(algorithm: str) -> None:
    config = config_of({"name": "user", "optimizer": {algorithm: {"lr": 1.0}}}, {"name": "post"})
    models = [
        torch.nn.Sequential(LargeEmbeddings(config, device="meta")).to_empty(device="cpu")[0],
        LargeEmbeddings(config),
    ]
    for embeddings in models:
        filled(embeddings)(features_of(user=[[1]], post=[[2]])).values().sum().backward()
    materialised, built = models
    assert torch.equal(materialised.weight("user"), built.weight("user"))
    assert materialised.weight("user").grad is None
    assert materialised.weight("post").grad is not None
    assert materialised.ebc.device == torch.device("cpu")
    for state, expected in zip(*(list(model.fused_optimizer().states().values()) for model in models), strict=True):
        assert state.keys() == expected.keys()
        assert all(torch.equal(state[name], expected[name]) for name in state)


def through_pickle(embeddings: LargeEmbeddings) -> LargeEmbeddings:
    file = io.BytesIO()
    torch.save(embeddings, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def trained(embeddings: LargeEmbeddings) -> LargeEmbeddings:
    embeddings(features_of(user=[[1, 2]], post=[[2]])).values().square().sum().backward()
    return embeddings


@pytest.mark.parametrize("copied", [copy.deepcopy, through_pickle])
@pytest.mark.parametrize("algorithm", ["sgd", "adagrad", "rowwise_adagrad", "adam"])
def test_a_copy_trains_on_as_its_original_does(
    algorithm: str, copied: Callable[[LargeEmbeddings], LargeEmbeddings]
) -> None:
    """torch copies parameters without what they are hooked to: nothing would train the copy."""
    config = config_of({"name": "user", "optimizer": {algorithm: {"lr": 1.0}}}, {"name": "post"})
    original = filled(LargeEmbeddings(config))
    original.fused_optimizer().param_groups[0]["lr"] = 0.125
    trained(original).zero_grad()
    other = copied(torch.nn.Sequential(original))[0]
    kept = other.weight("user").detach().clone()
    trained(original)
    assert torch.equal(other.weight("user"), kept)
    trained(other)
    assert torch.equal(other.weight("user"), original.weight("user"))
    assert not torch.equal(other.weight("user"), kept)
    assert other.weight("user").grad is None
    assert torch.equal(other.weight("post").grad, original.weight("post").grad)
    assert other.fused_optimizer().learning_rates() == original.fused_optimizer().learning_rates()
    states = [embeddings.fused_optimizer().states() for embeddings in (original, other)]
    torch.testing.assert_close(*states, rtol=0, atol=0)


@pytest.mark.parametrize("mode", [Mode.EVALUATE, Mode.INFERENCE])
def test_a_copy_of_a_frozen_module_is_frozen(mode: Mode) -> None:
    embeddings = filled(LargeEmbeddings(config_of({"name": "user", "optimizer": {"sgd": {"lr": 1.0}}}), mode=mode))
    other = copy.deepcopy(embeddings)
    assert not other.training
    assert not other(features_of(user=[[1]]))["user"].requires_grad
    assert torch.equal(other.weight("user"), embeddings.weight("user"))


def test_a_module_of_the_meta_device_knows_where_it_came_to() -> None:
    embeddings = LargeEmbeddings(config_of({"name": "user"}), device="meta", mode=Mode.EVALUATE)
    embeddings.load_state_dict({"ebc.embedding_bags.user.weight": torch.ones(10, 4)}, assign=True)
    assert embeddings.ebc.device == torch.device("cpu")
    assert embeddings(features_of(user=[[1]]))["user"].tolist() == [[1.0] * 4]


def test_tables_of_the_meta_device_are_trained_once_they_are_assigned() -> None:
    config = config_of({"name": "user", "optimizer": {"adagrad": {"lr": 1.0}}}, {"name": "post"})
    built = filled(LargeEmbeddings(config))
    assigned = torch.nn.Sequential(LargeEmbeddings(config, device="meta"))
    values = {f"0.{key}": value.clone() for key, value in built.state_dict().items()}
    assigned.load_state_dict(values, assign=True)
    assert torch.equal(trained(assigned[0]).weight("user"), trained(built).weight("user"))
    assert assigned[0].ebc.device == torch.device("cpu")
    assert torch.equal(assigned[0].weight("user"), values["0.ebc.embedding_bags.user.weight"])


def test_tables_with_fused_optimizers_are_not_replaced() -> None:
    config = config_of({"name": "user", "optimizer": {"adagrad": {"lr": 1.0}}}, {"name": "post"})
    model = torch.nn.Sequential(filled(LargeEmbeddings(config)))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    other = {key: torch.zeros_like(value) for key, value in before.items()}
    with pytest.raises(UsageError, match="without assign=True") as caught:
        model.load_state_dict(other, assign=True)
    assert caught.value.kind is ErrorKind.BAD_OPTION
    torch.testing.assert_close(model.state_dict(), before)
    model.load_state_dict({key: value for key, value in other.items() if "post" in key}, assign=True, strict=False)
    model.load_state_dict(other)
    before = filled(model[0], seed=1).weight("user").detach().clone()
    assert not torch.equal(trained(model[0]).weight("user"), before)
