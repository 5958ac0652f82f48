"""`embsnap doctor`."""

from __future__ import annotations

import click

from embsnap.cli.options import json_option
from embsnap.cli.output import Write, emit, renders
from embsnap.ops.doctor import DISTRIBUTIONS, Diagnosis, Environment, Health, diagnose, installed_versions

__all__ = ["command"]


@click.command("doctor")
@json_option
def command(as_json: bool) -> int:
    """Check that what is installed fits together and loads.

    Looks at the versions of everything embsnap uses, loads each in a process of its own, and asks whether torch,
    fbgemm-gpu and torchrec belong to each other. Each bad line names the command that mends it. Without torch, all
    that needs none still works, and that is only a note.

    \b
    Examples:
      embsnap doctor
      embsnap doctor --json

    \b
    Exit codes:
      0  nothing is bad
      1  something is bad
      2  usage
    """
    from embsnap.live.probes import probe

    versions = installed_versions()
    modules = [module for name, module in DISTRIBUTIONS.items() if name in versions and module]
    diagnosis = diagnose(Environment(versions, probe(modules)))
    emit(diagnosis, as_json=as_json)
    return 0 if diagnosis.healthy else 1


@renders(Diagnosis)
def _render(diagnosis: Diagnosis, write: Write) -> None:
    width = max(len(line.subject) for line in diagnosis.lines)
    for line in diagnosis.lines:
        write(f"{line.health.value:<4}  {line.subject:<{width}}  {line.message}")
        if line.remedy:
            write(f"{'':4}  {'':{width}}  try: {line.remedy}")
    bad = sum(line.health is Health.BAD for line in diagnosis.lines)
    write("all is well" if diagnosis.healthy else f"{bad} {'line is' if bad == 1 else 'lines are'} bad")
