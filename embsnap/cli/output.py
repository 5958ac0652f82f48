"""From a result to text or JSON.

A result is a frozen dataclass with two class variables: `schema`, a name such as `embsnap.inspect`, and
`schema_version`, an integer that grows when a field changes its meaning. Its text renderer is registered beside the
command that shows it; JSON needs none.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, ClassVar, Protocol, TypeVar

from embsnap.cli.escaping import printable
from embsnap.model.findings import Finding, Severity

__all__ = [
    "Result",
    "Write",
    "emit",
    "format_bytes",
    "jsonable",
    "renders",
    "table",
    "to_json",
    "to_text",
    "write_findings",
    "write_unchecked",
]

Write = Callable[[str], None]
"""Takes one line of text, without its line break."""


class Result(Protocol):
    """What an operation returns and a command shows."""

    schema: ClassVar[str]
    schema_version: ClassVar[int]


_R = TypeVar("_R", bound=Result)
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_RENDERERS: dict[type[Any], Callable[[Any, Write], None]] = {}


def renders(result_type: type[_R]) -> Callable[[Callable[[_R, Write], None]], Callable[[_R, Write], None]]:
    """Register the decorated function as the text renderer of `result_type`."""

    def register(render: Callable[[_R, Write], None]) -> Callable[[_R, Write], None]:
        _RENDERERS[result_type] = render
        return render

    return register


def emit(result: Result, *, as_json: bool) -> None:
    """Print a result to stdout, as JSON or as text."""
    sys.stdout.write((to_json(result) if as_json else to_text(result)) + "\n")


def to_json(result: Result) -> str:
    """The result as one JSON object: `schema` and `version` first, then its fields by name.

    Enums stand as their values, tuples as lists, bytes as hexadecimal digits, and floats that JSON lacks as the
    strings "NaN", "Infinity" and "-Infinity". The text is ASCII.
    """
    header = {"schema": result.schema, "version": result.schema_version}
    return json.dumps({**header, **jsonable(result)}, indent=2)


def to_text(result: Result) -> str:
    """The result as its renderer writes it; control characters in it are escaped."""
    lines: list[str] = []
    _RENDERERS[type(result)](result, lambda line: lines.append(printable(line, keep="\n")))
    return "\n".join(lines)


def jsonable(value: Any) -> Any:
    """`value` in the types that JSON has.

    Raises:
        TypeError: Something in it has no form in JSON.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Enum):
        return jsonable(value.value)
    if isinstance(value, str | int):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else _non_finite(value)
    return _jsonable_compound(value)


def _jsonable_compound(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: jsonable(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(jsonable(key)): jsonable(item) for key, item in value.items()}
    if isinstance(value, bytes | bytearray | memoryview):
        return value.hex()
    if isinstance(value, Sequence):
        return [jsonable(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(jsonable(item) for item in value)
    if getattr(value, "shape", None) == () and hasattr(value, "item"):  # a scalar of numpy
        return jsonable(value.item())
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def _non_finite(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def table(rows: Iterable[Sequence[object]], headers: Sequence[str]) -> list[str]:
    """Lines of aligned columns under their headers: numbers to the right, text to the left, nothing cut.

    Args:
        rows: Cells of each row, as many as there are headers. Integers get thousands separators, None is `-`.
        headers: One for each column.
    """
    raw = [list(row) for row in rows]
    cells = [[_cell(value) for value in row] for row in raw]
    widths = [max(map(len, column)) for column in zip(headers, *cells, strict=True)]
    rights = [any(_is_number(row[i]) for row in raw) for i in range(len(headers))]

    def line(texts: Sequence[str]) -> str:
        pairs = zip(texts, widths, rights, strict=True)
        return "  ".join(text.rjust(width) if right else text.ljust(width) for text, width, right in pairs).rstrip()

    return [line(headers), *map(line, cells)]


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return printable(f"{value:.6g}" if isinstance(value, float) else str(value))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def format_bytes(num_bytes: int) -> str:
    """A size for people, in powers of 1024.

    >>> format_bytes(1536), format_bytes(12)
    ('1.5 KiB', '12 B')
    """
    power = min((max(num_bytes, 1).bit_length() - 1) // 10, len(_UNITS) - 1)
    return f"{num_bytes} B" if power == 0 else f"{num_bytes / 1024**power:.1f} {_UNITS[power]}"


def write_unchecked(num_rows: int | None, write: Write) -> None:
    """Say how many rows were read without a checksum, if any were."""
    if num_rows:
        write(f"{num_rows:,} rows read without a checksum to compare them with")


def write_findings(findings: Sequence[Finding], write: Write) -> None:
    """The findings, the severest first, each with its examples and its remedy."""
    order = list(Severity)
    for finding in sorted(findings, key=lambda finding: order.index(finding.severity)):
        write(f"{finding.severity.value}: {printable(finding.place)}: {printable(finding.message)} [{finding.kind}]")
        if finding.examples:
            write(f"  e.g. {', '.join(map(printable, finding.examples))}")
        if finding.remedy:
            write(f"  try: {finding.remedy}")
