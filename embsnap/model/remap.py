"""A row map as a file holds it: which old row each new row takes.

Shape suffixes: V rows of the new table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsnap.model.findings import Finding

__all__ = ["NOT_LISTED", "Remap", "RemapOrigin"]

NOT_LISTED = -2
"""In place of an old row: the file does not name this new row."""


@dataclass(frozen=True, slots=True)
class RemapOrigin:
    """What a row map's metadata says about the vocabularies that it was made from."""

    old_fingerprint: str | None = None
    new_fingerprint: str | None = None
    num_old_rows: int | None = None
    """Rows of the old table."""
    num_new_rows: int | None = None
    """Rows of the new table."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """`tool`, `command`, `inputs` and `options`, as JSON values."""


@dataclass(frozen=True, slots=True, eq=False)
class Remap:
    """A row map as read."""

    uri: str
    row_V: NDArray[np.int64]
    """Old row of each new row; -1 where the file names the new row without an old one, `NOT_LISTED` elsewhere."""
    id_column: str | None
    """Column of entity ids, where the files have one."""
    new_column: str
    """Column of new rows."""
    origin: RemapOrigin | None
    """None where the files say nothing: made elsewhere."""
    findings: tuple[Finding, ...] = ()
    """All that is wrong with it, errors included."""
