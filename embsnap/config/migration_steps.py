"""The steps of a migration, one model each. Row ranges are half-open, tables are named as in the snapshot so far."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from embsnap.config.base import BaseConfig, OneOf
from embsnap.config.embedding import TableName, Text
from embsnap.config.initializer import InitializerConfig
from embsnap.config.numbers import AnyFloat, Count, Index, NonNegativeFloat, PositiveFloat
from embsnap.config.policies import OptimizerStatePolicy
from embsnap.config.rows import ReservedRowsConfig, VocabColumns

__all__ = [
    "CastStep",
    "CastType",
    "ConflictRule",
    "CopyStep",
    "DimMethod",
    "DimStep",
    "DropStep",
    "KeepStep",
    "MergeStep",
    "NormalizeStep",
    "OptimizerStateStep",
    "PartConfig",
    "Placing",
    "PruneStep",
    "RenameStep",
    "RepairStep",
    "ResizeStep",
    "RestRule",
    "RevocabStep",
    "ShardStep",
    "ShrinkRule",
    "SplitStep",
    "StateForm",
    "Tables",
    "VocabStep",
]


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Tables = Annotated[tuple[Text, ...], BeforeValidator(_listed), Field(min_length=1)]
"""Names of tables; a single one may stand alone."""


class CastType(StrEnum):
    """Element types that rows can be cast to."""

    FP64 = "fp64"
    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"
    INT8 = "int8"
    """Fused 8-bit rows as FBGEMM and `torch.ops.quantized` keep them: D values, then scale and bias as fp32."""


class ShrinkRule(StrEnum):
    """What may be cut off a table."""

    UNHELD = "unheld"
    """Only rows that no entity of its vocabulary holds."""
    TRUNCATE = "truncate"
    """Whatever is there; entities of those rows leave the vocabulary."""


class DimMethod(StrEnum):
    """How rows get another width."""

    TRUNCATE = "truncate"
    PAD = "pad"
    PCA = "pca"
    MATRIX = "matrix"


class ConflictRule(StrEnum):
    """What becomes of an entity that several merged tables have."""

    REFUSE = "refuse"
    MEAN = "mean"
    COUNT = "count"
    """The mean, weighted by the counts of the vocabularies."""
    NEWEST = "newest"
    """The row of the table whose vocabulary has seen it last."""
    PRIORITY = "priority"
    """The row of the table that is listed first."""


class RestRule(StrEnum):
    """What becomes of entities that no part of a split takes."""

    REFUSE = "refuse"
    DROP = "drop"


class Placing(StrEnum):
    """How the rows of a table lie over the ranks of the written snapshot."""

    KEEP = "keep"
    """As they lay in the old one, as far as there are as many ranks."""
    ROW_WISE = "row-wise"
    TABLE_WISE = "table-wise"
    COLUMN_WISE = "column-wise"


class StateForm(StrEnum):
    """How optimizer state is written."""

    TENSOR = "tensor"
    SHARDED = "sharded"
    DROP = "drop"


class RenameStep(BaseConfig):
    """Other names for tables, or for the modules that hold them; optimizer state follows."""

    tables: dict[Text, TableName] = Field(default_factory=dict)
    """Old name → new name. Names may be exchanged."""
    prefix: dict[Text, Text] = Field(default_factory=dict)
    """`APP_KEY/MODULE_PATH` → another one, for every entry below it: `{model/ebc: model/large.ebc}`."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.tables and not self.prefix:
            raise ValueError("give tables or prefix")
        for prefix in (*self.prefix, *self.prefix.values()):
            if not all(prefix.partition("/")):
                raise ValueError(f"a prefix is APP_KEY/MODULE_PATH, such as model/ebc (found {prefix})")
        return self


class DropStep(BaseConfig):
    """Leave tables out."""

    tables: Tables


class KeepStep(BaseConfig):
    """Leave all other tables out."""

    tables: Tables


class CopyStep(BaseConfig):
    """A second copy of a table under another name, or a table of another snapshot."""

    table: Text
    to: TableName
    """Its name in the new snapshot."""
    source: Text | None = None
    """URI of the snapshot to take it from; absent: this one."""


class VocabStep(BaseConfig):
    """Say which vocabulary a table's rows belong to. No row moves."""

    table: Text
    vocab: Text
    columns: VocabColumns | None = None


class RevocabStep(BaseConfig):
    """Move every row to where its entity is in another vocabulary, or where a row map says."""

    table: Text
    vocab: Annotated[Text | None, OneOf("where to")] = None
    """URI of the new vocabulary."""
    remap: Annotated[Text | None, OneOf("where to")] = None
    """URI of a row map."""
    rows: Count | None = None
    """Rows of the new table; absent: what the vocabulary declares, or its largest row and one."""
    columns: VocabColumns | None = None
    """Columns of `vocab`."""
    initializer: InitializerConfig | None = None
    """What fills the rows of new entities."""
    reserved: ReservedRowsConfig | None = None
    optimizer_state: Literal[OptimizerStatePolicy.CARRY, OptimizerStatePolicy.RESET] = OptimizerStatePolicy.CARRY

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.remap is not None and (self.rows is None or self.columns is not None):
            raise ValueError("a remap needs rows, the number of rows of the new table, and no columns")
        return self


class ResizeStep(BaseConfig):
    """More rows, or fewer, at the end of a table."""

    table: Text
    rows: Count
    initializer: InitializerConfig | None = None
    """What fills added rows."""
    shrink: ShrinkRule | None = None
    """Without it no row is cut off."""


