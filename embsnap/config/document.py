"""YAML that people write, read within bounds: size, depth, expansion of aliases.

It is the YAML of PyYAML's safe loader, with three differences: a key that stands twice in one mapping is an error,
dates stay strings, and so do numbers in base 60 (`1:30`), which is how row ranges look.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml

from embsnap.config.places import Place
from embsnap.errors import ErrorKind, UsageError

__all__ = ["Document", "read_document"]

MAX_CHARACTERS = 2 * 1024 * 1024
MAX_DEPTH = 64
MAX_NODES = 1_000_000

_MERGE = "tag:yaml.org,2002:merge"
_INT = "tag:yaml.org,2002:int"
_FLOAT = "tag:yaml.org,2002:float"
_TIMESTAMP = "tag:yaml.org,2002:timestamp"


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML document, and where in the text its parts stand."""

    data: Any
    root: yaml.Node | None

    def line(self, place: Place) -> int | None:
        """Line, from 1, of what stands at `place`, or of the deepest part of it that is in the text."""
        node, line = self.root, None
        for part in place:
            found = _child(node, part)
            if found is None:
                break
            node, line = found
        return line


def _child(node: yaml.Node | None, part: str | int) -> tuple[yaml.Node, int] | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in reversed(node.value):  # what a merge brings in stands first
            if key.value == str(part):
                return value, key.start_mark.line + 1
    elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        item = node.value[part]
        return item, item.start_mark.line + 1
    return None


class _Loader(yaml.SafeLoader):
    """Counts what it composes, so that a small text cannot become a huge or endless value."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = 0
        self.expanded: dict[yaml.Node, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        is_alias = self.check_event(yaml.AliasEvent)
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise yaml.composer.ComposerError(None, None, f"nested deeper than {MAX_DEPTH} levels", mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        if node is None:
            return None
        if is_alias and node not in self.expanded:
            raise yaml.composer.ComposerError(None, None, "an alias stands inside of what it names", mark)
        self.expanded[node] = 1 + sum(self.expanded[child] for child in _children(node))
        if self.expanded[node] > MAX_NODES:
            raise yaml.composer.ComposerError(None, None, f"its aliases expand to over {MAX_NODES:,} values", mark)
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        first: dict[tuple[str, str], yaml.Node] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.composer.ComposerError(None, None, "a key must be a plain value", key.start_mark)
            earlier = first.setdefault((key.tag, key.value), key)
            if earlier is not key:
                raise yaml.composer.ComposerError(
                    "first here", earlier.start_mark, f"the key {key.value!r} stands twice", key.start_mark
                )
        return node


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _plain_resolvers() -> dict[str | None, list[tuple[str, Any]]]:
    """PyYAML's table of what a plain scalar may be, without dates and base 60."""
    resolvers = yaml.SafeLoader.yaml_implicit_resolvers
    return {first: [pair for pair in pairs if pair[0] != _TIMESTAMP] for first, pairs in resolvers.items()}


def _plain_number(loader: _Loader, node: yaml.ScalarNode) -> Any:
    if ":" in node.value:
        return loader.construct_scalar(node)
    construct = loader.construct_yaml_int if node.tag == _INT else loader.construct_yaml_float
    return construct(node)


_Loader.yaml_implicit_resolvers = _plain_resolvers()
_Loader.add_constructor(_INT, _plain_number)
_Loader.add_constructor(_FLOAT, _plain_number)


def read_document(text: str, *, where: str) -> Document:
    """Parse one YAML document.

    Args:
        text: The text, at most 2 Mi characters.
        where: What names it in an error.

    Raises:
        UsageError: `bad-config`: not YAML, several documents, or beyond the bounds.
    """
    if len(text) > MAX_CHARACTERS:
        raise _bad(where, f"is too long for a config ({len(text):,} characters, at most {MAX_CHARACTERS:,})")
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        data = None if root is None else loader.construct_document(root)
    except yaml.MarkedYAMLError as error:
        raise _bad(where, f"is not valid YAML: {_located(error)}") from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise _bad(where, f"is not valid YAML: {str(error).splitlines()[0]}") from error
    return Document(data, root)


def _located(error: yaml.MarkedYAMLError) -> str:
    parts = [
        f"{what} (line {mark.line + 1}, column {mark.column + 1})" if mark else what
        for what, mark in ((error.problem, error.problem_mark), (error.context, error.context_mark))
        if what
    ]
    return "; ".join(parts)


def _bad(where: str, problem: str) -> UsageError:
    return UsageError(ErrorKind.BAD_CONFIG, problem, where=where, expected="one YAML document with a config in it")
