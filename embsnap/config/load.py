"""From the text of a config file to a checked config.

The text is read as the-algorithm-ml reads it: environment variables are substituted (`$HOME`, `${HOME}`; unknown
ones stay as they are, `$$` is a dollar), then it is parsed as YAML. The config may stand anywhere in the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from string import Template
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from embsnap.config.base import BaseConfig
from embsnap.config.document import Document, read_document
from embsnap.config.embedding import LargeEmbeddingsConfig
from embsnap.config.places import Place, mappings, render_place, resolve_place
from embsnap.config.problems import closest, problems
from embsnap.errors import EmbsnapError, ErrorKind, NotFoundError, UsageError

__all__ = ["Located", "check_large_embeddings", "find", "parse", "parse_large_embeddings", "unset_variables"]

_MOST_LISTED = 20

C = TypeVar("C", bound=BaseConfig)


@dataclass(frozen=True, slots=True)
class Located(Generic[C]):
    """A config and where in its file it stands."""

    config: C
    at: str
    """`model.embeddings`; `.` for the root."""


def parse_large_embeddings(
    text: str, *, where: str, at: str | None = None, environ: Mapping[str, str]
) -> LargeEmbeddingsConfig:
    """The `LargeEmbeddingsConfig` in the text of a file; arguments and errors as those of `find`."""
    return parse(LargeEmbeddingsConfig, text, where=where, at=at, environ=environ)


def check_large_embeddings(data: Mapping[str, Any]) -> LargeEmbeddingsConfig:
    """The `LargeEmbeddingsConfig` that plain data describes.

    Raises:
        UsageError: `bad-config`: it has problems; all of them are listed.
    """
    return _validate(LargeEmbeddingsConfig, Document(data, None), "the given data", (), data).config


def parse(model: type[C], text: str, *, where: str, at: str | None = None, environ: Mapping[str, str]) -> C:
    """The config of type `model` in the text of a file; arguments and errors as those of `find`."""
    return find(model, text, where=where, at=at, environ=environ).config


def find(model: type[C], text: str, *, where: str, at: str | None = None, environ: Mapping[str, str]) -> Located[C]:
    """The config of type `model` in the text of a file, and its place.

    Args:
        model: What to look for.
        text: The whole file.
        where: What names the file in errors: its URI.
        at: Place of the config in the file, such as `model.embeddings` or `jobs[0].model`; `.` is the root. If
            None, the root if that parses, else the one place that does.
        environ: Values of the variables in the text.

    Raises:
        UsageError: `bad-config`: not YAML, or the config has problems; all of them are listed.
        NotFoundError: `no-config-there` or `ambiguous-config`.
    """
    document = _read(text, where, environ)
    if at is None:
        return _search(model, document, where)
    resolved = resolve_place(document.data, at)
    if resolved is None or resolved[1] is None:
        raise _nothing_at(model, document, where, at, "is null" if resolved else "is not in the file")
    return _validate(model, document, where, *resolved)


def unset_variables(text: str, environ: Mapping[str, str]) -> list[str]:
    """Names of the variables in the text of a file that have no value, and so stay as they are written."""
    return [name for name in Template(text).get_identifiers() if name not in environ]


def _read(text: str, where: str, environ: Mapping[str, str]) -> Document:
    try:
        return read_document(Template(text).safe_substitute(environ), where=where)
    except UsageError as error:
        if unset := unset_variables(text, environ):
            error.hint = f"set {_listed(unset)} in the environment: what is not set stays as it is written"
        raise


def _validate(model: type[C], document: Document, where: str, place: Place, data: Any) -> Located[C]:
    try:
        return Located(model.model_validate(data), render_place(place))
    except ValidationError as error:
        raise _bad_config(error, model, document, where, place) from error


def _search(model: type[C], document: Document, where: str) -> Located[C]:
    valid: list[Located[C]] = []
    invalid: list[tuple[Place, ValidationError]] = []
    for place, data in mappings(document.data):
        if not _resembles(model, data):
            continue
        try:
            valid.append(Located(model.model_validate(data), render_place(place)))
        except ValidationError as error:
            invalid.append((place, error))
        if not place and valid:
            return valid[0]
    if len(valid) == 1:
        return valid[0]
    if valid:
        raise _ambiguous(model, where, [located.at for located in valid])
    if len(invalid) == 1:
        [(place, cause)] = invalid
        raise _bad_config(cause, model, document, where, place) from cause
    raise _no_config(model, document, where, invalid)


def _resembles(model: type[BaseConfig], data: Mapping[Any, Any]) -> bool:
    """Whether `data` has every field that `model` requires, and any field of it at all."""
    required = {name for name, field in model.model_fields.items() if field.is_required()}
    return required <= data.keys() and bool(model.model_fields.keys() & data.keys())


def _bad_config(
    error: ValidationError, model: type[BaseConfig], document: Document, where: str, place: Place
) -> UsageError:
    found = [_problem_line(document, place + inner, text) for inner, text in problems(error, model)]
    count = "one problem" if len(found) == 1 else f"{len(found)} problems"
    title = f"the {model.__name__} in it has {count}:"
    return UsageError(ErrorKind.BAD_CONFIG, "\n  ".join([title, *found]), where=where)


def _problem_line(document: Document, place: Place, text: str) -> str:
    line = document.line(place)
    return f"{render_place(place)}{f' (line {line})' if line else ''}: {text}"


def _ambiguous(model: type[BaseConfig], where: str, places: list[str]) -> EmbsnapError:
    return NotFoundError(
        ErrorKind.AMBIGUOUS_CONFIG,
        f"a {model.__name__} stands at {len(places)} places",
        where=where,
        expected="one",
        found=_listed(places),
        hint=f"--at {places[0]}",
    )


def _no_config(
    model: type[BaseConfig], document: Document, where: str, similar: list[tuple[Place, ValidationError]]
) -> EmbsnapError:
    lines = [_problem_line(document, place + inner, text) for place, e in similar for inner, text in problems(e, model)]
    found = "\n  ".join(["what resembles one has problems:", *lines[:_MOST_LISTED]]) if lines else _top(document.data)
    return NotFoundError(
        ErrorKind.NO_CONFIG_THERE,
        f"no {model.__name__} stands in it",
        where=where,
        expected=f"a mapping with {_required(model)}",
        found=found,
        hint=f"--at {render_place(similar[0][0])}, to look at one of them" if similar else _misspelt(model, document),
    )


def _misspelt(model: type[BaseConfig], document: Document) -> str | None:
    """A remark about a key that is nearly a field which `model` requires."""
    required = [name for name, field in model.model_fields.items() if field.is_required()]
    for place, data in mappings(document.data):
        for name in required:
            for key in get_close_matches(name, map(str, data), n=1, cutoff=0.75):
                return f"write {name} instead of {render_place((*place, key))}"
    return None


def _nothing_at(model: type[BaseConfig], document: Document, where: str, at: str, problem: str) -> EmbsnapError:
    places = [render_place(place) for place, data in mappings(document.data) if _resembles(model, data)]
    guess = closest(at, (render_place(place) for place, _ in mappings(document.data)))
    return NotFoundError(
        ErrorKind.NO_CONFIG_THERE,
        f"{at!r} {problem}",
        where=where,
        expected=f"a {model.__name__} there",
        found=f"what looks like one at {_listed(places)}" if places else _top(document.data),
        hint=f"--at {places[0] if places else guess}" if places or guess else None,
    )


def _required(model: type[BaseConfig]) -> str:
    return ", ".join(name for name, field in model.model_fields.items() if field.is_required()) or "its fields"


def _top(data: Any) -> str:
    if not isinstance(data, Mapping):
        return "an empty file" if data is None else f"a {type(data).__name__}"
    return f"the keys {_listed([str(key) for key in data])}"


def _listed(words: list[str]) -> str:
    shown = ", ".join(word if word.isprintable() else repr(word) for word in words[:_MOST_LISTED])
    return shown + (f" and {len(words) - _MOST_LISTED} more" if len(words) > _MOST_LISTED else "")
