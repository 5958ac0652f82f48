"""The model of a run of pooled lookups: built from a config or from a snapshot's own tables, and filled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from embsnap.config.embedding import (
    DataType,
    EmbeddingBagConfig,
    EmbeddingSnapshot,
    LargeEmbeddingsConfig,
    Mode,
    OptimizerStatePolicy,
    Pooling,
)
from embsnap.config.environ import config_environ
from embsnap.errors import ErrorKind, IncompatibleError, NotFoundError, UsageError
from embsnap.formats.torchsnapshot.snapshot import open_snapshot
from embsnap.live.modules import LargeEmbeddings
from embsnap.live.warm_start import warm_start
from embsnap.model.dtypes import DTYPES, DType
from embsnap.model.progress import Progress
from embsnap.ops.config import read_large_embeddings
from embsnap.ops.vocab_index import VocabIndex
from embsnap.ops.warmstart.plan import WarmstartOptions
from embsnap.ops.warmstart.sources import Sources

__all__ = ["ModelOptions", "PoolModel", "PoolTables", "find_tables"]

_CONFIGS = (".yaml", ".yml", ".json")


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """What a source is read with."""

    at: str | None = None
    """Where the configuration stands in a config file."""
    vocabularies: Mapping[str, str] = field(default_factory=dict)
    """URI by table, in place of what the config or the sidecar names."""
    vocabulary_option: str = "--vocab"
    """What gives them, for hints."""
    pooling: Pooling = Pooling.SUM
    """Of a snapshot's tables, of which nothing else says how they are pooled."""
    threads: int = 2
    memory_budget: int | None = None
    storage_options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class PoolTables:
    """The tables of a source, not filled yet."""

    config: LargeEmbeddingsConfig
    vocabularies: Mapping[str, EmbeddingBagConfig]
    """By table, a config that names its vocabulary."""
    dtypes: Mapping[str, DType]
    options: ModelOptions

    def fill(self, *, device: str, is_weighted: bool, progress: Progress) -> PoolModel:
        """Build the module and fill it; index the vocabularies.

        Raises:
            EmbsnapError: As `warm_start`.
        """
        options = self.options
        module = LargeEmbeddings(
            self.config, device=device, mode=Mode.EVALUATE, dtypes=self.dtypes, is_weighted=is_weighted
        )
        plan = WarmstartOptions(
            threads=options.threads, memory_budget=options.memory_budget, storage_options=options.storage_options
        )
        warm_start(module, self.config, options=plan, progress=progress)
        sources = Sources(options=options.storage_options, threads=options.threads, progress=progress)
        indexes = {}
        for name, table in self.vocabularies.items():
            vocabulary, _ = sources.new_vocabulary(table)
            indexes[name] = VocabIndex.build(vocabulary, threads=options.threads)
            _check_fits(table, int(vocabulary.rows_N.max(initial=-1)))
        return PoolModel(self, module, indexes)


@dataclass(frozen=True, slots=True, eq=False)
class PoolModel:
    """A module that is ready for lookups."""

    tables: PoolTables
    module: LargeEmbeddings
    indexes: Mapping[str, VocabIndex]
    """By table."""


