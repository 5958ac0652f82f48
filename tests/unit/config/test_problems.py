from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from embsnap.config.embedding import LargeEmbeddingsConfig
from embsnap.config.places import Place
from embsnap.config.problems import closest, problems

BAG = {"name": "user", "num_embeddings": 10, "embedding_dim": 4}


def _problems(data: dict[str, Any]) -> list[tuple[Place, str]]:
    with pytest.raises(ValidationError) as error:
        LargeEmbeddingsConfig.model_validate(data)
    return problems(error.value, LargeEmbeddingsConfig)


@pytest.mark.parametrize(
    ("fields", "place", "text"),
    [
        ({"data_typ": "fp32"}, ("data_typ",), "EmbeddingBagConfig has no such field; did you mean data_type?"),
        ({"data_type": "fp23"}, ("data_type",), "expected 'fp32', 'fp16' or 'bf16' (found 'fp23'); did you mean fp32?"),
        ({"data_type": 8}, ("data_type",), "expected 'fp32', 'fp16' or 'bf16' (found 8)"),
        ({"name": False}, ("name",), "expected a string: put it in quotes (found false)"),
        ({"name": None}, ("name",), "is required"),
        (
            {"num_embeddings": "many"},
            ("num_embeddings",),
            "should be a valid integer, unable to parse string as an integer",
        ),
        ({"reserved": 3}, ("reserved",), "expected a mapping with rows, policy (found 3)"),
        ({"optimizer": {"sgd": 1}}, ("optimizer", "sgd"), "expected a mapping with lr, momentum (found 1)"),
        (
            {"optimizer": {"adam": {"lr": 1, "beta_1": 0.9}}},
            ("optimizer", "adam", "beta_1"),
            "AdamConfig has no such field; did you mean betas?",
        ),
        (
            {"optimizer": {"sgd": {"lr": 1, "x": 1}}},
            ("optimizer", "sgd", "x"),
            "SgdConfig has no such field (it has lr, momentum)",
        ),
        (
            {"initializer": {"zeros": {"x": 1}}},
            ("initializer", "zeros", "x"),
            "ZerosInit has no such field (it has none)",
        ),
        ({"vocab": "x" * 10, "pooling": "y" * 500}, ("pooling",), "expected 'sum' or 'mean' (found 'yyyyyyyyy"),
    ],
)
def test_each_is_put_in_words(fields: dict[str, Any], place: Place, text: str) -> None:
    [(found_place, found_text)] = _problems({"tables": [{**BAG, **fields}]})
    assert found_place == ("tables", 0, *place)
    assert found_text.startswith(text)
    assert len(found_text) < 200


def test_a_list_without_valid_items_is_not_called_too_short() -> None:
    assert [place for place, _ in _problems({"tables": [{**BAG, "embedding_dim": 0}]})] == [
        ("tables", 0, "embedding_dim")
    ]


def test_a_list_is_wanted() -> None:
    assert _problems({"tables": "user"}) == [(("tables",), "expected a list (found 'user')")]


@pytest.mark.parametrize(
    ("word", "guess"),
    [
        ("num_embedings", "num_embeddings"),
        ("dim", "embedding_dim"),
        ("emb", None),
        ("xyz", None),
        ("n", None),
    ],
)
def test_closest(word: str, guess: str | None) -> None:
    assert closest(word, ["num_embeddings", "embedding_dim", "name"]) == guess
