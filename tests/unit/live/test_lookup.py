"""The lookup at the end of a fill, through collections of every kind that torchrec builds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchrec import EmbeddingBagCollection, EmbeddingBagConfig
from torchrec.modules.embedding_configs import DataType, PoolingType

from embsnap.errors import ErrorKind, IncompatibleError
from embsnap.live.lookup import check_lookup
from embsnap.live.restore import restore
from embsnap.model.rows import RowSource
from embsnap.testing.tables import ArrayRows, write_arrays

DIM = 4


def table(name: str, num_rows: int, *features: str, **options: Any) -> EmbeddingBagConfig:
    return EmbeddingBagConfig(
        name=name, num_embeddings=num_rows, embedding_dim=DIM, feature_names=list(features or (name,)), **options
    )


def collection(*tables: EmbeddingBagConfig, is_weighted: bool = False) -> EmbeddingBagCollection:
    return EmbeddingBagCollection(tables=list(tables), is_weighted=is_weighted, device=torch.device("cpu"))


def rows_of(model: EmbeddingBagCollection) -> dict[str, NDArray[Any]]:
    return {name: bag.weight.detach().numpy().copy() for name, bag in model.embedding_bags.items()}


def sources(model: EmbeddingBagCollection) -> dict[str, RowSource]:
    return {name: ArrayRows(rows) for name, rows in rows_of(model).items()}


@pytest.mark.parametrize("with_both", [True, False])
def test_tables_that_share_a_feature_are_looked_up(with_both: bool) -> None:
    model = collection(table("user", 50, "f"), table("item", 30, "f", "g"), table("tag", 20, "f"))
    asked = sources(model) if with_both else {"user": sources(model)["user"]}
    found = check_lookup(model, asked)
    assert [lookup.table for lookup in found] == list(asked)
    assert max(lookup.max_abs_error for lookup in found) < 1e-6


@pytest.mark.parametrize(("name", "row"), [("user", 19), ("item", 29), ("tag", 19)])
def test_other_rows_in_tables_that_share_a_feature_are_noticed(name: str, row: int) -> None:
    """Of `item` all rows are reached through a feature of its own; of `user` those that the smallest table has."""
    model = collection(table("user", 50, "f"), table("item", 30, "f", "g"), table("tag", 20, "f"))
    rows = rows_of(model)
    rows[name][row] += 0.01
    with pytest.raises(IncompatibleError, match=f"table {name}") as caught:
        check_lookup(model, {name: ArrayRows(found) for name, found in rows.items()})
    assert caught.value.kind is ErrorKind.LOOKUP_MISMATCH


def test_restore_fills_tables_that_share_a_feature(tmp_path) -> None:
    rng = np.random.default_rng(0)
    rows = {name: rng.random((num_rows, DIM), np.float32) for name, num_rows in (("user", 50), ("item", 30))}
    write_arrays(f"{tmp_path}/old", rows)
    model = collection(table("user", 50, "f"), table("item", 30, "f"))
    result = restore(model, f"{tmp_path}/old")
    assert {lookup.table for lookup in result.lookups} == {"user", "item"}
    for name, found in rows_of(model).items():
        np.testing.assert_array_equal(found, rows[name])


@pytest.mark.parametrize("dtypes", [(torch.half, torch.half), (torch.bfloat16,) * 2, (torch.half, torch.float32)])
def test_weighted_tables_are_looked_up_in_their_own_dtype(tmp_path, dtypes: tuple[torch.dtype, torch.dtype]) -> None:
    rng = np.random.default_rng(0)
    rows = {name: rng.random((num_rows, DIM), np.float32) for name, num_rows in (("user", 50), ("item", 30))}
    write_arrays(f"{tmp_path}/old", rows)
    model = collection(table("user", 50), table("item", 30), is_weighted=True)
    for bag, dtype in zip(model.embedding_bags.values(), dtypes, strict=True):
        bag.to(dtype)
    result = restore(model, f"{tmp_path}/old", cast=True)
    assert {lookup.table for lookup in result.lookups} == {"user", "item"}
    assert not any(bag._forward_pre_hooks for bag in model.embedding_bags.values())


def test_weighted_means_are_filled_and_not_looked_up(tmp_path) -> None:
    """torch's EmbeddingBag weighs sums alone: no forward of such a collection succeeds."""
    rows = np.random.default_rng(0).random((50, DIM), np.float32)
    write_arrays(f"{tmp_path}/old", {"user": rows})
    model = collection(table("user", 50, pooling=PoolingType.MEAN), is_weighted=True)
    result = restore(model, f"{tmp_path}/old")
    assert result.lookups == ()
    assert [(note.kind, note.place) for note in result.notes] == [("lookup-not-compared", "tables user")]
    np.testing.assert_array_equal(rows_of(model)["user"], rows)


def test_hooks_of_the_collection_do_not_run() -> None:
    model = collection(table("user", 50, data_type=DataType.FP16))
    calls = []
    model.register_forward_hook(lambda *_: calls.append("after"))
    model.register_forward_pre_hook(lambda *_: calls.append("before"))
    assert check_lookup(model, sources(model))
    assert not calls


def test_a_collection_that_was_moved() -> None:
    """torchrec goes on to say where it was built."""
    model = EmbeddingBagCollection(tables=[table("user", 50)], device=torch.device("meta")).to_empty(device="cpu")
    assert model.device.type == "meta"
    torch.nn.init.normal_(model.embedding_bags["user"].weight)
    assert [lookup.table for lookup in check_lookup(model, sources(model))] == ["user"]


@pytest.mark.parametrize("pooling", [PoolingType.SUM, PoolingType.MEAN])
def test_sums_may_leave_what_the_type_holds(pooling: PoolingType) -> None:
    model = collection(table("user", 50, pooling=pooling, data_type=DataType.FP16))
    weight = model.embedding_bags["user"].weight.detach()
    weight[...] = torch.where(torch.arange(50)[:, None] % 2 == 0, 6e4, -6e4)
    (found,) = check_lookup(model, sources(model))
    assert found.num_ids == 64
