"""Run by torchrun: fills a row-wise model from a store that is watched, or that fails on rank 1 alone.

    torchrun --nproc-per-node 2 fill_watched.py CONFIG OUT WHAT

WHAT is `count` (bytes read, from a store that cannot map), or what happens on rank 1: `config` (it is given another
one), `read` (its reads of rows fail), `exit` (it ends before it reads rows) or `arguments` (it gives None for a URI, or
an optimizer by its name). With `part` each rank has a model of its own, wrapped in DistributedDataParallel. Each rank
writes `OUT/<rank>.json`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
from sharded_models import DIM, build, held, start
from torch.nn.parallel import DistributedDataParallel
from torchrec import EmbeddingBagCollection, EmbeddingBagConfig, KeyedJaggedTensor
from torchrec.distributed import DistributedModelParallel

import embsnap
from embsnap.errors import EmbsnapError
from embsnap.formats.torchsnapshot import snapshot as snapshots
from embsnap.storage.base import Store
from embsnap.storage.uri import open_store
from embsnap.storage.wrappers import CountingStore
from embsnap.testing.faults import Fault, FaultStore, input_output_error

UNTOUCHED = -9.0


def refusal(step: Callable[[], object]) -> str | None:
    """What kind of error it ends with."""
    try:
        step()
    except EmbsnapError as error:
        return error.kind
    return None


def misfits(model: DistributedModelParallel, config: str, out: str) -> list[str | None]:
    """What every rank is told of arguments that do not fit on rank 1."""
    is_wrong = dist.get_rank() == 1
    uri, optimizer = None if is_wrong else f"{out}/old", "adam" if is_wrong else None
    return [
        refusal(lambda: embsnap.restore(model, uri)),
        refusal(lambda: embsnap.restore(model, f"{out}/old", optimizer_state="rest" if is_wrong else "carry")),
        refusal(lambda: embsnap.warm_start(model, None if is_wrong else config)),
        refusal(lambda: embsnap.warm_start(model, config, optimizer=optimizer)),
        refusal(lambda: embsnap.save(model, None if is_wrong else f"{out}/saved")),
        refusal(lambda: embsnap.async_save("model" if is_wrong else model, f"{out}/saved")),
    ]


def own_model(num_rows: int) -> DistributedDataParallel:
    """A model that lies over this rank only."""
    group, _ = dist.new_subgroups(group_size=1)
    table = EmbeddingBagConfig(name="user", num_embeddings=num_rows, embedding_dim=DIM, feature_names=["user"])
    return DistributedDataParallel(EmbeddingBagCollection(tables=[table]), process_group=group)


def features() -> KeyedJaggedTensor:
    """One id."""
    return KeyedJaggedTensor(keys=["user"], values=torch.tensor([1]), lengths=torch.tensor([1]))


def main(config: str, out: str, what: str) -> None:
    """Fill, and say how it went."""
    start()
    rank = dist.get_rank()
    stores: list[CountingStore] = []

    def open_watched(uri: str, options: dict[str, str] | None = None) -> Store:
        store = open_store(uri, options)
        if rank == 1 and what in ("read", "exit"):
            action = input_output_error if what == "read" else lambda location: os._exit(3)
            store = FaultStore(store, Fault("read_ranges", action, match="[!.]*"))
        stores.append(CountingStore(store, maps=False))
        return stores[-1]

    snapshots.open_store = open_watched
    num_rows = int(Path(config).with_suffix(".rows").read_text())
    if what == "part":
        error = refusal(lambda: embsnap.warm_start(own_model(num_rows), config))
        (Path(out) / f"{rank}.json").write_text(json.dumps({"kind": error}))
        return
    model = build({"user": ("rw", num_rows)}, "rowwise")
    arrays = held(model, model.fused_optimizer)
    for array in arrays.values():
        array[...] = UNTOUCHED
    outcome: dict[str, object] = {}
    if what == "arguments":
        outcome["refused"] = misfits(model, config, out)
    try:
        embsnap.warm_start(model, config + ".missing" * (what == "config" and rank == 1))
        outcome["num_rows"] = sum(len(array) for name, array in arrays.items() if "/weight" in name)
    except EmbsnapError as error:
        outcome |= {"kind": error.kind, "message": str(error)}
    if what == "read":
        outcome["refused"] = [
            refusal(lambda: embsnap.save(model, f"{out}/saved")),
            refusal(lambda: model.module.ebc(features())),
        ]
    outcome["untouched"] = all((array == UNTOUCHED).all() for array in arrays.values())
    read = [item for store in stores for item in store.bytes_read.items()]
    outcome["bytes_of_rows"] = sum(num_bytes for location, num_bytes in read if not location.startswith("."))
    (Path(out) / f"{rank}.json").write_text(json.dumps(outcome))
    if what != "exit":
        dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
