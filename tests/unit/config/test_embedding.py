from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from embsnap.config.embedding import (
    DataType,
    EmbeddingBagConfig,
    EmbeddingOptimizerConfig,
    EmbeddingSnapshot,
    LargeEmbeddingsConfig,
    OptimizerStatePolicy,
    Pooling,
    SmallEmbeddingBagConfig,
    SmallEmbeddingsConfig,
    StratifierConfig,
)
from embsnap.config.initializer import InitializerConfig, UniformInit
from embsnap.errors import ErrorKind, NotFoundError

SNAPSHOT = {"emb_name": "user", "embedding_snapshot_uri": "/runs/1"}


def _bag(**fields: Any) -> dict[str, Any]:
    return {"name": "user", "num_embeddings": 10, "embedding_dim": 4, **fields}


def _table(**fields: Any) -> EmbeddingBagConfig:
    return EmbeddingBagConfig(**_bag(**fields))


def test_a_table_is_three_fields_and_defaults() -> None:
    table = _table()
    assert (table.data_type, table.optimizer, table.pretrained, table.vocab) == (None, None, None, None)
    assert (table.pooling, table.optimizer_state) == (Pooling.SUM, OptimizerStatePolicy.CARRY)
    assert table.initializer_or_default == InitializerConfig(uniform=UniformInit(bound=None), seed=0)


def test_a_snapshot_is_two_fields_and_defaults() -> None:
    snapshot = EmbeddingSnapshot(**SNAPSHOT)
    assert (snapshot.vocab, snapshot.by_position, snapshot.cast, snapshot.vocab_columns) == (None, False, False, None)


@pytest.mark.parametrize("field", ["num_embeddings", "embedding_dim"])
@pytest.mark.parametrize("number", [0, -1, True, "many"])
def test_shapes_are_positive(field: str, number: object) -> None:
    with pytest.raises(ValidationError, match=field):
        _table(**{field: number})


def test_a_table_name_holds_no_dot() -> None:
    with pytest.raises(ValidationError, match=r"holds no '\.' \(found 'a\.b'\)"):
        _table(name="a.b")


@pytest.mark.parametrize("value", [True, False, "/runs/1"])
def test_a_pretrained_that_is_a_switch_says_what_to_write(value: object) -> None:
    with pytest.raises(ValidationError, match=r"write `pretrained: {emb_name: .*, embedding_snapshot_uri: "):
        _table(pretrained=value)


