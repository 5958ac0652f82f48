"""Options that several commands of `embsnap vocab` have, as decorators.

vocab_columns: VocabularyColumns (`--vocab-column`), reserved: tuple[tuple[int, int], ...] (`--reserved`)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from embsnap.cli.options import as_dict

if TYPE_CHECKING:
    from embsnap.formats.vocabulary_columns import VocabularyColumns

__all__ = ["RowRange", "columns_of", "percent", "reserved_option", "vocab_column_option"]

_ROLES = ("id", "row", "count")


class RowRange(click.ParamType[tuple[int, int]]):
    """A half-open range of rows: `0:3` is rows 0, 1 and 2; `7` is row 7 alone."""

    name = "start:end"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """From text, or from what is a range already."""
        if isinstance(value, tuple):
            return value
        start, colon, end = str(value).partition(":")
        try:
            bounds = (int(start), int(end) if colon else int(start) + 1)
        except ValueError:
            self.fail(f"{value!r} is not of the form start:end, such as 0:3", param, ctx)
        if not 0 <= bounds[0] < bounds[1]:
            self.fail(f"{value!r} holds no row", param, ctx)
        return bounds


class _Column(click.ParamType[tuple[str, str]]):
    name = "role=name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        role, equals, name = str(value).partition("=")
        if role not in _ROLES or not equals or not name:
            self.fail(f"{value!r} is not of the form role=name, with a role of {', '.join(_ROLES)}", param, ctx)
        return role, name


vocab_column_option = click.option(
    "--vocab-column",
    "vocab_columns",
    type=_Column(),
    multiple=True,
    callback=as_dict,
    help="Name of the vocabulary's column of ids, rows or counts, as id=NAME, row=NAME or count=NAME; may be repeated.",
)

reserved_option = click.option(
    "--reserved",
    type=RowRange(),
    multiple=True,
    help="Rows [start, end) that need no entity, and may hold none, such as 0:3; may be repeated.",
)


def columns_of(by_role: dict[str, str]) -> VocabularyColumns:
    """What `--vocab-column` says, for the reader."""
    from embsnap.formats.vocabulary_columns import VocabularyColumns

    return VocabularyColumns(**by_role)


def percent(share: float | None) -> str | None:
    """A share as people read it."""
    return None if share is None else f"{100 * share:.2f} %"
