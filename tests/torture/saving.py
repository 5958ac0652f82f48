"""`embsnap.save` of a live module, as if it were a command."""

from __future__ import annotations

from functools import cache

import torch
from torchrec import EmbeddingBagCollection, EmbeddingBagConfig

import embsnap
from embsnap.cli.failures import describe
from embsnap.live.save import SaveOptions

__all__ = ["save"]

_NUM_ROWS, _DIM = 40_000, 16


def save(uri: str, timeout_s: str) -> int:
    """Save the module; the exit code, with a message on stderr, that a command would end with."""
    try:
        embsnap.save(_module(), uri, options=SaveOptions(storage_options={"timeout": timeout_s}))
    except BaseException as error:
        failure = describe(error)
        failure.show(as_json=False)
        return failure.exit_code
    return 0


@cache
def _module() -> torch.nn.Module:
    """Two tables with the same rows every time; made once, so that all children share it."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    tables = [
        EmbeddingBagConfig(name=name, num_embeddings=_NUM_ROWS, embedding_dim=_DIM, feature_names=[name])
        for name in ("user", "post")
    ]
    module = torch.nn.Module()
    module.ebc = EmbeddingBagCollection(tables=tables, device=torch.device("cpu"))
    with torch.no_grad():
        for weight in module.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator))
    return module
