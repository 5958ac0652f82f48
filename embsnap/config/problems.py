"""What is wrong with a config, in words: every problem with its place, and what was probably meant."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from embsnap.config.base import BaseConfig
from embsnap.config.places import Place

__all__ = ["closest", "problems"]

_MAPPING_WANTED = ("model_type", "model_attributes_type", "dict_type", "dataclass_type")
_LIST_WANTED = ("tuple_type", "list_type")


def problems(error: ValidationError, model: type[BaseConfig]) -> list[tuple[Place, str]]:
    """Place, relative to what was validated, and description of each problem, in the order of the fields."""
    details = (detail for detail in error.errors(include_url=False) if not _is_echo(detail))
    return [(tuple(detail["loc"]), _describe(detail, model)) for detail in details]


def _is_echo(detail: ErrorDetails) -> bool:
    """Whether it says that a list is too short only because items of it, reported themselves, do not count."""
    return detail["type"] == "too_short" and len(detail["input"]) >= detail["ctx"]["min_length"]


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word that `word` was probably meant to be."""
    candidates = list(known)
    close = get_close_matches(word, candidates, n=1)
    if close:
        return close[0]
    containing = [name for name in candidates if len(word) > 2 and (word in name or name in word)]
    return containing[0] if len(containing) == 1 else None


def _describe(detail: ErrorDetails, model: type[BaseConfig]) -> str:
    kind, found = detail["type"], detail["input"]
    if kind == "missing":
        return "is required"
    if kind == "extra_forbidden":
        return _unknown_field(str(detail["loc"][-1]), _owner(model, detail["loc"][:-1]))
    if kind == "value_error":
        return str(detail["ctx"]["error"])
    if kind in _MAPPING_WANTED:
        return f"expected a mapping{_with_fields(_owner(model, detail['loc']))} (found {_brief(found)})"
    if kind in _LIST_WANTED:
        return f"expected a list (found {_brief(found)})"
    if kind == "too_short":
        return f"needs at least {_count(detail['ctx']['min_length'])} (found {len(found)})"
    if kind == "string_type" and isinstance(found, bool | int | float):
        return f"expected a string: put it in quotes (found {_brief(found)})"
    if kind == "enum":
        guess = closest(str(found), detail["ctx"]["expected"].replace("'", "").replace(" or ", ", ").split(", "))
        return f"expected {detail['ctx']['expected']} (found {_brief(found)})" + _did_you_mean(guess)
    message = detail["msg"].removeprefix("Input ")
    return f"{message} (found {_brief(found)})"


def _with_fields(owner: type[BaseConfig] | None) -> str:
    return f" with {', '.join(_written(owner))}" if owner and owner.model_fields else ""


def _written(owner: type[BaseConfig]) -> list[str]:
    """Its fields as they stand in a file."""
    return [field.alias or name for name, field in owner.model_fields.items()]


def _unknown_field(name: str, owner: type[BaseConfig] | None) -> str:
    if owner is None:
        return "there is no such field"
    known = _written(owner)
    guess = closest(name, known)
    if guess is None:
        return f"{owner.__name__} has no such field (it has {', '.join(known) or 'none'})"
    return f"{owner.__name__} has no such field" + _did_you_mean(guess)


def _did_you_mean(guess: str | None) -> str:
    return f"; did you mean {guess}?" if guess else ""


def _owner(model: type[BaseConfig], place: Place) -> type[BaseConfig] | None:
    """The model that stands at `place` below `model`."""
    owner: type[BaseConfig] | None = model
    for part in place:
        if isinstance(part, int):
            continue
        field = owner.model_fields.get(part) if owner else None
        owner = _model_in(field.annotation) if field else None
    return owner


def _model_in(annotation: Any) -> type[BaseConfig] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseConfig):
        return annotation
    return next((model for model in map(_model_in, get_args(annotation)) if model), None)


def _count(num_items: int) -> str:
    return "one item" if num_items == 1 else f"{num_items} items"


def _brief(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    shortener = reprlib.Repr()
    shortener.maxstring = shortener.maxother = 60
    return shortener.repr(value)
