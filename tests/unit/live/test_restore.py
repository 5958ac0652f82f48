"""Restoring a live module: the same tables by name, each row in its place, and nothing left out in silence."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torchrec import EmbeddingBagCollection, EmbeddingBagConfig, KeyedJaggedTensor
from torchrec.modules.embedding_configs import DataType
from torchrec.modules.fused_embedding_modules import FusedEmbeddingBagCollection
from torchrec.optim.keyed import KeyedOptimizerWrapper

import embsnap
from embsnap.config.embedding import LargeEmbeddingsConfig, SmallEmbeddingsConfig
from embsnap.config.policies import OptimizerStatePolicy
from embsnap.errors import EmbsnapError, ErrorKind, IncompatibleError, NotFoundError, RefusedError
from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.live.arrays import as_array
from embsnap.live.modules import LargeEmbeddings, SmallEmbeddings
from embsnap.testing.tables import write_arrays
from embsnap.testing.vocabularies import make_vocabulary

SHAPES = {"user": (40, 8), "post": (7, 4)}
KEY = "ebc.embedding_bags.user.weight"


@pytest.fixture
def rows() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    return {name: generator.standard_normal(shape).astype(np.float32) for name, shape in SHAPES.items()}


@pytest.fixture
def uri(tmp_path, rows) -> str:
    write_arrays(f"{tmp_path}/old", rows)
    return f"{tmp_path}/old"


def collection(data_type: DataType = DataType.FP32, **shapes: tuple[int, int]) -> EmbeddingBagCollection:
    tables = [
        EmbeddingBagConfig(
            name=name, num_embeddings=num_rows, embedding_dim=dim, feature_names=[f"f_{name}"], data_type=data_type
        )
        for name, (num_rows, dim) in shapes.items()
    ]
    return EmbeddingBagCollection(tables=tables, device=torch.device("cpu"))


def weight(model: torch.nn.Module, name: str) -> np.ndarray:
    return as_array(next(value for key, value in model.state_dict().items() if key.endswith(f"{name}.weight")))


def test_all_tables_of_any_module(uri, rows) -> None:
    model = torch.nn.ModuleList([collection(user=SHAPES["user"]), collection(post=SHAPES["post"])])
    result = embsnap.restore(model, uri)
    for name, expected in rows.items():
        np.testing.assert_array_equal(weight(model, name), expected)
    assert (result.command, result.applied, result.notes) == ("restore", True, ())
    assert {lookup.table for lookup in result.lookups} == {"user", "post"}


def test_what_embsnap_saves_it_restores_with_its_optimizer(tmp_path) -> None:
    table = {"name": "user", "num_embeddings": 40, "embedding_dim": 8, "optimizer": {"rowwise_adagrad": {"lr": 0.1}}}
    config = LargeEmbeddingsConfig.model_validate({"tables": [table]})
    trained, fresh = LargeEmbeddings(config), LargeEmbeddings(config)
    states = [next(iter(model.fused_optimizer().states().values())) for model in (trained, fresh)]
    with torch.no_grad():
        trained.weight("user").normal_()
        states[0]["sum"].uniform_(1, 2)
        states[0]["step"].fill_(11)
    embsnap.save({"model": trained, "optimizer": trained.fused_optimizer()}, f"{tmp_path}/run/11")
    embsnap.restore(fresh, f"{tmp_path}/run@latest")
    assert torch.equal(fresh.weight("user"), trained.weight("user"))
    assert torch.equal(states[1]["sum"], states[0]["sum"])
    assert int(states[1]["step"]) == 11
    embsnap.restore(fresh, f"{tmp_path}/run@11", optimizer_state=OptimizerStatePolicy.RESET)
    assert not states[1]["sum"].any()


def test_the_optimizer_of_a_part_of_the_model(tmp_path) -> None:
    table = {"name": "user", "num_embeddings": 40, "embedding_dim": 8, "optimizer": {"rowwise_adagrad": {"lr": 0.1}}}
    config = LargeEmbeddingsConfig.model_validate({"tables": [table]})
    trained, fresh = (torch.nn.ModuleDict({"large": LargeEmbeddings(config)}) for _ in range(2))
    optimizers = [model["large"].fused_optimizer() for model in (trained, fresh)]
    states = [next(iter(optimizer.states().values())) for optimizer in optimizers]
    states[0]["sum"].uniform_(1, 2)
    embsnap.save({"model": trained, "optimizer": optimizers[0]}, tmp_path / "saved")
    assert embsnap.restore(fresh, tmp_path / "saved").notes == ()
    assert torch.equal(states[1]["sum"], states[0]["sum"])


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (collection(user=SHAPES["user"]), "post"),
        (collection(**SHAPES, other=(3, 4)), "other"),
        (torch.nn.ModuleList([collection(**SHAPES), collection(user=SHAPES["user"])]), "2 EmbeddingBagCollections"),
    ],
    ids=["only stored", "only live", "twice"],
)
def test_tables_must_be_the_same_on_both_sides(uri, model, said) -> None:
    before = [parameter.detach().clone() for parameter in model.parameters()]
    with pytest.raises(NotFoundError, match=said) as caught:
        embsnap.restore(model, uri)
    assert caught.value.kind in (ErrorKind.NO_SUCH_TABLE, ErrorKind.AMBIGUOUS_TABLE)
    assert all(torch.equal(*pair) for pair in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize("asked", [{"partial": True}, {"tables": ["user"]}], ids=["partial", "named"])
def test_what_was_not_restored_is_noted(uri, rows, asked) -> None:
    model = collection(user=SHAPES["user"], other=(3, 4))
    before = weight(model, "other").copy()
    result = embsnap.restore(model, uri, **asked)
    np.testing.assert_array_equal(weight(model, "user"), rows["user"])
    np.testing.assert_array_equal(weight(model, "other"), before)
    assert [table.name for table in result.tables] == ["user"]
    notes = [(note.kind, note.place) for note in result.notes]
    assert notes == [("not-restored", "table other"), ("not-restored", "table post")]


def test_nothing_to_restore_is_no_success(uri) -> None:
    with pytest.raises(NotFoundError, match="no table to restore"):
        embsnap.restore(collection(other=(3, 4)), uri, partial=True)


def test_a_named_table_must_be_there(uri) -> None:
    with pytest.raises(NotFoundError, match="usr"):
        embsnap.restore(collection(**SHAPES), uri, tables=["usr"], partial=True)


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        (collection(user=(41, 8), post=SHAPES["post"]), ErrorKind.SHAPE_MISMATCH),
        (collection(user=(40, 6), post=SHAPES["post"]), ErrorKind.SHAPE_MISMATCH),
        (collection(DataType.FP16, **SHAPES), ErrorKind.DTYPE_MISMATCH),
    ],
    ids=["rows", "columns", "dtype"],
)
def test_tables_that_do_not_fit(uri, model, kind) -> None:
    with pytest.raises(IncompatibleError) as caught:
        embsnap.restore(model, uri)
    assert caught.value.kind is kind


def test_a_cast_that_was_asked_for(uri, rows) -> None:
    model = collection(DataType.FP16, **SHAPES)
    embsnap.restore(model, uri, cast=True)
    np.testing.assert_array_equal(weight(model, "user"), rows["user"].astype(np.float16))


def test_a_vocabulary_has_nothing_to_be_compared_with(tmp_path) -> None:
    write_vocabulary(make_vocabulary(list(range(40))), f"{tmp_path}/user.parquet")
    table = {"name": "user", "num_embeddings": 40, "embedding_dim": 8, "vocab": f"{tmp_path}/user.parquet"}
    options = embsnap.SaveOptions(config=LargeEmbeddingsConfig.model_validate({"tables": [table]}))
    embsnap.save(collection(user=SHAPES["user"]), f"{tmp_path}/saved", options=options)
    (note,) = embsnap.restore(collection(user=SHAPES["user"]), f"{tmp_path}/saved").notes
    assert (note.kind, note.place) == ("vocabulary-not-compared", "table user")
    assert "user.parquet" in note.message


def test_other_layers_with_tables_are_left_alone(tmp_path) -> None:
    """A layer whose state keys look like a table's is restored by whoever owns it."""
    model = torch.nn.Module()
    model.ebc = collection(user=SHAPES["user"])
    model.small = torch.nn.Module()
    model.small.embeddings = torch.nn.ModuleDict({"country": torch.nn.Embedding(5, 4)})
    embsnap.save(model, f"{tmp_path}/saved")
    assert [table.name for table in embsnap.restore(model, f"{tmp_path}/saved").tables] == ["user"]


