"""Embedding tables: what a model holds, and where the rows come from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from embsnap.config.base import BaseConfig
from embsnap.config.initializer import InitializerConfig, UniformInit
from embsnap.config.numbers import AnyInt, Count, Index, NonNegativeFloat
from embsnap.config.optimizer import LearningRate, OptimizerConfig, SgdConfig
from embsnap.config.policies import ColumnStateRule, DataType, Mode, OptimizerStatePolicy, Pooling, ReservedPolicy
from embsnap.config.rows import ReservedRowsConfig, VocabColumns
from embsnap.errors import ErrorKind, NotFoundError

__all__ = [
    "ColumnStateRule",
    "DataType",
    "EmbeddingBagConfig",
    "EmbeddingOptimizerConfig",
    "EmbeddingSnapshot",
    "LargeEmbeddingsConfig",
    "Mode",
    "OptimizerStatePolicy",
    "Pooling",
    "ReservedPolicy",
    "ReservedRowsConfig",
    "SmallEmbeddingBagConfig",
    "SmallEmbeddingsConfig",
    "StratifierConfig",
    "VocabColumns",
]

_PRETRAINED = "pretrained: {emb_name: <table of the snapshot>, embedding_snapshot_uri: <URI>}"


def _table_name(name: str) -> str:
    if "." in name:
        raise ValueError(f"a table's name is a part of its state key and holds no '.' (found {name!r})")
    return name


def _unique(tables: Sequence[EmbeddingBagConfig] | Sequence[SmallEmbeddingBagConfig]) -> None:
    repeated = sorted(name for name, count in Counter(table.name for table in tables).items() if count > 1)
    if repeated:
        raise ValueError(f"each table needs a name of its own (found twice: {', '.join(repeated)})")


Text = Annotated[str, Field(min_length=1)]
TableName = Annotated[Text, AfterValidator(_table_name)]


class EmbeddingSnapshot(BaseConfig):
    """The old table that a table's rows come from."""

    emb_name: Text
    """Name of the table in the snapshot."""
    embedding_snapshot_uri: Text
    """URI of the torchsnapshot snapshot; `@latest` or `@<step>` at its end picks a step of a run."""
    vocab: Text | None = None
    """URI of the vocabulary that the snapshot was trained with; absent: the one that the snapshot itself names."""
    by_position: bool = False
    """Row i of the new table is row i of the old one, whatever the vocabularies say."""
    cast: bool = False
    """Whether rows may be converted to the table's `data_type`; otherwise another type is refused."""
    vocab_columns: VocabColumns | None = None
    """Columns of the old vocabulary, where they are not found by themselves."""

    @model_validator(mode="after")
    def _check_alignment(self) -> Self:
        if self.by_position and self.vocab is not None:
            raise ValueError("by_position uses no vocabulary: leave out by_position or vocab")
        return self


class EmbeddingBagConfig(BaseConfig):
    """One table."""

    name: TableName
    """Name of the table, and of its feature."""
    num_embeddings: Count
    """Rows."""
    embedding_dim: Count
    """Columns."""
    pretrained: EmbeddingSnapshot | None = None
    """Where its rows come from; absent: all of them are new."""
    vocab: Text | None = None
    """URI of its vocabulary: parquet files (directory, file or glob) that map entity ids to rows."""
    optimizer: OptimizerConfig | None = None
    """Its own optimizer; absent: the one common to all tables."""
    data_type: DataType | None = None
    """Element type; absent: that of the snapshot, or fp32 for a table without one."""
    pooling: Pooling = Pooling.SUM
    """How the rows of one bag become one vector."""
    initializer: InitializerConfig | None = None
    """What fills new rows; absent: uniform over ±1/√num_embeddings with seed 0."""
    optimizer_state: OptimizerStatePolicy = OptimizerStatePolicy.CARRY
    """Whether optimizer state follows the rows or starts anew."""
    column_state: ColumnStateRule = ColumnStateRule.MEAN
    """What row-wise optimizer state is made of, where each column shard of the old table kept its own."""
    reserved: ReservedRowsConfig | None = None
    """Rows that belong to no entity."""
    vocab_columns: VocabColumns | None = None
    """Columns of `vocab`, where they are not found by themselves."""

    @property
    def initializer_or_default(self) -> InitializerConfig:
        """The initializer, or torchrec's own: uniform over ±1/√num_embeddings."""
        return self.initializer or InitializerConfig(uniform=UniformInit())

    @field_validator("pretrained", mode="before")
    @classmethod
    def _explain_pretrained(cls, value: Any) -> Any:
        if isinstance(value, bool | str):
            raise ValueError(f"says where rows come from; write `{_PRETRAINED}` or leave it out")
        return value

    @field_validator("vocab", mode="before")
    @classmethod
    def _explain_vocab(cls, value: Any) -> Any:
        if isinstance(value, list | tuple | dict | set):
            raise ValueError(
                "is the URI of parquet files with a column of entity ids and a column of rows, not the entities "
                f"themselves; write them to a file and give its URI (found a {type(value).__name__})"
            )
        return value

    @model_validator(mode="after")
    def _check_parts_fit(self) -> Self:
        problems = list(_misfits(self))
        if problems:
            raise ValueError("; ".join(problems))
        return self