def find_tables(uri: str, wanted: Sequence[str] | None, options: ModelOptions) -> PoolTables:
    """The tables of a config file (`.yaml`, `.yml`, `.json`) or of a snapshot, each with its vocabulary.

    Args:
        uri: Of the source.
        wanted: Names of the tables; None for all that have a vocabulary.
        options: How it is read.

    Raises:
        NotFoundError: There is no such source or table.
        IncompatibleError: `no-vocabulary`: nothing says which entity has which row; or a dtype that cannot be pooled.
        SnapshotError, StorageError: It cannot be read.
    """
    if uri.endswith(_CONFIGS):
        config = read_large_embeddings(uri, at=options.at, environ=config_environ(), options=options.storage_options)
        tables = list(config.tables)
    elif options.at is not None:
        problem, found = "only a config file has places for configurations", f"--at {options.at}"
        raise UsageError(ErrorKind.BAD_OPTION, problem, where=uri, expected=", ".join(_CONFIGS), found=found)
    else:
        tables = _snapshot_tables(uri, options)
    names = [table.name for table in tables]
    for name in (*(wanted or ()), *options.vocabularies):
        if name not in names:
            raise NotFoundError(
                ErrorKind.NO_SUCH_TABLE,
                "there is no such table",
                where=f"table {name} of {uri}",
                expected=f"one of {', '.join(names)}",
            )
    named = {table.name: _with_vocabulary(table, options) for table in tables}
    chosen = [name for name in names if (name in wanted if wanted is not None else named[name].vocab is not None)]
    for name in chosen or names[:1]:
        if named[name].vocab is None:
            raise IncompatibleError(
                ErrorKind.NO_VOCABULARY,
                "nothing says which entity has which row",
                where=f"table {name} of {uri}",
                hint=f"{options.vocabulary_option} {name}=URI",
            )
    kept = tuple(_to_fill(named[name]) for name in chosen)
    dtypes = {table.name: _dtype(table, options) for table in kept}
    return PoolTables(LargeEmbeddingsConfig(tables=kept), {name: named[name] for name in chosen}, dtypes, options)


def _with_vocabulary(table: EmbeddingBagConfig, options: ModelOptions) -> EmbeddingBagConfig:
    given = options.vocabularies.get(table.name)
    return table if given is None else table.model_copy(update={"vocab": given, "vocab_columns": None})


def _to_fill(table: EmbeddingBagConfig) -> EmbeddingBagConfig:
    """Rows that keep their places need no vocabulary to be filled."""
    stays = table.pretrained is not None and table.pretrained.by_position
    return table.model_copy(update={"vocab": None}) if stays else table


def _dtype(table: EmbeddingBagConfig, options: ModelOptions) -> DType:
    """What its rows are, which the config need not say.

    Raises:
        UsageError: `bad-config`: no EmbeddingBagCollection holds it.
    """
    if table.data_type is not None or table.pretrained is None:
        return DTYPES["float32"] if table.data_type is None else table.data_type.dtype
    snapshot = open_snapshot(table.pretrained.embedding_snapshot_uri, options=options.storage_options)
    dtype = snapshot.table(table.pretrained.emb_name, with_state=False).weight.dtype
    if dtype.name not in {choice.dtype.name for choice in DataType}:
        raise UsageError(
            ErrorKind.BAD_CONFIG,
            "an EmbeddingBagCollection cannot hold this dtype",
            where=f"table {table.name}",
            expected=", ".join(choice.dtype.name for choice in DataType),
            found=dtype,
            hint="pool from a config with data_type and pretrained.cast: true",
        )
    return dtype


def _check_fits(table: EmbeddingBagConfig, last_row: int) -> None:
    if last_row >= table.num_embeddings:
        raise IncompatibleError(
            ErrorKind.ROW_OUT_OF_RANGE,
            "the vocabulary has rows that the table has not",
            where=f"table {table.name}",
            expected=f"rows below {table.num_embeddings}",
            found=last_row,
            hint="give the vocabulary that the table was trained with",
        )


def _snapshot_tables(uri: str, options: ModelOptions) -> list[EmbeddingBagConfig]:
    """A snapshot's tables as a config that keeps every row where it is."""
    snapshot = open_snapshot(uri, options=options.storage_options)
    recorded = {} if snapshot.sidecar is None else snapshot.sidecar.tables
    return [
        EmbeddingBagConfig(
            name=table.name,
            num_embeddings=table.num_embeddings,
            embedding_dim=table.embedding_dim,
            pretrained=EmbeddingSnapshot(
                emb_name=table.weight.path, embedding_snapshot_uri=snapshot.uri, by_position=True
            ),
            vocab=recorded[table.name].uri if table.name in recorded else None,
            pooling=options.pooling,
            optimizer_state=OptimizerStatePolicy.RESET,
        )
        for table in snapshot.tables()
    ]
