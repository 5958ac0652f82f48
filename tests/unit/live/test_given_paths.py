"""Whatever takes a URI takes a path of pathlib, and `warm_start` takes plain data for a config."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import embsnap
from embsnap.config.embedding import LargeEmbeddingsConfig
from embsnap.errors import EmbsnapError, ErrorKind

NUM_ROWS, DIM = 6, 4


def data(root: Path) -> dict[str, Any]:
    pretrained = {"emb_name": "user", "embedding_snapshot_uri": str(root / "old"), "by_position": True}
    return {"tables": [{"name": "user", "num_embeddings": NUM_ROWS, "embedding_dim": DIM, "pretrained": pretrained}]}


def model(root: Path, value: float) -> embsnap.LargeEmbeddings:
    built = embsnap.LargeEmbeddings(LargeEmbeddingsConfig.model_validate(data(root)))
    torch.nn.init.constant_(built.weight("user"), value)
    return built


def test_paths_of_snapshots(tmp_path: Path) -> None:
    embsnap.save(model(tmp_path, 3), tmp_path / "old")
    embsnap.async_save(model(tmp_path, 4), tmp_path / "async").wait()
    assert embsnap.open_snapshot(tmp_path / "async").uri == str(tmp_path / "async")
    file = tmp_path / "job.yaml"
    file.write_text(json.dumps(data(tmp_path)))
    for config in (file, data(tmp_path)):
        filled = model(tmp_path, 0)
        embsnap.warm_start(filled, config)
        assert filled.weight("user").unique().tolist() == [3]
    embsnap.restore(filled, tmp_path / "async")
    assert filled.weight("user").unique().tolist() == [4]
    plan = embsnap.plan_warmstart(LargeEmbeddingsConfig.model_validate(data(tmp_path)))
    embsnap.write_warmstart(plan, tmp_path / "new")
    embsnap.migration(tmp_path / "new").cast("user", "fp16").write(tmp_path / "cast")
    assert embsnap.open_snapshot(tmp_path / "cast").table("user").weight.dtype.name == "float16"


def test_paths_of_vocabularies(tmp_path: Path) -> None:
    embsnap.Vocab.from_numpy(np.arange(NUM_ROWS)).write(tmp_path / "user")
    assert len(embsnap.Vocab.read(tmp_path / "user")) == NUM_ROWS
    index = embsnap.VocabIndex.build(embsnap.read_vocabulary(tmp_path / "user")).save(tmp_path / "user.index")
    assert embsnap.VocabIndex.open(tmp_path / "user.index").fingerprint == index.fingerprint


def test_plain_data_with_problems(tmp_path: Path) -> None:
    with pytest.raises(EmbsnapError) as caught:
        embsnap.warm_start(torch.nn.Module(), {"tables": [{"name": "user", "num_embedings": 6}]})
    assert caught.value.kind is ErrorKind.BAD_CONFIG
    assert "tables[0].num_embedings" in str(caught.value)
