"""KeyedJaggedTensors from raw ids."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch

from embsnap.errors import EmbsnapError, ErrorKind, NotFoundError
from embsnap.live.kjt import keyed_jagged
from embsnap.ops.vocab_index import VocabIndex
from embsnap.testing.vocabularies import make_vocabulary

INDEXES = {
    "user": VocabIndex.build(make_vocabulary([70, 50, 60], [2, 3, 4]), oov=(0, 2)),
    "post": VocabIndex.build(make_vocabulary(["a", "b"], [1, 2]), oov=(0, 1)),
}
USERS = (np.array([60, 99, 70, 50]), np.array([2, 0, 2]))
POSTS = (pa.array(["b", "z", "a", "y"]), [1, 3, 0])


def _lists(bags):
    return {name: (tensor.values().tolist(), tensor.lengths().tolist()) for name, tensor in bags.to_dict().items()}


def test_rows_for_unknown_ids():
    bags = keyed_jagged({"post": POSTS, "user": USERS}, INDEXES, oov="row")
    found = _lists(bags)
    assert bags.keys() == ["post", "user"]
    assert found["post"] == ([2, 0, 1, 0], [1, 3, 0])
    assert found["user"][0][0] == 4
    assert found["user"][0][1] in (0, 1)
    assert found["user"][0][2:] == [2, 3]
    assert (bags.values().dtype, bags.lengths().dtype) == (torch.int64, torch.int32)


def test_unknown_ids_left_out_of_their_bags():
    found = _lists(keyed_jagged({"user": USERS, "post": POSTS}, INDEXES, oov="skip"))
    assert found == {"user": ([4, 2, 3], [1, 0, 2]), "post": ([2, 1], [1, 1, 0])}


def test_unknown_ids_are_an_error_otherwise():
    with pytest.raises(NotFoundError, match="99"):
        keyed_jagged({"user": USERS}, INDEXES)


def test_tensors_go_in_as_they_are():
    ids, lengths = torch.tensor([70, 60]), torch.tensor([1, 1], dtype=torch.int32)
    assert _lists(keyed_jagged({"user": (ids, lengths)}, INDEXES)) == {"user": ([2, 4], [1, 1])}


def test_empty_bags_alone():
    found = _lists(keyed_jagged({"user": (np.empty(0, np.int64), [0, 0])}, INDEXES))
    assert found == {"user": ([], [0, 0])}


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({}, "there are no features"),
        ({"post": POSTS, "age": USERS}, "feature age: the feature has no index"),
        ({"user": ([70], [2])}, "lengths do not fit the ids"),
        ({"user": ([70], [2, -1])}, "lengths do not fit the ids"),
        ({"user": ([70], [1]), "post": (["a"], [1, 0])}, "feature post: has another number of bags"),
    ],
)
def test_features_that_do_not_fit(features, message):
    with pytest.raises(EmbsnapError, match=message) as caught:
        keyed_jagged(features, INDEXES, oov="row")
    assert caught.value.kind is ErrorKind.BAD_OPTION
