"""What a run of pooled lookups is to do: tables, vocabularies and examples, found and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from embsnap.config.embedding import Pooling, StratifierConfig
from embsnap.errors import ErrorKind, IncompatibleError, UsageError
from embsnap.formats.pooled_files import check_pooled_destination
from embsnap.live.device import choose_device
from embsnap.live.pool_model import ModelOptions, PoolTables, find_tables
from embsnap.model.pooling import PoolReport
from embsnap.ops.pool.examples import ExampleColumns, Examples, check_examples, open_examples
from embsnap.ops.pool.rows import Unknown
from embsnap.ops.table_names import check_table_names

__all__ = ["PoolOptions", "PoolPlan", "plan_pool", "row_bytes"]


@dataclass(frozen=True, slots=True)
class PoolOptions:
    """What is pooled, and how."""

    model: ModelOptions = field(default_factory=ModelOptions)
    tables: tuple[str, ...] = ()
    """Empty for those of which the examples have a column."""
    features: Mapping[str, str] = field(default_factory=dict)
    """Column by table, where it is not the table's name."""
    weights: Mapping[str, str] = field(default_factory=dict)
    """Column of per-id weights by table."""
    kept: tuple[str, ...] = ()
    """Columns that are written beside the vectors."""
    strata: tuple[StratifierConfig, ...] = ()
    discrete_column: str = "discrete_features"
    unknown: Unknown = "skip"
    batch_size: int = 8192
    limit: int | None = None
    """Most examples."""
    device: str = "auto"
    compare: str | None = None
    """A second source: config or snapshot."""
    compared_vocabularies: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class PoolPlan:
    """Everything found and checked, nothing filled yet."""

    source: str
    examples: Examples
    tables: PoolTables
    compared: PoolTables | None
    options: PoolOptions
    device: str
    out: str | None
    destination: str | None

    @property
    def num_examples(self) -> int:
        """That would be pooled."""
        found, limit = self.examples.num_examples, self.options.limit
        return found if limit is None else min(found, limit)

    def report(self) -> PoolReport:
        """Of a dry run."""
        return PoolReport(
            source=self.source,
            examples=self.examples.uri,
            compared_with=self.options.compare,
            destination=self.destination,
            applied=False,
            device=self.device,
            num_files=len(self.examples.files),
            num_examples=self.num_examples,
            batch_size=self.options.batch_size,
            tables=(),
            strata=(),
            table_bytes=sum(
                table.num_embeddings * row_bytes(self.tables, table.name) for table in self.tables.config.tables
            ),
            lookup_seconds=0.0,
            seconds=0.0,
            bags_per_s=None,
            ids_per_s=None,
            row_bytes_per_s=None,
        )


def plan_pool(source: str, examples: str, out: str | None, options: PoolOptions) -> PoolPlan:
    """Find tables, vocabularies and examples, and check that they fit.

    Args:
        source: A config file, or a snapshot.
        examples: Parquet: a file, a directory or a glob.
        out: Where the vectors are to go; None writes none.
        options: What is pooled, and how.

    Raises:
        UsageError, NotFoundError, IncompatibleError, SnapshotError, StorageError: Something is missing or does not fit.
        RefusedError: `destination-taken`.
    """
    _check_strata(options.strata)
    storage = options.model.storage_options
    destination = None if out is None else check_pooled_destination(out, storage)
    device = choose_device(options.device)
    files = open_examples(examples, storage)
    wanted = options.tables or tuple(options.features) or None
    tables = find_tables(source, wanted, options.model)
    names = [table.name for table in tables.config.tables]
    if wanted is None:
        names = [name for name in names if name in files[0].names]
        if not names:
            raise _nothing_to_pool(source, files[0].names)
        tables = find_tables(source, names, options.model)
    check_table_names(options.features, names, "--feature")
    check_table_names(options.weights, names, "--weights")
    _check_written(options.kept, names, out)
    columns = ExampleColumns(
        features={name: options.features.get(name, name) for name in names},
        weights=options.weights,
        kept=options.kept,
        discrete=options.discrete_column if options.strata else None,
    )
    _check_weights(tables, columns)
    compared = None if options.compare is None else _compared(options, names, tables)
    return PoolPlan(
        source, check_examples(examples, files, columns), tables, compared, options, device, out, destination
    )


