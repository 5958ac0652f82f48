"""Of the same bytes on several ranks one copy is written; ranks that do not fit together are refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchrec")

import torch.distributed as dist  # noqa: E402
from torch.nn.parallel import DistributedDataParallel  # noqa: E402

from embsnap.errors import ErrorKind, IncompatibleError, SnapshotError  # noqa: E402
from embsnap.live.parts import LocalPart  # noqa: E402
from embsnap.live.save_entries import RankManifest, StateForm, contribution  # noqa: E402
from embsnap.live.save_manifest import merge  # noqa: E402
from embsnap.live.save_share import describe, share  # noqa: E402
from embsnap.live.state_tree import PickleLeaf, ShardedLeaf, StateTree, TensorLeaf, ValueLeaf, state_tree  # noqa: E402
from embsnap.model.dtypes import DTYPES  # noqa: E402
from embsnap.model.manifest import ChunkedTensorEntry, ContainerEntry, ShardedTensorEntry, TensorEntry  # noqa: E402

WEIGHT, STATE = "model/ebc.t.weight", "optimizer/state/ebc.t.weight/t.momentum1"
SHAPE = (6, 4)


def tree(
    *parts: tuple[int, int, int, int], step: int = 1, bias: float = 0.0, shape: tuple[int, ...] = SHAPE
) -> StateTree:
    """A rank that holds rectangles `(row, column, rows, columns)` of a table."""
    held = tuple(LocalPart(part[:2], torch.full(part[2:], float(i))) for i, part in enumerate(parts))
    found = StateTree(modules={"model"})
    found.containers["model"] = ContainerEntry("OrderedDict", ("ebc.t.weight", "bias"))
    found.leaves[WEIGHT] = ShardedLeaf(shape, DTYPES["float32"], held)
    found.leaves["model/bias"] = TensorLeaf(torch.tensor([bias]), DTYPES["float32"])
    found.leaves["extra/step"] = ValueLeaf(step)
    return found


def merged(trees: Sequence[StateTree], form: StateForm = "sharded") -> dict[str, object]:
    """The entries of a snapshot of these ranks."""
    descriptions = [describe(found, alone=len(trees) == 1) for found in trees]
    manifests: list[RankManifest] = []
    for rank, found in enumerate(trees):
        own = contribution(rank, found, share(descriptions, rank), form)
        own.check()
        locations = [f"embsnap/abababababab-0/{rank}{number:04}" for number in range(len(own.layouts))]
        manifests.append(own.manifest(locations, {}))
    return dict(merge(manifests).entries)


def boxes(entry: object) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    assert isinstance(entry, ShardedTensorEntry | ChunkedTensorEntry)
    shards = entry.shards if isinstance(entry, ShardedTensorEntry) else entry.chunks
    return [(shard.offsets, shard.sizes) for shard in shards]


def test_what_is_alike_stands_under_rank_0_for_all() -> None:
    entries = merged([tree((0, 0, 3, 4)), tree((3, 0, 3, 4))])
    bias = entries["0/model/bias"]
    assert isinstance(bias, TensorEntry)
    assert bias.replicated
    assert "1/model/bias" not in entries
    assert "1/extra/step" not in entries
    assert boxes(entries["0/model/ebc.t.weight"]) == [((0, 0), (3, 4))]
    assert boxes(entries["1/model/ebc.t.weight"]) == [((3, 0), (3, 4))]


@pytest.mark.parametrize("broadcast", [True, False])
def test_buffers_that_are_broadcast_are_those_of_rank_0(tmp_path: Path, broadcast: bool) -> None:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
    try:
        layers = (torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3))
        model = DistributedDataParallel(torch.nn.Sequential(*layers))
        model.broadcast_buffers = broadcast
        first = state_tree({"model": model})
        later = {key: value + 1 if "running" in key else value for key, value in model.state_dict().items()}
        second = replace(first, leaves=state_tree({"model": later}).leaves)
    finally:
        dist.destroy_process_group()
    entries = merged([first, second])
    assert ("1/model/module.1.running_mean" in entries) is not broadcast
    assert entries["0/model/module.1.running_mean"].replicated is broadcast
    assert entries["0/model/module.0.weight"].replicated


def test_what_differs_stands_under_each_rank() -> None:
    entries = merged([tree((0, 0, 3, 4), step=1, bias=1.0), tree((3, 0, 3, 4), step=2, bias=-1.0)])
    for rank in range(2):
        for path in ("model/bias", "extra/step"):
            entry = entries[f"{rank}/{path}"]
            assert not getattr(entry, "replicated", True)


def test_copies_of_a_rectangle_are_written_by_the_lowest_rank() -> None:
    entries = merged([tree((0, 0, 3, 4)), tree((0, 0, 3, 4), (3, 0, 3, 4)), tree((3, 0, 3, 4))])
    assert boxes(entries["0/model/ebc.t.weight"]) == [((0, 0), (3, 4))]
    assert boxes(entries["1/model/ebc.t.weight"]) == [((3, 0), (3, 4))]
    assert boxes(entries["2/model/ebc.t.weight"]) == []


def test_empty_shards_are_left_out_and_empty_tables_are_not() -> None:
    entries = merged([tree((0, 0, 6, 4)), tree((6, 0, 0, 4))])
    assert boxes(entries["1/model/ebc.t.weight"]) == []
    entries = merged([tree((0, 0, 0, 4), shape=(0, 4)), tree((0, 0, 0, 4), shape=(0, 4))])
    assert boxes(entries["0/model/ebc.t.weight"]) == [((0, 0), (0, 4))]


def test_sharded_state_becomes_one_tensor_that_all_ranks_name() -> None:
    trees = [tree((0, 0, 3, 4)), tree((3, 0, 3, 4)), tree()]
    for found, rows in zip(trees[:2], (0, 3), strict=True):
        found.leaves[STATE] = ShardedLeaf((6,), DTYPES["float32"], (LocalPart((rows,), torch.ones(3)),))
        found.containers["optimizer/state/ebc.t.weight"] = ContainerEntry("dict", ("t.momentum1",))
    entries = merged(trees, "tensor")
    assert boxes(entries[f"0/{STATE}"]) == [((0,), (3,)), ((3,), (3,))]
    for rank in range(3):
        container = entries[f"{rank}/optimizer/state/ebc.t.weight"]
        assert isinstance(container, ContainerEntry)
        assert container.keys == ("t.momentum1",)
        outer = entries[f"{rank}/optimizer/state"]
        assert isinstance(outer, ContainerEntry)
        assert outer.keys == ("ebc.t.weight",)
    kept = merged(trees, "sharded")
    assert boxes(kept[f"1/{STATE}"]) == [((3,), (3,))]
    assert f"2/{STATE}" not in kept


def test_local_state_of_a_shard_is_each_rank_s_own_even_where_it_is_alike() -> None:
    trees = [tree((0, 0, 3, 4)), tree((3, 0, 3, 4))]
    for found in trees:
        for parameter in ("dense.ebc.t.weight", "t.weight", "dense.other"):
            found.leaves[f"optimizer/state/{parameter}/exp_avg"] = TensorLeaf(torch.zeros(3, 4), DTYPES["float32"])
    entries = merged(trees)
    assert "1/optimizer/state/dense.ebc.t.weight/exp_avg" in entries
    assert "1/optimizer/state/t.weight/exp_avg" in entries, "the optimizer is of a part of the model"
    assert "1/optimizer/state/dense.other/exp_avg" not in entries


def test_a_hole_is_refused() -> None:
    with pytest.raises(SnapshotError, match=WEIGHT) as error:
        merged([tree((0, 0, 2, 4)), tree((3, 0, 3, 4))])
    assert error.value.kind is ErrorKind.BAD_COVER


def test_a_missing_end_is_refused() -> None:
    with pytest.raises(IncompatibleError, match="less than the whole tensor") as error:
        merged([tree((0, 0, 3, 4)), tree((3, 0, 2, 4))])
    assert error.value.kind is ErrorKind.SHAPE_MISMATCH


def test_ranks_of_different_tables_are_refused() -> None:
    with pytest.raises(IncompatibleError, match="rank 1") as error:
        merged([tree((0, 0, 3, 4)), tree((3, 0, 3, 4), shape=(7, 4))])
    assert error.value.kind is ErrorKind.SHAPE_MISMATCH
    other = tree((3, 0, 3, 4))
    leaf = other.leaves[WEIGHT]
    assert isinstance(leaf, ShardedLeaf)
    other.leaves[WEIGHT] = replace(leaf, dtype=DTYPES["float16"])
    with pytest.raises(IncompatibleError) as error:
        merged([tree((0, 0, 3, 4)), other])
    assert error.value.kind is ErrorKind.DTYPE_MISMATCH


def test_pickles_are_compared_by_their_bytes() -> None:
    trees = [state_tree({"extra": {"pair": pair}}) for pair in ((1, 2), (1, 2))]
    assert isinstance(trees[0].leaves["extra/pair"], PickleLeaf)
    assert "1/extra/pair" not in merged(trees)
    assert "1/extra/pair" in merged([trees[0], state_tree({"extra": {"pair": (1, 3)}})])