def test_plain_bags_under_the_keys_of_tables_are_left_alone(tmp_path) -> None:
    model = torch.nn.Module()
    model.ebc = collection(user=SHAPES["user"])
    model.embedding_bags = torch.nn.ModuleDict({name: torch.nn.EmbeddingBag(5, 4) for name in ("user", "country")})
    embsnap.save(model, f"{tmp_path}/saved")
    saved = weight(model.ebc, "user").copy()
    model.ebc.embedding_bags["user"].weight.data.zero_()
    assert [table.name for table in embsnap.restore(model, f"{tmp_path}/saved").tables] == ["user"]
    np.testing.assert_array_equal(weight(model.ebc, "user"), saved)


def test_collections_that_are_no_embedding_bag_collections_are_left_alone(tmp_path) -> None:
    tables = [EmbeddingBagConfig(name="post", num_embeddings=7, embedding_dim=4, feature_names=["post"])]
    fused = FusedEmbeddingBagCollection(
        tables=tables, optimizer_type=torch.optim.SGD, optimizer_kwargs={"lr": 0.1}, device=torch.device("cpu")
    )
    model = torch.nn.ModuleDict({"ebc": collection(user=SHAPES["user"]), "fused": fused})
    embsnap.save(model, tmp_path / "saved")
    assert [table.name for table in embsnap.restore(model, tmp_path / "saved").tables] == ["user"]
    with pytest.raises(NotFoundError, match="no table to restore"):
        embsnap.restore(model["fused"], tmp_path / "saved", partial=True)


