"""Remarks of other libraries that say nothing to who runs a command."""

from __future__ import annotations

import logging

__all__ = ["hush_torch"]


def hush_torch() -> None:
    """Keep torch from logging, at the first pooled lookup, that torchrec calls a function with an ambiguous name."""
    logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)
