"""`embsnap warmstart`, and what `embsnap restore` shares with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import click

from embsnap.cli.escaping import printable
from embsnap.cli.job import Job, job_of_environ
from embsnap.cli.noise import hush_torch
from embsnap.cli.options import (
    NumberRange,
    at_option,
    check_option,
    dry_run_option,
    json_option,
    memory_budget_option,
    quiet_option,
    remap_option,
    require_out,
    storage_option,
    threads_option,
)
from embsnap.cli.output import Write, emit, format_bytes, renders, table, write_findings
from embsnap.cli.progress import progress_on_stderr
from embsnap.config.embedding import LargeEmbeddingsConfig
from embsnap.config.environ import config_environ
from embsnap.config.policies import Mode, Placement
from embsnap.errors import ErrorKind, UsageError
from embsnap.model.progress import Progress
from embsnap.ops.config import read_large_embeddings
from embsnap.ops.destination import check_free
from embsnap.ops.warmstart.paths import DEFAULT_PREFIX
from embsnap.ops.warmstart.peers import WHOLE, Share, together
from embsnap.ops.warmstart.plan import WarmstartOptions, WarmstartPlan, plan_warmstart, write_warmstart
from embsnap.ops.warmstart.result import WarmstartResult
from embsnap.ops.warmstart.state import OptimizerStateForm

__all__ = ["Run", "command", "run_options"]

_OPTIONS = (
    click.argument("config"),
    click.option("--out", metavar="URI", help="The new snapshot. It must not exist yet."),
    at_option,
    dry_run_option,
    click.option("--no-model", is_flag=True, help="From snapshot to snapshot: no live model, no torch."),
    click.option(
        "--device", default="auto", show_default=True, help="Where the live model is built: cpu, cuda, cuda:1 or auto."
    ),
    click.option(
        "--mode",
        type=click.Choice([mode.value for mode in Mode]),
        default=Mode.TRAIN.value,
        show_default=True,
        help="What the live model is built for; it changes nothing of what is written.",
    ),
    click.option(
        "--placement",
        type=click.Choice([placement.value for placement in Placement]),
        default=Placement.DEVICE.value,
        show_default=True,
        callback=lambda _context, _option, value: Placement(value),
        help="Where a live model on a GPU has its rows: uvm_caching is for tables larger than the GPU.",
    ),
    click.option(
        "--optimizer-state",
        type=click.Choice([form.value for form in OptimizerStateForm]),
        default=OptimizerStateForm.TENSOR.value,
        show_default=True,
        help="How it is written: as plain tensors, which torchsnapshot 0.1.0 restores beside, as sharded ones for its "
        "main branch, or not at all.",
    ),
    click.option(
        "--prefix",
        metavar="APP_KEY/MODULE_PATH",
        default=DEFAULT_PREFIX,
        show_default=True,
        help="Where the job that restores the snapshot has its EmbeddingBagCollection.",
    ),
    threads_option,
    memory_budget_option,
    check_option,
    storage_option,
    json_option,
    quiet_option,
)


def run_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The arguments and options of commands that write a new model's tables."""
    return reduce(lambda decorated, option: option(decorated), reversed(_OPTIONS), command)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One such command, as typed."""

    config: str
    out: str | None
    at: str | None
    dry_run: bool
    no_model: bool
    device: str
    mode: str
    placement: Placement
    optimizer_state: str
    prefix: str
    threads: int
    memory_budget: int
    check: bool
    storage_options: Mapping[str, str]
    as_json: bool
    quiet: bool

    def __call__(self, command: str, **further: Any) -> None:
        """Plan it, apply it unless it is a dry run, and print the result."""
        options = WarmstartOptions(
            command=command,
            prefix=self.prefix,
            optimizer_state=OptimizerStateForm(self.optimizer_state),
            threads=self.threads,
            memory_budget=self.memory_budget,
            check=self.check,
            storage_options=self.storage_options,
            **further,
        )
        job = job_of_environ()
        with progress_on_stderr(quiet=self.quiet or job.rank > 0) as progress:
            result = self._result(options, job, progress)
        if job.rank == 0:
            emit(result, as_json=self.as_json)

    def _result(self, options: WarmstartOptions, job: Job, progress: Progress) -> WarmstartResult:
        require_out(self.out, dry_run=self.dry_run)
        check_free(self.out, self.storage_options)
        if self.dry_run or self.out is None:
            return self._planned(self._plan(options, progress)[1])
        if job.num_ranks > 1 or (self.placement is not Placement.DEVICE and not self.no_model):
            return self._write_together(self.out, options, progress)
        if self.no_model:
            return write_warmstart(self._plan(options, progress)[1], self.out, progress=progress)
        with _live_packages():
            from embsnap.live.warm_start import build_and_write
        hush_torch()
        config, plan = self._plan(options, progress)
        return build_and_write(config, plan, self.out, device=self.device, mode=Mode(self.mode), progress=progress)

    def _plan(
        self, options: WarmstartOptions, progress: Progress, share: Share = WHOLE
    ) -> tuple[LargeEmbeddingsConfig, WarmstartPlan]:
        config = together(share.peers, self._config)
        try:
            return config, plan_warmstart(config, options, share=share, progress=progress)
        except UsageError as error:
            if error.kind is ErrorKind.NOTHING_TO_DO:  # what it lacks, the file lacks
                error.where = error.where or self.config
            raise

    def _planned(self, plan: WarmstartPlan) -> WarmstartResult:
        result = replace(plan.result(), notes=plan.notes())
        if self.no_model or self.device.startswith("cuda"):
            return result
        return replace(result, peak_memory_bytes=result.peak_memory_bytes + plan.num_model_bytes)

    def _config(self) -> LargeEmbeddingsConfig:
        return read_large_embeddings(self.config, at=self.at, environ=config_environ(), options=self.storage_options)

    def _write_together(self, out: str, options: WarmstartOptions, progress: Progress) -> WarmstartResult:
        with _live_packages():
            from embsnap.live.shared_model import LiveOptions
            from embsnap.live.shared_write import write_together
        hush_torch()
        live = None if self.no_model else LiveOptions(self.device, Mode(self.mode), self.placement)
        return write_together(lambda share: self._plan(options, progress, share), out, live=live, progress=progress)


@contextmanager
def _live_packages() -> Iterator[None]:
    """Around the import of what needs torch.

    Raises:
        UsageError: `missing-package`.
    """
    try:
        yield
    except (ImportError, OSError) as error:
        raise UsageError(
            ErrorKind.MISSING_PACKAGE,
            "a live model needs torch, torchrec and fbgemm, which do not load",
            found=error,
            hint="use --no-model, which writes the same snapshot; `embsnap doctor` tells what to install",
        ) from error


@click.command("warmstart")
@run_options
@click.option("--min-coverage", type=NumberRange(0, 1), help="Least share of known entities, in each table.")
@click.option("--min-weighted-coverage", type=NumberRange(0, 1), help="The same, weighted by their counts.")
@remap_option
def command(
    min_coverage: float | None, min_weighted_coverage: float | None, row_maps: Mapping[str, str], **typed: Any
) -> None:
    """Write a new model's tables, each row following its entity from an old snapshot.

    CONFIG is YAML with the new model's tables. A table with `pretrained` takes the rows of entities that both
    vocabularies know from the old snapshot, with their optimizer state; its other rows are drawn by its initializer. A
    table without `pretrained` is drawn wholly. Everything is checked before anything is written; the snapshot becomes
    visible in one step, at the end. A live model is built and filled, and a pooled lookup through it is compared with
    the source rows, unless --no-model. Under torchrun the model lies over all processes, each fills its part, and each
    writes its share of the objects of the one snapshot.

    \b
    Examples:
      embsnap warmstart day2.yaml --dry-run
      embsnap warmstart day2.yaml --out runs/day2/warm
      embsnap warmstart job.yaml --at model.embeddings --out runs/day2/warm --no-model --min-coverage 0.9
      embsnap warmstart day2.yaml --out runs/day2/warm --remap user=remap/user.parquet
      torchrun --nproc-per-node 4 -m embsnap warmstart day2.yaml --out gs://bucket/day2/warm

    \b
    Exit codes:
      0  written (or planned)
      1  coverage is below the gate; nothing was written
      2  usage, or a wrong config
      3  no such config, snapshot, table or vocabulary
      4  not a committed, readable snapshot
      5  shapes, dtypes, vocabularies or row maps do not fit
      6  storage, permission, disk full
      7  refused: the destination is taken
    """
    gates = {"min_coverage": min_coverage, "min_weighted_coverage": min_weighted_coverage}
    Run(**typed)("warmstart", **gates, row_maps=row_maps)


@renders(WarmstartResult)
def _render(result: WarmstartResult, write: Write) -> None:
    header = ["table", "rows", "dim", "dtype", "by", "carried", "new", "dropped", "reserved", "unoccupied", "coverage"]
    header += ["weighted", "bytes", "seconds", "mean norm"]
    rows = []
    for report in result.tables:
        counts = report.counts
        rows.append(
            [
                *(report.name, report.num_embeddings, report.embedding_dim, report.dtype, report.alignment.value),
                *(counts.carried, counts.new, counts.dropped, counts.reserved, counts.unoccupied),
                *(_percent(report.coverage), _percent(report.weighted_coverage), format_bytes(report.num_bytes)),
                *(None if report.seconds is None else round(report.seconds, 3), report.mean_norm),
            ]
        )
    for line in table(rows, header):
        write(line)
    write("")
    for report in result.tables:
        source = "nothing" if report.source_uri is None else f"{report.source_table} of {report.source_uri}"
        by = "" if report.row_map is None else f" by the row map {report.row_map}"
        write(printable(f"{report.name}: from {source}{by}; other rows {report.initializer}"))
        for path in report.optimizer_state:
            write(printable(f"  optimizer state {path}"))
        if report.num_unchecked_rows:
            write(f"  {report.num_unchecked_rows:,} old rows read without a checksum to compare them with")
    for lookup in result.lookups:
        first = ", ".join(f"{value:.6g}" for value in lookup.pooled)
        write(
            f"pooled lookup {printable(lookup.table)}: {lookup.num_ids} ids in {lookup.num_bags} bags agree with the "
            f"source rows (largest difference {lookup.max_abs_error:.3g}); first bag [{first}, …]"
        )
    write_findings([*(finding for report in result.tables for finding in report.findings), *result.notes], write)
    write(_summary(result))


def _summary(result: WarmstartResult) -> str:
    to_read, to_write = format_bytes(result.num_bytes_to_read), format_bytes(result.num_bytes_to_write)
    memory = format_bytes(result.peak_memory_bytes)
    if not result.applied:
        return f"dry run, nothing written: {to_read} to read, {to_write} to write, {memory} of memory"
    live = f" by a live model ({result.mode}, {result.device})" if result.device is not None else ""
    seconds = f"{result.seconds:.1f} s, of which planning {result.planning_seconds:.1f} s"
    return f"wrote {result.destination}{live}: {to_write} in {seconds}"


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.2f} %"
