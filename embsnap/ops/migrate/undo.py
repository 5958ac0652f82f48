"""What a step leaves behind: the draft, and the step that would take it back, or why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from embsnap.ops.migrate.draft import Draft

__all__ = ["Applied", "Undo"]

Undo = list[Mapping[str, Any]] | str
"""Steps as plain values, in the order they are to be applied in; or why nothing takes it back."""


@dataclass(frozen=True, slots=True)
class Applied:
    """A draft after a step."""

    draft: Draft
    undo: Undo