def _misfits(table: EmbeddingBagConfig) -> Iterable[str]:
    """What of a table's parts contradicts each other."""
    if table.reserved is not None and table.reserved.end > table.num_embeddings:
        yield f"reserved rows {table.reserved.rows} are beyond num_embeddings {table.num_embeddings}"
    if table.vocab is None:
        if table.vocab_columns is not None:
            yield "vocab_columns is given without vocab"
        if table.pretrained is not None and table.pretrained.vocab is not None:
            yield "pretrained.vocab is given without a vocab to align with: add vocab, or set pretrained.by_position"
    if table.initializer is None:
        return
    if table.initializer.needs_old_rows and table.pretrained is None:
        yield f"initializer {table.initializer.kind} is computed from old rows, and there is no pretrained"
    if table.initializer.donor is not None and table.vocab is None:
        yield "initializer donor needs vocabularies, and there is no vocab"


class EmbeddingOptimizerConfig(BaseConfig):
    """SGD for all tables."""

    learning_rate: LearningRate | None = None
    """Schedule; without it `init_learning_rate` holds throughout."""
    init_learning_rate: NonNegativeFloat
    """Learning rate at the start."""

    def as_optimizer(self) -> OptimizerConfig:
        """The same as an `OptimizerConfig`."""
        return OptimizerConfig(sgd=SgdConfig(lr=self.init_learning_rate), learning_rate=self.learning_rate)


class LargeEmbeddingsConfig(BaseConfig):
    """The tables of one EmbeddingBagCollection."""

    tables: Annotated[tuple[EmbeddingBagConfig, ...], Field(min_length=1)]
    """Each with a name of its own."""
    optimizer: EmbeddingOptimizerConfig | None = None
    """Optimizer of all tables, none of which has one of its own then."""
    tables_to_log: tuple[Text, ...] | None = None
    """Tables whose mean norm is logged: names, or state keys such as `model.ebc.embedding_bags.user.weight`."""

    @model_validator(mode="after")
    def _check_tables(self) -> Self:
        _unique(self.tables)
        doubled = [table.name for table in self.tables if table.optimizer is not None]
        if self.optimizer is not None and doubled:
            raise ValueError(
                f"optimizer is common to all tables; keep it, or the optimizers of these tables: {', '.join(doubled)}"
            )
        for key in self.tables_to_log or ():
            if _logged(key, self.tables) is None:
                names = ", ".join(table.name for table in self.tables)
                raise ValueError(f"tables_to_log names no table of this config: {key!r} (tables: {names})")
        return self

    def table(self, name: str) -> EmbeddingBagConfig:
        """The table of that name.

        Raises:
            NotFoundError: `no-such-table`.
        """
        by_name = {table.name: table for table in self.tables}
        if name in by_name:
            return by_name[name]
        close = get_close_matches(name, by_name, n=1)
        raise NotFoundError(
            ErrorKind.NO_SUCH_TABLE,
            "the config has no such table",
            where=name,
            expected=f"one of {', '.join(by_name)}",
            hint=close[0] if close else None,
        )

    def optimizer_of(self, name: str) -> OptimizerConfig | None:
        """The optimizer of a table: its own, or the common one, or None if there is neither.

        Raises:
            NotFoundError: `no-such-table`.
        """
        own = self.table(name).optimizer
        if own is not None or self.optimizer is None:
            return own
        return self.optimizer.as_optimizer()

    def logged_tables(self) -> tuple[str, ...]:
        """Names of the tables that `tables_to_log` asks for, each once, in its order."""
        names = (_logged(key, self.tables) for key in self.tables_to_log or ())
        return tuple(dict.fromkeys(name for name in names if name is not None))


def _logged(key: str, tables: Sequence[EmbeddingBagConfig]) -> str | None:
    """The table that a name or state key means."""
    for table in tables:
        if key == table.name:
            return table.name
    parts = key.replace("/", ".").split(".")
    for table in tables:
        if parts[-3:] in ([bag, table.name, "weight"] for bag in ("embedding_bags", "embeddings")):
            return table.name
    return None


class StratifierConfig(BaseConfig):
    """A part of the rows: those whose discrete feature at `index` equals `value`."""

    name: Text
    """Name of the stratum."""
    index: Index
    """Index among the discrete features."""
    value: AnyInt
    """What the feature is there."""


class SmallEmbeddingBagConfig(BaseConfig):
    """One small table, of one discrete feature."""

    name: TableName
    """Name of the table."""
    num_embeddings: Count
    """Rows."""
    embedding_dim: Count
    """Columns."""
    index: Index
    """Index of its feature among the discrete features."""


class SmallEmbeddingsConfig(BaseConfig):
    """Small tables that are a part of the model and share its optimizer."""

    tables: Annotated[tuple[SmallEmbeddingBagConfig, ...], Field(min_length=1)]
    """Each with a name of its own; their vectors are concatenated in this order."""

    @model_validator(mode="after")
    def _check_tables(self) -> Self:
        _unique(self.tables)
        return self