def _compared(options: PoolOptions, names: list[str], tables: PoolTables) -> PoolTables:
    assert options.compare is not None
    model = replace(
        options.model, at=None, vocabularies=options.compared_vocabularies, vocabulary_option="--compare-vocab"
    )
    compared = find_tables(options.compare, names, model)
    for a, b in zip(tables.config.tables, compared.config.tables, strict=True):
        if a.embedding_dim != b.embedding_dim:
            raise IncompatibleError(
                ErrorKind.SHAPE_MISMATCH,
                "the vectors of the two sources have different lengths",
                where=f"table {a.name}",
                expected=a.embedding_dim,
                found=b.embedding_dim,
            )
        if a.pooling is not b.pooling:
            raise UsageError(
                ErrorKind.BAD_OPTION,
                "the two sources pool in different ways, so that their vectors cannot be compared",
                where=f"table {a.name}",
                expected=f"pooling: {a.pooling}",
                found=b.pooling,
                hint="--pooling says how a snapshot's tables are pooled, a config's own pooling how its are",
            )
    return compared


def _check_strata(strata: tuple[StratifierConfig, ...]) -> None:
    doubled = _doubled([found.name for found in strata])
    if doubled:
        raise UsageError(
            ErrorKind.BAD_OPTION,
            "several strata have the same name",
            where=f"stratum {doubled[0]}",
            expected="a name for each",
            found=", ".join(f"{part.index}:{part.value}" for part in strata if part.name == doubled[0]),
            hint="--stratum NAME=INDEX:VALUE, with another NAME",
        )


def _doubled(names: list[str]) -> list[str]:
    """Those that stand there more than once."""
    return [name for name in dict.fromkeys(names) if names.count(name) > 1]


def _check_written(kept: tuple[str, ...], names: list[str], out: str | None) -> None:
    if out is None:
        if kept:
            problem, hint = "columns are kept beside vectors, and none are written", "leave it out, or give --out"
            raise UsageError(ErrorKind.BAD_OPTION, problem, where=f"--keep {kept[0]}", expected="--out URI", hint=hint)
        return
    doubled = _doubled([*kept, *names])
    if doubled:
        raise UsageError(
            ErrorKind.BAD_OPTION,
            "several columns of one name would be written",
            where=f"--keep {doubled[0]}",
            expected="columns of different names",
            found=f"the vectors of table {doubled[0]}" if doubled[0] in names else "the same --keep twice",
            hint="keep each column once; one that is named like a pooled table, rename in the examples first",
        )


def _check_weights(tables: PoolTables, columns: ExampleColumns) -> None:
    for table in tables.config.tables:
        if columns.weights and table.pooling is Pooling.MEAN:
            raise UsageError(
                ErrorKind.BAD_OPTION,
                "torch weighs no bags that are pooled by their mean",
                where=f"table {table.name}",
                expected="pooling: sum",
                found="mean",
                hint="leave the weights out, or pool that table in a run of its own",
            )


def _nothing_to_pool(source: str, names: tuple[str, ...]) -> UsageError:
    return UsageError(
        ErrorKind.NOTHING_TO_DO,
        "the examples have no column of a table's name, of those that have a vocabulary",
        where=source,
        found=f"columns {', '.join(names[:20])}",
        hint="--feature TABLE=COLUMN names a table's column, --vocab TABLE=URI its vocabulary",
    )


def row_bytes(tables: PoolTables, name: str) -> int:
    """Of one row of a table."""
    config = next(table for table in tables.config.tables if table.name == name)
    return config.embedding_dim * tables.dtypes[name].itemsize
