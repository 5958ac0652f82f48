"""Loading modules in a process of its own, so that one that crashes is a line of a report and not the end of it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping

from embsnap.live.probe import MARK
from embsnap.ops.doctor import Loading

__all__ = ["probe"]

_TIMEOUT_S = 120.0
_NEEDS = {"fbgemm_gpu": "torch", "torchrec": "fbgemm_gpu", "torchsnapshot": "torch"}
"""What has to load before a module can."""


def probe(modules: Iterable[str], *, timeout_s: float = _TIMEOUT_S) -> dict[str, Loading]:
    """Load modules in another process.

    Args:
        modules: In the order in which they are tried.
        timeout_s: For all of them, in seconds.

    Returns:
        What happened, by module. A module whose ground does not load is not tried and not in it.
    """
    left = list(dict.fromkeys(modules))
    results: dict[str, Loading] = {}
    while left:
        results.update(_run(left, timeout_s))
        left = [name for name in left if name not in results and not _is_groundless(name, results)]
    return {name: loading for name, loading in results.items() if not _is_groundless(name, results)}


def _run(modules: list[str], timeout_s: float) -> dict[str, Loading]:
    """One process for as many of the modules as it survives; the one that ends it is among the results."""
    command = [sys.executable, "-m", "embsnap.live.probe", *modules]
    try:
        process = subprocess.run(command, capture_output=True, timeout=timeout_s, check=False)
        text, ending = process.stdout, _ending(process.returncode, process.stderr)
    except subprocess.TimeoutExpired as error:
        text, ending = error.stdout or b"", f"it took more than {timeout_s:.0f} s"
    results = dict(_parse(line) for line in text.decode(errors="replace").splitlines() if line.startswith(MARK))
    unfinished = [name for name in modules if name not in results]
    if unfinished:
        results[unfinished[0]] = Loading(loaded=False, problem=ending)
    return results


def _ending(return_code: int, stderr: bytes) -> str:
    if return_code < 0:
        return f"the process died of {signal.Signals(-return_code).name}"
    lines = stderr.decode(errors="replace").strip().splitlines()
    return f"the process ended with {return_code}{': ' + lines[-1] if lines else ''}"


def _parse(line: str) -> tuple[str, Loading]:
    fields = json.loads(line.removeprefix(MARK))
    return fields.pop("module"), Loading(**fields)


def _is_groundless(module: str, results: Mapping[str, Loading]) -> bool:
    ground = _NEEDS.get(module)
    if ground is None:
        return False
    return (ground in results and not results[ground].loaded) or _is_groundless(ground, results)
