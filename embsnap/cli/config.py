"""`embsnap config validate` and `embsnap config schema`."""

from __future__ import annotations

import json

import click

from embsnap.cli.options import at_option, json_option, storage_option
from embsnap.cli.output import Write, emit, renders, table, write_findings
from embsnap.config.environ import config_environ
from embsnap.model.config_summary import ConfigSummary, TableSummary

__all__ = ["command"]

_SHAPE_HEADERS = ("table", "rows", "dim", "type", "pooling", "optimizer", "state", "new rows", "reserved")
_ORIGIN_HEADERS = ("table", "rows from", "snapshot", "aligned by", "vocabulary")


@click.group("config")
def command() -> None:
    """Check configuration files, and describe what may stand in them.

    \b
    Examples:
      embsnap config validate tomorrow.yaml
      embsnap config schema > embsnap.schema.json

    \b
    Exit codes:
      0  done
      2  usage, or the config has problems
      3  no such file, or no config in it, or several
    """


@command.command("validate")
@click.argument("file")
@at_option
@json_option
@storage_option
def validate(file: str, at: str | None, as_json: bool, storage_options: dict[str, str]) -> int:
    """Check the configuration in FILE and show what is in it.

    FILE is a path or URI of a YAML file. Variables such as $HOME are substituted first. The configuration may stand
    anywhere in the file; every problem is listed with its place and line. Nothing that the configuration names is
    opened.

    \b
    Examples:
      embsnap config validate tomorrow.yaml
      embsnap config validate train.yaml --at model.embeddings --json

    \b
    Exit codes:
      0  valid
      2  usage, or the config has problems
      3  no such file, or no config in it, or several
      6  the file could not be read
    """
    from embsnap.ops.validate_config import validate_config

    summary = validate_config(file, at=at, environ=config_environ(), options=storage_options)
    emit(summary, as_json=as_json)
    return 0


@command.command("schema")
def schema() -> int:
    """Print the JSON Schema of the configuration.

    Editors complete and check YAML with it.

    \b
    Examples:
      embsnap config schema > embsnap.schema.json

    \b
    Exit codes:
      0  done
      2  usage
    """
    from embsnap.config.schema import schema_json

    click.echo(json.dumps(schema_json(), indent=2))
    return 0


@renders(ConfigSummary)
def _render(summary: ConfigSummary, write: Write) -> None:
    num_tables = len(summary.tables)
    place = summary.uri if summary.at == "." else f"{summary.at} of {summary.uri}"
    write(f"valid: {num_tables} {'table' if num_tables == 1 else 'tables'} in {place}")
    write("")
    for line in table(map(_shape_cells, summary.tables), _SHAPE_HEADERS):
        write(line)
    write("")
    for line in table(map(_origin_cells, summary.tables), _ORIGIN_HEADERS):
        write(line)
    if summary.tables_to_log:
        write("")
        write(f"logged: {', '.join(summary.tables_to_log)}")
    write_findings(summary.findings, write)


def _shape_cells(row: TableSummary) -> tuple[object, ...]:
    shape = (row.name, row.num_embeddings, row.embedding_dim, row.data_type, row.pooling)
    return (*shape, row.optimizer, row.optimizer_state, row.initializer, row.reserved)


def _origin_cells(row: TableSummary) -> tuple[object, ...]:
    old = row.pretrained
    if old is None:
        return (row.name, None, None, None, row.vocab)
    alignment = "position" if old.by_position or row.vocab is None else old.vocab or "the snapshot's own vocabulary"
    return (row.name, old.table, old.uri, alignment, row.vocab)
