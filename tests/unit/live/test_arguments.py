"""Arguments that do not fit: an error that names them, before anything else happens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import embsnap
from embsnap.errors import ErrorKind, IncompatibleError, UsageError
from embsnap.testing.tables import write_arrays

DATA = {"tables": [{"name": "user", "num_embeddings": 6, "embedding_dim": 4}]}


@pytest.fixture
def model() -> embsnap.LargeEmbeddings:
    return embsnap.LargeEmbeddings(embsnap.LargeEmbeddingsConfig.model_validate(DATA))


@pytest.mark.parametrize(
    ("call", "where", "found"),
    [
        (lambda model, uri: embsnap.save([model], uri), "model", "list"),
        (lambda model, uri: embsnap.async_save(5, uri), "model", "int"),
        (lambda model, uri: embsnap.save(uri, model), "uri", "LargeEmbeddings"),
        (
            lambda model, uri: embsnap.save(model, uri, options=embsnap.SaveOptions(config="job.yaml")),
            "options.config",
            "'job.yaml'",
        ),
        (lambda model, uri: embsnap.restore({"model": model}, uri), "model", "dict"),
        (lambda model, uri: embsnap.restore(Path(uri), model), "model", "PosixPath"),
        (lambda model, uri: embsnap.restore(model, model), "uri", "LargeEmbeddings"),
        (lambda model, uri: embsnap.restore(model, uri, optimizer="adam"), "optimizer", "'adam'"),
        (lambda model, uri: embsnap.restore(model, uri, tables="user"), "tables", "'user'"),
        (lambda model, uri: embsnap.restore(model, uri, tables=5), "tables", "int"),
        (lambda model, uri: embsnap.restore(model, uri, optimizer_state="rest"), "optimizer_state", "'rest'"),
        (lambda model, uri: embsnap.warm_start([model], DATA), "model", "list"),
        (lambda model, uri: embsnap.warm_start(DATA, model), "model", "dict"),
        (lambda model, uri: embsnap.warm_start(model, model), "config", "LargeEmbeddings"),
        (lambda model, uri: embsnap.warm_start(model, DATA, optimizer={"ebc": None}), "optimizer", "dict"),
        (lambda model, uri: embsnap.warm_start(model, DATA, at="model.embeddings"), "at", "'model.embeddings'"),
        (lambda model, uri: embsnap.EmbeddingLogger(model, ["user"], log=5), "log", "int"),
        (lambda model, uri: embsnap.for_inference(None), "model", "NoneType"),
        (lambda model, uri: embsnap.for_inference(model, "int4"), "precision", "'int4'"),
        (lambda model, uri: embsnap.EmbeddingLogger(model, "user", log=print), "tables_to_log", "'user'"),
    ],
)
def test_what_does_not_fit_is_refused(
    tmp_path: Path, model: embsnap.LargeEmbeddings, call: Callable[[Any, str], object], where: str, found: str
) -> None:
    with pytest.raises(UsageError) as caught:
        call(model, f"{tmp_path}/snapshot")
    assert (caught.value.kind, caught.value.where, caught.value.found) == (ErrorKind.BAD_OPTION, where, found)
    assert caught.value.expected
    assert caught.value.hint
    assert not list(tmp_path.iterdir())


def test_a_policy_may_be_its_word(tmp_path: Path, model: embsnap.LargeEmbeddings) -> None:
    write_arrays(f"{tmp_path}/old", {"user": np.ones((6, 4), np.float32)})
    for policy in ("carry", "reset"):
        torch.nn.init.zeros_(model.weight("user"))
        embsnap.restore(model, f"{tmp_path}/old", optimizer_state=policy)
        assert model.weight("user").unique().tolist() == [1.0]
    with pytest.raises(IncompatibleError, match="optimizer state"):
        embsnap.restore(model, f"{tmp_path}/old", optimizer_state="refuse")
