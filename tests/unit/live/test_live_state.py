"""Optimizer state of live models: the names it has had over the years, what is refused, and what starts anew."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torchrec import EmbeddingBagCollection, EmbeddingBagConfig
from torchrec.optim.clipping import GradientClipping, GradientClippingOptimizer
from torchrec.optim.keyed import CombinedOptimizer, KeyedOptimizer, KeyedOptimizerWrapper
from torchrec.optim.rowwise_adagrad import RowWiseAdagrad
from torchrec.optim.warmup import WarmupOptimizer, WarmupPolicy, WarmupStage

from embsnap.config.embedding import LargeEmbeddingsConfig
from embsnap.config.policies import Mode
from embsnap.errors import EmbsnapError, ErrorKind
from embsnap.formats.torchsnapshot.snapshot import open_snapshot
from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.live.live_state import slots
from embsnap.live.modules import LargeEmbeddings
from embsnap.live.warm_start import build_and_write, warm_start
from embsnap.ops.warmstart.plan import plan_warmstart, write_warmstart
from embsnap.testing.snapshots import SnapshotBuilder
from embsnap.testing.tables import write_arrays
from embsnap.testing.vocabularies import make_vocabulary

OLD, NEW, DIM = 20, 16, 4
FUSED = "optimizer/state/fused_opt.ebc.embedding_bags.user.weight/user."
DENSE = "optimizer/state/ebc.embedding_bags.user.weight/"
KEY = "ebc.embedding_bags.user.weight"
IDS = [*range(19, 9, -1), 100, 101]
"""Of the new rows: old rows 19 to 10, two new entities, and four rows without one."""


def values(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).random(shape).astype(np.float32) + 1


def parse(tmp_path, state: dict[str, np.ndarray], **table: object) -> LargeEmbeddingsConfig:
    write_arrays(f"{tmp_path}/old", {"user": values(OLD, DIM)}, state)
    write_vocabulary(make_vocabulary(list(range(OLD))), f"{tmp_path}/old.parquet")
    write_vocabulary(make_vocabulary(IDS), f"{tmp_path}/new.parquet")
    pretrained = {"emb_name": "user", "embedding_snapshot_uri": f"{tmp_path}/old", "vocab": f"{tmp_path}/old.parquet"}
    fields = {"name": "user", "num_embeddings": NEW, "embedding_dim": DIM, "vocab": f"{tmp_path}/new.parquet"}
    return LargeEmbeddingsConfig.model_validate({"tables": [fields | {"pretrained": pretrained} | table]})


def model() -> torch.nn.Module:
    tower = torch.nn.Module()
    table = EmbeddingBagConfig(name="user", num_embeddings=NEW, embedding_dim=DIM, feature_names=["user"])
    tower.ebc = EmbeddingBagCollection(tables=[table], device=torch.device("cpu"))
    return tower


def adam(tower: torch.nn.Module) -> KeyedOptimizerWrapper:
    return KeyedOptimizerWrapper(dict(tower.named_parameters()), lambda params: torch.optim.Adam(params, lr=0.1))


def moved(old: np.ndarray, otherwise: float = 0) -> np.ndarray:
    """Rows 19 to 10 of the old array, the others as they start."""
    return np.concatenate([old[19:9:-1], np.full((NEW - 10, *old.shape[1:]), otherwise, np.float32)])


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["momentum1"], ["sum"]),
        (["momentum1", "momentum2"], ["exp_avg", "exp_avg_sq"]),
        (["momentum1", "exp_avg_sq"], ["exp_avg", "exp_avg_sq"]),
        (["step", "exp_avg", "exp_avg_sq"], ["step", "exp_avg", "exp_avg_sq"]),
        (["sum", "step"], ["sum", "step"]),
        (["momentum1", "prev_iter", "row_counter", "iter"], ["sum", "prev_iter", "row_counter", "step"]),
        (["momentum_buffer"], ["momentum_buffer"]),
    ],
)
def test_names_of_all_torchrecs(names: list[str], expected: list[str]) -> None:
    assert slots(dict.fromkeys(names)) == dict(zip(names, expected, strict=True))


@pytest.mark.parametrize("second", ["momentum2", "exp_avg_sq"], ids=["up-to-0.4", "since-0.5"])
def test_fused_adam_goes_on_as_a_dense_one(tmp_path, second: str) -> None:
    first_VD, second_VD = values(OLD, DIM), values(OLD, DIM) * 2
    config = parse(tmp_path, {f"{FUSED}momentum1": first_VD, f"{FUSED}{second}": second_VD})
    tower = model()
    optimizer = CombinedOptimizer([("dense_opt", adam(tower))])
    result = warm_start(tower, config, optimizer=optimizer, optimizer_step=900)
    state = optimizer.state_dict()["state"][f"dense_opt.{KEY}"]
    np.testing.assert_array_equal(state["exp_avg"].numpy(), moved(first_VD))
    np.testing.assert_array_equal(state["exp_avg_sq"].numpy(), moved(second_VD))
    assert float(state["step"]) == 900
    assert result.notes == ()


def warmed_up(optimizer: KeyedOptimizer) -> WarmupOptimizer:
    return WarmupOptimizer(optimizer, [WarmupStage(WarmupPolicy.LINEAR, max_iters=10, value=0.1)], lr=0.5)


def clipped(optimizer: KeyedOptimizer) -> GradientClippingOptimizer:
    return GradientClippingOptimizer(optimizer, GradientClipping.NORM, max_gradient=1.0)


@pytest.mark.parametrize(
    "wrap",
    [
        warmed_up,
        clipped,
        lambda optimizer: warmed_up(clipped(optimizer)),
        lambda optimizer: CombinedOptimizer([("dense_opt", warmed_up(optimizer))]),
        lambda optimizer: warmed_up(CombinedOptimizer([("dense_opt", optimizer)])),
    ],
    ids=["warmup", "clipping", "both", "within", "around"],
)
def test_wrappers_of_torchrec_before_their_first_step(
    tmp_path, wrap: Callable[[KeyedOptimizer], KeyedOptimizer]
) -> None:
    state = {name: values(OLD, DIM) for name in ("exp_avg", "exp_avg_sq")}
    config = parse(tmp_path, {f"{DENSE}{name}": array for name, array in state.items()})
    tower = model()
    inner = adam(tower)
    optimizer = wrap(inner)
    rates = [group["lr"] for group in optimizer.param_groups]
    result = warm_start(tower, config, optimizer=optimizer, optimizer_step=900)
    found = inner.state[inner.params[KEY]]
    for name, array in state.items():
        np.testing.assert_array_equal(found[name].numpy(), moved(array))
    assert float(found["step"]) == 900
    assert [group["lr"] for group in optimizer.param_groups] == rates
    assert result.notes == ()


def test_adam_without_its_step_is_refused(tmp_path) -> None:
    config = parse(tmp_path, {f"{FUSED}momentum1": values(OLD, DIM), f"{FUSED}exp_avg_sq": values(OLD, DIM)})
    tower = model()
    with pytest.raises(EmbsnapError) as caught:
        warm_start(tower, config, optimizer=adam(tower))
    assert caught.value.kind is ErrorKind.STATE_MISMATCH
    assert "optimizer_step" in str(caught.value)


def test_an_optimizer_of_torch_itself(tmp_path) -> None:
    sum_VD = values(OLD, DIM)
    config = parse(tmp_path, {f"{DENSE}sum": sum_VD, f"{DENSE}step": np.array([70], np.float32)})
    tower = model()
    optimizer = torch.optim.Adagrad(tower.parameters(), lr=0.1, initial_accumulator_value=0.25)
    warm_start(tower, config, optimizer=optimizer)
    state = optimizer.state[tower.ebc.embedding_bags["user"].weight]
    np.testing.assert_array_equal(state["sum"].numpy(), moved(sum_VD, 0.25))
    assert float(state["step"]) == 70


@pytest.mark.parametrize("policy", ["carry", "reset"])
def test_optimizers_in_the_backward_pass(tmp_path, policy: str) -> None:
    sum_V = values(OLD)
    optimizer = {"rowwise_adagrad": {"lr": 0.1}}
    config = parse(tmp_path, {f"{FUSED}momentum1": sum_V}, optimizer=optimizer, optimizer_state=policy)
    embeddings = LargeEmbeddings(config)
    state = embeddings.fused_optimizer().states()[KEY]
    state["sum"].fill_(3)
    warm_start(embeddings, config)
    expected = moved(sum_V)[:, None] if policy == "carry" else np.zeros((NEW, 1))
    np.testing.assert_array_equal(state["sum"].numpy(), expected)


@pytest.mark.parametrize(("rule", "expected"), [("mean", [1, 3]), ("first", [1, 0])])
def test_one_value_per_column_shard(tmp_path, rule: str, expected: list[int]) -> None:
    """Two shards of one and three columns: their mean is weighted by that."""
    config = parse(tmp_path, {}, column_state=rule, optimizer={"rowwise_adagrad": {"lr": 0.1}})
    runs = values(2, OLD)
    builder = SnapshotBuilder(world_size=2)
    cut = {0: [((0, 0), (OLD, 1))], 1: [((0, 1), (OLD, 3))]}
    builder.sharded(f"model/{KEY}", values(OLD, DIM), cut)
    path = f"optimizer/state/{KEY}/user.momentum1"
    builder.sharded(path, runs.reshape(-1), {0: [((0,), (OLD,))], 1: [((OLD,), (OLD,))]})
    builder.write(tmp_path / "columns")
    pretrained = config.tables[0].pretrained.model_copy(update={"embedding_snapshot_uri": f"{tmp_path}/columns"})
    config = config.model_copy(update={"tables": (config.tables[0].model_copy(update={"pretrained": pretrained}),)})
    embeddings = LargeEmbeddings(config)
    warm_start(embeddings, config)
    found = embeddings.fused_optimizer().states()[KEY]["sum"].numpy()[:, 0]
    old = (runs[0].astype(np.float64) * expected[0] + runs[1].astype(np.float64) * expected[1]) / sum(expected)
    np.testing.assert_array_equal(found, moved(old.astype(np.float32)))
    written = write_warmstart(plan_warmstart(config), f"{tmp_path}/new")
    assert [note.kind for note in written.notes] == ["folded-state"]


def test_another_optimizer_is_refused_and_nothing_is_touched(tmp_path) -> None:
    config = parse(tmp_path, {f"{FUSED}momentum1": values(OLD, DIM)})
    tower = model()
    before = tower.ebc.embedding_bags["user"].weight.detach().clone()
    with pytest.raises(EmbsnapError) as caught:
        warm_start(tower, config, optimizer=adam(tower))
    assert caught.value.kind is ErrorKind.STATE_MISMATCH
    assert "momentum1" in str(caught.value)
    assert torch.equal(tower.ebc.embedding_bags["user"].weight, before)


def test_one_value_per_row_is_no_value_per_element(tmp_path) -> None:
    config = parse(tmp_path, {f"{FUSED}momentum1": values(OLD, DIM)}, optimizer={"rowwise_adagrad": {"lr": 0.1}})
    with pytest.raises(EmbsnapError) as caught:
        warm_start(LargeEmbeddings(config), config)
    assert caught.value.kind is ErrorKind.STATE_MISMATCH


@pytest.mark.parametrize("state", ["none", "some"])
def test_what_is_not_carried_is_a_note_or_refused(tmp_path, state: str) -> None:
    arrays = {} if state == "none" else {f"{FUSED}momentum1": values(OLD)}
    optimizer = {"optimizer": {"rowwise_adagrad": {"lr": 0.1}}} if state == "none" else {}
    make = model if state == "some" else None
    config = parse(tmp_path, arrays, **optimizer)
    result = warm_start(make() if make else LargeEmbeddings(config), config)
    assert [note.kind for note in result.notes] == ["state-not-carried"]
    refusing = parse(tmp_path / "refusing", arrays, optimizer_state="refuse", **optimizer)
    with pytest.raises(EmbsnapError) as caught:
        warm_start(make() if make else LargeEmbeddings(refusing), refusing)
    assert caught.value.kind is ErrorKind.STATE_MISMATCH


def keyed_sgd(tower: torch.nn.Module, momentum: float = 0) -> KeyedOptimizerWrapper:
    return KeyedOptimizerWrapper(
        dict(tower.named_parameters()), lambda params: torch.optim.SGD(params, lr=0.1, momentum=momentum)
    )


@pytest.mark.parametrize("form", ["in the backward pass", "keyed", "of torch"])
def test_an_optimizer_without_state_goes_on_exactly(tmp_path, form: str) -> None:
    config = parse(tmp_path, {}, optimizer_state="refuse", optimizer={"sgd": {"lr": 0.1}})
    if form == "in the backward pass":
        assert warm_start(LargeEmbeddings(config), config).notes == ()
        return
    tower = model()
    optimizer = keyed_sgd(tower) if form == "keyed" else torch.optim.SGD(tower.parameters(), lr=0.1)
    assert warm_start(tower, config, optimizer=optimizer).notes == ()


def test_an_optimizer_that_will_have_state_does_not(tmp_path) -> None:
    config = parse(tmp_path, {}, optimizer_state="refuse")
    for make in (adam, lambda tower: keyed_sgd(tower, momentum=0.9), lambda tower: None):
        tower = model()
        with pytest.raises(EmbsnapError) as caught:
            warm_start(tower, config, optimizer=make(tower))
        assert caught.value.kind is ErrorKind.STATE_MISMATCH


def test_two_optimizers_of_one_table(tmp_path) -> None:
    config = parse(tmp_path, {f"{FUSED}momentum1": values(OLD)})
    tower = model()
    twice = [
        (name, KeyedOptimizerWrapper(dict(tower.named_parameters()), lambda params: RowWiseAdagrad(params, lr=0.1)))
        for name in ("left", "right")
    ]
    with pytest.raises(EmbsnapError) as caught:
        warm_start(tower, config, optimizer=CombinedOptimizer(twice))
    assert caught.value.kind is ErrorKind.BAD_OPTION


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop, torch.optim.SGD])
def test_making_state_of_a_table_leaves_everything_else(tmp_path, kind: type[torch.optim.Optimizer]) -> None:
    """Whether the call succeeds or refuses: other parameters, their state and gradients, and rates are as before."""
    config = parse(tmp_path, {f"{DENSE}exp_avg": values(OLD, DIM), f"{DENSE}exp_avg_sq": values(OLD, DIM)})
    tower = model()
    tower.dense = torch.nn.Linear(3, 2)
    arguments = {"lr": 0.1, "weight_decay": 0.5} | ({"momentum": 0.9} if kind is torch.optim.SGD else {})
    optimizer = KeyedOptimizerWrapper(dict(tower.named_parameters()), lambda params: kind(params, **arguments))
    tower.dense.weight.grad = torch.ones(2, 3)
    before = {key: parameter.detach().clone() for key, parameter in tower.named_parameters()}
    try:
        warm_start(tower, config, optimizer=optimizer, optimizer_step=5)
    except EmbsnapError as error:
        assert error.kind is ErrorKind.STATE_MISMATCH  # noqa: PT017 # the other optimizers'
        before_table = tower.ebc.embedding_bags["user"].weight.detach()
        assert torch.equal(before_table, before[KEY])
    for key in ("dense.weight", "dense.bias"):
        parameter = optimizer.params[key]
        assert torch.equal(parameter.detach(), before[key])
        assert not optimizer.state.get(parameter)
    assert torch.equal(tower.dense.weight.grad, torch.ones(2, 3))
    assert tower.dense.bias.grad is None
    assert tower.ebc.embedding_bags["user"].weight.grad is None
    assert {name: optimizer.param_groups[0][name] for name in arguments} == arguments
    assert all(float(state.get("step", 0)) in (0, 5) for state in optimizer.state.values())


@pytest.mark.parametrize("mode", list(Mode))
def test_what_is_written_does_not_depend_on_the_live_model(tmp_path, mode: Mode) -> None:
    """State follows the rows into the new snapshot, whatever optimizer the model has that the command builds."""
    state = {f"{FUSED}momentum1": values(OLD, DIM), f"{FUSED}exp_avg_sq": values(OLD, DIM)}
    config = parse(tmp_path, state, optimizer={"sgd": {"lr": 0.1}}, optimizer_state="refuse")
    result = build_and_write(config, plan_warmstart(config), f"{tmp_path}/new", device="cpu", mode=mode)
    assert result.notes == ()
    write_warmstart(plan_warmstart(config), f"{tmp_path}/plain")
    for path, old in state.items():
        for side in ("new", "plain"):
            written = open_snapshot(f"{tmp_path}/{side}").table("user", with_state=True)
            (array,) = [found.array for found in written.state if found.array.path.endswith(path.rsplit(".")[-1])]
            out = np.empty((NEW, DIM), np.float32)
            open_snapshot(f"{tmp_path}/{side}").reader(array).read(0, NEW, out)
            np.testing.assert_array_equal(out, moved(old))
