"""Columns of a vocabulary, and rows that no vocabulary knows."""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from embsnap.config.base import BaseConfig
from embsnap.config.policies import ReservedPolicy

__all__ = ["ReservedRowsConfig", "VocabColumns"]

_ROWS = re.compile(r"(\d{1,18}):(\d{1,18})", re.ASCII)


class VocabColumns(BaseConfig):
    """Names of a vocabulary's columns, where they are not found by themselves."""

    id: str | None = Field(None, min_length=1)
    """Column of entity ids."""
    row: str | None = Field(None, min_length=1)
    """Column of row indices."""
    count: str | None = Field(None, min_length=1)
    """Column of how often each entity was seen."""

    @model_validator(mode="after")
    def _check_distinct(self) -> Self:
        names = [name for name in (self.id, self.row, self.count) if name is not None]
        if len(set(names)) < len(names):
            raise ValueError(f"one column cannot be two things (found {', '.join(names)})")
        return self


def _row_range(value: object) -> object:
    """`"start:end"`, from that or from a number of rows."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"expected rows as 'start:end' or how many from row 0 (found {value!r})")
    text = str(value)
    match = _ROWS.fullmatch(text if ":" in text else f"0:{text}")
    if match is None or not int(match[1]) < int(match[2]):
        raise ValueError(f"expected rows as 'start:end' with start < end, or how many from row 0 (found {value!r})")
    return match[0]


class ReservedRowsConfig(BaseConfig):
    """Rows that belong to no entity: padding, null, unknown ids."""

    rows: Annotated[
        str,
        BeforeValidator(_row_range),
        WithJsonSchema({"type": ["string", "integer"], "pattern": r"^\d+(:\d+)?$", "exclusiveMinimum": 0}),
    ]
    """Half-open range `"start:end"`; a number n means `"0:n"`."""
    policy: ReservedPolicy = ReservedPolicy.CARRY
    """What fills them."""

    @property
    def start(self) -> int:
        """First reserved row."""
        return int(self.rows.partition(":")[0])

    @property
    def end(self) -> int:
        """One past the last reserved row."""
        return int(self.rows.partition(":")[2])
