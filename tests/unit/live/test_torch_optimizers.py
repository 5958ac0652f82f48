"""State of an optimizer of torch itself, which numbers parameters: with their names beside, it follows its rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torchrec import EmbeddingBagCollection, EmbeddingBagConfig, KeyedJaggedTensor
from torchsnapshot import Snapshot

import embsnap
from embsnap.config.embedding import LargeEmbeddingsConfig
from embsnap.errors import EmbsnapError, ErrorKind
from embsnap.formats.torchsnapshot.snapshot import open_snapshot
from embsnap.formats.vocabulary_writer import write_vocabulary
from embsnap.ops.warmstart.plan import plan_warmstart, write_warmstart
from embsnap.testing.snapshots import SnapshotBuilder
from embsnap.testing.tables import read_array
from embsnap.testing.vocabularies import make_vocabulary

DIM = 4
OLD_IDS, NEW_IDS = range(20), [*range(19, 9, -1), 100, 101]
KEY = "ebc.embedding_bags.{}.weight"
OPTIMIZERS: dict[str, Callable[[object], torch.optim.Optimizer]] = {
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=0.1),
    "adagrad": lambda parameters: torch.optim.Adagrad(parameters, lr=0.1, initial_accumulator_value=0.5),
    "momentum": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
}


class Tower(nn.Module):
    """A dense layer before or behind two tables, so that their parameters have other numbers."""

    def __init__(self, num_users: int, *, dense_first: bool = False) -> None:
        super().__init__()
        if dense_first:
            self.dense = nn.Linear(2 * DIM, 1)
        tables = [
            EmbeddingBagConfig(name=name, num_embeddings=num_rows, embedding_dim=DIM, feature_names=[name])
            for name, num_rows in (("post", 7), ("user", num_users))
        ]
        self.ebc = EmbeddingBagCollection(tables=tables, device=torch.device("cpu"))
        if not dense_first:
            self.dense = nn.Linear(2 * DIM, 1)

    def train_on(self, users: list[int], optimizer: torch.optim.Optimizer) -> None:
        ids = torch.tensor([*[3] * len(users), *users])
        features = KeyedJaggedTensor(keys=["post", "user"], values=ids, lengths=torch.ones(len(ids), dtype=torch.int))
        optimizer.zero_grad()
        self.dense(self.ebc(features).values()).square().sum().backward()
        optimizer.step()

    def rows(self, table: str) -> torch.Tensor:
        return self.ebc.embedding_bags[table].weight


def trained(kind: str, *, with_names: bool = True) -> tuple[Tower, torch.optim.Optimizer]:
    tower = Tower(len(OLD_IDS))
    optimizer = OPTIMIZERS[kind](tower.named_parameters() if with_names else tower.parameters())
    for _ in range(3):
        tower.train_on([*range(5, 20)], optimizer)
    return tower, optimizer


def take(uri: str, writer: str, tower: Tower, optimizer: torch.optim.Optimizer) -> str:
    app_state = {"model": tower, "optimizer": optimizer}
    if writer == "torchsnapshot":
        Snapshot.take(uri, app_state)
    else:
        embsnap.save(app_state, uri)
    return uri


@pytest.mark.parametrize("writer", ["embsnap", "torchsnapshot"])
@pytest.mark.parametrize("kind", list(OPTIMIZERS))
def test_a_restored_job_goes_on_as_if_it_had_never_ended(tmp_path: Path, kind: str, writer: str) -> None:
    tower, optimizer = trained(kind)
    uri = take(f"{tmp_path}/saved", writer, tower, optimizer)
    again = Tower(len(OLD_IDS), dense_first=True)
    fresh = OPTIMIZERS[kind](again.named_parameters())
    result = embsnap.restore(again, uri, optimizer=fresh)
    assert [note.kind for note in result.notes if note.kind.startswith("state")] == []
    again.dense.load_state_dict(tower.dense.state_dict())
    for one, its_optimizer in ((tower, optimizer), (again, fresh)):
        one.train_on([6, 7, 19], its_optimizer)
    for table in ("user", "post"):
        assert torch.equal(again.rows(table), tower.rows(table))


def config_of(tmp_path: Path, uri: str, **more: object) -> LargeEmbeddingsConfig:
    write_vocabulary(make_vocabulary(list(OLD_IDS)), f"{tmp_path}/old.parquet")
    write_vocabulary(make_vocabulary(NEW_IDS), f"{tmp_path}/new.parquet")
    pretrained = {"emb_name": "user", "embedding_snapshot_uri": uri, "vocab": f"{tmp_path}/old.parquet"}
    user = {"name": "user", "num_embeddings": 12, "vocab": f"{tmp_path}/new.parquet", "pretrained": pretrained}
    post = {"name": "post", "num_embeddings": 7, "pretrained": pretrained | {"emb_name": "post", "by_position": True}}
    del post["pretrained"]["vocab"]
    tables = [{"embedding_dim": DIM, **table, **more} for table in (user, post)]
    return LargeEmbeddingsConfig.model_validate({"tables": tables})


def moved(state: torch.Tensor, initial: float) -> np.ndarray:
    return np.concatenate([state.numpy()[19:9:-1], np.full((2, DIM), initial, np.float32)])


@pytest.mark.parametrize(("kind", "name", "initial"), [("adam", "exp_avg", 0.0), ("adagrad", "sum", 0.5)])
def test_state_follows_the_entities(tmp_path: Path, kind: str, name: str, initial: float) -> None:
    tower, optimizer = trained(kind)
    config = config_of(tmp_path, take(f"{tmp_path}/saved", "embsnap", tower, optimizer))
    again = Tower(len(NEW_IDS))
    fresh = OPTIMIZERS[kind](again.named_parameters())
    assert embsnap.warm_start(again, config, optimizer=fresh).notes == ()
    state = fresh.state[again.rows("user")]
    np.testing.assert_array_equal(state[name].numpy(), moved(optimizer.state[tower.rows("user")][name], initial))
    assert float(state["step"]) == 3
    assert torch.equal(fresh.state[again.rows("post")][name], optimizer.state[tower.rows("post")][name])
    assert again.dense.weight not in fresh.state or not fresh.state[again.dense.weight].get("step")


def test_a_written_warm_start_has_it_by_name(tmp_path: Path) -> None:
    tower, optimizer = trained("adam")
    config = config_of(tmp_path, take(f"{tmp_path}/saved", "embsnap", tower, optimizer))
    write_warmstart(plan_warmstart(config), f"{tmp_path}/warm")
    path = f"optimizer/state/{KEY.format('user')}/exp_avg"
    np.testing.assert_array_equal(
        read_array(f"{tmp_path}/warm", path), moved(optimizer.state[tower.rows("user")]["exp_avg"], 0.0)
    )
    again = Tower(len(NEW_IDS))
    fresh = OPTIMIZERS["adam"](again.parameters())  # what is live needs no names
    embsnap.restore(again, f"{tmp_path}/warm", optimizer=fresh)
    np.testing.assert_array_equal(fresh.state[again.rows("user")]["exp_avg"], read_array(f"{tmp_path}/warm", path))


def test_without_names_it_is_nobodys(tmp_path: Path) -> None:
    tower, optimizer = trained("adam", with_names=False)
    config = config_of(tmp_path, take(f"{tmp_path}/saved", "embsnap", tower, optimizer))
    again = Tower(len(NEW_IDS))
    fresh = OPTIMIZERS["adam"](again.named_parameters())
    notes = embsnap.warm_start(again, config, optimizer=fresh).notes
    assert [note.kind for note in notes] == ["state-not-carried"] * 2
    assert all("named_parameters()" in note.message for note in notes)


@pytest.mark.parametrize("names", [("user", "post"), ("user", "user")])
def test_a_number_that_ranks_disagree_on_is_nobodys(tmp_path: Path, names: tuple[str, str]) -> None:
    builder = SnapshotBuilder(world_size=2)
    for rank, name in enumerate(names):
        builder.tensor(f"model/{KEY.format(name)}", np.zeros((6, DIM), np.float32), rank=rank)
        builder.tensor("optimizer/state/0/exp_avg", np.ones((6, DIM), np.float32), rank=rank)
        builder.value("optimizer/param_groups/0/params/0", 0, rank=rank)
        builder.value("optimizer/param_groups/0/param_names/0", KEY.format(name), rank=rank)
    index = open_snapshot(str(builder.write(tmp_path / "saved"))).index
    state = ["optimizer/state/0/exp_avg"]
    assert index.states[f"model/{KEY.format('user')}"] == (state if names[1] == "user" else [])
    assert index.numbered == ([] if names[1] == "user" else state)


def restored(uri: str, num_users: int) -> tuple[Tower, torch.optim.Optimizer]:
    """By torchsnapshot, which knows numbers alone."""
    tower = Tower(num_users)
    optimizer = OPTIMIZERS["adam"](tower.named_parameters())
    tower.train_on([0], optimizer)
    Snapshot(uri).restore({"model": tower, "optimizer": optimizer})
    return tower, optimizer


def test_a_migration_takes_it_along_and_torchsnapshot_restores_it(tmp_path: Path) -> None:
    tower, optimizer = trained("adam")
    uri = take(f"{tmp_path}/saved", "torchsnapshot", tower, optimizer)
    config_of(tmp_path, uri)
    steps = embsnap.migration(uri).vocab("user", f"{tmp_path}/old.parquet")
    steps.revocab("user", f"{tmp_path}/new.parquet").write(f"{tmp_path}/new")
    again, fresh = restored(f"{tmp_path}/new", len(NEW_IDS))
    for name, initial in (("exp_avg", 0.0), ("exp_avg_sq", 0.0)):
        expected = moved(optimizer.state[tower.rows("user")][name], initial)
        np.testing.assert_array_equal(fresh.state[again.rows("user")][name].numpy(), expected)
    for key in ("weight", "bias"):
        old, new = (one.state[getattr(its.dense, key)] for one, its in ((optimizer, tower), (fresh, again)))
        torch.testing.assert_close(old, new, rtol=0, atol=0)


def test_names_change_with_their_tables_and_numbers_stay(tmp_path: Path) -> None:
    tower, optimizer = trained("adam")
    uri = take(f"{tmp_path}/saved", "embsnap", tower, optimizer)
    embsnap.migration(uri).rename({"user": "member"}).copy("post", "note").write(f"{tmp_path}/new")
    new = open_snapshot(f"{tmp_path}/new")
    states = {table.name: {state.array.path for state in table.state} for table in new.tables()}
    names = ("step", "exp_avg", "exp_avg_sq")
    assert states["member"] == {f"optimizer/state/1/{name}" for name in names}
    assert states["post"] == {f"optimizer/state/0/{name}" for name in names}
    assert states["note"] == {f"optimizer/state/{KEY.format('note')}/{name}" for name in names}
    moments = [read_array(new, f"optimizer/state/{at}/exp_avg") for at in ("0", KEY.format("note"))]
    np.testing.assert_array_equal(*moments)
    assert new.value("optimizer/param_groups/0/param_names/1") == KEY.format("member")


def test_a_split_gives_the_number_to_the_part_that_keeps_the_name(tmp_path: Path) -> None:
    tower, optimizer = trained("adam")
    uri = take(f"{tmp_path}/saved", "embsnap", tower, optimizer)
    config_of(tmp_path, uri)
    steps = embsnap.migration(uri).vocab("user", f"{tmp_path}/old.parquet")
    parts = {"user": {"ids": [*range(8)]}, "vip": {"ids": [*range(8, 20)]}}
    steps.split("user", parts).write(f"{tmp_path}/new")
    expected = optimizer.state[tower.rows("user")]["exp_avg"].numpy()
    np.testing.assert_array_equal(read_array(f"{tmp_path}/new", "optimizer/state/1/exp_avg"), expected[:8])
    path = f"optimizer/state/{KEY.format('vip')}/exp_avg"
    np.testing.assert_array_equal(read_array(f"{tmp_path}/new", path), expected[8:])


@pytest.mark.parametrize("step", ["revocab", "dim", "rename"])
def test_rows_do_not_move_away_from_state_that_may_be_theirs(tmp_path: Path, step: str) -> None:
    tower, optimizer = trained("adam", with_names=False)
    uri = take(f"{tmp_path}/saved", "embsnap", tower, optimizer)
    config_of(tmp_path, uri)
    plan = embsnap.migration(uri).vocab("user", f"{tmp_path}/old.parquet")
    if step == "rename":
        plan.rename({"user": "member"}).write(f"{tmp_path}/new")
        return
    plan = plan.dim("user", 2, by="truncate") if step == "dim" else plan.revocab("user", f"{tmp_path}/new.parquet")
    with pytest.raises(EmbsnapError, match="optimizer/state/1/exp_avg, which has the shape of table user") as caught:
        plan.write(f"{tmp_path}/new")
    assert caught.value.kind is ErrorKind.NOT_REPRESENTABLE
    assert not (tmp_path / "new").exists()


def test_a_copy_may_move_as_the_table_stays(tmp_path: Path) -> None:
    tower, optimizer = trained("adam", with_names=False)
    uri = take(f"{tmp_path}/saved", "embsnap", tower, optimizer)
    config_of(tmp_path, uri)
    plan = embsnap.migration(uri).vocab("user", f"{tmp_path}/old.parquet").copy("user", "next")
    plan.revocab("next", f"{tmp_path}/new.parquet").write(f"{tmp_path}/new")
    expected = optimizer.state[tower.rows("user")]["exp_avg"].numpy()
    np.testing.assert_array_equal(read_array(f"{tmp_path}/new", "optimizer/state/1/exp_avg"), expected)


class Demanding(torch.optim.Adam):
    """Of another make: its step may exchange parameters between ranks, or wait for them."""

    def step(self, closure: object = None) -> None:
        raise AssertionError("nobody but the job makes steps")


@pytest.mark.parametrize(
    "make",
    [
        lambda tower: Demanding(tower.named_parameters()),
        lambda tower: torch.optim.LBFGS(tower.parameters()),
        lambda tower: torch.optim.SparseAdam(tower.parameters()),
    ],
)
def test_no_step_is_made_of_what_asks_for_more_than_gradients(
    tmp_path: Path, make: Callable[[Tower], torch.optim.Optimizer]
) -> None:
    uri = take(f"{tmp_path}/saved", "embsnap", *trained("adam"))
    again = Tower(len(OLD_IDS))
    notes = embsnap.restore(again, uri, optimizer=make(again)).notes
    assert {note.kind for note in notes} == {"state-not-carried"}
    assert all("after its first step" in note.remedy for note in notes)