class DimStep(BaseConfig):
    """Another width."""

    table: Text
    to: Count
    by: DimMethod
    matrix: Text | None = None
    """URI of an npy file of `[D, to]`, for `by: matrix`."""
    center: bool = False
    """For `by: pca`: subtract the mean row first."""
    initializer: InitializerConfig | None = None
    """What fills added columns, for `by: pad`; absent: zeros."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.matrix is not None) is not (self.by is DimMethod.MATRIX):
            raise ValueError("matrix goes with by: matrix")
        if self.center and self.by is not DimMethod.PCA:
            raise ValueError("center goes with by: pca")
        if self.initializer is not None and (self.by is not DimMethod.PAD or self.initializer.needs_old_rows):
            raise ValueError("initializer goes with by: pad, and is not computed from old rows")
        return self


class CastStep(BaseConfig):
    """Another element type; optimizer state keeps its own."""

    tables: Tables
    to: CastType
    max_error: NonNegativeFloat | None = None
    """Largest absolute difference from the value before; beyond it nothing is written."""
    saturate: bool = False
    """Whether values that do not fit become the largest that does; otherwise they are refused."""


class MergeStep(BaseConfig):
    """One table of several: the union of their vocabularies, rows numbered anew."""

    tables: Tables
    """In the order of priority."""
    into: TableName
    conflict: ConflictRule = ConflictRule.REFUSE
    rows: Count | None = None
    """Rows of the new table; absent: as many as there are entities."""
    initializer: InitializerConfig | None = None
    """What fills rows beyond the entities."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.tables) < 2 or len(set(self.tables)) < len(self.tables):
            raise ValueError("a merge takes at least two different tables")
        return self


class PartConfig(BaseConfig):
    """The entities of one part of a split."""

    column: Text | None = None
    """Column of the vocabulary's files."""
    values: Annotated[
        tuple[int | str | bool, ...], BeforeValidator(lambda v: v if isinstance(v, list | tuple) else [v])
    ] = ()
    """Values of it that belong here."""
    ids: tuple[int | str, ...] | None = None
    """The entities themselves."""
    ids_from: Text | None = None
    """URI of a vocabulary whose entities belong here."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if sum(given is not None for given in (self.column, self.ids, self.ids_from)) != 1:
            raise ValueError("give one of column, ids, ids_from")
        if (self.column is not None) is not bool(self.values):
            raise ValueError("column goes with values")
        return self


def _rule_or_name(value: str) -> str:
    return RestRule(value) if value in list(RestRule) else value


class SplitStep(BaseConfig):
    """Several tables of one, each with its entities' rows, numbered anew."""

    table: Text
    parts: Annotated[dict[TableName, PartConfig], Field(min_length=1)]
    rest: Annotated[TableName, AfterValidator(_rule_or_name)] = RestRule.REFUSE
    """What becomes of all others: `refuse`, `drop`, or the name of another table that takes them."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.rest in self.parts and not isinstance(self.rest, RestRule):
            raise ValueError(f"rest names a part, whose entities it would replace (found {self.rest})")
        return self


class PruneStep(BaseConfig):
    """Fewer entities, the remaining rows moved together."""

    table: Text
    min_count: Index | None = None
    """By the vocabulary's counts."""
    top: Count | None = None
    """This many with the largest counts; of equal counts those in the lower rows."""
    seen_since: int | str | None = None
    """By the vocabulary's last_seen: an integer where that is one, else a date or time (ISO 8601, UTC)."""
    min_norm: NonNegativeFloat | None = None
    """By the Euclidean norm of the row; one more pass over the table."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if all(rule is None for rule in (self.min_count, self.top, self.seen_since, self.min_norm)):
            raise ValueError("give at least one of min_count, top, seen_since, min_norm")
        return self


class RepairStep(BaseConfig):
    """Replace rows that hold NaN or infinities, or that are too long."""

    tables: Tables
    max_norm: PositiveFloat | None = None
    """Longer rows are replaced too."""
    donor: Text | None = None
    """URI of a snapshot with a table of the same name, whose rows replace them; what is broken there too, or not there,
    is drawn."""
    donor_vocab: Text | None = None
    """Vocabulary of the donor; absent: the one it records, or else by position."""
    initializer: InitializerConfig | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.donor_vocab is not None and self.donor is None:
            raise ValueError("donor_vocab goes with donor")
        return self


class NormalizeStep(BaseConfig):
    """Scale or clip values."""

    tables: Tables
    norm: PositiveFloat | None = None
    """Every row is scaled to this Euclidean norm; rows of zeros stay."""
    max_norm: PositiveFloat | None = None
    """Longer rows are scaled down to it."""
    low: AnyFloat | None = None
    """Smaller values are raised to it."""
    high: AnyFloat | None = None
    """Larger values are lowered to it."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if all(rule is None for rule in (self.norm, self.max_norm, self.low, self.high)):
            raise ValueError("give at least one of norm, max_norm, low, high")
        if self.norm is not None and self.max_norm is not None:
            raise ValueError("give norm or max_norm")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low is above high (found {self.low} and {self.high})")
        return self


class ShardStep(BaseConfig):
    """Another number of ranks, or another place for tables."""

    world_size: Annotated[Count, Field(lt=1_000_000)] | None = None
    """Ranks of the written snapshot; absent: as many as there were."""
    tables: Tables | None = None
    """What `placing` is for; absent: all."""
    placing: Placing = Placing.KEEP
    rank: Index | None = None
    """For `placing: table-wise`; absent: 0."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.rank is not None and self.placing is not Placing.TABLE_WISE:
            raise ValueError("rank goes with placing: table-wise")
        return self


class OptimizerStateStep(BaseConfig):
    """How optimizer state is written, or that it is not."""

    form: StateForm
    tables: Tables | None = None
    """Absent: all."""
