"""What fills the rows that no old row is carried to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from embsnap.config.base import BaseConfig, OneOf
from embsnap.config.numbers import AnyFloat, PositiveFloat, Seed

__all__ = [
    "ConstantInit",
    "DonorInit",
    "Init",
    "InitializerConfig",
    "MeanCovarianceInit",
    "MeanInit",
    "NormalInit",
    "TruncatedNormalInit",
    "UniformInit",
    "ZerosInit",
]

_SHORT = ("zeros", "uniform", "truncated_normal", "mean", "mean_covariance")


class ZerosInit(BaseConfig):
    """All zeros."""


class ConstantInit(BaseConfig):
    """One value everywhere."""

    value: AnyFloat
    """The value."""


class UniformInit(BaseConfig):
    """Uniform over `[-bound, bound)`."""

    bound: PositiveFloat | None = None
    """Absent: 1/√num_embeddings, as torchrec does."""


class NormalInit(BaseConfig):
    """Normal distribution."""

    mean: AnyFloat = 0.0
    """Mean of each element."""
    std: PositiveFloat
    """Standard deviation of each element."""


class TruncatedNormalInit(BaseConfig):
    """Normal distribution, cut off at two standard deviations."""

    mean: AnyFloat = 0.0
    """Mean of each element."""
    std: PositiveFloat | None = None
    """Standard deviation before the cut; absent: 1/√embedding_dim."""


class MeanInit(BaseConfig):
    """The mean row of the old table."""


class MeanCovarianceInit(BaseConfig):
    """A draw from the normal distribution with the mean and covariance of the old table's rows."""


def _entity_id(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"expected an entity id, an integer or a string (found {value!r})")
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        raise ValueError(f"expected an entity id of 64 bits (found {value})")
    return value


class DonorInit(BaseConfig):
    """A copy of an old entity's row: one for all, or one per new entity."""

    id: Annotated[int | str | None, BeforeValidator(_entity_id), OneOf("donor")] = None
    """Entity id, in the old vocabulary, whose row every new entity starts from."""
    column: Annotated[str | None, Field(min_length=1), OneOf("donor")] = None
    """Column of the new vocabulary that holds each new entity's donor id."""


Init = (
    ZerosInit
    | ConstantInit
    | UniformInit
    | NormalInit
    | TruncatedNormalInit
    | MeanInit
    | MeanCovarianceInit
    | DonorInit
)
"""What an `InitializerConfig` holds one of."""


class InitializerConfig(BaseConfig):
    """What fills new rows: exactly one kind. A kind that needs nothing may stand as a string: `initializer: zeros`."""

    zeros: Annotated[ZerosInit | None, OneOf("initializer")] = None
    """All zeros."""
    constant: Annotated[ConstantInit | None, OneOf("initializer")] = None
    """One value everywhere."""
    uniform: Annotated[UniformInit | None, OneOf("initializer")] = None
    """Uniform around zero."""
    normal: Annotated[NormalInit | None, OneOf("initializer")] = None
    """Normal distribution."""
    truncated_normal: Annotated[TruncatedNormalInit | None, OneOf("initializer")] = None
    """Normal distribution without its tails."""
    mean: Annotated[MeanInit | None, OneOf("initializer")] = None
    """The mean row of the old table."""
    mean_covariance: Annotated[MeanCovarianceInit | None, OneOf("initializer")] = None
    """Drawn with the mean and covariance of the old table's rows."""
    donor: Annotated[DonorInit | None, OneOf("initializer")] = None
    """A copy of an old entity's row."""
    seed: Seed = 0
    """A new row depends on the seed, the table's name and its entity alone."""
    max_norm: PositiveFloat | None = None
    """Longer rows are scaled down to this Euclidean norm."""

    @property
    def kind(self) -> str:
        """Name of the kind that is given: `zeros`, `uniform`, …"""
        return self.chosen("initializer")[0]

    @property
    def init(self) -> Init:
        """The kind that is given, with its parameters."""
        init: Init = self.chosen("initializer")[1]
        return init

    @property
    def needs_old_rows(self) -> bool:
        """Whether it is computed from rows of the old table."""
        return self.kind in ("mean", "mean_covariance", "donor")

    @model_validator(mode="before")
    @classmethod
    def _spell_out(cls, data: Any) -> Any:
        if isinstance(data, str) and data in cls.groups()[OneOf("initializer")]:
            return {data: {}}
        if not isinstance(data, Mapping | InitializerConfig):
            raise ValueError(f"expected a mapping with one kind, or one of {', '.join(_SHORT)} (found {data!r})")
        return data

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = super().__get_pydantic_json_schema__(core_schema, handler)
        spelled_out = dict(schema)
        schema.clear()
        schema.update(title=cls.__name__, description=cls.__doc__, anyOf=[{"enum": list(_SHORT)}, spelled_out])
        return schema
