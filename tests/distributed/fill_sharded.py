"""Run by torchrun: saves models sharded over these ranks, and fills others from what other jobs saved.

    torchrun --nproc-per-node 2 fill_sharded.py ROOT CASES

CASES is JSON: a list of `{"do": "save", …}`, `{"do": "fill", …}`, `{"do": "restore", …}` and `{"do": "refuse", …}`.
Saved are `ROOT/<name>`, by torchsnapshot, with random values, and `truth.<rank>.npz` beside it. Filled are the tables
of `ROOT/<name>.yaml`, or restored those of `ROOT/<snapshot>`; `ROOT/<name>.out` gets `filled.<rank>.npz`, what each
rank holds then, `trained.<rank>.npz`, the same after one step that touches each row of each table once, and
`result.<rank>.json`; where filling is refused, `error.<rank>.txt`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from sharded_models import DIM, build, held, optimizer_of, start
from torchrec import KeyedJaggedTensor
from torchrec.optim.keyed import CombinedOptimizer, KeyedOptimizer
from torchsnapshot import Snapshot

import embsnap
from embsnap.cli.output import to_json
from embsnap.errors import EmbsnapError
from embsnap.live.live_state import initialize_states
from embsnap.live.tables import all_tables


def save(root: Path, case: dict) -> None:
    """Save a model with random rows and optimizer state; what several ranks hold is the same on them."""
    model = build({name: tuple(table) for name, table in case["tables"].items()}, case["optimizer"])
    optimizer = optimizer_of(model, case["optimizer"])
    initialize_states(optimizer, [table for found in all_tables(model).values() for table in found])
    arrays = held(model, optimizer)
    for name, array in arrays.items():
        seed = np.frombuffer(name.encode(), np.uint8)
        array[...] = np.random.default_rng(seed).random(array.shape) if array.ndim else 100
    if isinstance(optimizer, KeyedOptimizer):
        optimizer = CombinedOptimizer([("fused_opt", optimizer)])
    Snapshot.take(str(root / case["name"]), {"model": model, "optimizer": optimizer})
    np.savez(root / case["name"] / f"truth.{dist.get_rank()}.npz", **arrays)


def fill(root: Path, case: dict) -> None:
    """Fill a model in place, or restore it, and train it for one step."""
    tables = {name: tuple(table) for name, table in case["tables"].items()}
    model = build(tables, case["optimizer"], dtensors=case.get("dtensors", False))
    optimizer = optimizer_of(model, case["optimizer"])
    given = optimizer if case["optimizer"] in ("adam", "numbered") else None
    before = addresses(held(model, optimizer))
    if case["do"] == "restore":
        result = embsnap.restore(model, str(root / case["snapshot"]), optimizer=given)
    else:
        result = embsnap.warm_start(model, str(root / f"{case['name']}.yaml"), optimizer=given)
    rank, out = dist.get_rank(), root / f"{case['name']}.out"
    out.mkdir(exist_ok=True)
    arrays = held(model, optimizer)
    assert addresses(arrays) == before
    np.savez(out / f"filled.{rank}.npz", **arrays)
    (out / f"result.{rank}.json").write_text(to_json(result))
    if case.get("train", True):
        train(model, optimizer, {name: rows for name, (_, rows) in tables.items()})
        np.savez(out / f"trained.{rank}.npz", **held(model, optimizer))


def refuse(root: Path, case: dict) -> None:
    """Fail to fill a model, of which nothing may change."""
    model = build({name: tuple(table) for name, table in case["tables"].items()}, case["optimizer"])
    arrays = held(model, optimizer_of(model, case["optimizer"]))
    before = {name: array.copy() for name, array in arrays.items()}
    out = root / f"{case['name']}.out"
    out.mkdir(exist_ok=True)
    try:
        embsnap.warm_start(model, str(root / f"{case['name']}.yaml"))
    except EmbsnapError as error:
        (out / f"error.{dist.get_rank()}.txt").write_text(str(error))
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, before[name])


def addresses(arrays: dict[str, np.ndarray]) -> dict[str, int]:
    """Where the weights lie in memory."""
    return {name: array.ctypes.data for name, array in arrays.items() if "/weight" in name and array.size}


def train(model: torch.nn.Module, optimizer: torch.optim.Optimizer, rows: dict[str, int]) -> None:
    """One step. Rank 0 looks every row up once, alone in its bag; each bag has the same gradient."""
    first = dist.get_rank() == 0
    num_bags = max(rows.values())
    values = [torch.arange(count if first else 0) for count in rows.values()]
    lengths = [(torch.arange(num_bags) < (count if first else 0)).long() for count in rows.values()]
    keys = [f"f_{name}" for name in rows]
    pooled = model.module.ebc(KeyedJaggedTensor(keys=keys, values=torch.cat(values), lengths=torch.cat(lengths))).wait()
    (pooled.values() * torch.linspace(0.5, 1.5, DIM).repeat(len(rows))).sum().backward()
    optimizer.step()


def main(root: str, cases: str) -> None:
    """One case after the other."""
    start()
    for case in json.loads(cases):
        {"save": save, "fill": fill, "restore": fill, "refuse": refuse}[case["do"]](Path(root), case)
        dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