@pytest.mark.parametrize("value", [["a", "b"], ("a",), {"a": 1}])
def test_a_vocab_that_is_a_list_says_what_to_write(value: object) -> None:
    with pytest.raises(ValidationError, match=r"is the URI of parquet files .*, not the entities themselves"):
        _table(vocab=value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"reserved": {"rows": "8:11"}}, "reserved rows 8:11 are beyond num_embeddings 10"),
        ({"vocab_columns": {"id": "x"}}, "vocab_columns is given without vocab"),
        ({"pretrained": {**SNAPSHOT, "vocab": "/v"}}, "pretrained.vocab is given without a vocab to align with"),
        ({"initializer": "mean"}, "initializer mean is computed from old rows, and there is no pretrained"),
        (
            {"pretrained": SNAPSHOT, "initializer": {"donor": {"id": 1}}},
            "initializer donor needs vocabularies, and there is no vocab",
        ),
        (
            {"pretrained": {**SNAPSHOT, "vocab": "/v", "by_position": True}, "vocab": "/w"},
            "by_position uses no vocabulary",
        ),
    ],
)
def test_parts_that_contradict_each_other(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        _table(**fields)


def test_all_contradictions_are_named() -> None:
    with pytest.raises(ValidationError, match="beyond num_embeddings 10; vocab_columns is given without vocab"):
        _table(reserved={"rows": 11}, vocab_columns={"id": "x"})


def test_the_last_row_may_be_reserved() -> None:
    reserved = _table(reserved={"rows": "9:10"}).reserved
    assert reserved is not None
    assert reserved.end == 10


def test_tables_are_found_by_exact_name() -> None:
    config = LargeEmbeddingsConfig(tables=[_bag(), _bag(name="user_long")])
    assert config.table("user").name == "user"
    with pytest.raises(
        NotFoundError, match=r"usr: the config has no such table \(expected one of user, user_long\)"
    ) as e:
        config.table("usr")
    assert (e.value.kind, e.value.hint) == (ErrorKind.NO_SUCH_TABLE, "user")


@pytest.mark.parametrize("model", [LargeEmbeddingsConfig, SmallEmbeddingsConfig])
def test_table_names_are_unique(model: type[LargeEmbeddingsConfig]) -> None:
    extra = {"index": 0} if model is SmallEmbeddingsConfig else {}
    with pytest.raises(ValidationError, match=r"a name of its own \(found twice: user\)"):
        model(tables=[_bag(**extra), _bag(**extra)])
    with pytest.raises(ValidationError, match="at least 1 item"):
        model(tables=[])


def test_the_common_optimizer_is_sgd() -> None:
    rate = {"constant": 0.5}
    optimizer = EmbeddingOptimizerConfig(init_learning_rate=0.25, learning_rate=rate).as_optimizer()
    assert optimizer.kind == "sgd"
    assert (optimizer.algorithm.lr, optimizer.learning_rate.constant) == (0.25, 0.5)


def test_a_table_has_its_own_optimizer_or_the_common_one_or_none() -> None:
    own = LargeEmbeddingsConfig(tables=[_bag(optimizer={"adam": {"lr": 1}}), _bag(name="post")])
    assert own.optimizer_of("user").kind == "adam"
    assert own.optimizer_of("post") is None
    common = LargeEmbeddingsConfig(tables=[_bag()], optimizer={"init_learning_rate": 0.25})
    assert common.optimizer_of("user").algorithm.lr == 0.25
    with pytest.raises(NotFoundError):
        common.optimizer_of("post")


def test_both_optimizers_at_once_are_refused() -> None:
    tables = [_bag(optimizer={"adam": {"lr": 1}}), _bag(name="post")]
    with pytest.raises(ValidationError, match=r"optimizer is common to all tables; .* these tables: user"):
        LargeEmbeddingsConfig(tables=tables, optimizer={"init_learning_rate": 0.25})


@pytest.mark.parametrize(
    ("keys", "names"),
    [
        (None, ()),
        (["user"], ("user",)),
        (["post", "user", "post"], ("post", "user")),
        (["model.ebc.embedding_bags.user.weight", "user"], ("user",)),
        (["model/large.ebc.embeddings.post.weight"], ("post",)),
    ],
)
def test_logged_tables_are_names_or_state_keys(keys: list[str] | None, names: tuple[str, ...]) -> None:
    config = LargeEmbeddingsConfig(tables=[_bag(), _bag(name="post")], tables_to_log=keys)
    assert config.logged_tables() == names


@pytest.mark.parametrize(
    "key", ["use", "users", "model.ebc.embedding_bags.use.weight", "model.user.weight", "user.weight"]
)
def test_logging_an_unknown_table_is_refused(key: str) -> None:
    with pytest.raises(ValidationError, match=rf"names no table of this config: '{key}' \(tables: user\)"):
        LargeEmbeddingsConfig(tables=[_bag()], tables_to_log=[key])


def test_small_embeddings_and_strata() -> None:
    config = SmallEmbeddingsConfig(tables=[_bag(index="3")])
    assert config.tables == (SmallEmbeddingBagConfig(name="user", num_embeddings=10, embedding_dim=4, index=3),)
    assert StratifierConfig(name="new", index=0, value=-1).value == -1
    with pytest.raises(ValidationError, match="index"):
        StratifierConfig(name="new", index=-1, value=1)


def test_upstream_data_types_and_ours() -> None:
    assert [_table(data_type=name).data_type for name in ("fp32", "fp16", "bf16")] == list(DataType)
