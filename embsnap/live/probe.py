"""A process that loads modules one by one, uses each, and says what happened: `python -m embsnap.live.probe MODULE…`.

It is a process of its own because a build that does not fit may take the interpreter down. Modules are imported by
name, one after the other, because whether that works is the question.
"""

from __future__ import annotations

import ctypes
import json
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

__all__ = ["MARK", "main"]

MARK = "embsnap-probe "
"""Begins each line that is meant for the parent: modules may print what they like beside it."""


def main(modules: list[str]) -> None:
    """Load and use each module, and write one line for each before the next is tried."""
    for module in modules:
        print(f"{MARK}{json.dumps({'module': module, **_try(module)})}", flush=True)


def _try(module: str) -> dict[str, Any]:
    try:
        loaded = import_module(module)
        return {"loaded": True, "facts": _USES[module](loaded) if module in _USES else {}}
    except ModuleNotFoundError as error:
        return {"loaded": False, "problem": str(error), "missing": error.name or ""}
    except Exception as error:
        summary = str(error).strip().splitlines() or [""]
        return {"loaded": False, "problem": f"{type(error).__name__}: {summary[0]}"}


def _use_torch(torch: Any) -> dict[str, str]:
    facts = {"cuda": torch.version.cuda or "", "driver": _driver()}
    try:
        count = torch.cuda.device_count()
        found = [torch.cuda.get_device_properties(index) for index in range(count)]
        facts["gpus"] = ", ".join(f"{gpu.name} ({gpu.total_memory / 2**30:.0f} GiB)" for gpu in found)
        if torch.version.cuda and not found:
            torch.cuda.init()
    except Exception as error:
        facts["gpu_problem"] = str(error).strip().splitlines()[0]
    return facts


def _driver() -> str:
    """The library of NVIDIA's driver that fbgemm-gpu's CUDA build is linked with, or nothing."""
    try:
        return str(ctypes.CDLL("libnvidia-ml.so.1")._name)
    except OSError:
        return ""


def _use_fbgemm(fbgemm_gpu: Any) -> dict[str, str]:
    torch = import_module("torch")
    for device in _devices(torch):
        lengths = torch.tensor([1, 2], device=device)
        torch.ops.fbgemm.asynchronous_complete_cumsum(lengths)
    return {}


def _use_torchrec(torchrec: Any) -> dict[str, str]:
    torch = import_module("torch")
    table = torchrec.EmbeddingBagConfig(name="t", num_embeddings=4, embedding_dim=4, feature_names=["t"])
    for device in _devices(torch):
        bags = torchrec.EmbeddingBagCollection(tables=[table], device=torch.device(device))
        ids, lengths = torch.tensor([1, 2, 3], device=device), torch.tensor([2, 1], device=device)
        bags(torchrec.KeyedJaggedTensor(keys=["t"], values=ids, lengths=lengths))["t"].sum().item()
    return {}


def _use_numba(numba: Any) -> dict[str, str]:
    numba.njit(lambda number: number + 1)(1)
    return {}


def _devices(torch: Any) -> list[str]:
    return ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


_USES: dict[str, Callable[[Any], dict[str, str]]] = {
    "fbgemm_gpu": _use_fbgemm,
    "numba": _use_numba,
    "torch": _use_torch,
    "torchrec": _use_torchrec,
}

if __name__ == "__main__":
    main(sys.argv[1:])