def test_other_layers_may_have_a_table_of_the_same_name(tmp_path) -> None:
    table = {"name": "user", "num_embeddings": 40, "embedding_dim": 8}
    large = LargeEmbeddings(LargeEmbeddingsConfig.model_validate({"tables": [table]}))
    table = {"name": "user", "num_embeddings": 4, "embedding_dim": 2, "index": 0}
    small = SmallEmbeddings(SmallEmbeddingsConfig.model_validate({"tables": [table]}))
    large.weight("user").data.fill_(7)
    model = torch.nn.ModuleDict({"large": large, "small": small})
    embsnap.save(model, f"{tmp_path}/saved")
    large.weight("user").data.zero_()
    embsnap.restore(model, f"{tmp_path}/saved")
    assert large.weight("user").unique().tolist() == [7.0]


def averaged(tmp_path: Path, **app_keys: float) -> torch.nn.Module:
    """A snapshot of models of one kind by app key, filled with these values; and another such model."""
    models = {}
    for app_key, value in app_keys.items():
        models[app_key] = torch.nn.ModuleDict({"ebc": collection(user=SHAPES["user"])})
        models[app_key]["ebc"].embedding_bags["user"].weight.data.fill_(value)
    embsnap.save(models, f"{tmp_path}/saved")
    return torch.nn.ModuleDict({"ebc": collection(user=SHAPES["user"])})


def test_a_model_beside_its_averages(tmp_path) -> None:
    model = averaged(tmp_path, ema=2.0, model=1.0)
    embsnap.restore(model, f"{tmp_path}/saved")
    assert np.unique(weight(model, "user")).tolist() == [1.0]
    embsnap.restore(torch.nn.ModuleDict({"module": model}), f"{tmp_path}/saved", tables=[f"ema/{KEY}"])
    assert np.unique(weight(model, "user")).tolist() == [2.0]


def test_optimizer_state_is_that_of_the_model_and_not_of_its_averages(tmp_path) -> None:
    table = {"name": "user", "num_embeddings": 40, "embedding_dim": 8, "optimizer": {"rowwise_adagrad": {"lr": 0.1}}}
    config = LargeEmbeddingsConfig.model_validate({"tables": [table]})
    model, ema, fresh = (LargeEmbeddings(config) for _ in range(3))
    states = [next(iter(one.fused_optimizer().states().values())) for one in (model, fresh)]
    for one in (model, ema):
        one.weight("user").data.zero_()
    states[0]["sum"].uniform_(1, 2)
    embsnap.save({"model": model, "ema": ema, "optimizer": model.fused_optimizer()}, f"{tmp_path}/saved")
    assert embsnap.restore(fresh, f"{tmp_path}/saved").notes == ()
    assert torch.equal(states[1]["sum"], states[0]["sum"])


@pytest.mark.parametrize("form", ["by number", "with names", "keyed"])
def test_state_that_torch_has_by_number_is_said_to_be_so(tmp_path, form) -> None:
    def trained() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
        model = torch.nn.ModuleDict({"ebc": collection(user=SHAPES["user"])})
        parameters = dict(model.named_parameters())
        of_torch = torch.optim.Adam(parameters.items() if form == "with names" else parameters.values())
        optimizer = KeyedOptimizerWrapper(parameters, lambda _: of_torch) if form == "keyed" else of_torch
        model["ebc"].embedding_bags["user"].weight.sum().backward()
        optimizer.step()
        return model, optimizer

    model, optimizer = trained()
    embsnap.save({"model": model, "optimizer": optimizer}, f"{tmp_path}/saved")
    model, optimizer = trained()
    notes = embsnap.restore(model, f"{tmp_path}/saved", optimizer=optimizer).notes
    assert [note.kind for note in notes] == (["state-not-carried"] if form == "by number" else [])
    assert all("optimizer/state/0/" in note.message for note in notes)


