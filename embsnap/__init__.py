"""Embedding tables between two trainings: the snapshots that hold the rows, the vocabularies that name them.

Names are loaded on first use, so that importing `embsnap` costs nothing and only live names bring torch.
"""

from __future__ import annotations

from importlib import import_module

from embsnap.errors import (
    EmbsnapError,
    ErrorKind,
    GateError,
    IncompatibleError,
    NotFoundError,
    RefusedError,
    SnapshotError,
    StorageError,
    UsageError,
)

__all__ = [
    "EmbsnapError",
    "ErrorKind",
    "GateError",
    "IncompatibleError",
    "LargeEmbeddings",
    "NotFoundError",
    "RefusedError",
    "SmallEmbeddings",
    "SnapshotError",
    "StorageError",
    "UsageError",
    "__version__",
    "open_snapshot",
    "read_vocabulary",
]

__version__ = "0.1.0"

_HOMES = {
    "LargeEmbeddings": "embsnap.live.modules",
    "SmallEmbeddings": "embsnap.live.modules",
    "open_snapshot": "embsnap.formats.torchsnapshot.snapshot",
    "read_vocabulary": "embsnap.formats.vocabulary",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
