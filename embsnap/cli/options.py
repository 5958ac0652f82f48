"""Options that mean the same in every command that has them, as decorators.

as_json: bool, quiet: bool, dry_run: bool, memory_budget: int (bytes), threads: int,
storage_options: dict[str, str] (with `timeout`, if it was given), to_storage_options: dict[str, str], at: str | None,
row_maps: dict[str, str] (URI by table)
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

from embsnap.cli.sizes import parse_size

__all__ = [
    "NumberRange",
    "as_dict",
    "at_option",
    "by_table_option",
    "check_option",
    "dry_run_option",
    "json_option",
    "memory_budget_option",
    "quiet_option",
    "remap_option",
    "require_out",
    "storage_option",
    "threads_option",
    "to_storage_option",
]

Command = TypeVar("Command", bound=Callable[..., Any])
_TIMEOUT = "embsnap.timeout"


class _Size(click.ParamType[int]):
    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return value if isinstance(value, int) else parse_size(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class NumberRange(click.FloatRange):
    """A range of numbers. click takes nan for one within any range."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number; fails if it is none, or outside of the range."""
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a number", param, ctx)
        return number


class _KeyValue(click.ParamType[tuple[str, str]]):
    def __init__(self, form: str = "key=value") -> None:
        self.name = form

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        key, equals, text = str(value).partition("=")
        if not key or not equals:
            self.fail(f"{value!r} is not of the form {self.name}", param, ctx)
        return key, text


def as_dict(ctx: click.Context, param: click.Parameter, value: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """The callback of an option that may be repeated, with another key each time."""
    keys = [key for key, _ in value]
    if repeated := {key for key in keys if keys.count(key) > 1}:
        raise click.BadParameter(f"given twice: {', '.join(sorted(repeated))}", ctx, param)
    return dict(value)


def _note_timeout(ctx: click.Context, param: click.Parameter, value: float | None) -> None:
    """Keep the timeout for the settings of the storage clients, which are looked at later."""
    ctx.meta[_TIMEOUT] = value


def _as_settings(ctx: click.Context, param: click.Parameter, value: tuple[tuple[str, str], ...]) -> dict[str, str]:
    seconds = ctx.meta.get(_TIMEOUT)
    return as_dict(ctx, param, value if seconds is None else (*value, ("timeout", f"{seconds:g}")))


json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")

quiet_option = click.option("--quiet", "-q", is_flag=True, help="No progress and no remarks on stderr.")

dry_run_option = click.option("--dry-run", is_flag=True, help="Print the plan that would be applied; write nothing.")


def require_out(out: str | None, *, dry_run: bool) -> None:
    """Refuse a command that is to write and was told no place.

    Raises:
        click.UsageError: There is no `--out`.
    """
    if out is None and not dry_run:
        raise click.UsageError("Missing option '--out'. (--dry-run needs none.)")


memory_budget_option = click.option(
    "--memory-budget",
    type=_Size(),
    default="25%",
    show_default="25% of what is available",
    help="Memory for row data: 512MB, 4GiB, 10%.",
)

threads_option = click.option(
    "--threads",
    type=click.IntRange(min=1, max=1024),
    default=lambda: len(os.sched_getaffinity(0)),
    show_default="the CPUs this process may use",
    help="Threads that read, transform and write.",
)

_storage_option = click.option(
    "--storage-option",
    "storage_options",
    type=_KeyValue(),
    multiple=True,
    callback=_as_settings,
    help="Setting of the storage client; may be repeated.",
)

_timeout_option = click.option(
    "--timeout",
    metavar="SECONDS",
    type=NumberRange(min=0, min_open=True, max=86_400),
    is_eager=True,
    expose_value=False,
    callback=_note_timeout,
    show_default="60",
    help="For one request to a remote storage, with all its repetitions.",
)


def storage_option(command: Command) -> Command:
    """`--storage-option` and `--timeout`, both of which end up in `storage_options`."""
    return _storage_option(_timeout_option(command))


to_storage_option = click.option(
    "--to-storage-option",
    "to_storage_options",
    type=_KeyValue(),
    multiple=True,
    callback=as_dict,
    help="Setting of TO's storage client, which then has these and not those of --storage-option; may be repeated.",
)

check_option = click.option(
    "--no-check",
    "check",
    is_flag=True,
    flag_value=False,
    default=True,
    help="Read rows without comparing whole blocks with the sidecar's checksums.",
)

at_option = click.option(
    "--at",
    metavar="PATH",
    help="Where in the file the configuration stands, e.g. model.embeddings; found by itself where it is the only one.",
)


def by_table_option(flag: str, parameter: str, description: str, value: str = "URI") -> Callable[..., Any]:
    """An option that gives a URI, or another value, for each of some tables, as `dict[str, str]`."""
    return click.option(
        flag,
        parameter,
        type=_KeyValue(f"TABLE={value}"),
        multiple=True,
        callback=as_dict,
        metavar=f"TABLE={value}",
        help=f"{description}; may be repeated, for other tables.",
    )


remap_option = by_table_option(
    "--remap", "row_maps", "Row map of a table, used instead of joining its two vocabularies"
)