def test_a_table_whose_name_has_a_slash(tmp_path) -> None:
    model, again = (collection(**{"home/user": SHAPES["user"]}) for _ in range(2))
    embsnap.save(model, f"{tmp_path}/saved")
    embsnap.restore(again, f"{tmp_path}/saved")
    np.testing.assert_array_equal(weight(again, "home/user"), weight(model, "home/user"))


def test_two_models_have_to_be_told_apart(tmp_path) -> None:
    model = averaged(tmp_path, actor=1.0, critic=2.0)
    with pytest.raises(NotFoundError, match=f"actor/{KEY}, critic/{KEY}") as caught:
        embsnap.restore(model, f"{tmp_path}/saved")
    assert caught.value.kind is ErrorKind.AMBIGUOUS_TABLE
    embsnap.restore(model, f"{tmp_path}/saved", tables=[f"critic/{KEY}"])
    assert np.unique(weight(model, "user")).tolist() == [2.0]


def test_two_collections_with_a_table_of_one_name(tmp_path) -> None:
    """Each as a model of its own, one after the other."""
    towers = torch.nn.ModuleDict({name: collection(user=SHAPES["user"]) for name in ("query", "doc")})
    saved = {name: weight(tower, "user").copy() for name, tower in towers.items()}
    embsnap.save(towers, f"{tmp_path}/saved")
    for name in towers:
        model = torch.nn.ModuleDict({name: collection(user=SHAPES["user"])})
        embsnap.restore(model, f"{tmp_path}/saved")
        np.testing.assert_array_equal(weight(model, "user"), saved[name])


def test_a_collection_that_two_towers_share(tmp_path) -> None:
    shared = collection(user=SHAPES["user"])
    model, saved = torch.nn.ModuleDict({"query": shared, "doc": shared}), weight(shared, "user").copy()
    embsnap.save(model, f"{tmp_path}/saved")
    shared.embedding_bags["user"].weight.data.zero_()
    assert [table.name for table in embsnap.restore(model, f"{tmp_path}/saved").tables] == ["user"]
    np.testing.assert_array_equal(weight(model, "user"), saved)


def test_half_filled_tables_are_neither_looked_up_nor_saved(tmp_path: Path) -> None:
    rows = np.ones((40, 4), np.float32)
    write_arrays(f"{tmp_path}/good", {"user": rows, "item": rows})
    write_arrays(f"{tmp_path}/bad", {"user": rows, "item": rows * 1e6})
    tables = [
        EmbeddingBagConfig(name=name, num_embeddings=40, embedding_dim=4, feature_names=[name], data_type=DataType.FP16)
        for name in ("user", "item")
    ]
    model = EmbeddingBagCollection(tables=tables, device=torch.device("cpu"))
    features = KeyedJaggedTensor(keys=["user", "item"], values=torch.tensor([1, 2]), lengths=torch.tensor([1, 1]))
    with pytest.raises(EmbsnapError) as caught:
        embsnap.restore(model, f"{tmp_path}/bad", cast=True)
    assert caught.value.kind is ErrorKind.CAST_OVERFLOW
    copied, pickled = copy.deepcopy(model), pickle.loads(pickle.dumps(model))
    assert copied.state_dict().keys() == collection(user=(40, 4), item=(40, 4)).state_dict().keys()
    for half in (model, copied, pickled):
        with pytest.raises(RefusedError, match="table item, user") as looked_up:
            half(features)
        with pytest.raises(RefusedError, match="table item, user") as saved:
            embsnap.save(torch.nn.Sequential(half), f"{tmp_path}/saved")
        assert {looked_up.value.kind, saved.value.kind} == {ErrorKind.HALF_FILLED}
    embsnap.restore(model, f"{tmp_path}/good", tables=["user"], cast=True)
    with pytest.raises(RefusedError, match="table item:"):
        model(features)
    for half in (model, copied, pickled):
        embsnap.restore(half, f"{tmp_path}/good", cast=True)
        assert half(features).values().tolist() == [[1.0] * 8]
        assert not half._forward_pre_hooks
    embsnap.save(model, f"{tmp_path}/saved")
