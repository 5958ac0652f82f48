"""Whether what is installed fits together and loads.

torch, fbgemm-gpu and torchrec are released together and compiled against each other: release 1.n of fbgemm-gpu and
torchrec belongs to torch 2.(n + 5). fbgemm-gpu comes in one build for CUDA and another for CPUs, under two names that
pip installs over each other; the CUDA build loads only where NVIDIA's driver is, the CPU build with either build of
torch. Most broken installations break there.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from typing import ClassVar

__all__ = ["DISTRIBUTIONS", "Diagnosis", "Environment", "Health", "Line", "Loading", "diagnose", "installed_versions"]

_BASE = {
    "numpy": "numpy",
    "numba": "numba",
    "pyarrow": "pyarrow",
    "ml-dtypes": "ml_dtypes",
    "awscrt": "awscrt",
    "pydantic": "pydantic",
    "PyYAML": "yaml",
    "click": "click",
    "rich": "rich",
    "gcsfs": "gcsfs",
}
_FBGEMM_BUILDS = ("fbgemm-gpu", "fbgemm-gpu-cpu")
_LIVE = {
    "torch": "torch",
    "fbgemm-gpu": "fbgemm_gpu",
    "fbgemm-gpu-cpu": "fbgemm_gpu",
    "torchrec": "torchrec",
    "torchsnapshot": "torchsnapshot",
}
_STORAGE_CLIENTS = {"s3fs": ("s3://", "s3"), "adlfs": ("az://", "azure")}
"""Those that a part of embsnap's users needs: the URIs they are for, and the extra that brings them."""
_OLDEST = {"torch": (2, 11), "torchrec": (1, 6)}
_MINOR_OFFSET = 5
"""torch 2.(n + 5) goes with fbgemm-gpu and torchrec 1.n."""

DISTRIBUTIONS = {**_BASE, **_LIVE, **dict.fromkeys(_STORAGE_CLIENTS, "")}
"""Names that pip knows, and the module that each one brings (none for those that are not loaded)."""


class Health(StrEnum):
    """Of one thing that was looked at."""

    OK = "ok"
    NOTE = "note"
    """Worth knowing, and nothing to mend."""
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that was looked at.

    Attributes:
        health: What came out.
        subject: What it is about.
        message: What was found.
        remedy: The command that mends it; never empty where the health is bad.
    """

    health: Health
    subject: str
    message: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All that was looked at."""

    schema: ClassVar[str] = "embsnap.doctor"
    schema_version: ClassVar[int] = 1

    healthy: bool
    """No line is bad."""
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Loading:
    """What happened when a module was loaded and used in a process of its own.

    Attributes:
        loaded: It loaded, and did what was asked of it.
        problem: The error, or the signal that ended the process; empty if it loaded.
        missing: Name of the module that was not found, where that was the problem.
        facts: What torch said: `cuda` (the version it was built with, or empty), `driver` (empty where there is no
            NVIDIA driver), `gpus`, `gpu_problem`.
    """

    loaded: bool
    problem: str = ""
    missing: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Environment:
    """What is installed and how it loads.

    Attributes:
        versions: By the name that pip knows; what is not installed is not in it.
        loadings: By module; what was not tried is not in it.
    """

    versions: Mapping[str, str]
    loadings: Mapping[str, Loading]

    @property
    def cuda(self) -> str | None:
        """CUDA version that torch was built with, empty for a CPU build, None where torch does not load."""
        torch = self.loadings.get("torch")
        return torch.facts.get("cuda", "") if torch is not None and torch.loaded else None

    @property
    def has_driver(self) -> bool:
        """NVIDIA's driver is there; without it fbgemm-gpu's CUDA build does not load."""
        torch = self.loadings.get("torch")
        return torch is not None and bool(torch.facts.get("driver"))

    @property
    def fbgemm_build(self) -> str:
        """Name of the build that fits this torch on this machine."""
        return "fbgemm-gpu" if self.cuda and self.has_driver else "fbgemm-gpu-cpu"

    @property
    def release(self) -> str:
        """Version specifier of the fbgemm-gpu and torchrec that belong to this torch, or nothing."""
        major, minor = _numbers(self.versions.get("torch", ""))
        return f"==1.{minor - _MINOR_OFFSET}.*" if major == 2 and minor > _MINOR_OFFSET else ""


