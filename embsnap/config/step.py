"""One step of a migration from plain values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from embsnap.config.migration import StepConfig
from embsnap.config.problems import problems
from embsnap.errors import ErrorKind, UsageError

__all__ = ["parse_step"]


def parse_step(kind: str, parameters: Mapping[str, Any], *, where: str) -> StepConfig:
    """The step of that kind.

    Raises:
        UsageError: `bad-config`: all that is wrong with its parameters.
    """
    try:
        return StepConfig.model_validate({kind: dict(parameters)})
    except ValidationError as error:
        found = [f"{'.'.join(map(str, place))}: {text}" for place, text in problems(error, StepConfig)]
        raise UsageError(ErrorKind.BAD_CONFIG, "; ".join(found), where=where) from error
