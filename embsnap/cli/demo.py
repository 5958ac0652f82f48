"""`embsnap demo`: two days of a made-up graph, to try a warm start on."""

from __future__ import annotations

from importlib import import_module

import click
from click.core import ParameterSource

from embsnap.cli.noise import hush_torch
from embsnap.cli.options import json_option, quiet_option, storage_option
from embsnap.cli.output import Write, emit, renders, table
from embsnap.cli.progress import progress_on_stderr
from embsnap.live.demo_values import DemoDayOne, DemoDayTwo, DemoOptions

__all__ = ["command"]

_DEFAULTS = DemoOptions()
_SHOWN_STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000)
_SEED = click.IntRange(0, (1 << 63) - 1)
_OPTIONS_OF_DAY = {"one": ("overwrite", "users", "posts", "events", "seed"), "two": ("warm", "steps")}


@click.command("demo")
@click.argument("directory", metavar="DIR")
@click.option("--day", type=click.Choice(["one", "two"]), default="one", show_default=True, help="Which day to run.")
@click.option("--overwrite", is_flag=True, help="Day one: replace an earlier demo in DIR.")
@click.option("--users", type=int, default=_DEFAULTS.num_users, show_default=True, help="Day one: active users.")
@click.option("--posts", type=int, default=_DEFAULTS.num_posts, show_default=True, help="Day one: posts alive.")
@click.option(
    "--events",
    type=int,
    default=_DEFAULTS.num_events,
    show_default=True,
    help="Day one: events per day, 51200 or more.",
)
@click.option("--seed", type=_SEED, default=_DEFAULTS.seed, show_default=True, help="Day one: seed of the graph.")
@click.option("--warm", metavar="URI", help="Day two: the warm start.  [default: DIR/day2/warm]")
@click.option("--steps", type=int, default=100, show_default=True, help="Day two: steps to train, 50 or more.")
@json_option
@quiet_option
@storage_option
@click.pass_context
def command(
    context: click.Context,
    directory: str,
    day: str,
    overwrite: bool,
    users: int,
    posts: int,
    events: int,
    seed: int,
    warm: str | None,
    steps: int,
    as_json: bool,
    quiet: bool,
    storage_options: dict[str, str],
) -> int:
    """Try a warm start on two days of a made-up interaction graph.

    Day one makes the graph (users who favour, retweet or reply to posts; a long tail; entities that vanish and
    appear between the days) as parquet, builds vocabularies, trains a small model on a torchrec
    EmbeddingBagCollection and takes a snapshot with torchsnapshot. It leaves day two's configuration in
    DIR/day2/warmstart.yaml. DIR is a path or a URI: in gs://bucket/demo all of it lies in the bucket.

    Day two trains its first steps from the warm start and from a cold one, on the same batches, and shows both losses.

    \b
    Examples:
      embsnap demo /tmp/demo
      embsnap warmstart /tmp/demo/day2/warmstart.yaml --out /tmp/demo/day2/warm
      embsnap demo /tmp/demo --day two

    \b
    Exit codes:
      0  done; on day two, the warm start is at least 5 % ahead over the first 50 steps
      1  day two: it is not
      2  usage
      3  there is no demo in DIR
      4  the warm start is no committed snapshot
      5  the warm start's rows are not those of day one
      6  storage, permission, disk full
      7  DIR is taken
    """
    _check_day(context, day)
    hush_torch()
    with progress_on_stderr(quiet=quiet) as progress:
        if day == "one":
            options = DemoOptions(num_users=users, num_posts=posts, num_events=events, seed=seed)
            make_day_one = import_module("embsnap.live.demo_day_one").make_day_one
            result = make_day_one(
                directory, options, overwrite=overwrite, storage_options=storage_options, progress=progress
            )
        else:
            run_day_two = import_module("embsnap.live.demo_day_two").run_day_two
            result = run_day_two(
                directory, warm=warm, num_steps=steps, storage_options=storage_options, progress=progress
            )
    emit(result, as_json=as_json)
    return 1 if isinstance(result, DemoDayTwo) and not result.passed else 0


def _check_day(context: click.Context, day: str) -> None:
    """Refuse options that the day does not look at."""
    for name in _OPTIONS_OF_DAY["two" if day == "one" else "one"]:
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT:
            raise click.UsageError(f"--{name} has no meaning on day {day}", context)


@renders(DemoDayOne)
def _render_day_one(result: DemoDayOne, write: Write) -> None:
    write(f"Two days of {result.num_events:,} events each, in {result.directory}")
    headers = ("table", "day one", "day two", "in both", "rows of day two")
    rows = [(t.name, t.num_day_one, t.num_day_two, t.num_carried, t.num_embeddings) for t in result.tables]
    for line in table(rows, headers):
        write(line)
    write(f"Trained {result.num_steps:,} steps of day one: loss {result.first_loss:.3f} to {result.last_loss:.3f}")
    write(f"Snapshot:     {result.snapshot}")
    write(f"Day two:      {result.config}")
    write(f"Took {result.seconds:.1f} s. Next:")
    write(f"  embsnap inspect {result.snapshot}")
    write(f"  embsnap warmstart {result.config} --out {result.warm}")
    write(f"  embsnap demo {result.directory} --day two")


@renders(DemoDayTwo)
def _render_day_two(result: DemoDayTwo, write: Write) -> None:
    pooled = result.pooled
    write(f"One pooled lookup: {pooled.table} {_joined(pooled.entities)}")
    rows_of_days = [
        ("day one, summed", _joined(pooled.old_rows), _vector(pooled.expected)),
        ("day two, pooled", _joined(pooled.new_rows), _vector(pooled.pooled)),
    ]
    for line in table(rows_of_days, ("from", "rows", "vector")):
        write(line)
    write("Mean norm of a table's rows before the first step:")
    for line in table([(norm.table, norm.warm, norm.cold) for norm in result.mean_norms], ("table", "warm", "cold")):
        write(line)
    write(f"Loss of day two (optimizer state {'carried' if result.optimizer_state else 'reset'}):")
    shown = [step for step in _SHOWN_STEPS if step <= len(result.warm_losses)]
    rows = [(step, result.warm_losses[step - 1], result.cold_losses[step - 1]) for step in shown]
    for line in table(rows, ("step", "warm start", "cold start")):
        write(line)
    verdict = "passed" if result.passed else "FAILED"
    write(
        f"Mean of the first {result.compared_steps} steps: {result.mean_warm:.3f} warm, {result.mean_cold:.3f} cold: "
        f"{result.advantage:.1%} lower ({verdict}; at least {result.required:.0%} is asked for)"
    )
    write(f"Took {result.seconds:.1f} s.")


def _joined(numbers: tuple[int, ...]) -> str:
    return ", ".join(map(str, numbers))


def _vector(values: tuple[float, ...]) -> str:
    return f"[{', '.join(f'{value:.5f}' for value in values[:4])}, … {len(values)} values]"
