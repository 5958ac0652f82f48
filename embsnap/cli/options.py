"""Options that mean the same in every command that has them, as decorators.

as_json: bool, quiet: bool, dry_run: bool, memory_budget: int (bytes), threads: int,
storage_options: dict[str, str], at: str | None, row_maps: dict[str, str] (URI by table)
"""

from __future__ import annotations

import os
from typing import Any

import click

from embsnap.cli.sizes import parse_size

__all__ = [
    "at_option",
    "dry_run_option",
    "json_option",
    "memory_budget_option",
    "quiet_option",
    "remap_option",
    "storage_option",
    "threads_option",
]


class _Size(click.ParamType[int]):
    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return value if isinstance(value, int) else parse_size(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _KeyValue(click.ParamType[tuple[str, str]]):
    name = "key=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        key, equals, text = str(value).partition("=")
        if not key or not equals:
            self.fail(f"{value!r} is not of the form key=value", param, ctx)
        return key, text


def _as_dict(ctx: click.Context, param: click.Parameter, value: tuple[tuple[str, str], ...]) -> dict[str, str]:
    keys = [key for key, _ in value]
    if repeated := {key for key in keys if keys.count(key) > 1}:
        raise click.BadParameter(f"given twice: {', '.join(sorted(repeated))}", ctx, param)
    return dict(value)


json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")

quiet_option = click.option("--quiet", "-q", is_flag=True, help="No progress and no remarks on stderr.")

dry_run_option = click.option("--dry-run", is_flag=True, help="Print the plan that would be applied; write nothing.")

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

storage_option = click.option(
    "--storage-option",
    "storage_options",
    type=_KeyValue(),
    multiple=True,
    callback=_as_dict,
    help="Setting of the storage client; may be repeated.",
)

at_option = click.option(
    "--at",
    metavar="PATH",
    help="Where in the file the configuration stands, e.g. model.embeddings; found by itself where it is the only one.",
)

remap_option = click.option(
    "--remap",
    "row_maps",
    type=_KeyValue(),
    multiple=True,
    callback=_as_dict,
    metavar="TABLE=URI",
    help="Row map of a table, used instead of joining its two vocabularies; may be repeated, for other tables.",
)