def installed_versions() -> dict[str, str]:
    """Versions of what of `DISTRIBUTIONS` is installed, without importing any of it."""
    found = {}
    for name in DISTRIBUTIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def diagnose(environment: Environment) -> Diagnosis:
    """Judge an environment.

    Args:
        environment: What is installed, and how the modules loaded.
    """
    lines = (
        Line(Health.OK, "Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        *_base(environment),
        *_live(environment),
        *_fit(environment),
        *_gpus(environment),
        *_storage(environment),
    )
    return Diagnosis(all(line.health is not Health.BAD for line in lines), lines)


def _base(env: Environment) -> Iterator[Line]:
    for name, module in _BASE.items():
        if name in env.versions:
            yield _loading(env, name, module, f'pip install --force-reinstall --no-deps "{name}=={env.versions[name]}"')
        else:
            yield Line(Health.BAD, name, "not installed", f"pip install {name}")


def _live(env: Environment) -> Iterator[Line]:
    present = [name for name in _LIVE if name in env.versions]
    if not present:
        yield Line(Health.NOTE, "torch", "not installed; only live modules and the demo need it")
        return
    for name in present:
        yield _loading(env, name, _LIVE[name], _reinstall(env, name))
    if present == ["torch"]:
        yield Line(Health.NOTE, "torchrec", "not installed; only live modules and the demo need it")
        return
    yield from _missing(env)


def _missing(env: Environment) -> Iterator[Line]:
    alone = "" if env.cuda else "--no-deps "  # it requires the CUDA build of fbgemm-gpu
    names = {"torch": "torch", "torchrec": f'{alone}"torchrec{env.release}"', "torchsnapshot": "torchsnapshot"}
    for name, requirement in names.items():
        if name not in env.versions:
            yield Line(Health.BAD, name, "not installed", f"pip install {requirement}")
    if not any(build in env.versions for build in _FBGEMM_BUILDS):
        yield Line(Health.BAD, "fbgemm-gpu", "not installed", f'pip install "{env.fbgemm_build}{env.release}"')


def _loading(env: Environment, name: str, module: str, remedy: str) -> Line:
    installed = env.versions[name]
    loading = env.loadings.get(module)
    if loading is None:
        return Line(Health.NOTE, name, f"{installed}; not tried, because what it needs does not load")
    if loading.loaded:
        return Line(Health.OK, name, f"{installed}, loads")
    missing = f"pip install {loading.missing}"
    return Line(
        Health.BAD, name, f"{installed} does not load: {loading.problem}", missing if loading.missing else remedy
    )


def _reinstall(env: Environment, name: str) -> str:
    if name in _FBGEMM_BUILDS and name != env.fbgemm_build:
        return _change_build(env)
    follows_torch = name in _FBGEMM_BUILDS or name == "torchrec"
    specifier = env.release if follows_torch else f"=={env.versions[name]}"
    return f'pip install --force-reinstall --no-deps "{name}{specifier}"'


def _change_build(env: Environment) -> str:
    builds = [name for name in _FBGEMM_BUILDS if name in env.versions]
    return f'pip uninstall -y {" ".join(builds)} && pip install "{env.fbgemm_build}{env.release}"'


def _fit(env: Environment) -> Iterator[Line]:
    for name, oldest in _OLDEST.items():
        if name in env.versions and _numbers(env.versions[name]) < oldest:
            wanted = f"{oldest[0]}.{oldest[1]}"
            yield Line(
                Health.BAD, name, f"{env.versions[name]} is older than {wanted}", f'pip install "{name}>={wanted}"'
            )
    if "torch" in env.versions:
        yield from _builds(env)
        yield from _releases(env)


def _builds(env: Environment) -> Iterator[Line]:
    builds = [name for name in _FBGEMM_BUILDS if name in env.versions]
    if len(builds) == 2:
        message = "both builds are installed, one over the other"
        yield Line(Health.BAD, "fbgemm build", message, _change_build(env))
    elif builds and env.cuda is not None:
        machine = "" if env.has_driver or not env.cuda else " on a machine without NVIDIA's driver"
        torch_build = f"torch's build for {f'CUDA {env.cuda}' if env.cuda else 'CPUs'}{machine}"
        if builds[0] == env.fbgemm_build:
            yield Line(Health.OK, "fbgemm build", f"{builds[0]} fits {torch_build}")
        else:
            message = f"{builds[0]} does not fit {torch_build}; {env.fbgemm_build} does"
            yield Line(Health.BAD, "fbgemm build", message, _change_build(env))


def _releases(env: Environment) -> Iterator[Line]:
    torch = env.versions["torch"]
    for name in (*_FBGEMM_BUILDS, "torchrec"):
        if name not in env.versions or not env.release:
            continue
        major, minor = _numbers(env.versions[name])
        fits = (major, minor + _MINOR_OFFSET) == (1, _numbers(torch)[1])
        verb = "belongs" if fits else "does not belong"
        message = f"{env.versions[name]} {verb} to torch {torch}"
        health = Health.OK if fits else Health.BAD
        yield Line(health, f"{name} release", message, "" if fits else _reinstall(env, name))


def _gpus(env: Environment) -> Iterator[Line]:
    torch = env.loadings.get("torch")
    if torch is None or not torch.loaded:
        return
    gpus = torch.facts.get("gpus", "")
    if gpus:
        yield Line(Health.OK, "GPU", gpus)
    elif env.cuda:
        problem = torch.facts.get("gpu_problem") or "none that torch can use"
        yield Line(Health.NOTE, "GPU", problem)
    else:
        yield Line(Health.NOTE, "GPU", "torch is built for CPUs")


def _storage(env: Environment) -> Iterator[Line]:
    for name, (scheme, extra) in _STORAGE_CLIENTS.items():
        if name in env.versions:
            yield Line(Health.OK, name, f"{env.versions[name]}, for {scheme}")
        else:
            message = f"not installed; only {scheme} needs it"
            yield Line(Health.NOTE, name, message, f'pip install "embsnap[{extra}]"')


def _numbers(text: str) -> tuple[int, int]:
    """Major and minor of a version, (0, 0) where there are none."""
    parts = text.split(".")
    if len(parts) < 2 or not (parts[0].isdigit() and parts[1].isdigit()):
        return 0, 0
    return int(parts[0]), int(parts[1])
