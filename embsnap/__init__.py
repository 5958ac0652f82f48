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
    "EmbeddingLogger",
    "EmbsnapError",
    "ErrorKind",
    "GateError",
    "IncompatibleError",
    "LargeEmbeddings",
    "LargeEmbeddingsConfig",
    "NotFoundError",
    "Placement",
    "Precision",
    "RefusedError",
    "SaveOptions",
    "SmallEmbeddings",
    "SnapshotError",
    "StorageError",
    "UsageError",
    "Vocab",
    "VocabIndex",
    "WarmstartOptions",
    "__version__",
    "async_save",
    "for_inference",
    "migration",
    "open_snapshot",
    "plan_warmstart",
    "read_vocabulary",
    "restore",
    "save",
    "shard_embeddings",
    "warm_start",
    "write_warmstart",
]

__version__ = "0.1.0"

_HOMES = {
    "EmbeddingLogger": "embsnap.live.embedding_logger",
    "LargeEmbeddings": "embsnap.live.modules",
    "LargeEmbeddingsConfig": "embsnap.config.embedding",
    "Placement": "embsnap.config.policies",
    "Precision": "embsnap.live.inference",
    "SaveOptions": "embsnap.live.save",
    "SmallEmbeddings": "embsnap.live.modules",
    "Vocab": "embsnap.ops.vocab",
    "VocabIndex": "embsnap.ops.vocab_index",
    "WarmstartOptions": "embsnap.ops.warmstart.plan",
    "async_save": "embsnap.live.save",
    "for_inference": "embsnap.live.inference",
    "migration": "embsnap.ops.migrate.builder",
    "open_snapshot": "embsnap.formats.torchsnapshot.snapshot",
    "plan_warmstart": "embsnap.ops.warmstart.plan",
    "read_vocabulary": "embsnap.formats.vocabulary",
    "restore": "embsnap.live.restore",
    "save": "embsnap.live.save",
    "shard_embeddings": "embsnap.live.sharding",
    "warm_start": "embsnap.live.warm_start",
    "write_warmstart": "embsnap.ops.warmstart.plan",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
