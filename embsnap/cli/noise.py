"""Remarks of other libraries that say nothing to who runs a command."""

from __future__ import annotations

import logging
import warnings

__all__ = ["hush_torch"]


def hush_torch() -> None:
    """Keep torch from telling what torchrec calls by deprecated or ambiguous names, and torchrec what it ignores."""
    logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)
    logging.getLogger("torchrec").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch(rec)?\.")
    for message in ("._get_pg_default_device. will be", "Multiple backends are registered"):
        warnings.filterwarnings("ignore", message, UserWarning)
