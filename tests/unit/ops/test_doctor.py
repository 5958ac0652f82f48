"""What fits, what does not, and the command that mends it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embsnap.ops.doctor import DISTRIBUTIONS, Environment, Health, Loading, diagnose, installed_versions

_BASE = {
    "numpy": "2.4.6",
    "numba": "0.68.1",
    "pyarrow": "26.0.1",
    "ml-dtypes": "0.6.0",
    "awscrt": "0.38.1",
    "pydantic": "2.14.3",
    "PyYAML": "6.0.3",
    "click": "8.5.1",
    "rich": "15.0.0",
    "gcsfs": "2026.10.1",
}
_CPU = {
    "torch": "2.13.0+cpu",
    "fbgemm-gpu-cpu": "1.8.0",
    "torchrec": "1.8.0",
    "torchsnapshot": "0.1.0",
}
_GPU = {"torch": "2.13.0", "fbgemm-gpu": "1.8.0", "torchrec": "1.8.0", "torchsnapshot": "0.1.0"}


def _environment(live, *, cuda="", broken=None, **facts):
    versions = {**_BASE, **live}
    loadings = {DISTRIBUTIONS[name]: Loading(loaded=True) for name in versions if DISTRIBUTIONS[name]}
    if "torch" in live:
        loadings["torch"] = Loading(loaded=True, facts={"cuda": cuda, "driver": "libnvidia-ml.so.1", **facts})
    return Environment(versions, {**loadings, **(broken or {})})


def _bad(environment):
    return [(line.subject, line.remedy) for line in diagnose(environment).lines if line.health is Health.BAD]


_GOOD = {
    "cpu": _environment(_CPU),
    "cpu without a driver": _environment(_CPU, driver=""),
    "cuda": _environment(_GPU, cuda="12.9"),
    "cuda without a driver": _environment({**_CPU, "torch": "2.13.0"}, cuda="12.9", driver=""),
}


@pytest.mark.parametrize("environment", _GOOD.values(), ids=_GOOD)
def test_a_good_environment_has_no_bad_line(environment):
    assert diagnose(environment).healthy
    assert _bad(environment) == []


def test_clients_of_other_storages_are_notes_that_say_what_to_install():
    lines = {line.subject: line for line in diagnose(_environment({"s3fs": "2026.9.0"})).lines}
    assert (lines["s3fs"].health, lines["s3fs"].remedy) == (Health.OK, "")
    assert (lines["adlfs"].health, lines["adlfs"].remedy) == (Health.NOTE, 'pip install "embsnap[azure]"')
    assert lines["gcsfs"].message.endswith("loads")


def test_without_torch_is_a_note():
    diagnosis = diagnose(_environment({}))
    assert diagnosis.healthy
    assert [line.health for line in diagnosis.lines if line.subject == "torch"] == [Health.NOTE]


def test_torch_alone_is_a_note():
    diagnosis = diagnose(_environment({"torch": "2.13.0+cpu"}))
    assert diagnosis.healthy
    assert [line.health for line in diagnosis.lines if line.subject == "torchrec"] == [Health.NOTE]


_MISFITS = {
    "CUDA fbgemm beside a CPU torch": (
        _environment({**_GPU, "torch": "2.13.0+cpu"}),
        [("fbgemm build", 'pip uninstall -y fbgemm-gpu && pip install "fbgemm-gpu-cpu==1.8.*"')],
    ),
    "CPU fbgemm beside a CUDA torch": (
        _environment({**_CPU, "torch": "2.13.0"}, cuda="12.9"),
        [("fbgemm build", 'pip uninstall -y fbgemm-gpu-cpu && pip install "fbgemm-gpu==1.8.*"')],
    ),
    "CUDA fbgemm without a driver": (
        _environment(_GPU, cuda="12.9", driver="", broken={"fbgemm_gpu": Loading(False, "OSError: libnvidia-ml.so.1")}),
        [
            ("fbgemm-gpu", 'pip uninstall -y fbgemm-gpu && pip install "fbgemm-gpu-cpu==1.8.*"'),
            ("fbgemm build", 'pip uninstall -y fbgemm-gpu && pip install "fbgemm-gpu-cpu==1.8.*"'),
        ],
    ),
    "both builds of fbgemm": (
        _environment({**_CPU, "fbgemm-gpu": "1.8.0"}),
        [("fbgemm build", 'pip uninstall -y fbgemm-gpu fbgemm-gpu-cpu && pip install "fbgemm-gpu-cpu==1.8.*"')],
    ),
    "fbgemm of another release": (
        _environment({**_CPU, "fbgemm-gpu-cpu": "1.7.0"}),
        [("fbgemm-gpu-cpu release", 'pip install --force-reinstall --no-deps "fbgemm-gpu-cpu==1.8.*"')],
    ),
    "torchrec of another release": (
        _environment({**_CPU, "torchrec": "1.9.1"}),
        [("torchrec release", 'pip install --force-reinstall --no-deps "torchrec==1.8.*"')],
    ),
    "no fbgemm": (
        _environment({name: _CPU[name] for name in ("torch", "torchrec", "torchsnapshot")}),
        [("fbgemm-gpu", 'pip install "fbgemm-gpu-cpu==1.8.*"')],
    ),
    "no torchrec beside a CPU torch": (
        _environment({name: _CPU[name] for name in ("torch", "fbgemm-gpu-cpu", "torchsnapshot")}),
        [("torchrec", 'pip install --no-deps "torchrec==1.8.*"')],
    ),
    "no torchrec beside a CUDA torch": (
        _environment({name: _GPU[name] for name in ("torch", "fbgemm-gpu", "torchsnapshot")}, cuda="12.9"),
        [("torchrec", 'pip install "torchrec==1.8.*"')],
    ),
    "too old": (
        _environment({**_CPU, "torch": "2.10.0", "fbgemm-gpu-cpu": "1.5.0", "torchrec": "1.5.0"}),
        [("torch", 'pip install "torch>=2.11"'), ("torchrec", 'pip install "torchrec>=1.6"')],
    ),
    "torchrec lacks a package": (
        _environment(_CPU, broken={"torchrec": Loading(False, "No module named 'tensordict'", missing="tensordict")}),
        [("torchrec", "pip install tensordict")],
    ),
    "fbgemm crashes": (
        _environment(_CPU, broken={"fbgemm_gpu": Loading(False, "the process died of SIGSEGV")}),
        [("fbgemm-gpu-cpu", 'pip install --force-reinstall --no-deps "fbgemm-gpu-cpu==1.8.*"')],
    ),
    "numba refuses numpy": (
        _environment(_CPU, broken={"numba": Loading(False, "ImportError: Numba needs NumPy 2.3 or less")}),
        [("numba", 'pip install --force-reinstall --no-deps "numba==0.68.1"')],
    ),
}


@pytest.mark.parametrize("case", _MISFITS)
def test_each_misfit_is_found_and_has_its_command(case):
    environment, expected = _MISFITS[case]
    assert _bad(environment) == expected


def test_what_was_not_tried_is_said_so_and_not_bad():
    environment = _environment(_CPU, broken={"torch": Loading(False, "OSError: libtorch.so")})
    without = Environment(environment.versions, {k: v for k, v in environment.loadings.items() if k != "torchrec"})
    lines = {line.subject: line for line in diagnose(without).lines}
    assert lines["torch"].health is Health.BAD
    assert lines["torchrec"].health is Health.NOTE
    assert "not tried" in lines["torchrec"].message


@pytest.mark.parametrize(
    ("cuda", "facts", "health", "words"),
    [
        ("12.9", {"gpus": "NVIDIA H200 (140 GiB)"}, Health.OK, "H200"),
        ("12.9", {"gpus": "", "gpu_problem": "the driver is too old"}, Health.NOTE, "driver is too old"),
        ("", {"gpus": ""}, Health.NOTE, "built for CPUs"),
    ],
)
def test_gpus(cuda, facts, health, words):
    live = _GPU if cuda else _CPU
    (line,) = (line for line in diagnose(_environment(live, cuda=cuda, **facts)).lines if line.subject == "GPU")
    assert line.health is health
    assert words in line.message


_VERSIONS = st.sampled_from(["2.13.0", "2.13.0+cpu", "2.12.1+cu129", "1.8.0", "1.7.0", "0.1.0", "nightly", "", "3.0"])
_LOADINGS = st.builds(
    Loading, loaded=st.booleans(), problem=st.just("broken"), facts=st.sampled_from([{}, {"cuda": "12.9"}])
)


@given(
    versions=st.dictionaries(st.sampled_from(sorted(DISTRIBUTIONS)), _VERSIONS),
    loadings=st.dictionaries(st.sampled_from(sorted(set(DISTRIBUTIONS.values()))), _LOADINGS),
)
def test_every_bad_line_of_any_environment_names_a_command(versions, loadings):
    diagnosis = diagnose(Environment(versions, loadings))
    bad = [line for line in diagnosis.lines if line.health is Health.BAD]
    assert diagnosis.healthy == (not bad)
    assert all(line.remedy.startswith("pip ") for line in bad)


def test_installed_versions_finds_what_pip_would_list():
    versions = installed_versions()
    assert set(_BASE) <= set(versions) <= set(DISTRIBUTIONS)
    assert all(version[0].isdigit() for version in versions.values())
