"""Run by torchrun: restores snapshots that embsnap wrote into sharded models, and saves what each rank then holds.

    torchrun --nproc-per-node 2 restore_written.py TABLE,TABLE... SNAPSHOT OUT [SNAPSHOT OUT]...

`OUT/truth.<rank>.npz` holds every local shard of the model under `<logical path>|<offsets>`, 16-bit floats as their
bits, and `extra_state/step`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torchrec.optim.rowwise_adagrad import RowWiseAdagrad
from torchsnapshot import Snapshot, StateDict
from write_snapshots import local_shards, sharded_model, truth

NOT_RESTORED = -9.0


def main(names: str, *places: str) -> None:
    """One after the other."""
    dist.init_process_group("gloo")
    for snapshot, out in zip(places[::2], places[1::2], strict=True):
        restore(snapshot, Path(out), names.split(","))
    dist.barrier()
    dist.destroy_process_group()


def restore(snapshot: str, out: Path, names: list[str]) -> None:
    """Every value that is not restored stays -9."""
    model = sharded_model(names, RowWiseAdagrad)
    for value in model.state_dict().values():
        for _, tensor in local_shards(value):
            with torch.no_grad():
                tensor.fill_(NOT_RESTORED)
    extra_state = StateDict(step=-1)
    Snapshot(snapshot).restore({"model": model, "extra_state": extra_state})
    arrays = truth({"model": model})
    arrays["extra_state/step|"] = np.array(extra_state["step"])
    out.mkdir(exist_ok=True)
    np.savez(out / f"truth.{dist.get_rank()}.npz", **arrays)


if __name__ == "__main__":
    main(*sys.argv[1:])
