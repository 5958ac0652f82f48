"""The base of every configuration model: strict fields, lenient nulls, groups of alternatives."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations, pairwise
from textwrap import dedent
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

__all__ = ["AtMostOneOf", "BaseConfig", "Group", "OneOf"]


@dataclass(frozen=True, slots=True)
class Group:
    """Marks a field as one of several alternatives; used through `OneOf` and `AtMostOneOf`."""

    name: str


class OneOf(Group):
    """Exactly one field of this group must be given: `sgd: Annotated[SgdConfig | None, OneOf("optimizer")] = None`."""


class AtMostOneOf(Group):
    """No more than one field of this group may be given."""


class BaseConfig(BaseModel):
    """A frozen model that refuses unknown fields.

    An explicit null counts as absent, so that `constant: null` leaves a field at its default.
    Fields marked with `OneOf` or `AtMostOneOf` are checked group by group.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)

    @classmethod
    def groups(cls) -> dict[Group, tuple[str, ...]]:
        """The fields of each group, in the order they are declared in."""
        found: dict[Group, tuple[str, ...]] = {}
        for field_name, field in cls.model_fields.items():
            for mark in field.metadata:
                if isinstance(mark, Group):
                    found[mark] = (*found.get(mark, ()), field_name)
        return found

    def chosen(self, group: str) -> tuple[str, Any]:
        """Name and value of the field that is given of a `OneOf` group."""
        return next(self._given(self.groups()[OneOf(group)]))

    def _given(self, names: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
        return ((name, getattr(self, name)) for name in names if getattr(self, name) is not None)

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        return {name: value for name, value in data.items() if value is not None or name not in cls.model_fields}

    @model_validator(mode="after")
    def _check_groups(self) -> Self:
        for group, names in self.groups().items():
            given = [name for name, _ in self._given(names)]
            if len(given) > 1 or (isinstance(group, OneOf) and not given):
                count = "exactly" if isinstance(group, OneOf) else "at most"
                raise ValueError(f"give {count} one of {', '.join(names)} (found {', '.join(given) or 'none of them'})")
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler.resolve_ref_schema(handler(core_schema))
        properties = schema.get("properties", {})
        for name, text in _field_docstrings(cls).items():
            properties.get(name, {}).setdefault("description", text)
        for name in properties.keys() - set(schema.get("required", ())):
            properties[name] = _nullable(properties[name])
        rules = [_group_rule(group, names) for group, names in cls.groups().items()]
        if rules:
            schema["allOf"] = rules
        return schema


def _field_docstrings(cls: type[BaseConfig]) -> dict[str, str]:
    """The string under each field of a class and of those it inherits from.

    Read when the schema is asked for: pydantic's `use_attribute_docstrings` reads the sources on every import.
    """
    found = {}
    for owner in reversed([base for base in cls.__mro__ if issubclass(base, BaseConfig)]):
        definition = ast.parse(dedent(inspect.getsource(owner))).body[0]
        assert isinstance(definition, ast.ClassDef)
        for field, below in pairwise(definition.body):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                match below:
                    case ast.Expr(value=ast.Constant(value=str(text))):
                        found[field.target.id] = inspect.cleandoc(text)
    return found


def _nullable(schema: JsonSchemaValue) -> JsonSchemaValue:
    """`schema` or null, with what describes the field kept outside."""
    if {"type": "null"} in schema.get("anyOf", ()):
        return schema
    outside = {key: value for key, value in schema.items() if key in ("title", "description", "default")}
    inside = {key: value for key, value in schema.items() if key not in outside}
    return {"anyOf": [inside, {"type": "null"}], **outside}


def _group_rule(group: Group, names: tuple[str, ...]) -> JsonSchemaValue:
    given = {name: {"required": [name], "properties": {name: {"not": {"type": "null"}}}} for name in names}
    if isinstance(group, OneOf):
        return {"oneOf": list(given.values())}
    return {"not": {"anyOf": [{"allOf": [given[one], given[other]]} for one, other in combinations(names, 2)]}}
