"""Embedding modules, built from their configuration.

Shape suffixes: B examples of a batch, F discrete features, D embedding_dim.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn
from torchrec.distributed.embeddingbag import ShardedEmbeddingBagCollection
from torchrec.modules import embedding_configs
from torchrec.modules.embedding_modules import EmbeddingBagCollection
from torchrec.optim.keyed import CombinedOptimizer
from torchrec.sparse.jagged_tensor import KeyedJaggedTensor, KeyedTensor

from embsnap.config.embedding import EmbeddingBagConfig, LargeEmbeddingsConfig, SmallEmbeddingsConfig
from embsnap.config.policies import Mode, Pooling
from embsnap.errors import ErrorKind, UsageError
from embsnap.live.optimizers import (
    FusedOptimizer,
    FusedState,
    ShardedFusedOptimizer,
    fuse_optimizer,
    fused_state,
    is_fused,
)
from embsnap.model.dtypes import DTYPES, DType

__all__ = ["LargeEmbeddings", "SmallEmbeddings"]

_POOLING = {
    Pooling.SUM: embedding_configs.PoolingType.SUM,
    Pooling.MEAN: embedding_configs.PoolingType.MEAN,
}
_DATA_TYPES = {
    "float16": embedding_configs.DataType.FP16,
    "bfloat16": embedding_configs.DataType.BF16,
}


class LargeEmbeddings(nn.Module):
    """Pooled lookups in the tables of one EmbeddingBagCollection: KeyedJaggedTensor in, KeyedTensor out.

    Each table has one feature, of its own name. The weight of a table has the state key
    `ebc.embedding_bags.<table>.weight`. Pooled values are float32 whatever the table's dtype is; a float16 or bfloat16
    table is pooled in its own dtype and rounded to it first, as torch's EmbeddingBag does.

    Without sharding, the gradient of a table is as large as the table. To train large tables, build it on the meta
    device and shard it, with `embsnap.shard_embeddings` or with torchrec itself, which turns the optimizers that are
    attached here into fused kernels.

    Attributes:
        config: What it was built from.
        ebc: The EmbeddingBagCollection.
        surgery_cut_point: The identity on the pooled lookup: a name to cut the model at for serving.
        mode: What it was built for.
    """

    def __init__(
        self,
        config: LargeEmbeddingsConfig,
        *,
        device: torch.device | str = "cpu",
        mode: Mode = Mode.TRAIN,
        dtypes: Mapping[str, DType] | None = None,
        is_weighted: bool = False,
    ) -> None:
        """Build the module; its rows are uninitialised memory, for the caller to fill.

        Args:
            config: Its tables and their optimizers.
            device: Where the tables live; `meta` allocates nothing, for torchrec to shard.
            mode: `train` fuses each table's optimizer into the backward pass (a table without one keeps an ordinary
                gradient); `evaluate` and `inference` put the module into eval mode, without gradients.
            dtypes: Table name → dtype, for tables whose config says none; float32 for all others.
            is_weighted: Whether each id comes with a weight that its row is multiplied by.

        Raises:
            UsageError: A table's name is one that torch keeps for itself.
        """
        super().__init__()
        self.mode = Mode(mode)
        self.config = config
        self.ebc = _build_collection(config.tables, torch.device(device), dtypes or {}, is_weighted)
        self.surgery_cut_point = nn.Identity()
        self.register_load_state_dict_pre_hook(_check_not_assigned)
        self.register_load_state_dict_post_hook(_fuse_again)
        self._adopt_parameters()
        if self.mode is not Mode.TRAIN:
            self.eval().requires_grad_(False)

    def forward(self, sparse_features: KeyedJaggedTensor) -> KeyedTensor:
        """Look up and pool the bags of each table's feature.

        Args:
            sparse_features: Row indices, int64 or int32; features may come in any order, and others than those of
                the tables are ignored.

        Returns:
            Pooled values float32 `[B, sum of D]`, keyed by table in the order of the config.
        """
        if self.mode is Mode.TRAIN:
            return self.surgery_cut_point(self.ebc(sparse_features))
        with torch.no_grad():  # the kernels of a sharded collection train its rows wherever a gradient reaches them
            return self.surgery_cut_point(self.ebc(sparse_features))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        for weight in self._fused_weights().values():
            _check_stays(weight, fn)
        applied: Self = super()._apply(fn, recurse)
        self._adopt_parameters()
        return applied

    def __getstate__(self) -> dict[str, Any]:
        """What is copied or pickled: the module, and the optimizers that torch leaves out."""
        states = {table: fused_state(weight) for table, weight in self._fused_weights().items()}
        return self.__dict__ | {"_fused_states": states}

    def __setstate__(self, state: dict[str, Any]) -> None:
        states = state.pop("_fused_states")
        super().__setstate__(state)
        self._adopt_parameters(states)

    def weight(self, table: str) -> nn.Parameter:
        """The weight of a table, `[num_embeddings, embedding_dim]`."""
        weight: nn.Parameter = self.ebc.embedding_bags[table].weight
        return weight

    def fused_optimizer(self) -> FusedOptimizer | ShardedFusedOptimizer:
        """The optimizers of the tables, keyed `ebc.embedding_bags.<table>.weight`; without any outside of `train`.

        Once the module is sharded, those that are part of FBGEMM's kernels on this rank. `set_step` drives their
        learning rates.

        Raises:
            UsageError: `bad-config`: see `ShardedFusedOptimizer`.
        """
        configs = {_key(table.name): self.config.optimizer_of(table.name) for table in self.config.tables}
        schedules = {key: config for key, config in configs.items() if config is not None}
        if isinstance(self.ebc, ShardedEmbeddingBagCollection):
            kernels = self.ebc.fused_optimizer if self.mode is Mode.TRAIN else CombinedOptimizer([])
            return ShardedFusedOptimizer(kernels, "ebc", schedules)
        return FusedOptimizer(self, schedules)

    def _fused_weights(self) -> dict[str, nn.Parameter]:
        """Table → weight, of those that the backward pass updates; none of a sharded or quantised collection."""
        if not isinstance(self.ebc, EmbeddingBagCollection):
            return {}
        weights = {table.name: self.weight(table.name) for table in self.config.tables}
        return {table: weight for table, weight in weights.items() if is_fused(weight)}

    def _adopt_parameters(self, states: Mapping[str, FusedState] = {}) -> None:
        """Fuse the optimizers of parameters that are new: torch forgets them where it replaces or copies one."""
        if not isinstance(self.ebc, EmbeddingBagCollection):
            return
        self.ebc._device = next(self.parameters()).device  # which torch leaves as it was
        for table in self.config.tables if self.mode is Mode.TRAIN else ():
            weight, optimizer = self.weight(table.name), self.config.optimizer_of(table.name)
            if optimizer is not None and not is_fused(weight):
                fuse_optimizer(weight, optimizer, states.get(table.name))


def _fuse_again(module: nn.Module, incompatible_keys: object) -> None:
    """After `load_state_dict(assign=True)`, which gives a module of the meta device its memory."""
    assert isinstance(module, LargeEmbeddings)
    module._adopt_parameters()


def _check_not_assigned(
    module: nn.Module, state_dict: Mapping[str, Any], prefix: str, local_metadata: Mapping[str, Any], *_: object
) -> None:
    """Refuse `load_state_dict(assign=True)` of tables whose optimizer has state already."""
    assert isinstance(module, LargeEmbeddings)
    if not local_metadata.get("assign_to_params_buffers"):
        return
    for table, weight in module._fused_weights().items():
        if prefix + _key(table) in state_dict and not weight.is_meta:
            raise UsageError(
                ErrorKind.BAD_OPTION,
                "a table cannot be replaced once an optimizer is fused into its backward pass",
                where=f"LargeEmbeddings, table {table}",
                expected="load_state_dict without assign=True",
                found="assign=True",
                hint="without it, the values are copied into the table, and the optimizer keeps its state",
            )


def _check_stays(weight: nn.Parameter, fn: Callable[[Tensor], Tensor]) -> None:
    """Refuse to move or cast a table whose optimizer has state already."""
    like = torch.empty(0, dtype=weight.dtype, device=weight.device)
    moved = like if weight.is_meta else fn(like)
    if (moved.device, moved.dtype) != (like.device, like.dtype):
        raise UsageError(
            ErrorKind.BAD_OPTION,
            "tables cannot be moved or cast once optimizers are fused into their backward pass",
            where="LargeEmbeddings",
            expected=f"{like.dtype} on {like.device}, as it was built",
            found=f"{moved.dtype} on {moved.device}",
            hint='build it where it is to be: LargeEmbeddings(config, device="cuda"), with data_type',
        )


def _key(table: str) -> str:
    return f"ebc.embedding_bags.{table}.weight"


def _build_collection(
    tables: Sequence[EmbeddingBagConfig], device: torch.device, dtypes: Mapping[str, DType], is_weighted: bool
) -> EmbeddingBagCollection:
    """An EmbeddingBagCollection that was not initialised: its bytes are written once, by whoever fills it."""
    table_dtypes = {table.name: _dtype(table, dtypes) for table in tables}
    _check_names(table_dtypes)
    ebc = EmbeddingBagCollection(
        device=torch.device("meta"),
        is_weighted=is_weighted,
        tables=[
            embedding_configs.EmbeddingBagConfig(
                name=table.name,
                num_embeddings=table.num_embeddings,
                embedding_dim=table.embedding_dim,
                feature_names=[table.name],
                pooling=_POOLING[table.pooling],
                data_type=_DATA_TYPES.get(table_dtypes[table.name].name, embedding_configs.DataType.FP32),
            )
            for table in tables
        ],
    )
    for name, dtype in table_dtypes.items():  # torchrec makes float16 of all that is not float32
        ebc.embedding_bags[name].to(getattr(torch, dtype.name))
    if device.type != "meta":
        ebc.to_empty(device=device)
    return ebc


def _dtype(table: EmbeddingBagConfig, dtypes: Mapping[str, DType]) -> DType:
    return table.data_type.dtype if table.data_type is not None else dtypes.get(table.name, DTYPES["float32"])


def _check_names(names: Iterable[str]) -> None:
    """Tables become members of a ModuleDict, which refuses the names of its own attributes."""
    taken = [name for name in names if hasattr(nn.ModuleDict, name) or hasattr(nn.ModuleDict(), name)]
    if taken:
        raise UsageError(
            ErrorKind.BAD_CONFIG,
            "torch keeps this name for itself",
            where=f"table {taken[0]}",
            expected="a name that is no attribute of torch.nn.ModuleDict",
            found=repr(taken[0]),
            hint=f"name the table {taken[0]}_table",
        )


class SmallEmbeddings(nn.Module):
    """Looks up discrete features in small tables, trained like any other layer of the model."""

    def __init__(self, config: SmallEmbeddingsConfig, *, device: torch.device | str = "cpu") -> None:
        """Build the tables, initialised as `torch.nn.Embedding` does.

        Raises:
            UsageError: A table's name is one that torch keeps for itself.
        """
        super().__init__()
        _check_names(table.name for table in config.tables)
        self._index_of = {table.name: table.index for table in config.tables}
        self.embeddings = nn.ModuleDict(
            {
                table.name: nn.Embedding(table.num_embeddings, table.embedding_dim, device=device)
                for table in config.tables
            }
        )

    def forward(self, discrete_features_BF: Tensor) -> Tensor:
        """Embed the configured features.

        Args:
            discrete_features_BF: Integers `[B, F]`; column `index` of a table holds its rows, `[0, num_embeddings)`.

        Returns:
            float32 `[B, sum of D]`: the tables' rows side by side, in the order of the config.

        Raises:
            IndexError: There is no such column; or, on a CPU, a feature is outside of its table (CUDA fails for good).
        """
        rows = [self.embeddings[name](discrete_features_BF[:, index]) for name, index in self._index_of.items()]
        return torch.cat(rows, dim=1)
