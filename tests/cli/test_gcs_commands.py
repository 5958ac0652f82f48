"""Every command in a bucket does what it does on local files, and asks for no more than it needs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from embsnap.cli.group import group
from tests.cli.places import USES, make_world
from tests.servers.gcs import Bucket, FaultyBucket

ROOT = "ROOT"
_OF_THE_MACHINE = re.compile(
    r"seconds|_s$|generation|memory|modified|created|time|steps_per|digest|sha256|fingerprint$"
)
_RUN = re.compile(r"\b[0-9a-f]{12}-\d+\b")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The world on local disk; tests that write take a copy."""
    root = tmp_path_factory.mktemp("world")
    make_world(root)
    return root


@pytest.fixture
def local(world: Path, tmp_path: Path) -> Path:
    """A copy of the world."""
    return shutil.copytree(world, tmp_path / "world")


def _commands(command: click.Command, path: tuple[str, ...] = ()) -> dict[str, click.Command]:
    if not isinstance(command, click.Group):
        return {" ".join(path): command}
    context = click.Context(command)
    found: dict[str, click.Command] = {}
    for name in command.list_commands(context):
        child = command.get_command(context, name)
        assert child is not None
        found |= _commands(child, (*path, name))
    return found


def _stable(value: Any, root: str, varies: tuple[str, ...]) -> Any:
    """A result without what depends on the place, the moment and the machine."""
    if isinstance(value, dict):
        kept = {key: each for key, each in value.items() if key not in varies and not _OF_THE_MACHINE.search(key)}
        return {key: _stable(each, root, varies) for key, each in kept.items()}
    if isinstance(value, list):
        return [_stable(each, root, varies) for each in value]
    return _RUN.sub("RUN", value.replace(root, ROOT)) if isinstance(value, str) else value


def _names(names: list[str]) -> list[str]:
    return sorted(re.sub(r"[0-9a-f]{16,64}", "DIGEST", _RUN.sub("RUN", name)) for name in names)


def _files(root: Path) -> list[str]:
    return [str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()]


def test_every_command_that_takes_a_uri_is_used() -> None:
    """A new command needs a line in `USES`; what takes no storage options takes no URI."""
    commands = _commands(group)
    with_storage = {
        name for name, command in commands.items() if any(p.name == "storage_options" for p in command.params)
    }
    assert set(commands) - with_storage == {"config schema", "doctor"}
    assert with_storage - {"demo"} == set(USES)  # the demo's test is in test_demo.py


@pytest.mark.parametrize("name", USES)
def test_it_does_the_same_as_on_local_files(
    name: str, embsnap: Callable[..., Any], local: Path, gcs: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    use, there = USES[name], gcs.upload(local, "world")
    results = []
    for root in (str(local), there):
        monkeypatch.setenv("WORLD", root)
        run = embsnap(*use.command_line(root), "--json")
        assert run.exit_code == use.exit_code, run.stderr
        results.append(_stable(json.loads(run.stdout), root, use.varies))
    assert results[0] == results[1]
    names = gcs.names()
    assert _names([each.removeprefix("world/") for each in names]) == _names(_files(local))
    for path in use.writes:
        assert any(f"{each}/".startswith(f"world/{path}/") for each in names), path
    for path in use.deletes:
        assert not any(each.startswith(f"world/{path}/") for each in names), path


def test_inspect_is_two_requests(embsnap: Callable[..., Any], world: Path, gcs_proxy: FaultyBucket) -> None:
    uri = gcs_proxy.upload(world / "run" / "8", "snapshot")
    assert embsnap("inspect", uri).exit_code == 0
    assert [request.method for request in gcs_proxy.log] == ["GET", "GET"]
    assert all("alt=media" in request.path for request in gcs_proxy.log)


def test_rows_cost_no_more_than_themselves(embsnap: Callable[..., Any], world: Path, gcs_proxy: FaultyBucket) -> None:
    uri = gcs_proxy.upload(world / "run" / "8", "snapshot")
    run = embsnap("lookup", uri, "--table", "user", "--row", "3", "--row", "30")
    assert run.exit_code == 0, run.stderr
    rows = [request for request in gcs_proxy.log if request.range and "/embsnap/" in request.path]
    assert rows
    assert sum(request.num_sent for request in rows) < 2 * 2 * (8 * 4 + 4)


def test_a_misspelt_uri_is_told_its_neighbours(embsnap: Callable[..., Any], world: Path, gcs: Bucket) -> None:
    gcs.upload(world / "run", "ranking/run")
    run = embsnap("inspect", gcs.uri("ranking/rum/8"))
    assert run.exit_code in (3, 4)
    assert "ranking/run" in run.stderr


@pytest.mark.parametrize("command", [("inspect",), ("verify", "--quiet")], ids=["inspect", "verify"])
def test_a_process_needs_the_endpoint_and_nothing_else(command: tuple[str, ...], world: Path, gcs: Bucket) -> None:
    """Without the minute for which gcsfs waits there for a server that speaks gRPC."""
    uri = gcs.upload(world / "run" / "8", "snapshot")
    seconds = []
    for _ in range(3):  # a busy machine is slow by chance
        start_s = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "embsnap", *command, uri],
            env={"PATH": os.environ["PATH"], **gcs.environ},
            capture_output=True,
            text=True,
            timeout=600,
        )
        seconds.append(time.monotonic() - start_s)
        assert (done.returncode, done.stderr) == (0, "")
        if seconds[-1] < 20:
            break
    assert min(seconds) < 20
