"""What `embsnap stats` and `embsnap history` share: their options, and the plan that both print."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any

import click

from embsnap.cli.options import (
    at_option,
    by_table_option,
    check_option,
    dry_run_option,
    json_option,
    memory_budget_option,
    quiet_option,
    storage_option,
    threads_option,
)
from embsnap.cli.output import Write, format_bytes, renders, table
from embsnap.cli.vocab_options import columns_of, vocab_column_option
from embsnap.model.stats_plan import StatsPlan

if TYPE_CHECKING:
    from embsnap.ops.stats.options import StatsOptions

__all__ = ["options_of", "stats_options"]

_PARTS = ("spectrum", "duplicates", "updates")


_OPTIONS = (
    click.option("--table", "tables", multiple=True, metavar="NAME", help="Only this table; may be repeated."),
    click.option("--config", metavar="CONFIG", help="Only the tables in `tables_to_log` of this file, if it has them."),
    at_option,
    by_table_option("--vocab", "vocabularies", "Vocabulary of a table, with counts: adds deciles of frequency"),
    vocab_column_option,
    click.option(
        "--near-zero", type=float, default=1e-4, show_default=True, help="Norm up to which a row is near zero."
    ),
    click.option(
        "--exploded",
        "exploded_factor",
        type=float,
        default=10.0,
        show_default=True,
        help="A row is exploded above this many times the 99th percentile of norms.",
    ),
    click.option(
        "--without",
        type=click.Choice(_PARTS),
        multiple=True,
        help="Leave out what costs time: the spectrum, duplicate rows, never-updated rows. May be repeated.",
    ),
    click.option(
        "--sample-rows", type=click.IntRange(min=1), help="Look at so many random rows of each table; with intervals."
    ),
    click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of --sample-rows."),
    check_option,
    dry_run_option,
    threads_option,
    memory_budget_option,
    storage_option,
    json_option,
    quiet_option,
)


def stats_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of commands that compute statistics."""
    return reduce(lambda decorated, option: option(decorated), reversed(_OPTIONS), command)


def options_of(
    *, tables: Sequence[str], config: str | None, at: str | None, storage_options: Mapping[str, str], **typed: Any
) -> StatsOptions:
    """What was typed, as the operations take it. Tables named with --table come before the configuration's."""
    from embsnap.ops.stats.options import StatsOptions

    return StatsOptions(
        tables=tables or _logged_tables(config, at, storage_options),
        near_zero=typed["near_zero"],
        exploded_factor=typed["exploded_factor"],
        spectrum="spectrum" not in typed["without"],
        duplicates="duplicates" not in typed["without"],
        updates="updates" not in typed["without"],
        sample_rows=typed["sample_rows"],
        seed=typed["seed"],
        vocabularies=typed["vocabularies"],
        columns=columns_of(typed["vocab_columns"]),
        threads=typed["threads"],
        memory_budget=typed["memory_budget"],
        check=typed["check"],
        storage_options=storage_options,
    )


def _logged_tables(config: str | None, at: str | None, storage_options: Mapping[str, str]) -> Sequence[str]:
    if config is None:
        return ()
    from embsnap.config.environ import config_environ
    from embsnap.ops.config import read_large_embeddings

    return read_large_embeddings(config, at=at, environ=config_environ(), options=storage_options).logged_tables()


@renders(StatsPlan)
def _render(plan: StatsPlan, write: Write) -> None:
    rows = [
        (
            found.name,
            found.step,
            found.num_rows,
            found.embedding_dim,
            found.dtype,
            format_bytes(found.num_bytes_to_read),
        )
        for found in plan.tables
    ]
    for line in table(rows, ("table", "step", "rows to read", "dim", "dtype", "bytes to read")):
        write(line)
    for skipped in plan.skipped:
        write(f"left out: {skipped.name}: {skipped.reason}")
    if plan.known_steps:
        write(f"known, and not read again: steps {', '.join(map(str, plan.known_steps))}")
    for output in plan.outputs:
        write(f"to write: {output}")
    to_read, scratch = format_bytes(plan.num_bytes_to_read), format_bytes(plan.scratch_bytes)
    write(f"dry run, nothing read or written: {to_read} to read, {scratch} of norms and hashes")
