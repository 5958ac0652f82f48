"""Run by torchrun: saves sharded models with embsnap, and the truth beside them.

    torchrun --nproc-per-node 2 save_models.py OUT CASE...

Each case is a snapshot `OUT/<case>` of a model of `write_snapshots.py`, and `OUT/<case>.truth`, but for three:
`failing` saves where the last rank's disk is full, and every rank writes the error that it gets into
`OUT/failing.<rank>.txt`; `killed` ends the last rank, and the job with it, while it writes; `logger` writes what an
`EmbeddingLogger` measures on each rank into `OUT/logger.<rank>.json`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torchrec.optim.rowwise_adagrad import RowWiseAdagrad
from write_snapshots import SHARDED, dense_kernel, dtensors, fused, local_shards, truth

import embsnap
from embsnap.live import save as saving
from embsnap.storage.uri import open_store
from embsnap.testing.faults import Fault, FaultStore, disk_full

SHARDED_STATE = embsnap.SaveOptions(optimizer_state="sharded")
BUILDERS = {
    "tensor": lambda: fused(RowWiseAdagrad, SHARDED),
    "sharded": lambda: fused(RowWiseAdagrad, SHARDED),
    "adagrad": lambda: fused(torch.optim.Adagrad, SHARDED),
    "async": lambda: fused(RowWiseAdagrad, SHARDED),
    "half": lambda: fused(RowWiseAdagrad, ["t_bf16", "t_fp16", "t_one"], trained=False),
    "dense_kernel": lambda: dense_kernel(["t_rw", "t_tw", "t_cw"]),
    "dtensors": dtensors,
}


def save_case(name: str, out: Path) -> None:
    app_state = BUILDERS[name]()
    arrays = truth(app_state)
    if name == "async":
        pending = embsnap.async_save(app_state, str(out / name))
        for value in app_state["model"].state_dict().values():
            for _, tensor in local_shards(value):
                tensor.detach().fill_(-1.0)
        written = pending.wait(120)
    else:
        options = SHARDED_STATE if name == "sharded" else embsnap.SaveOptions()
        written = embsnap.save(app_state, str(out / name), options=options)
    digests = [None] * dist.get_world_size()
    dist.all_gather_object(digests, written.metadata_sha256)
    assert len(set(digests)) == 1, digests
    save_arrays(out / name, arrays)


def save_on_a_full_disk(out: Path) -> None:
    """The last rank's writers fail."""
    rank, last = dist.get_rank(), dist.get_world_size() - 1
    faults = [Fault("write", disk_full)] if rank == last else []
    saving.open_store = lambda uri, options: FaultStore(open_store(uri, options), *faults)
    try:
        embsnap.save(BUILDERS["tensor"](), str(out / "failing"))
    except embsnap.EmbsnapError as error:
        (out / f"failing.{rank}.txt").write_text(f"{error.kind} {error}")
    finally:
        saving.open_store = open_store


def die_while_saving(out: Path) -> None:
    """The last rank ends without a word when it has written some of its bytes."""

    def die(location: str) -> None:
        os._exit(9)

    rank, last = dist.get_rank(), dist.get_world_size() - 1
    faults = [Fault("close", die)] if rank == last else []
    saving.open_store = lambda uri, options: FaultStore(open_store(uri, options), *faults)
    embsnap.save(BUILDERS["tensor"](), str(out / "killed"))


def log_statistics(out: Path) -> None:
    """Of the model of the case `adagrad`, with a dead row that crosses column shards."""
    model = BUILDERS["adagrad"]()["model"]
    for key, value in model.state_dict().items():
        for offsets, tensor in local_shards(value) if "t_cw" in key or "t_rw" in key else ():
            if offsets[0] == 0:
                tensor.detach()[1] = 0.0
    logged: list[object] = []
    logger = embsnap.EmbeddingLogger(model, SHARDED, every=1, log=lambda step, found: logged.append(step))
    measured = logger.step(3)
    logger.close()
    assert logged == ([3] if dist.get_rank() == 0 else [])
    (out / f"logger.{dist.get_rank()}.json").write_text(json.dumps(measured))
    save_arrays(out / "logger", truth({"model": model}))


def save_arrays(directory: Path, arrays: dict[str, np.ndarray]) -> None:
    truth_directory = directory.with_name(f"{directory.name}.truth")
    truth_directory.mkdir(exist_ok=True)
    np.savez(truth_directory / f"truth.{dist.get_rank()}.npz", **arrays)


def main(out: Path, names: list[str]) -> None:
    dist.init_process_group("gloo")
    for name in names:
        if name == "failing":
            save_on_a_full_disk(out)
        elif name == "killed":
            die_while_saving(out)
        elif name == "logger":
            log_statistics(out)
        else:
            save_case(name, out)
        dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
