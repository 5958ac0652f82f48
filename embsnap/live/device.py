"""Which device a live model goes to."""

from __future__ import annotations

import torch

from embsnap.errors import ErrorKind, UsageError

__all__ = ["choose_device"]


def choose_device(name: str) -> str:
    """`cpu`, `cuda` (with an index), or for `auto` CUDA where there is one.

    Raises:
        UsageError: `bad-option`: there is no such device.
    """
    num_cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return "cuda" if num_cuda else "cpu"
    cuda = ["cuda", *(f"cuda:{index}" for index in range(num_cuda))] if num_cuda else []
    if name not in ("cpu", *cuda):
        raise UsageError(
            ErrorKind.BAD_OPTION,
            "there is no such device that torch can use",
            where="--device",
            expected=", ".join(("auto", "cpu", *cuda)),
            found=name,
            hint="`embsnap doctor` tells what torch sees",
        )
    return name
